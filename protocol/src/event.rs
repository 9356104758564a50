//! What the broker answers: domain types and their wire form.

mod explain;
mod job;
mod schedule;

use crate::refusal::State;
use crate::settings::{DeliverySettings, QueueSettings, TopicSettings};
use crate::types::{Level, Offset, OffsetRange, Timestamp};
use crate::wire;
use crate::wire::frame::Kind;

pub use explain::{Cause, CauseCode, Explanation};
pub use job::JobInfo;
pub use schedule::ScheduleInfo;

/// Success of one request; the refusals are in [`crate::refusal`]. Answers that carry bodies
/// (deliveries, browse) are built where the bodies are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each variant is documented by its .proto message"
)]
pub enum Answer {
    Done,
    ProducerOpened(u64),
    Confirm(Confirm),
    Settled(Settled),
    TransactionDone(Vec<OperationDone>),
    NameInfo(Box<NameInfo>),
    Listing {
        names: Vec<NameInfo>,
        more: bool,
    },
    Counted(u64),
    Job(Box<JobInfo>),
    Explained(Explanation),
    Schedules {
        schedules: Vec<ScheduleInfo>,
        more: bool,
    },
}

/// Stored, and committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// Which log; never reused, so a recreated name is another log.
    pub log_id: u64,
    /// Where the first stored message is.
    pub first_offset: Offset,
    /// Messages stored: those of the run without the duplicates.
    pub count: u32,
    /// Reached: whoever commits the entry says so, see [`Answer::committed_at`].
    pub level: Level,
    /// What was stored before under the same dedup id, rising by index.
    pub duplicates: Vec<Duplicate>,
}

/// A message that was stored before and takes no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Which message of the run, from 0.
    pub index: u32,
    /// Where it was stored.
    pub offset: Offset,
}

/// What a settle did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Messages for which it took effect.
    pub settled: u64,
    /// Only where it differs from plain success.
    pub outcomes: Vec<SettleOutcome>,
}

/// Where a settle differs from plain success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleOutcome {
    /// Which messages.
    pub range: OffsetRange,
    /// How.
    pub kind: SettleOutcomeKind,
}

/// How a settle differs from plain success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleOutcomeKind {
    /// Accepted, after the deadline or the end of the connection.
    Late,
    /// Refused: the grant no longer holds the message.
    LeaseLost(State),
    /// extend: done, and somebody asked to cancel the message.
    CancelRequested,
}

/// What one operation of a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the operations")]
pub enum OperationDone {
    Publish(Confirm),
    Settle(Settled),
    Cancelled,
}

/// The books of one subscription: `end - start` is the sum of all that follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the exits are documented in the life-cycle picture"
)]
pub struct Books {
    pub start: u64,
    pub end: u64,
    pub ready: u64,
    pub delayed: u64,
    pub leased: u64,
    pub dead: u64,
    pub settled: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub purged: u64,
    pub filtered: u64,
    pub evicted: u64,
    pub forwarded: u64,
    pub salvage_lost: u64,
}

impl Books {
    /// Whether both sides are equal.
    pub fn balance(&self) -> bool {
        let held = self.ready + self.delayed + self.leased + self.dead;
        let left = self.settled + self.expired + self.cancelled + self.purged;
        let passed_by = self.filtered + self.evicted + self.forwarded + self.salvage_lost;
        self.end - self.start == held + left + passed_by
    }

    fn to_wire(self) -> wire::Books {
        wire::Books {
            start: self.start,
            end: self.end,
            ready: self.ready,
            delayed: self.delayed,
            leased: self.leased,
            dead: self.dead,
            settled: self.settled,
            expired: self.expired,
            cancelled: self.cancelled,
            purged: self.purged,
            filtered: self.filtered,
            evicted: self.evicted,
            forwarded: self.forwarded,
            salvage_lost: self.salvage_lost,
        }
    }
}

/// A queue or topic, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameInfo {
    /// Its name.
    pub name: String,
    /// Its log.
    pub log_id: u64,
    /// Its kind and settings.
    pub settings: NameSettings,
    /// Lowest kept offset.
    pub start: Offset,
    /// Next offset.
    pub end: Offset,
    /// Bytes held.
    pub bytes: u64,
    /// Queue: bytes besides, of messages that have left and can be sought back.
    pub kept_bytes: u64,
    /// The built-in subscription of a queue, or those of a topic.
    pub subscriptions: Vec<SubscriptionInfo>,
}

/// Kind and settings of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kinds of names")]
pub enum NameSettings {
    Queue(QueueSettings),
    Topic(TopicSettings),
}

/// A subscription, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionInfo {
    /// `queue` or `topic/subscription`.
    pub address: String,
    /// Complete.
    pub settings: DeliverySettings,
    /// Both sides.
    pub books: Books,
    /// Attached now.
    pub consumers: u32,
    /// Leased to the holder who asks.
    pub held_by_you: u64,
    /// When the next lease or delay ends.
    pub next_due: Option<Timestamp>,
    /// Nothing is handed over.
    pub paused: bool,
    /// A redrive that goes on: dead letters it still has before it.
    pub redriving: Option<u64>,
    /// The target of its forwards or dead letters that is full or missing; empty: none.
    pub blocked_by: String,
}

impl Answer {
    /// The entry that it answers for was committed at this level.
    pub fn committed_at(&mut self, level: Level) {
        match self {
            Self::Confirm(confirm) => confirm.level = level,
            Self::TransactionDone(done) => {
                for one in done {
                    if let OperationDone::Publish(confirm) = one {
                        confirm.level = level;
                    }
                }
            }
            _ => {}
        }
    }

    /// As on the wire.
    pub fn into_wire(self) -> Kind {
        match self {
            Self::Done => Kind::Done(wire::Done {}),
            Self::ProducerOpened(producer) => {
                Kind::ProducerOpened(wire::ProducerOpened { producer })
            }
            Self::Confirm(confirm) => Kind::Confirm(confirm.to_wire()),
            Self::Settled(settled) => Kind::Settled(settled.to_wire()),
            Self::TransactionDone(operations) => Kind::TransactionDone(wire::TransactionDone {
                operations: operations.iter().map(OperationDone::to_wire).collect(),
            }),
            Self::NameInfo(info) => Kind::NameInfo(info.to_wire()),
            Self::Listing { names, more } => {
                let names = names.iter().map(NameInfo::to_wire).collect();
                Kind::Listing(wire::Listing { names, more })
            }
            Self::Counted(count) => Kind::Counted(wire::Counted { count }),
            Self::Schedules { schedules, more } => {
                let schedules = schedules.iter().map(ScheduleInfo::to_wire).collect();
                Kind::ScheduleList(wire::ScheduleList { schedules, more })
            }
            Self::Explained(explanation) => Kind::Explanation(explanation.into_wire()),
            Self::Job(info) => Kind::JobInfo(Box::new(info.into_wire())),
        }
    }
}

impl Confirm {
    /// Where a message of the run is, and whether it was there before.
    pub fn place_of(&self, index: u32) -> (Offset, bool) {
        match self
            .duplicates
            .binary_search_by_key(&index, |one| one.index)
        {
            Ok(at) => (self.duplicates.get(at).map_or(0, |one| one.offset), true),
            Err(before) => {
                let rank = u64::from(index).saturating_sub(before as u64);
                (self.first_offset.saturating_add(rank), false)
            }
        }
    }

    /// From the wire.
    pub fn from_wire(wire: wire::Confirm) -> Self {
        let duplicates = wire.duplicates.into_iter().map(|one| Duplicate {
            index: one.index,
            offset: one.offset,
        });
        let mut duplicates: Vec<_> = duplicates.collect();
        duplicates.sort_unstable_by_key(|one| one.index);
        Self {
            log_id: wire.log_id,
            first_offset: wire.first_offset,
            count: wire.count,
            level: Level::reached(wire.level),
            duplicates,
        }
    }

    fn to_wire(&self) -> wire::Confirm {
        let duplicates = self.duplicates.iter().map(|duplicate| wire::Duplicate {
            index: duplicate.index,
            offset: duplicate.offset,
        });
        wire::Confirm {
            log_id: self.log_id,
            first_offset: self.first_offset,
            count: self.count,
            level: self.level.to_wire().into(),
            duplicates: duplicates.collect(),
        }
    }
}

impl Settled {
    fn to_wire(&self) -> wire::Settled {
        let outcomes = self.outcomes.iter().map(SettleOutcome::to_wire).collect();
        wire::Settled {
            settled: self.settled,
            outcomes,
        }
    }
}

impl SettleOutcome {
    fn to_wire(&self) -> wire::SettleOutcome {
        let range = range_to_wire(&self.range);
        let mut outcome = wire::SettleOutcome {
            range: Some(range),
            ..Default::default()
        };
        match self.kind {
            SettleOutcomeKind::Late => outcome.late = true,
            SettleOutcomeKind::LeaseLost(state) => {
                outcome.lost = true;
                outcome.set_state(state.to_wire());
            }
            SettleOutcomeKind::CancelRequested => outcome.cancel_requested = true,
        }
        outcome
    }
}

impl OperationDone {
    fn to_wire(&self) -> wire::OperationDone {
        use wire::operation_done::Kind;
        let kind = match self {
            Self::Publish(confirm) => Kind::Confirm(confirm.to_wire()),
            Self::Settle(settled) => Kind::Settled(settled.to_wire()),
            Self::Cancelled => Kind::Done(wire::Done {}),
        };
        wire::OperationDone { kind: Some(kind) }
    }
}

impl NameInfo {
    fn to_wire(&self) -> wire::NameInfo {
        use wire::name_info::Settings;
        wire::NameInfo {
            name: self.name.clone(),
            log_id: self.log_id,
            settings: Some(match &self.settings {
                NameSettings::Queue(queue) => Settings::Queue(Box::new(queue.to_wire())),
                NameSettings::Topic(topic) => Settings::Topic(topic.to_wire()),
            }),
            start: self.start,
            end: self.end,
            bytes: self.bytes,
            kept_bytes: self.kept_bytes,
            subscriptions: self
                .subscriptions
                .iter()
                .map(SubscriptionInfo::to_wire)
                .collect(),
        }
    }
}

impl SubscriptionInfo {
    fn to_wire(&self) -> wire::SubscriptionInfo {
        wire::SubscriptionInfo {
            address: self.address.clone(),
            settings: Some(self.settings.to_wire()),
            books: Some(self.books.to_wire()),
            consumers: self.consumers,
            held_by_you: self.held_by_you,
            next_due_ms: self.next_due.map(|due| due.0),
            paused: self.paused,
            redriving: self.redriving,
            blocked_by: self.blocked_by.clone(),
        }
    }
}

/// A range as on the wire.
pub fn range_to_wire(range: &OffsetRange) -> wire::OffsetRange {
    wire::OffsetRange {
        first: range.start,
        count: range.end - range.start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_a_run_finds_its_offset_and_a_duplicate_its_originals() {
        let duplicate = |index, offset| Duplicate { index, offset };
        let confirm = Confirm {
            log_id: 1,
            first_offset: 100,
            count: 3,
            level: Level::Synced,
            duplicates: vec![duplicate(0, 7), duplicate(3, 100)],
        };
        let places: Vec<_> = (0..5).map(|index| confirm.place_of(index)).collect();
        let expected = [
            (7, true),
            (100, false),
            (101, false),
            (100, true),
            (102, false),
        ];
        assert_eq!(places, expected);
        assert_eq!(Confirm::from_wire(confirm.to_wire()), confirm);
    }
}
