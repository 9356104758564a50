//! What the engine answers with: effects, as data. The shard performs them, in order.

use bytes::Bytes;
use siding_protocol::event::Answer;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::types::{Grant, Level, Offset, OffsetRange, Timestamp};

use super::command::Command;
use super::job::Last;
use super::read::Body;

/// One connection, as the shard numbers it; never reused within a start.
pub type SessionId = u64;

/// Who asked, and under which correlation id: ties an answer to its question. Not logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The connection.
    pub session: SessionId,
    /// The client's number for the request.
    pub correlation: u64,
}

/// Whether a command waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A note: rides with the next awaited group, or is written un-synced after 5 ms.
    Lazy,
    /// Somebody waits for the write alone: starts a commit; a sync follows soon.
    Written,
    /// Somebody waits for the sync: starts a commit.
    Awaited,
}

impl From<Level> for Urgency {
    fn from(level: Level) -> Self {
        match level {
            Level::Written => Self::Written,
            Level::Synced => Self::Awaited,
        }
    }
}

/// Where a delivery goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliverTo {
    /// A push, under the client's number for the consumer.
    Consumer {
        /// The connection.
        session: SessionId,
        /// The client's number.
        consumer: u32,
    },
    /// The answer to a `Receive`.
    Receive(Origin),
}

/// Ranges handed over under one grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whom to.
    pub to: DeliverTo,
    /// Whose bodies.
    pub log: u64,
    /// The subscription they are leased from.
    pub subscription: u64,
    /// What a settle must name.
    pub grant: Grant,
    /// When the lease ends; 0: it is settled, and there is none.
    pub deadline: Timestamp,
    /// Apart, in the order in which they go, each with its 1-based attempt. Empty only for a `Receive` that found nothing.
    pub ranges: Vec<(OffsetRange, u32)>,
    /// What retention took before the subscription read it, told once.
    pub gap: Option<OffsetRange>,
    /// What the last attempts left behind, rising; each of these messages is a range of its own.
    pub checkpoints: Vec<(Offset, Bytes)>,
}

/// A lease of an attached consumer is about to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// The consumer's connection.
    pub session: SessionId,
    /// The client's number for it.
    pub consumer: u32,
    /// Which lease.
    pub grant: Grant,
    /// What of it; rising, apart.
    pub ranges: Vec<OffsetRange>,
    /// When.
    pub deadline: Timestamp,
}

/// Where the bytes of stored messages lie in the entry being applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which log.
    pub log: u64,
    /// Offset of the first message.
    pub first: Offset,
    /// Messages.
    pub count: u32,
    /// The entry's `now`.
    pub published_at: Timestamp,
    /// Which run of the entry.
    pub run: u32,
    /// Where in that run, bytes.
    pub start: u32,
    /// How long, bytes.
    pub bytes: u32,
}

/// What a browse found, without the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which message.
    pub offset: Offset,
    /// Where it is.
    pub state: State,
    /// Attempts charged so far.
    pub attempts: u32,
    /// delayed: when ready; leased: the deadline; dead: since when; ready: 0.
    pub at: Timestamp,
    /// dead: why.
    pub reason: &'static str,
    /// dead: the words of the reject.
    pub detail: String,
    /// leased: by whom.
    pub holder: String,
}

/// One deed for the shard.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer a request now.
    Reply(Origin, Result<Answer, Refusal>),
    /// From `apply`: the outcome of the entry's command at this position, for whoever asked.
    Outcome(usize, Result<Answer, Refusal>),
    /// Log a command; `from` gets its outcome. `runs` are those of its publishes, in order.
    Propose {
        /// What to log.
        command: Command,
        /// Its runs.
        runs: Vec<Bytes>,
        /// Who waits for the outcome.
        from: Option<Origin>,
        /// Whether it starts a commit.
        urgency: Urgency,
    },
    /// Hand messages over.
    Deliver(Delivery),
    /// Hand messages over whose bodies were read before, in the order of its ranges: they are kept
    /// no longer.
    DeliverRead(Delivery, Vec<Body>),
    /// A consumer gets nothing more; it is forgotten already.
    EndConsumer {
        /// Its connection.
        session: SessionId,
        /// The client's number for it.
        consumer: u32,
        /// Why.
        why: Refusal,
    },
    /// Tell a consumer that a lease is about to end.
    Expiring(Expiring),
    /// Bring the engine the bodies of these ranges, under this number (`Engine::bodies_read`).
    Read {
        /// Its own number for it.
        number: u64,
        /// Whose bodies.
        log: u64,
        /// Apart.
        ranges: Vec<OffsetRange>,
    },
    /// Somebody asked to cancel what a consumer holds.
    CancelRequested {
        /// Its connection.
        session: SessionId,
        /// The client's number for it.
        consumer: u32,
        /// Under which it holds the message.
        grant: Grant,
        /// Which message.
        offset: Offset,
    },
    /// Answer a browse with these messages and their bodies.
    Browsed(Origin, u64, Vec<Found>),
    /// From `apply`: remember where these bodies lie.
    Place(Place),
    /// From `apply`: these bodies are needed no more.
    Discard {
        /// Which log.
        log: u64,
        /// Which offsets.
        range: OffsetRange,
    },
}

/// Effects in order; the buffer is reused.
#[derive(Debug, Default)]
pub struct Effects {
    deeds: Vec<Effect>,
    /// From `apply`, for the volatile half: subscriptions' messages that may have ended.
    ends: Vec<(u64, OffsetRange)>,
    /// How messages of subscriptions ended that no record is kept of.
    lasts: Vec<(u64, Last)>,
}

impl Effects {
    /// Adds one.
    pub fn push(&mut self, effect: Effect) {
        self.deeds.push(effect);
    }

    /// Answers a request now.
    pub fn reply(&mut self, to: Origin, answer: Result<Answer, Refusal>) {
        self.push(Effect::Reply(to, answer));
    }

    /// Messages of a subscription may have ended.
    pub(super) fn note_end(&mut self, subscription: u64, range: OffsetRange) {
        self.ends.push((subscription, range));
    }

    /// Messages of a subscription have ended, and no record says how.
    pub(super) fn note_last(&mut self, subscription: u64, last: Last) {
        if !last.is_empty() {
            self.lasts.push((subscription, last));
        }
    }

    /// Takes how messages ended that no record is kept of.
    pub(super) fn take_lasts(&mut self) -> Vec<(u64, Last)> {
        std::mem::take(&mut self.lasts)
    }

    /// Takes the messages that may have ended.
    pub(super) fn take_ends(&mut self) -> Vec<(u64, OffsetRange)> {
        std::mem::take(&mut self.ends)
    }

    /// Nobody waits for the end of a message; the room stays.
    pub(super) fn forget_ends(&mut self) {
        self.ends.clear();
        self.lasts.clear();
    }

    /// Takes all, in order; the room stays.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect> {
        self.deeds.drain(..)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.deeds.len()
    }

    /// Those from `first` on, to complete them.
    pub fn since(&mut self, first: usize) -> impl Iterator<Item = &mut Effect> {
        self.deeds.iter_mut().skip(first)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.deeds.is_empty()
    }
}
