//! Accepts connections, within the limits.

use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::{debug, warn};

use super::chunks::Pool;
use super::connection::{self, Shared};
use super::peers::Peers;
use super::registry::Registry;
use super::session::SessionLimits;
use crate::shard::inbox::Inbox;

/// After a failed accept (most likely: no file descriptor left) the next try waits so long.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

/// What is served, and to how many.
#[derive(Debug)]
pub struct Server {
    /// Accepting already.
    pub listener: TcpListener,
    /// This node's id.
    pub node: u64,
    /// Memory for fresh message bodies, bytes: what is read is kept so long.
    pub tail_bytes: u64,
    /// Of each connection.
    pub limits: SessionLimits,
    /// Of all connections.
    pub registry: Registry,
    /// The way to the shard.
    pub inbox: Rc<Inbox>,
    /// The way back.
    pub peers: Rc<Peers>,
}

impl Server {
    /// Accepts and serves until it is dropped.
    ///
    /// # Cancel safety
    /// Dropping it stops accepting; connections go on.
    pub async fn run(self) {
        let Self {
            listener,
            registry,
            peers,
            ..
        } = self;
        let (node, limits, inbox) = (self.node, self.limits, self.inbox);
        let chunks = Rc::new(Pool::new(self.tail_bytes));
        tokio::task::spawn_local(tick(Rc::downgrade(&chunks)));
        let shared = Rc::new(Shared {
            node,
            limits,
            inbox,
            peers,
            chunks,
        });
        let mut is_full = false;
        for number in 1.. {
            let (stream, from) = loop {
                match listener.accept().await {
                    Ok(accepted) => break accepted,
                    Err(error) => {
                        warn!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                }
            };
            match registry.enter(number, from) {
                Ok(seat) => {
                    is_full = false;
                    let serving =
                        connection::serve(Rc::clone(&shared), number, stream, (from, seat));
                    tokio::task::spawn_local(serving);
                }
                // Told once, then silently until one is taken again: whoever knocks does not fill the log.
                Err(reason) if is_full => debug!(%from, %reason, "connection not taken"),
                Err(reason) => {
                    is_full = true;
                    warn!(%from, %reason, "connections are not taken");
                }
            }
        }
    }
}

async fn tick(chunks: Weak<Pool>) {
    while let Some(chunks) = chunks.upgrade() {
        chunks.tick();
        drop(chunks);
        tokio::time::sleep(SECOND).await;
    }
}
