//! What is logged: commands. [`Entry`] carries a batch of them.
//!
//! To change a command: add fields with new tags, never reuse one; see `entry.rs`.

mod job;
mod lose;
mod moves;
mod take;
mod tend;

use prost::Message;
use siding_protocol::refusal::Refusal;
use siding_protocol::settings::{DeliverySettings, QueueSettings, TopicSettings};
use siding_protocol::types::{Grant, OffsetRange};

use super::dedup::DedupId;
use super::seed::Seed;
use super::special::Special;

pub use super::entry::{ENGINE_VERSION, ENTRY_FORMAT, Entry, EntryError};
pub use job::{Cancel, CreateSchedule, DeleteSchedule, Fire, Rider};
pub use lose::Lose;
pub use moves::{Forward, Judge, Place, Seek, Sift, SiftKind, Verdict};
pub use take::Take;
pub use tend::{DropDead, Pause, Purge, Redrive, StopRedrive};

/// One state change, as decided by the proposer and judged again by `apply`.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs, reason = "each variant's struct is documented")]
pub enum Command {
    #[prost(message, tag = "1")]
    Start(Start),
    /// Nothing but the entry's `now`.
    #[prost(message, tag = "2")]
    Tick(Empty),
    /// A new producer, with the next id.
    #[prost(message, tag = "3")]
    OpenProducer(Empty),
    #[prost(message, tag = "4")]
    Publish(Publish),
    #[prost(message, tag = "5")]
    Transaction(Transaction),
    #[prost(message, tag = "6")]
    Settle(Settle),
    #[prost(message, tag = "7")]
    Lease(Lease),
    #[prost(message, tag = "8")]
    Return(Return),
    #[prost(message, boxed, tag = "9")]
    CreateQueue(Box<CreateQueue>),
    #[prost(message, tag = "10")]
    CreateTopic(CreateTopic),
    #[prost(message, boxed, tag = "11")]
    CreateSubscription(Box<CreateSubscription>),
    #[prost(message, tag = "12")]
    Delete(Delete),
    #[prost(message, tag = "13")]
    Purge(Purge),
    #[prost(message, tag = "14")]
    Redrive(Redrive),
    #[prost(message, tag = "20")]
    Judge(Judge),
    #[prost(message, tag = "21")]
    Seek(Seek),
    #[prost(message, boxed, tag = "22")]
    Forward(Box<Forward>),
    #[prost(message, tag = "23")]
    Sift(Sift),
    #[prost(message, tag = "30")]
    DropDead(DropDead),
    #[prost(message, tag = "31")]
    StopRedrive(StopRedrive),
    #[prost(message, tag = "32")]
    Pause(Pause),
    #[prost(message, tag = "50")]
    Cancel(Cancel),
    #[prost(message, boxed, tag = "51")]
    CreateSchedule(Box<CreateSchedule>),
    #[prost(message, tag = "52")]
    DeleteSchedule(DeleteSchedule),
    #[prost(message, boxed, tag = "53")]
    Fire(Box<Fire>),
    #[prost(message, tag = "60")]
    Mark(Mark),
    #[prost(message, tag = "61")]
    Take(Take),
    #[prost(message, tag = "70")]
    Lose(Lose),
}

/// A command that says it all by its kind.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// A broker starts: a new term, so that no grant is ever given twice.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Start {
    /// Last term plus one.
    #[prost(uint64, tag = "1")]
    pub term: u64,
}

/// Consecutive messages of a run that fit one extent.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Piece {
    /// Messages.
    #[prost(uint32, tag = "1")]
    pub count: u32,
    /// Bytes.
    #[prost(uint32, tag = "2")]
    pub bytes: u32,
}

/// Store one run at the end of a log.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Publish {
    /// Where to.
    #[prost(uint64, tag = "1")]
    pub log: u64,
    /// The producer whose retry is stored once; 0 inside a transaction.
    #[prost(uint64, tag = "2")]
    pub producer: u64,
    /// Its request.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    /// The whole run, cut for extents.
    #[prost(message, repeated, tag = "4")]
    pub pieces: Vec<Piece>,
    /// Of its messages, rising; those that are not named are plain.
    #[prost(message, repeated, tag = "5")]
    pub specials: Vec<Special>,
    /// What the filters of a topic's subscriptions say of it; one that is not named judges later.
    #[prost(message, repeated, tag = "9")]
    pub verdicts: Vec<Verdict>,
    /// Of its messages, rising; none where the log remembers none.
    #[prost(message, repeated, tag = "6")]
    pub dedup_ids: Vec<Named>,
}

/// A message with a dedup id, and where it lies in the run: what a duplicate is cut out by.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Named {
    /// Which message of the run, from 0.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// Where it begins, bytes.
    #[prost(uint32, tag = "2")]
    pub start: u32,
    /// How long it is, bytes.
    #[prost(uint32, tag = "3")]
    pub bytes: u32,
    /// Half of the id's hash.
    #[prost(fixed64, tag = "4")]
    pub high: u64,
    /// The other half.
    #[prost(fixed64, tag = "5")]
    pub low: u64,
    /// The body's hash.
    #[prost(fixed64, tag = "6")]
    pub body: u64,
}

impl Named {
    /// The hash of its dedup id.
    pub fn id(&self) -> DedupId {
        [self.high, self.low]
    }
}

impl Publish {
    /// Messages and bytes of the run.
    pub fn size(&self) -> (u32, u64) {
        let mut size = (0_u32, 0);
        for piece in &self.pieces {
            // It is asked of entries that are still to be judged, too.
            size.0 = size.0.saturating_add(piece.count);
            size.1 += u64::from(piece.bytes);
        }
        size
    }
}

/// All or nothing; judged against the state before it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Transaction {
    /// As in [`Publish`].
    #[prost(uint64, tag = "1")]
    pub producer: u64,
    /// As in [`Publish`].
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// In order.
    #[prost(message, repeated, tag = "3")]
    pub operations: Vec<Operation>,
}

/// One operation of a transaction: exactly one field is set.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Operation {
    /// Store a run.
    #[prost(message, optional, tag = "1")]
    pub publish: Option<Publish>,
    /// Settle deliveries.
    #[prost(message, optional, tag = "2")]
    pub settle: Option<Settle>,
    /// Cancel a message.
    #[prost(message, optional, tag = "3")]
    pub cancel: Option<Cancel>,
}

/// Offsets `first..first + count`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LoggedRange {
    /// Lowest offset.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// How many.
    #[prost(uint64, tag = "2")]
    pub count: u64,
}

impl From<OffsetRange> for LoggedRange {
    fn from(range: OffsetRange) -> Self {
        Self {
            first: range.start,
            count: range.end.saturating_sub(range.start),
        }
    }
}

impl From<LoggedRange> for OffsetRange {
    fn from(range: LoggedRange) -> Self {
        range.first..range.first.saturating_add(range.count)
    }
}

/// What a settle does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
#[allow(
    missing_docs,
    reason = "named as in SEMANTICS: the actions of a settle"
)]
pub enum SettleKind {
    Ack = 1,
    Nack = 2,
    Release = 3,
    Reject = 4,
    Extend = 5,
}

/// Settle ranges of one grant.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Settle {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// Term of the grant.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// Counter of the grant.
    #[prost(uint64, tag = "3")]
    pub counter: u64,
    /// Rising, apart.
    #[prost(message, repeated, tag = "4")]
    pub ranges: Vec<LoggedRange>,
    /// What to do.
    #[prost(enumeration = "SettleKind", tag = "5")]
    pub kind: i32,
    /// ms. nack: instead of the backoff; release: before ready; extend: remaining.
    #[prost(uint64, optional, tag = "6")]
    pub delay_ms: Option<u64>,
    /// reject, nack: why.
    #[prost(string, tag = "7")]
    pub reason: String,
    /// Of the one message that it names then.
    #[prost(message, optional, boxed, tag = "8")]
    pub rider: Option<Box<Rider>>,
}

impl Settle {
    /// The grant it speaks for.
    pub fn grant(&self) -> Grant {
        Grant {
            term: self.term,
            counter: self.counter,
        }
    }
}

/// Notes which ranges were handed to whom. Lazy: never starts a sync.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Lease {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// Term of the grant.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// Counter of the grant.
    #[prost(uint64, tag = "3")]
    pub counter: u64,
    /// Rising, apart.
    #[prost(message, repeated, tag = "4")]
    pub ranges: Vec<LoggedRange>,
    /// Unix ms.
    #[prost(uint64, tag = "5")]
    pub deadline_ms: u64,
    /// What the deadline was reckoned with; a restart lengthens by at most so much.
    #[prost(uint64, tag = "6")]
    pub visibility_timeout_ms: u64,
    /// The client instance.
    #[prost(string, tag = "7")]
    pub holder: String,
    /// What retention took before, and is told with it.
    #[prost(message, optional, tag = "20")]
    pub gap: Option<LoggedRange>,
    /// The name of the receive that asked: asked again it gets the same. Empty: none.
    #[prost(bytes = "vec", tag = "8")]
    pub request_id: Vec<u8>,
}

impl Lease {
    /// The grant it gives.
    pub fn grant(&self) -> Grant {
        Grant {
            term: self.term,
            counter: self.counter,
        }
    }
}

/// A connection closed: what its consumer held under these grants lapses.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Return {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// Terms of the grants.
    #[prost(uint64, repeated, tag = "2")]
    pub terms: Vec<u64>,
    /// Counters of the grants, in the same order.
    #[prost(uint64, repeated, tag = "3")]
    pub counters: Vec<u64>,
    /// What was not begun comes back uncharged.
    #[prost(bool, tag = "4")]
    pub marks_started: bool,
}

/// Notes what the holder of a grant has begun. Lazy: never starts a sync.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mark {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// Term of the grant.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// Counter of the grant.
    #[prost(uint64, tag = "3")]
    pub counter: u64,
    /// Rising, apart.
    #[prost(message, repeated, tag = "4")]
    pub ranges: Vec<LoggedRange>,
}

impl Mark {
    /// The grant it speaks for.
    pub fn grant(&self) -> Grant {
        Grant {
            term: self.term,
            counter: self.counter,
        }
    }
}

impl Return {
    /// The grants that lapse.
    pub fn grants(&self) -> impl Iterator<Item = Grant> {
        let pairs = self.terms.iter().zip(&self.counters);
        pairs.map(|(term, counter)| Grant {
            term: *term,
            counter: *counter,
        })
    }
}

/// Make a queue: a topic with exactly one built-in subscription.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateQueue {
    /// Valid, free or the same.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Complete.
    #[prost(message, required, tag = "2")]
    pub settings: QueueSettings,
    /// What its hashes are keyed with.
    #[prost(message, required, tag = "3")]
    pub seed: Seed,
}

/// Make a topic.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateTopic {
    /// Valid, free or the same.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Complete.
    #[prost(message, required, tag = "2")]
    pub settings: TopicSettings,
    /// What its hashes are keyed with.
    #[prost(message, required, tag = "3")]
    pub seed: Seed,
}

/// Make a subscription of a topic.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateSubscription {
    /// The topic.
    #[prost(uint64, tag = "1")]
    pub log: u64,
    /// Valid, free or the same.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Complete.
    #[prost(message, required, tag = "3")]
    pub settings: DeliverySettings,
    /// Where it begins.
    #[prost(message, required, tag = "5")]
    pub start: Place,
}

/// Remove a log with all its subscriptions, or one subscription.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Delete {
    /// The log.
    #[prost(uint64, tag = "1")]
    pub log: u64,
    /// Only this subscription of it.
    #[prost(uint64, optional, tag = "2")]
    pub subscription: Option<u64>,
}

impl Command {
    /// The publish in it that a refusal is about.
    pub fn refused_publish(&self, refusal: &Refusal) -> Option<&Publish> {
        match (self, refusal) {
            (Self::Transaction(transaction), Refusal::Operation { index, .. }) => {
                let operation = transaction.operations.get(*index as usize);
                operation.and_then(|operation| operation.publish.as_ref())
            }
            _ => self.publishes().next(),
        }
    }

    /// What filters say of its publishes is left to be asked later.
    pub fn leave_verdicts(&mut self) {
        match self {
            Self::Publish(publish) => publish.verdicts.clear(),
            Self::Forward(forward) => forward.publish.verdicts.clear(),
            Self::Transaction(transaction) => {
                let operations = transaction.operations.iter_mut();
                let publishes = operations.filter_map(|op| op.publish.as_mut());
                publishes.for_each(|publish| publish.verdicts.clear());
            }
            _ => {}
        }
    }

    /// The publishes in it, in the order of their runs.
    pub fn publishes(&self) -> impl Iterator<Item = &Publish> {
        let (one, operations) = match self {
            Self::Publish(publish) => (Some(publish), &[][..]),
            Self::Forward(forward) => (Some(&forward.publish), &[][..]),
            Self::Fire(fire) => (fire.publish.as_ref(), &[][..]),
            Self::Transaction(transaction) => (None, transaction.operations.as_slice()),
            _ => (None, &[][..]),
        };
        one.into_iter()
            .chain(operations.iter().filter_map(|op| op.publish.as_ref()))
    }
}
