//! The one delivery state machine: what a subscription's messages are, and how they move.
//!
//! ```text
//!   publish ──► ready ──lease──► leased ──ack──► settled
//!                ▲  ▲              │
//!        due ────┘  ├── release ───┤  uncharged, back to its old place
//!         │         └── expired, connection closed, nack: attempt + 1
//!      delayed ◄── backoff ────────┤
//!                                  └── reject, attempts used up ──► dead ──redrive──► ready
//! ```
//! A queue has one, a topic has any number. Every message from `start` to the end of the log is in
//! exactly one of ready, delayed, leased, dead, or it has left and is counted.

mod lease;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use siding_protocol::event::Books;
use siding_protocol::refusal::State;
use siding_protocol::settings::DeliverySettings;
use siding_protocol::types::{Grant, Offset, OffsetRange, Timestamp};

use super::command::SettleKind;
use super::log::Change;
use super::runs::{RangeMap, RangeSet};
use super::timeline::Timeline;

pub use lease::Lease;

/// Settles remembered, so that a repeated one is told it is done; neighbours count as one. Enough
/// for what others settle while a client reconnects; 40 bytes each.
pub const REMEMBERED_SETTLES: usize = 2_048;

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
    pub ready: RangeSet,
    /// Waits for its time; the instant is also in the exception.
    pub delayed: Timeline,
    /// In the hands of a consumer.
    pub leases: BTreeMap<Grant, Lease>,
    /// The earliest deadline of each lease: derived.
    deadlines: BTreeSet<(Timestamp, Grant)>,
    /// Dead letters.
    pub dead: RangeMap<Death>,
    /// Dead letters by time of death: derived.
    deaths: Timeline,
    /// What is different from a message never delivered.
    pub exceptions: RangeMap<Exception>,
    /// The last settles, oldest first.
    pub remembered: VecDeque<Remembered>,
    /// Messages acked.
    pub settled: u64,
    /// Messages purged.
    pub purged: u64,
    /// Messages that retention or `max_dead` took.
    pub evicted: u64,
    /// Messages leased: derived.
    leased: u64,
}

/// What is different about messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// Charged so far.
    pub attempts: u32,
    /// Delayed until.
    pub due: Option<Timestamp>,
    /// The grant that ended without a settle; a late settle under it is honoured until the
    /// messages are leased again.
    pub lapsed: Option<Grant>,
}

/// Why messages are dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Reason {
    /// Charged as often as allowed.
    MaxAttempts = 1,
    /// A consumer said so.
    Rejected = 2,
}

impl Reason {
    /// The name in documents and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxAttempts => "max_attempts",
            Self::Rejected => "rejected",
        }
    }
}

/// A dead letter's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
    /// The words of the reject.
    pub detail: String,
}

/// A settle that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Under which grant.
    pub grant: Grant,
    /// Which messages.
    pub range: OffsetRange,
    /// What was done.
    pub kind: SettleKind,
}

/// How messages come back from a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comeback {
    /// Whether an attempt is charged.
    pub charged: bool,
    /// ms; `None`: the backoff of the attempts.
    pub delay_ms: Option<u64>,
    /// The grant that may still settle late.
    pub lapsed: Option<Grant>,
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
            ready: RangeSet::default(),
            delayed: Timeline::default(),
            leases: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            dead: RangeMap::default(),
            deaths: Timeline::default(),
            exceptions: RangeMap::default(),
            remembered: VecDeque::new(),
            settled: 0,
            purged: 0,
            evicted: 0,
            leased: 0,
        }
    }

    /// Both sides of the books; `end` is the log's.
    pub fn books(&self, end: Offset) -> Books {
        Books {
            start: self.start,
            end,
            ready: self.ready.count(),
            delayed: self.delayed.count(),
            leased: self.leased,
            dead: self.dead.count(),
            settled: self.settled,
            purged: self.purged,
            evicted: self.evicted,
        }
    }

    /// When the next lease or delay ends.
    pub fn next_due(&self) -> Option<Timestamp> {
        let lease = self.first_deadline().map(|(at, _)| at);
        let delay = self.delayed.first().map(|(at, _)| at);
        lease.into_iter().chain(delay).min()
    }

    /// Puts back a lease, a dead letter or a delay that a snapshot holds.
    pub fn restore(&mut self, leases: BTreeMap<Grant, Lease>, dead: Vec<(OffsetRange, Death)>) {
        for (grant, lease) in leases {
            self.put_lease(grant, lease);
        }
        for (range, death) in dead {
            self.deaths.insert(death.at, range.clone());
            self.dead.insert(range, death);
        }
        let delays = self
            .exceptions
            .iter()
            .filter_map(|(range, e)| Some((e.due?, range)));
        for (due, range) in delays {
            self.delayed.insert(due, range);
        }
    }

    /// Messages in nobody's hands come back: to ready, delayed or the dead letters.
    pub fn come_back(
        &mut self,
        range: OffsetRange,
        comeback: Comeback,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        for (part, mut exception) in self.exceptions_of(range) {
            exception.attempts += u32::from(comeback.charged);
            exception.lapsed = comeback.lapsed;
            exception.due = None;
            if comeback.charged && exception.attempts >= self.settings.max_attempts {
                self.set_exception(part.clone(), exception);
                let death = Death {
                    reason: Reason::MaxAttempts,
                    at: now,
                    detail: String::new(),
                };
                self.die(part, death, changes);
                continue;
            }
            let delay_ms = comeback.delay_ms.unwrap_or_else(|| {
                let steps = &self.settings.backoff_ms;
                super::retry::backoff_ms(steps, exception.attempts, self.id, part.start)
            });
            if delay_ms == 0 {
                self.ready.add(part.clone());
            } else {
                let due = now.plus_ms(delay_ms);
                exception.due = Some(due);
                self.delayed.insert(due, part.clone());
            }
            self.set_exception(part, exception);
        }
    }

    /// Messages in nobody's hands become dead letters; past `max_dead` the oldest leave.
    pub fn die(&mut self, range: OffsetRange, death: Death, changes: &mut Vec<Change>) {
        self.deaths.insert(death.at, range.clone());
        self.dead.insert(range.clone(), death);
        changes.push(Change::Died(range));
        while self.dead.count() > self.settings.max_dead {
            let Some((_, oldest)) = self.deaths.first() else {
                break;
            };
            let excess = self.dead.count() - self.settings.max_dead;
            let oldest = oldest.start..oldest.end.min(oldest.start + excess);
            self.bury(oldest.clone());
            self.exceptions.remove(oldest.clone());
            self.evicted += oldest.end - oldest.start;
            changes.push(Change::DeadGone(oldest));
        }
    }

    /// Takes `range`, all dead, out of the dead letters.
    pub fn bury(&mut self, range: OffsetRange) {
        let parts: Vec<_> = self
            .dead
            .overlap(range.clone())
            .map(|(part, death)| (part, death.at))
            .collect();
        for (part, at) in parts {
            self.deaths.remove(at, &part);
        }
        self.dead.remove(range);
    }

    /// Takes messages in nobody's hands out of ready and delayed.
    pub fn withdraw(&mut self, range: OffsetRange) {
        self.ready.remove(range.clone());
        for (part, exception) in self.exceptions_of(range) {
            if let Some(due) = exception.due {
                self.delayed.remove(due, &part);
            }
        }
    }

    /// Makes what is due at `now` ready; one entry of the timeline.
    pub fn ripen(&mut self, due: Timestamp, range: OffsetRange) {
        self.delayed.remove(due, &range);
        self.edit_exceptions(range.clone(), |exception| exception.due = None);
        self.ready.add(range);
    }

    /// Dead letters back to ready at their old place, attempts 0: at most `limit` (0: all), the
    /// lowest offsets first.
    pub fn redrive(&mut self, limit: u64, changes: &mut Vec<Change>) -> u64 {
        let mut left = if limit == 0 { u64::MAX } else { limit };
        let before = left;
        let mut chosen = Vec::new();
        for (range, _) in self.dead.iter() {
            let part = range.start..range.end.min(range.start.saturating_add(left));
            left -= part.end - part.start;
            chosen.push(part);
            if left == 0 {
                break;
            }
        }
        for range in chosen {
            self.bury(range.clone());
            // A lapsed grant may still settle late, until the message is delivered again.
            self.edit_exceptions(range.clone(), |exception| exception.attempts = 0);
            self.ready.add(range.clone());
            changes.push(Change::Revived(range));
        }
        before - left
    }

    /// Drops what is ready or delayed.
    pub fn purge(&mut self, changes: &mut Vec<Change>) -> u64 {
        let delayed = self.delayed.iter().map(|(_, range)| range);
        let gone: RangeSet = self.ready.ranges().chain(delayed).collect();
        for range in gone.ranges() {
            self.withdraw(range.clone());
            self.exceptions.remove(range.clone());
            changes.push(Change::Gone(range));
        }
        self.purged += gone.count();
        gone.count()
    }

    /// Remembers a settle that took effect, so that its repeat is told so.
    pub fn remember(&mut self, settle: Remembered) {
        if let Some(last) = self.remembered.back_mut()
            && (last.grant, last.kind) == (settle.grant, settle.kind)
            && last.range.end == settle.range.start
        {
            last.range.end = settle.range.end;
            return;
        }
        if self.remembered.len() == REMEMBERED_SETTLES {
            self.remembered.pop_front();
        }
        self.remembered.push_back(settle);
    }

    /// Where the message is.
    pub fn state_of(&self, offset: Offset) -> State {
        if self.ready.get(offset).is_some() {
            return State::Ready;
        }
        if self.dead.get(offset).is_some() {
            return State::Dead;
        }
        if self
            .exceptions
            .get(offset)
            .is_some_and(|exception| exception.due.is_some())
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
            .any(|(_, e)| e.due.is_some());
        delayed
            || self.dead.overlap(range.clone()).next().is_some()
            || self
                .leases
                .values()
                .any(|l| l.ranges.overlap(range.clone()).next().is_some())
    }

    /// Retention takes what of `range` is ready.
    pub fn evict(&mut self, range: OffsetRange) {
        let parts: Vec<_> = self.ready.within(range.clone()).collect();
        for part in parts {
            self.exceptions.remove(part);
        }
        self.evicted += self.ready.remove(range);
    }

    /// The whole of `range`, cut where exceptions differ; plain messages have the default.
    pub fn exceptions_of(&self, range: OffsetRange) -> Vec<(OffsetRange, Exception)> {
        let mut parts: Vec<_> = self
            .exceptions
            .overlap(range.clone())
            .map(|(part, e)| (part, *e))
            .collect();
        let plain = self.exceptions.gaps(range).into_iter();
        parts.extend(plain.map(|part| (part, Exception::default())));
        parts.sort_unstable_by_key(|(part, _)| part.start);
        parts
    }

    /// Replaces the exceptions of `range`; a default one takes no room.
    pub fn set_exception(&mut self, range: OffsetRange, exception: Exception) {
        if exception == Exception::default() {
            self.exceptions.remove(range);
        } else {
            self.exceptions.insert(range, exception);
        }
    }

    /// Changes what is exceptional in `range`; plain messages stay plain.
    pub fn edit_exceptions(&mut self, range: OffsetRange, edit: impl Fn(&mut Exception)) {
        let parts: Vec<_> = self
            .exceptions
            .overlap(range)
            .map(|(part, e)| (part, *e))
            .collect();
        for (part, mut exception) in parts {
            edit(&mut exception);
            self.set_exception(part, exception);
        }
    }
}
