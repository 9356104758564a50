//! Publishing: messages gather in runs, runs travel as requests, receipts tell when they are stored.

mod gather;
mod receipt;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use siding_protocol::event;
use siding_protocol::refusal::Refusal;
use siding_protocol::run::{MessageFields, RunLimits};
use siding_protocol::types::{Level, Name};
use siding_protocol::wire;
use tokio::sync::Notify;

pub(crate) use self::gather::{Gather, GatherLimits, SealedRun};
pub use self::receipt::Receipt;
pub(crate) use self::receipt::RunOutcome;
use crate::error::{Error, TryPublishError};
use crate::message::{Message, MessageId};
use crate::shared::{Command, Handle};

/// What a publisher does when the broker says `BUSY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBusy {
    /// Send it again after the time the broker names and a random part of 50 ms, doubled up to 15 s
    /// each time. Nothing is lost; the window fills and publishes wait.
    ///
    /// The broker judges each run alone: one that was already under way behind the refused one may
    /// find room first, and is then stored before it. Who needs strict order over `BUSY` sets
    /// [`window`](PublisherBuilder::window) to 1, or awaits each receipt.
    #[default]
    Wait,
    /// Fail the receipts of the refused run with the refusal.
    Fail,
}

/// Settings of a publisher to be; see [`Client::publisher`](crate::Client::publisher).
#[derive(Clone, Debug)]
#[must_use = "call `open`"]
pub struct PublisherBuilder {
    handle: Arc<Handle>,
    name: String,
    on_busy: OnBusy,
    level: Option<Level>,
    limits: GatherLimits,
}

/// Publishes to one queue or topic, in order, each message stored once however often the connection
/// is lost.
///
/// Messages gather in an open run that is sent when it has [`batch`](PublisherBuilder::batch)
/// messages, or as soon as the connection is free to write: an idle publisher sends at once, a busy
/// one in batches. Methods take `&self`: many tasks may share one publisher, and then share batches.
///
/// Dropping it sends what was published, unawaited; [`close`](Self::close) waits.
#[derive(Debug)]
pub struct Publisher {
    handle: Arc<Handle>,
    core: Arc<PublisherCore>,
}

/// The part of a publisher that the connection task sees.
#[derive(Debug)]
pub(crate) struct PublisherCore {
    pub(crate) key: u64,
    pub(crate) name: Arc<str>,
    pub(crate) level: wire::Level,
    gather: Mutex<Gather>,
    /// Room in the window, or a finished run.
    progress: Notify,
}

impl PublisherBuilder {
    pub(crate) fn new(handle: Arc<Handle>, name: &str) -> Self {
        Self {
            handle,
            name: name.to_owned(),
            on_busy: OnBusy::default(),
            level: None,
            limits: GatherLimits::default(),
        }
    }

    /// Messages of a run at most: 1 to 65,536, default 256. Out of range takes the nearest.
    pub fn batch(mut self, messages: u32) -> Self {
        self.limits.batch_messages = messages.clamp(1, 65_536);
        self
    }

    /// A run is sent once it has so many bytes: default 64 KiB, at most 8 MiB.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.limits.batch_bytes = bytes.clamp(1, 8 << 20);
        self
    }

    /// How long a run that is not full may wait for more. Default 0: as long as the connection is
    /// busy with earlier ones.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.limits.linger_ms = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Messages that may be unconfirmed; a publish past it waits. At least 1, default 4,096.
    pub fn window(mut self, messages: u64) -> Self {
        self.limits.window_messages = messages.max(1);
        self
    }

    /// A publish waits while so many bytes are unconfirmed. At least 1, default 4 MiB.
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.limits.window_bytes = bytes.max(1);
        self
    }

    /// What to do when the broker is busy.
    pub const fn on_busy(mut self, on_busy: OnBusy) -> Self {
        self.on_busy = on_busy;
        self
    }

    /// What a confirm is to mean. [`Level::Written`] is quicker, and a power cut in the 50 ms after
    /// it may take the newest messages again. Default: as the queue or topic says, which is synced
    /// unless it was created otherwise.
    pub const fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// Opens the publisher. Whether the name exists is seen at the first publish.
    ///
    /// # Errors
    /// A name that is none; a refusal; a closed client. A lost connection is waited out.
    ///
    /// # Cancel safety
    /// Dropping the future opens nothing that lasts.
    pub async fn open(self) -> Result<Publisher, Error> {
        let name: Result<Name, _> = self.name.parse();
        name.map_err(|error| Refusal::bad_name("name", error))?;
        let body_bytes_max = usize::try_from(self.handle.limits().body_bytes_max);
        let run_limits = RunLimits {
            body_bytes_max: body_bytes_max.unwrap_or(usize::MAX),
        };
        let core = Arc::new(PublisherCore {
            key: self.handle.next_key(),
            name: self.name.into(),
            level: self.level.map_or(wire::Level::Unspecified, Level::to_wire),
            gather: Mutex::new(Gather::new(self.limits, run_limits)),
            progress: Notify::new(),
        });
        let publisher = Publisher {
            handle: self.handle,
            core,
        };
        let opened = publisher.handle.call(|reply| Command::OpenProducer {
            key: publisher.core.key,
            on_busy: self.on_busy,
            reply,
        });
        opened.await?;
        Ok(publisher)
    }
}

impl Publisher {
    /// Publishes a message. Waits for room in the window only; the receipt tells when it is stored.
    ///
    /// # Errors
    /// A message that breaks a limit; a closed client.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready publishes nothing.
    pub async fn publish(&self, message: impl Into<Message>) -> Result<Receipt, Error> {
        let message = message.into();
        loop {
            match message.with_fields(|fields| self.try_push(fields)) {
                Err(TryPublishError::Full) => self.room().await,
                Err(TryPublishError::Failed(error)) => return Err(error),
                Ok(receipt) => return Ok(receipt),
            }
        }
    }

    /// Publishes a message if the window has room now.
    ///
    /// # Errors
    /// [`TryPublishError::Full`]; or as [`publish`](Self::publish).
    pub fn try_publish(&self, message: impl Into<Message>) -> Result<Receipt, TryPublishError> {
        message.into().with_fields(|fields| self.try_push(fields))
    }

    /// As [`publish`](Self::publish) for a message that is a body alone: it is written into the open
    /// run without an allocation.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    ///
    /// # Cancel safety
    /// As [`publish`](Self::publish).
    pub async fn publish_body(&self, body: &[u8]) -> Result<Receipt, Error> {
        let fields = MessageFields {
            body,
            ..MessageFields::default()
        };
        loop {
            match self.try_push(&fields) {
                Err(TryPublishError::Full) => self.room().await,
                Err(TryPublishError::Failed(error)) => return Err(error),
                Ok(receipt) => return Ok(receipt),
            }
        }
    }

    /// Waits until everything published before is confirmed.
    ///
    /// # Errors
    /// The first failure among all that finished since the last flush.
    ///
    /// # Cancel safety
    /// Safe: a dropped flush changes nothing but that waiting runs are sent at once.
    pub async fn flush(&self) -> Result<(), Error> {
        let target = self.core.gather().hurry();
        self.handle.publisher_ready(Arc::clone(&self.core));
        self.core
            .until(|gather| gather.finished(target).then(|| gather.take_failure()))
            .await
    }

    /// The lowest level that a confirm has named so far; `None`: nothing is confirmed.
    pub fn lowest_level(&self) -> Option<Level> {
        self.core.gather().lowest()
    }

    /// Messages confirmed so far that were not stored, since the queue or topic had stored another with the same
    /// dedup id and body within its window; and where the first of them lies.
    pub fn duplicates(&self) -> (u64, Option<MessageId>) {
        self.core.gather().duplicates()
    }

    /// Flushes, then closes the publisher.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    ///
    /// # Cancel safety
    /// As a drop: what was published is sent, unawaited.
    pub async fn close(self) -> Result<(), Error> {
        self.flush().await
    }

    async fn room(&self) {
        if self.core.gather().cut_linger() {
            self.handle.publisher_ready(Arc::clone(&self.core));
        }
        self.core
            .until(|gather| gather.has_room().then_some(()))
            .await;
    }

    fn try_push(&self, fields: &MessageFields<'_>) -> Result<Receipt, TryPublishError> {
        let (receipt, wake) = self.core.gather().push(fields)?;
        if wake {
            self.handle.publisher_ready(Arc::clone(&self.core));
        }
        Ok(receipt)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.core.gather().hurry();
        self.handle.publisher_ready(Arc::clone(&self.core));
        let key = self.core.key;
        self.handle.command(Command::Abandon { key });
    }
}

impl PublisherCore {
    pub(crate) fn gather(&self) -> MutexGuard<'_, Gather> {
        self.gather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run is stored, or failed for good.
    pub(crate) fn finish(&self, run: &SealedRun, result: Result<event::Confirm, Error>) {
        self.gather().finish(run, result);
        self.progress.notify_waiters();
    }

    /// The client ended: everything not sent yet fails, and everything published from now on.
    pub(crate) fn end(&self, error: &Error) {
        self.gather().end(error);
        self.progress.notify_waiters();
    }

    /// Waits until `ready` says something.
    async fn until<T>(&self, mut ready: impl FnMut(&mut Gather) -> Option<T>) -> T {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if let Some(value) = ready(&mut self.gather()) {
                return value;
            }
            progress.await;
        }
    }
}
