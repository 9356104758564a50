//! The one delivery state machine: what a subscription's messages are, and how they move.
//!
//! ```text
//!   publish ──► ready ──lease──► leased ──ack──► settled
//!                ▲  ▲              │
//!        due ────┘  ├── release ───┤  uncharged, back to its old place
//!         │         └── expired, connection closed, nack: attempt + 1; cancelled if asked to
//!      delayed ◄── backoff ────────┤
//!                                  └── reject, attempts used up ──► dead ──redrive──► ready
//! ```
//! A queue has one, a topic has any number. Every message from `start` to the end of the log is in
//! exactly one of ready, delayed, leased, dead, or it has left and is counted.

mod arrive;
mod dead;
mod different;
mod expiry;
mod keys;
mod lease;
mod leave;
mod redrive;
mod remembered;
mod take;
mod waiting;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use siding_protocol::event::Books;
use siding_protocol::refusal::State;
use siding_protocol::settings::DeliverySettings;
use siding_protocol::types::{Grant, Offset, OffsetRange, Timestamp};

use super::job::{Jobs, Last};
use super::lanes::Lanes;
use super::log::{Change, Log};
use super::planted::Planted;
use super::ready::Ready;
use super::runs::{RangeMap, RangeSet};
use super::timeline::Timeline;

pub(in crate::engine) use dead::count;
pub use dead::{Death, Reason};
pub use different::{Attributes, Exception};
pub use lease::{Asked, Lease};
pub use redrive::Redriving;
pub use remembered::{REMEMBERED_SETTLES, Remembered};
pub use waiting::Comeback;
pub use words::Words;

/// What a change of a subscription may know, and what it says back.
#[derive(Debug)]
pub struct Context<'a> {
    /// Of the entry.
    pub now: Timestamp,
    /// Whose messages they are.
    pub log: &'a Log,
    /// How messages left what is charged to the log, or came back to it.
    pub changes: Vec<Change>,
    /// How messages ended that no record is kept of.
    pub last: Last,
    /// Dead letters past their limits stay until everything that was judged together is done.
    pub keeps_excess: bool,
}

/// A reader of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Never reused.
    pub id: u64,
    /// The log it reads.
    pub log: u64,
    /// Of a topic's subscription; a queue's has none.
    pub name: Option<String>,
    /// Complete.
    pub settings: DeliverySettings,
    /// Where it began.
    pub start: Offset,
    /// Waits for a consumer.
    pub ready: Ready,
    /// Waits for its filter's verdict, and counts as ready meanwhile; until when it is delayed then.
    pub unjudged: RangeMap<Timestamp>,
    /// Who of a key goes next, where messages go in the order of their keys.
    pub lanes: Lanes,
    /// Waits for its time; the instant is also in the exception.
    pub delayed: Timeline,
    /// Since when what is ready waits, where waiting raises it.
    pub arrivals: RangeMap<Timestamp>,
    /// When what waits leaves: derived.
    expiries: Timeline,
    /// In the hands of a consumer.
    pub leases: BTreeMap<Grant, Lease>,
    /// The earliest deadline of each lease: derived.
    deadlines: BTreeSet<(Timestamp, Grant)>,
    /// The newest lease of each receive that named itself: derived.
    asked: BTreeMap<Vec<u8>, Grant>,
    /// Dead letters.
    pub dead: RangeMap<Death>,
    /// Dead letters by time of death: derived.
    deaths: Timeline,
    /// What dead letters count towards `max_dead_bytes`: derived.
    dead_bytes: u64,
    /// What was said with the last nack that said something; a dead letter has it as its detail.
    pub words: Words,
    /// A redrive that goes on.
    pub redriving: Option<Redriving>,
    /// Nothing is handed over; what is leased stays leased.
    pub paused: bool,
    /// How often messages were redriven.
    pub generations: RangeMap<u32>,
    /// What the publisher said, where it is not plain.
    pub attributes: RangeMap<Attributes>,
    /// What is different from a message never delivered.
    pub exceptions: RangeMap<Exception>,
    /// The grant that ended without a settle; a late settle under it is honoured until the messages
    /// are leased again.
    pub lapsed: RangeMap<Grant>,
    /// The last settles, oldest first.
    pub remembered: VecDeque<Remembered>,
    /// Messages acked.
    pub settled: u64,
    /// Messages whose time passed.
    pub expired: u64,
    /// What consumers said of messages, and what is known of those that have ended.
    pub jobs: Jobs,
    /// Messages cancelled.
    pub cancelled: u64,
    /// Messages purged.
    pub purged: u64,
    /// Messages that retention or `max_dead` took.
    pub evicted: u64,
    /// What retention took, to be told with the next messages.
    pub gaps: RangeSet,
    /// Messages that went elsewhere.
    pub forwarded: u64,
    /// Messages that its filter passed over.
    pub filtered: u64,
    /// Messages that a salvage could not keep.
    pub salvage_lost: u64,
    /// Messages leased: derived.
    leased: u64,
    pub(super) planted: Planted,
}

impl Subscription {
    /// A new subscription that begins at `start`.
    pub fn new(
        id: u64,
        log: u64,
        name: Option<String>,
        settings: DeliverySettings,
        start: Offset,
    ) -> Self {
        Self {
            id,
            log,
            name,
            settings,
            start,
            ready: Ready::default(),
            lanes: Lanes::default(),
            unjudged: RangeMap::default(),
            delayed: Timeline::default(),
            arrivals: RangeMap::default(),
            expiries: Timeline::default(),
            leases: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            asked: BTreeMap::new(),
            dead: RangeMap::default(),
            deaths: Timeline::default(),
            dead_bytes: 0,
            words: Words::default(),
            redriving: None,
            paused: false,
            generations: RangeMap::default(),
            attributes: RangeMap::default(),
            exceptions: RangeMap::default(),
            lapsed: RangeMap::default(),
            remembered: VecDeque::new(),
            settled: 0,
            expired: 0,
            jobs: Jobs::default(),
            cancelled: 0,
            purged: 0,
            evicted: 0,
            gaps: RangeSet::default(),
            filtered: 0,
            forwarded: 0,
            salvage_lost: 0,
            leased: 0,
            planted: Planted::default(),
        }
    }

    /// Both sides of the books; `end` is the log's.
    pub fn books(&self, end: Offset) -> Books {
        Books {
            start: self.start,
            end,
            ready: self.ready.count() + self.unjudged.count() + self.lanes.waiting().count(),
            delayed: self.delayed.count(),
            leased: self.leased,
            dead: self.dead.count(),
            settled: self.settled,
            expired: self.expired,
            cancelled: self.cancelled,
            purged: self.purged,
            evicted: self.evicted,
            filtered: self.filtered,
            forwarded: self.forwarded,
            salvage_lost: self.salvage_lost,
        }
    }

    /// When time next changes something: a message moves, or a record has been kept long enough.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next_move().into_iter().chain(self.record_due()).min()
    }

    /// When time next moves a message: a lease or delay ends, one expires, dead letters have been kept
    /// long enough, or the next of them are redriven.
    pub fn next_move(&self) -> Option<Timestamp> {
        let lease = self.first_deadline().map(|(at, _)| at);
        let delay = self.delayed.first().map(|(at, _)| at);
        let dead = self.dead_until().map(|(at, _)| at);
        let expiry = self.expiries.first().map(|(at, _)| at);
        let waiting = delay.into_iter().chain(expiry);
        let slice = self.redriving.as_ref().and_then(Redriving::due);
        let ended = dead.into_iter().chain(slice);
        lease.into_iter().chain(waiting).chain(ended).min()
    }

    /// At most one thing happens that is due by `due`: of one lease, or of one instant.
    pub fn pass_time(&mut self, due: Timestamp, context: &mut Context<'_>) {
        let is_due = |at: &Timestamp| *at <= due;
        let slice = self.redriving.as_ref().and_then(Redriving::due);
        if let Some((at, grant)) = self.first_deadline().filter(|(at, _)| is_due(at)) {
            self.lapse(grant, at, context);
        } else if let Some((at, range)) = self.delayed.first().filter(|(at, _)| is_due(at)) {
            self.ripen(at, range, context.now);
        } else if let Some((_, range)) = self.expiries.first().filter(|(at, _)| is_due(at)) {
            self.expire(range, context);
        } else if let Some((_, range)) = self.dead_until().filter(|(at, _)| is_due(at)) {
            self.evict_dead(range, context);
        } else if slice.as_ref().is_some_and(is_due) {
            self.redrive_slice(context);
        } else if self.record_due().as_ref().is_some_and(is_due) {
            self.jobs.records.forget_oldest();
        }
    }

    /// Puts back a lease, a dead letter or a delay that a snapshot holds.
    pub fn restore(&mut self, leases: BTreeMap<Grant, Lease>, dead: Vec<(OffsetRange, Death)>) {
        for (grant, lease) in leases {
            self.put_lease(grant, lease);
        }
        for (range, death) in dead {
            self.lay_out(range, death);
        }
        let delays = self
            .exceptions
            .iter()
            .filter(|(_, exception)| exception.is_delayed());
        for (range, exception) in delays {
            self.delayed.insert(exception.due, range);
        }
        let delayed = self.delayed.iter().map(|(_, range)| range);
        let ready = self.ready.ranges().chain(self.held_back());
        let waiting: Vec<_> = ready.chain(delayed).collect();
        for range in waiting {
            self.watch(range);
        }
    }

    /// Where the message is.
    pub fn state_of(&self, offset: Offset) -> State {
        let held_back = self.held_back_within(offset..offset + 1).next();
        if self.ready.get(offset).is_some() || held_back.is_some() {
            return State::Ready;
        }
        if self.dead.get(offset).is_some() {
            return State::Dead;
        }
        if self
            .exceptions
            .get(offset)
            .is_some_and(Exception::is_delayed)
        {
            return State::Delayed;
        }
        let leased = self
            .leases
            .values()
            .any(|lease| lease.ranges.get(offset).is_some());
        if leased {
            State::Leased
        } else {
            State::Settled
        }
    }

    /// Whether a message of `range` is leased, delayed or dead: retention must wait.
    pub fn holds(&self, range: &OffsetRange) -> bool {
        let delayed = self
            .exceptions
            .overlap(range.clone())
            .any(|(_, exception)| exception.is_delayed());
        delayed
            || self.dead.overlap(range.clone()).next().is_some()
            || self
                .leases
                .values()
                .any(|l| l.ranges.overlap(range.clone()).next().is_some())
    }

    /// Whether no message is in two states.
    pub fn states_are_apart(&self) -> bool {
        let leased = self
            .leases
            .values()
            .flat_map(|l| l.ranges.iter().map(|(range, _)| range));
        let delayed = self.delayed.iter().map(|(_, range)| range);
        let dead = self.dead.iter().map(|(range, _)| range);
        let waiting = self.ready.ranges().chain(self.held_back());
        let all = waiting.chain(leased).chain(delayed).chain(dead);
        let (mut set, mut sum) = (RangeSet::default(), 0);
        for range in all {
            sum += range.end - range.start;
            set.add(range);
        }
        set.count() == sum
    }
}
