//! A whole broker: its core thread, its admin thread, and the way to stop them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::admin::Admin;
use crate::admin::health::{Health, Stage};
use crate::config::{AdminListen, Config, ConfigError};
use crate::memory::MemoryGauge;
use crate::server::listener::Server;
use crate::server::peers::Peers;
use crate::server::registry::Registry;
use crate::shard::committer::{Committer, Machine, Pace, ShardError};
use crate::shard::inbox::Inbox;
use crate::shard::recovery::{self, RecoveryError};
use crate::storage::fs::SystemFs;

/// What clients are told they have at a stop; answers not taken by then are lost with the
/// connection.
const DRAIN_GRACE: Duration = Duration::from_secs(5);
/// How often a stop looks whether clients have taken their answers.
const GOODBYE_POLL: Duration = Duration::from_millis(5);
/// Time goes on for connections once in so long, and what memory is taken is looked at.
const TICK: Duration = Duration::from_secs(1);
/// So often in a tick it may be looked at. A million messages a second that have nothing in common take some
/// 15 MiB in between.
const LOOKS: u32 = 10;
/// It is looked at after so many bytes of requests only, and at every tick: a look takes as long as half a sync,
/// which every message that comes meanwhile waits for.
const LOOK_BYTES: u64 = 1 << 20;

/// A running broker. Dropping it stops it, as [`Broker::stop`] does.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    order: watch::Sender<Order>,
    ended: watch::Receiver<bool>,
    core: Option<JoinHandle<Result<(), BrokerError>>>,
    registry: Registry,
    _admin: Option<Admin>,
}

/// What the core thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Serve,
    Stop,
    Kill,
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A knob is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address is taken, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The operating system refuses a thread or a runtime.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The data directory cannot be used as it is.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The first write failed.
    #[error(transparent)]
    Shard(#[from] ShardError),
}

/// Why a broker ended on its own. Nothing was confirmed that is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A write or sync failed, or a thread is gone.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The core thread panicked: a bug; the log says where.
    #[error("the core thread panicked")]
    Panicked,
}

impl Broker {
    /// Starts a broker: recovers what the data directory holds, then serves.
    ///
    /// # Errors
    /// Nothing was served. Damage of the data directory is named, and nothing of it is changed.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        config.check()?;
        let (listener, address) = bind(config.listen)?;
        let health = Arc::new(Health::default());
        let (admin, admin_address) = match config.admin_listen {
            AdminListen::Off => (None, None),
            AdminListen::At(address) => {
                let (listener, address) = bind(address)?;
                let admin = Admin::start(listener, Arc::clone(&health));
                (Some(admin.map_err(StartError::Thread)?), Some(address))
            }
        };
        let registry = Registry::new(config.connection_limits(descriptors()));
        let (order, orders) = watch::channel(Order::Serve);
        let (end, ended) = watch::channel(false);
        let (ready, started) = oneshot::channel();
        let (config, seats) = (config.clone(), registry.clone());
        let core = move || {
            let house = House {
                memory: MemoryGauge::new(config.memory_bytes(), config.allocated),
                config,
                listener: Some(listener),
                registry: seats,
                health,
                orders,
            };
            let result = house.live(ready);
            // Nobody may be left to be told.
            end.send(true).ok();
            result
        };
        let core = std::thread::Builder::new()
            .name("siding-core".into())
            .spawn(core);
        let core = core.map_err(StartError::Thread)?;
        match started.blocking_recv() {
            Ok(started) => started?,
            Err(_) => {
                return Err(StartError::Thread(io::Error::other(
                    "the core thread panicked",
                )));
            }
        }
        let core = Some(core);
        Ok(Self {
            address,
            admin_address,
            order,
            ended,
            core,
            registry,
            _admin: admin,
        })
    }

    /// Where clients connect; the actual port, whatever was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where `/livez` and `/readyz` are, if anywhere.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// The live connections.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Waits until the broker ended on its own; [`Broker::stop`] then says why.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn ended(&self) {
        // An error: the sender is gone, and with it the core thread.
        self.ended.clone().wait_for(|ended| *ended).await.ok();
    }

    /// Stops: accepts nobody, tells clients, finishes what was asked, syncs, writes a snapshot.
    ///
    /// # Errors
    /// Why it could not, or why it had ended before.
    pub fn stop(mut self) -> Result<(), BrokerError> {
        self.end(Order::Stop)
    }

    /// Ends as if the process had been killed: no sync, no snapshot, no goodbye.
    pub fn kill(mut self) {
        if let Err(error) = self.end(Order::Kill) {
            warn!(%error, "a killed broker had ended before");
        }
    }

    fn end(&mut self, order: Order) -> Result<(), BrokerError> {
        let Some(core) = self.core.take() else {
            return Ok(());
        };
        self.order.send(order).ok();
        core.join().map_err(|_| BrokerError::Panicked)?
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.end(Order::Stop) {
            error!(%error, "the broker did not stop cleanly");
        }
    }
}

/// What the core thread owns.
struct House {
    config: Config,
    /// Until it is served: then the server's, so that accepting ends with it.
    listener: Option<TcpListener>,
    registry: Registry,
    health: Arc<Health>,
    orders: watch::Receiver<Order>,
    memory: MemoryGauge,
}

type Ready = oneshot::Sender<Result<(), StartError>>;

impl House {
    fn live(self, ready: Ready) -> Result<(), BrokerError> {
        let health = Arc::clone(&self.health);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let result = match builder
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
        {
            Ok(runtime) => runtime.block_on(async {
                // A task among the others: a wake of this future itself would look at the sockets first,
                // one system call for each request that comes alone.
                let served = tokio::task::spawn_local(self.serve(ready)).await;
                served.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
            }),
            Err(error) => {
                ready.send(Err(StartError::Thread(error))).ok();
                Ok(())
            }
        };
        health.set(Stage::Stopped);
        result
    }

    async fn serve(mut self, ready: Ready) -> Result<(), BrokerError> {
        let inbox = Rc::new(Inbox::new(self.config.waiting_bytes_max()));
        let peers = Rc::new(Peers::new(Rc::clone(&inbox)));
        let (mut committer, server) = match self.open(&inbox, &peers) {
            Ok(open) => open,
            Err(error) => {
                // Whoever waits for the start reports it.
                ready.send(Err(error)).ok();
                return Ok(());
            }
        };
        self.health.set(Stage::Serving);
        ready.send(Ok(())).ok();
        let accepting = tokio::task::spawn_local(server.run());
        let ticking = tokio::task::spawn_local(tick(
            Rc::clone(&peers),
            Rc::clone(&inbox),
            self.memory.clone(),
        ));
        let order = tokio::select! {
            error = committer.run() => {
                error!(%error, "the broker stops: nothing more is confirmed");
                return Err(error.into());
            }
            order = next_order(&mut self.orders) => order,
        };
        accepting.abort();
        if order == Order::Kill {
            committer.abandon().await;
            return Ok(());
        }
        self.health.set(Stage::Draining);
        info!("draining");
        peers.drain(u64::try_from(DRAIN_GRACE.as_millis()).unwrap_or(u64::MAX));
        committer.finish().await?;
        if tokio::time::timeout(DRAIN_GRACE, say_goodbye(&peers))
            .await
            .is_err()
        {
            warn!(
                connections = peers.serving(),
                "some answers were not taken in time"
            );
        }
        ticking.abort();
        info!("stopped; everything confirmed is on disk");
        Ok(())
    }

    fn open(
        &mut self,
        inbox: &Rc<Inbox>,
        peers: &Rc<Peers>,
    ) -> Result<(Committer<Peers>, Server), StartError> {
        let fs = Arc::new(SystemFs);
        let machine = Machine {
            time: self.config.time.clone(),
            memory: self.memory.clone(),
            ..Machine::default()
        };
        let (data, settings) = (&self.config.data_dir, self.config.shard_settings());
        let recovery = recovery::start(fs, data, settings, &machine.threads)?;
        let node = recovery.data_dir.node();
        let ways = (Rc::clone(inbox), Rc::clone(peers));
        let pace = Pace {
            checkpoint_bytes: self.config.checkpoint_bytes.0,
            flush_ms: self.config.flush_interval_ms,
        };
        let committer = Committer::start(recovery, ways, &machine, pace)?;
        let listener = self.listener.take().ok_or(io::ErrorKind::NotFound.into());
        let listener = listener.and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        let address = self.config.listen;
        let server = Server {
            listener: listener.map_err(|source| StartError::Listen { address, source })?,
            node,
            tail_bytes: self.config.budgets().tail_bytes,
            limits: self.config.session_limits(),
            registry: self.registry.clone(),
            inbox: Rc::clone(inbox),
            peers: Rc::clone(peers),
        };
        Ok((committer, server))
    }
}

async fn tick(peers: Rc<Peers>, inbox: Rc<Inbox>, memory: MemoryGauge) {
    let mut looks = tokio::time::interval(TICK / LOOKS);
    let mut seen_bytes = 0;
    for look in (0..LOOKS).cycle() {
        looks.tick().await;
        let is_tick = look == 0;
        let brought_bytes = inbox.brought_bytes();
        if is_tick || brought_bytes - seen_bytes >= LOOK_BYTES {
            memory.sample();
            seen_bytes = brought_bytes;
        }
        if is_tick {
            peers.tick();
        }
    }
}

/// Waits until every client has what it is owed, then closes.
async fn say_goodbye(peers: &Peers) {
    while peers.undelivered() > 0 {
        tokio::time::sleep(GOODBYE_POLL).await;
    }
    peers.close_all();
    while peers.serving() > 0 {
        tokio::time::sleep(GOODBYE_POLL).await;
    }
}

async fn next_order(orders: &mut watch::Receiver<Order>) -> Order {
    match orders.wait_for(|order| *order != Order::Serve).await {
        Ok(order) => *order,
        // The handle is gone, and its drop gave an order before.
        Err(_) => Order::Stop,
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|source| StartError::Listen { address, source })
}

/// Most files this process may open.
fn descriptors() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
