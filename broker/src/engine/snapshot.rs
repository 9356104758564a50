//! The durable half as bytes: the same state gives the same bytes.
//!
//! To change this format: add fields with new tags, never reuse one; a change that an older engine
//! would misread raises `ENGINE_VERSION`; a golden data directory of the release before must open.

mod job;
mod lanes;
mod lease;
mod producer;
mod schedule;
mod subscription;

use bytes::BytesMut;
use prost::Message;
use siding_protocol::settings::{QueueSettings, TopicSettings};
use siding_protocol::types::{OffsetRange, Timestamp};

use self::producer::StoredProducer;
use self::schedule::StoredSchedule;
use self::subscription::StoredSubscription;
use super::Engine;
use super::command::{ENGINE_VERSION, LoggedRange};
use super::dedup::Original;
use super::log::{Extent, Kind, Log};
use super::seed::Seed;
use super::state::State;
use super::subscription::Subscription;

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
    #[prost(message, repeated, tag = "50")]
    schedules: Vec<StoredSchedule>,
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
    #[prost(message, required, tag = "12")]
    seed: Seed,
    /// Five numbers a dedup id.
    #[prost(fixed64, repeated, tag = "13")]
    dedup: Vec<u64>,
    /// Eight numbers an extent: when the last of it left behind the others.
    #[prost(uint64, repeated, tag = "14")]
    kept: Vec<u64>,
    #[prost(message, repeated, tag = "15")]
    lost: Vec<LoggedRange>,
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
            schedules: state
                .schedules
                .by_name
                .iter()
                .map(StoredSchedule::of)
                .collect(),
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
            let id = log.id;
            state.names.insert(log.name.clone(), id);
            state.logs.insert(id, log);
            state.rearm(id);
        }
        for stored in self.subscriptions {
            let id = stored.id;
            state.subscriptions.insert(id, stored.into_subscription()?);
            state.rearm(id);
        }
        let logs: Vec<_> = state.logs.keys().copied().collect();
        for id in logs {
            state.rearm(id);
        }
        for stored in self.producers {
            let (id, producer) = stored.into_producer();
            state.producers.0.insert(id, producer);
        }
        for stored in self.schedules {
            let (name, schedule) = stored.into_schedule();
            state.schedules.add(name, schedule);
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
        let extents = log.live_extents().flat_map(extent_numbers);
        let kept = log.kept.extents();
        let kept = kept.flat_map(|(left_at, extent)| {
            let left_at = std::iter::once(left_at.0);
            extent_numbers(extent).into_iter().chain(left_at)
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
            seed: log.seed,
            dedup: log.dedup.originals().flat_map(original_numbers).collect(),
            kept: kept.collect(),
            lost: log.lost.ranges().map(LoggedRange::from).collect(),
        }
    }

    fn into_log(self) -> Result<Log, SnapshotError> {
        let kind = match (self.queue, self.topic) {
            (Some(settings), None) => Kind::Queue(settings),
            (None, Some(settings)) => Kind::Topic(settings),
            _ => return Err(SnapshotError::Inconsistent("a log's kind")),
        };
        let mut log = Log::new(self.id, self.name, kind, self.seed);
        (log.start, log.end) = (self.start, self.end);
        (log.messages, log.bytes) = (self.messages, self.bytes);
        log.stored_bytes = self.stored_bytes;
        log.subscriptions = self.subscriptions;
        log.lost = self.lost.into_iter().map(OffsetRange::from).collect();
        let originals = self.dedup.chunks(NUMBERS_AN_ORIGINAL).map(original);
        log.dedup = originals
            .collect::<Option<_>>()
            .ok_or(SnapshotError::Inconsistent("a dedup id"))?;
        let damaged = SnapshotError::Inconsistent("an extent");
        for numbers in self.extents.chunks(NUMBERS_AN_EXTENT) {
            log.extents
                .push_back(extent(numbers).ok_or(damaged.clone())?);
        }
        for numbers in self.kept.chunks(NUMBERS_AN_EXTENT + 1) {
            let (left_at, numbers) = numbers.split_last().ok_or(damaged.clone())?;
            let extent = extent(numbers).ok_or(damaged.clone())?;
            log.kept.add(Timestamp(*left_at), extent);
        }
        Ok(log)
    }
}

const NUMBERS_AN_ORIGINAL: usize = 5;

fn original_numbers(original: &Original) -> [u64; NUMBERS_AN_ORIGINAL] {
    let [high, low] = original.id;
    [high, low, original.offset, original.body, original.at.0]
}

fn original(numbers: &[u64]) -> Option<Original> {
    let &[high, low, offset, body, at] = numbers else {
        return None;
    };
    Some(Original {
        id: [high, low],
        offset,
        body,
        at: Timestamp(at),
    })
}

fn extent_numbers(extent: &Extent) -> [u64; NUMBERS_AN_EXTENT] {
    [
        extent.first,
        extent.count.into(),
        extent.live.into(),
        extent.dead.into(),
        extent.bytes.into(),
        extent.first_at.0,
        extent.last_at.0,
    ]
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
