//! The durable half as bytes: the same state gives the same bytes.
//!
//! To change this format: add fields with new tags, never reuse one; a change that an older engine
//! would misread raises `ENGINE_VERSION`; a golden data directory of the release before must open.

use std::collections::BTreeMap;

use bytes::BytesMut;
use prost::Message;
use siding_protocol::event::{Confirm, OperationDone, Settled};
use siding_protocol::settings::{DeliverySettings, QueueSettings, TopicSettings};
use siding_protocol::types::{Grant, OffsetRange, Timestamp};

use super::Engine;
use super::command::{ENGINE_VERSION, LoggedRange, SettleKind};
use super::log::{Extent, Kind, Log};
use super::producer::{self, Producer};
use super::runs::RangeMap;
use super::state::State;
use super::subscription::{self, Death, Exception, Lease, Reason, Subscription};

/// Why bytes are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not the protobuf it should be.
    #[error("snapshot does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A number that names nothing.
    #[error("snapshot holds an unknown value: {0}")]
    Unknown(#[from] prost::UnknownEnumValue),
    /// Written by a version this one cannot read.
    #[error("snapshot of engine version {0}: this is version {ENGINE_VERSION}")]
    Version(u32),
    /// It decodes, and contradicts itself.
    #[error("snapshot contradicts itself: {0}")]
    Inconsistent(&'static str),
}

impl Engine {
    /// Appends the durable half.
    pub fn snapshot(&self, out: &mut BytesMut) {
        let snapshot = Snapshot::of(&self.state);
        out.reserve(snapshot.encoded_len());
        snapshot
            .encode(out)
            .expect("there is room for what was measured");
    }

    /// An engine with this durable half and an empty volatile one.
    ///
    /// # Errors
    /// Bytes that are not a snapshot of this version.
    pub fn restore(snapshot: &[u8]) -> Result<Self, SnapshotError> {
        let snapshot = Snapshot::decode(snapshot)?;
        let state = snapshot.into_state()?;
        Ok(Self {
            state,
            ..Self::default()
        })
    }

    /// CRC-64 of the snapshot: equal for equal durable halves.
    pub fn digest(&self) -> u64 {
        let mut bytes = BytesMut::new();
        self.snapshot(&mut bytes);
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes)
    }
}

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(uint32, tag = "1")]
    engine_version: u32,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    now_ms: u64,
    #[prost(uint64, tag = "4")]
    last_id: u64,
    #[prost(message, repeated, tag = "5")]
    logs: Vec<StoredLog>,
    #[prost(message, repeated, tag = "6")]
    subscriptions: Vec<StoredSubscription>,
    #[prost(message, repeated, tag = "7")]
    producers: Vec<StoredProducer>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredLog {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    queue: Option<QueueSettings>,
    #[prost(message, optional, tag = "4")]
    topic: Option<TopicSettings>,
    #[prost(uint64, tag = "5")]
    start: u64,
    #[prost(uint64, tag = "6")]
    end: u64,
    #[prost(uint64, tag = "7")]
    messages: u64,
    #[prost(uint64, tag = "8")]
    bytes: u64,
    #[prost(uint64, tag = "9")]
    stored_bytes: u64,
    #[prost(uint64, repeated, tag = "10")]
    subscriptions: Vec<u64>,
    /// Seven numbers an extent.
    #[prost(uint64, repeated, tag = "11")]
    extents: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredSubscription {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    log: u64,
    #[prost(string, optional, tag = "3")]
    name: Option<String>,
    #[prost(message, required, tag = "4")]
    settings: DeliverySettings,
    #[prost(uint64, tag = "5")]
    start: u64,
    #[prost(message, repeated, tag = "6")]
    ready: Vec<LoggedRange>,
    #[prost(message, repeated, tag = "7")]
    leases: Vec<StoredLease>,
    #[prost(message, repeated, tag = "8")]
    dead: Vec<StoredDeath>,
    #[prost(message, repeated, tag = "9")]
    exceptions: Vec<StoredException>,
    #[prost(message, repeated, tag = "10")]
    remembered: Vec<StoredSettle>,
    #[prost(uint64, tag = "11")]
    settled: u64,
    #[prost(uint64, tag = "12")]
    purged: u64,
    #[prost(uint64, tag = "13")]
    evicted: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredLease {
    #[prost(message, required, tag = "1")]
    grant: StoredGrant,
    #[prost(message, repeated, tag = "2")]
    ranges: Vec<LoggedRange>,
    /// One a range.
    #[prost(uint64, repeated, tag = "3")]
    deadlines_ms: Vec<u64>,
    #[prost(uint64, tag = "4")]
    visibility_timeout_ms: u64,
    #[prost(string, tag = "5")]
    holder: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredGrant {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    counter: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredDeath {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    #[prost(enumeration = "Reason", tag = "2")]
    reason: i32,
    #[prost(uint64, tag = "3")]
    at_ms: u64,
    #[prost(string, tag = "4")]
    detail: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredException {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    #[prost(uint32, tag = "2")]
    attempts: u32,
    #[prost(uint64, optional, tag = "3")]
    due_ms: Option<u64>,
    #[prost(message, optional, tag = "4")]
    lapsed: Option<StoredGrant>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredSettle {
    #[prost(message, required, tag = "1")]
    grant: StoredGrant,
    #[prost(message, required, tag = "2")]
    range: LoggedRange,
    #[prost(enumeration = "SettleKind", tag = "3")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StoredProducer {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    last_used_ms: u64,
    #[prost(message, repeated, tag = "3")]
    answers: Vec<StoredAnswer>,
}

/// A publish has one operation and is no transaction.
#[derive(Clone, PartialEq, Message)]
struct StoredAnswer {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(bool, tag = "2")]
    transaction: bool,
    #[prost(message, repeated, tag = "3")]
    operations: Vec<StoredOperation>,
}

/// `count` 0: a settle of `settled` messages.
#[derive(Clone, Copy, PartialEq, Message)]
struct StoredOperation {
    #[prost(uint64, tag = "1")]
    log: u64,
    #[prost(uint64, tag = "2")]
    first: u64,
    #[prost(uint32, tag = "3")]
    count: u32,
    #[prost(uint64, tag = "4")]
    settled: u64,
}

impl Snapshot {
    fn of(state: &State) -> Self {
        Self {
            engine_version: ENGINE_VERSION,
            term: state.term,
            now_ms: state.now.0,
            last_id: state.last_id,
            logs: state.logs.values().map(StoredLog::of).collect(),
            subscriptions: state
                .subscriptions
                .values()
                .map(StoredSubscription::of)
                .collect(),
            producers: state.producers.0.iter().map(StoredProducer::of).collect(),
        }
    }

    fn into_state(self) -> Result<State, SnapshotError> {
        if self.engine_version != ENGINE_VERSION {
            return Err(SnapshotError::Version(self.engine_version));
        }
        let mut state = State::default();
        (state.term, state.now, state.last_id) = (self.term, Timestamp(self.now_ms), self.last_id);
        for stored in self.logs {
            let log = stored.into_log()?;
            state.names.insert(log.name.clone(), log.id);
            state.logs.insert(log.id, log);
        }
        for stored in self.subscriptions {
            let id = stored.id;
            state.subscriptions.insert(id, stored.into_subscription()?);
            state.rearm(id);
        }
        for stored in self.producers {
            let (id, producer) = stored.into_producer();
            state.producers.0.insert(id, producer);
        }
        let known = |log: &Log| {
            log.subscriptions
                .iter()
                .all(|s| state.subscriptions.contains_key(s))
        };
        let owned = |s: &Subscription| state.logs.contains_key(&s.log);
        if !state.logs.values().all(known) || !state.subscriptions.values().all(owned) {
            return Err(SnapshotError::Inconsistent("a log and its subscriptions"));
        }
        Ok(state)
    }
}

const NUMBERS_AN_EXTENT: usize = 7;

impl StoredLog {
    fn of(log: &Log) -> Self {
        let (queue, topic) = match &log.kind {
            Kind::Queue(settings) => (Some(settings.clone()), None),
            Kind::Topic(settings) => (None, Some(settings.clone())),
        };
        let extents = log.live_extents().flat_map(|extent| {
            let numbers: [u64; NUMBERS_AN_EXTENT] = [
                extent.first,
                extent.count.into(),
                extent.live.into(),
                extent.dead.into(),
                extent.bytes.into(),
                extent.first_at.0,
                extent.last_at.0,
            ];
            numbers
        });
        Self {
            id: log.id,
            name: log.name.clone(),
            queue,
            topic,
            start: log.start,
            end: log.end,
            messages: log.messages,
            bytes: log.bytes,
            stored_bytes: log.stored_bytes,
            subscriptions: log.subscriptions.clone(),
            extents: extents.collect(),
        }
    }

    fn into_log(self) -> Result<Log, SnapshotError> {
        let kind = match (self.queue, self.topic) {
            (Some(settings), None) => Kind::Queue(settings),
            (None, Some(settings)) => Kind::Topic(settings),
            _ => return Err(SnapshotError::Inconsistent("a log's kind")),
        };
        let mut log = Log::new(self.id, self.name, kind);
        (log.start, log.end) = (self.start, self.end);
        (log.messages, log.bytes) = (self.messages, self.bytes);
        log.stored_bytes = self.stored_bytes;
        log.subscriptions = self.subscriptions;
        for numbers in self.extents.chunks(NUMBERS_AN_EXTENT) {
            log.extents
                .push_back(extent(numbers).ok_or(SnapshotError::Inconsistent("an extent"))?);
        }
        Ok(log)
    }
}

fn extent(numbers: &[u64]) -> Option<Extent> {
    let &[first, count, live, dead, bytes, first_at, last_at] = numbers else {
        return None;
    };
    let extent = Extent {
        first,
        count: count.try_into().ok()?,
        live: live.try_into().ok()?,
        dead: dead.try_into().ok()?,
        bytes: bytes.try_into().ok()?,
        first_at: Timestamp(first_at),
        last_at: Timestamp(last_at),
    };
    (extent.dead <= extent.live && extent.live <= extent.count).then_some(extent)
}

impl StoredSubscription {
    fn of(subscription: &Subscription) -> Self {
        let leases = subscription
            .leases
            .iter()
            .map(|(grant, lease)| StoredLease {
                grant: (*grant).into(),
                ranges: lease.ranges.iter().map(|(range, _)| range.into()).collect(),
                deadlines_ms: lease
                    .ranges
                    .iter()
                    .map(|(_, deadline)| deadline.0)
                    .collect(),
                visibility_timeout_ms: lease.visibility_timeout_ms,
                holder: lease.holder.clone(),
            });
        let dead = subscription.dead.iter().map(|(range, death)| StoredDeath {
            range: range.into(),
            reason: death.reason.into(),
            at_ms: death.at.0,
            detail: death.detail.clone(),
        });
        let exceptions = subscription
            .exceptions
            .iter()
            .map(|(range, exception)| StoredException {
                range: range.into(),
                attempts: exception.attempts,
                due_ms: exception.due.map(|due| due.0),
                lapsed: exception.lapsed.map(StoredGrant::from),
            });
        let remembered = subscription.remembered.iter().map(|settle| StoredSettle {
            grant: settle.grant.into(),
            range: settle.range.clone().into(),
            kind: settle.kind.into(),
        });
        Self {
            id: subscription.id,
            log: subscription.log,
            name: subscription.name.clone(),
            settings: subscription.settings.clone(),
            start: subscription.start,
            ready: subscription.ready.ranges().map(LoggedRange::from).collect(),
            leases: leases.collect(),
            dead: dead.collect(),
            exceptions: exceptions.collect(),
            remembered: remembered.collect(),
            settled: subscription.settled,
            purged: subscription.purged,
            evicted: subscription.evicted,
        }
    }

    fn into_subscription(self) -> Result<Subscription, SnapshotError> {
        let (id, log, start) = (self.id, self.log, self.start);
        let mut subscription = Subscription::new(id, log, self.name, self.settings, start);
        subscription.ready = self.ready.into_iter().map(OffsetRange::from).collect();
        for stored in self.exceptions {
            let exception = Exception {
                attempts: stored.attempts,
                due: stored.due_ms.map(Timestamp),
                lapsed: stored.lapsed.map(Grant::from),
            };
            subscription.set_exception(stored.range.into(), exception);
        }
        for stored in self.remembered {
            let kind = SettleKind::try_from(stored.kind)?;
            let (grant, range) = (stored.grant.into(), stored.range.into());
            subscription.remember(subscription::Remembered { grant, range, kind });
        }
        (subscription.settled, subscription.purged) = (self.settled, self.purged);
        subscription.evicted = self.evicted;
        let leases = self.leases.into_iter().map(StoredLease::into_lease);
        let dead = self.dead.into_iter().map(|stored| {
            let reason = Reason::try_from(stored.reason)?;
            let (at, detail) = (Timestamp(stored.at_ms), stored.detail);
            Ok((stored.range.into(), Death { reason, at, detail }))
        });
        let dead = dead.collect::<Result<Vec<_>, SnapshotError>>()?;
        subscription.restore(leases.collect::<BTreeMap<_, _>>(), dead);
        Ok(subscription)
    }
}

impl StoredLease {
    fn into_lease(self) -> (Grant, Lease) {
        let ranges = self.ranges.into_iter().map(OffsetRange::from);
        let ranges: RangeMap<Timestamp> = ranges
            .zip(self.deadlines_ms.into_iter().map(Timestamp))
            .collect();
        let (visibility_timeout_ms, holder) = (self.visibility_timeout_ms, self.holder);
        (
            self.grant.into(),
            Lease {
                ranges,
                visibility_timeout_ms,
                holder,
            },
        )
    }
}

impl From<Grant> for StoredGrant {
    fn from(grant: Grant) -> Self {
        Self {
            term: grant.term,
            counter: grant.counter,
        }
    }
}

impl From<StoredGrant> for Grant {
    fn from(grant: StoredGrant) -> Self {
        Self {
            term: grant.term,
            counter: grant.counter,
        }
    }
}

impl StoredProducer {
    fn of((id, producer): (&u64, &Producer)) -> Self {
        let answers = producer.answers.iter().map(|(sequence, answer)| {
            let (transaction, operations) = match answer {
                producer::Remembered::Publish(confirm) => (
                    false,
                    vec![StoredOperation::of(&OperationDone::Publish(*confirm))],
                ),
                producer::Remembered::Transaction(done) => {
                    (true, done.iter().map(StoredOperation::of).collect())
                }
            };
            StoredAnswer {
                sequence: *sequence,
                transaction,
                operations,
            }
        });
        let last_used_ms = producer.last_used.0;
        Self {
            id: *id,
            last_used_ms,
            answers: answers.collect(),
        }
    }

    fn into_producer(self) -> (u64, Producer) {
        let answers = self.answers.into_iter().filter_map(|stored| {
            let mut done = stored
                .operations
                .into_iter()
                .map(StoredOperation::into_done);
            let answer = if stored.transaction {
                producer::Remembered::Transaction(done.collect())
            } else if let Some(OperationDone::Publish(confirm)) = done.next() {
                producer::Remembered::Publish(confirm)
            } else {
                return None;
            };
            Some((stored.sequence, answer))
        });
        let last_used = Timestamp(self.last_used_ms);
        (
            self.id,
            Producer {
                last_used,
                answers: answers.collect(),
            },
        )
    }
}

impl StoredOperation {
    fn of(done: &OperationDone) -> Self {
        match done {
            OperationDone::Publish(confirm) => Self {
                log: confirm.log_id,
                first: confirm.first_offset,
                count: confirm.count,
                settled: 0,
            },
            OperationDone::Settle(settled) => Self {
                settled: settled.settled,
                ..Self::default()
            },
        }
    }

    fn into_done(self) -> OperationDone {
        if self.count == 0 {
            return OperationDone::Settle(Settled {
                settled: self.settled,
                outcomes: Vec::new(),
            });
        }
        let (log_id, first_offset, count) = (self.log, self.first, self.count);
        OperationDone::Publish(Confirm {
            log_id,
            first_offset,
            count,
        })
    }
}
