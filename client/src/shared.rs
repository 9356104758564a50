//! What callers and the connection task share: an inbox under a short lock, and a wake-up.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use siding_protocol::refusal::Refusal;
use siding_protocol::types::{Grant, OffsetRange};
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::consumer::DeliveryQueue;
use crate::error::{Error, ProtocolError};
use crate::publisher::{OnBusy, PublisherCore};
use crate::settle::{SettleQueue, Settlement, Settling};
use crate::started::{self, Begun};

/// Requests of one client that wait for an answer at a time, publishes and settles not counted.
/// More wait their turn.
const ASKS_MAX: usize = 1_024;

/// The key of the producer behind transactions.
pub(crate) const TRANSACTIONS: u64 = 0;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A request that fails when the connection is lost under it.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) kind: Kind,
    /// Whether it may have changed something when its answer is lost.
    pub(crate) changes: bool,
    pub(crate) reply: Reply<Kind>,
}

/// What callers ask of the connection task.
#[derive(Debug)]
pub(crate) enum Command {
    Ask(Ask),
    /// Opens the producer of a key; one that is open already is success.
    OpenProducer {
        key: u64,
        on_busy: OnBusy,
        reply: Reply<()>,
    },
    Transact {
        transaction: wire::Transaction,
        reply: Reply<wire::TransactionDone>,
    },
    Subscribe {
        consume: wire::Consume,
        queue: Arc<DeliveryQueue>,
        reply: Reply<()>,
    },
    /// Without a reply where a consumer was dropped.
    Unsubscribe {
        consumer: u32,
        reply: Option<Reply<()>>,
    },
    /// The publisher is gone: forget it once it has nothing under way.
    Abandon {
        key: u64,
    },
    /// Drop the connection at once.
    Cut,
    /// Finish what is under way, then end.
    Close {
        reply: Reply<()>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) commands: Vec<Command>,
    pub(crate) settles: SettleQueue,
    /// What the application has begun; empty unless it marks so.
    pub(crate) begun: Vec<Begun>,
    /// Publishers with something to send.
    pub(crate) publishers: Vec<Arc<PublisherCore>>,
    /// Every handle is gone.
    pub(crate) abandoned: bool,
    /// The connection task has ended.
    ended: bool,
}

#[derive(Debug)]
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    pub(crate) wake: Notify,
    asks: Semaphore,
    keys: AtomicU64,
    consumers: AtomicU32,
    pub(crate) holder: String,
    marks_started: bool,
    limits: Mutex<wire::Limits>,
}

/// Keeps the connection alive: clients, publishers, consumers and deliveries share one. When the
/// last is dropped, the connection task sends what it has and ends.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.inbox().abandoned = true;
        self.0.wake.notify_one();
    }
}

impl std::ops::Deref for Handle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Handle {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl Shared {
    pub(crate) fn new(holder: String, marks_started: bool, limits: wire::Limits) -> Self {
        Self {
            inbox: Mutex::default(),
            wake: Notify::new(),
            asks: Semaphore::new(ASKS_MAX),
            keys: AtomicU64::new(TRANSACTIONS + 1),
            consumers: AtomicU32::new(1),
            holder,
            marks_started,
            limits: Mutex::new(limits),
        }
    }

    /// A poisoned lock means a panic elsewhere; the inbox itself is whole between statements.
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> wire::Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_limits(&self, limits: wire::Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// The next publisher's key; never [`TRANSACTIONS`].
    pub(crate) fn next_key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_consumer(&self) -> u32 {
        self.consumers.fetch_add(1, Ordering::Relaxed)
    }

    /// Gives a command to the connection task; `false` when it has ended (the command, and with it
    /// any reply, is dropped).
    pub(crate) fn command(&self, command: Command) -> bool {
        {
            let mut inbox = self.inbox();
            if inbox.ended {
                return false;
            }
            inbox.commands.push(command);
        }
        self.wake.notify_one();
        true
    }

    /// Gives a settle to the connection task; when that has ended, its listener is told so.
    pub(crate) fn settle(&self, settling: Settling) {
        {
            let mut inbox = self.inbox();
            if inbox.ended {
                drop(inbox);
                return Settlement::new(settling).finish(&Err(CLOSED));
            }
            inbox.settles.push(settling);
        }
        self.wake.notify_one();
    }

    /// The application begins with these messages: noted, if it marks so.
    pub(crate) fn begun(&self, address: &Arc<str>, grant: Grant, range: OffsetRange) {
        if !self.marks_started {
            return;
        }
        {
            let mut inbox = self.inbox();
            if inbox.ended {
                return;
            }
            started::note(&mut inbox.begun, address, grant, range);
        }
        self.wake.notify_one();
    }

    /// A publisher has something to send.
    pub(crate) fn publisher_ready(&self, publisher: Arc<PublisherCore>) {
        {
            let mut inbox = self.inbox();
            if inbox.ended {
                drop(inbox);
                publisher.end(&CLOSED);
                return;
            }
            inbox.publishers.push(publisher);
        }
        self.wake.notify_one();
    }

    /// From here on commands are refused; what lies in the inbox is dropped by the caller.
    pub(crate) fn end(&self) -> Inbox {
        let mut inbox = self.inbox();
        let last = std::mem::take(&mut *inbox);
        inbox.ended = true;
        last
    }

    /// Sends a command that carries a reply, and waits for it.
    pub(crate) async fn call<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.command(command(reply));
        answer.await.unwrap_or(Err(CLOSED))
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask(&self, kind: Kind, changes: bool) -> Result<Kind, Error> {
        // Never closed, so it cannot fail; held until the answer.
        let _permit = self.asks.acquire().await;
        self.call(|reply| {
            Command::Ask(Ask {
                kind,
                changes,
                reply,
            })
        })
        .await
    }
}

/// The client ended before the request left.
pub(crate) const CLOSED: Error = Error::Closed {
    maybe_applied: false,
};

/// The answer was of a kind that does not fit its question.
pub(crate) const fn misfit() -> Error {
    Error::Protocol(ProtocolError::Answer)
}

/// The parse error of a request that this crate builds itself.
pub(crate) fn bad_address(error: siding_protocol::types::NameError) -> Error {
    Error::Refused(Refusal::bad_name("address", error))
}
