//! Messages in the order of their keys: of each key one goes at a time.
//!
//! A *lane* is all messages of a key, named by a 64-bit hash of it. Its *head* is the message that goes
//! next, or that has gone and holds the lane until it is settled; the others stand in line behind it,
//! by rank, then by offset. Only heads are among the ready, the leased and the delayed for retry.
//!
//! A message that just stands in line costs one entry of 16 bytes. Of all others it is known by offset
//! which lane is theirs: of heads, of those that stood aside for one, and of those that wait elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use siding_protocol::types::{Offset, OffsetRange};

use super::runs::RangeSet;

/// Bits of a place that are offset; the rank is above them.
const OFFSET_BITS: u32 = 60;

/// Rank and offset in one, in the order of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(u64);

impl Turn {
    /// Of a message.
    pub fn new(rank: u8, offset: Offset) -> Self {
        Self(u64::from(rank) << OFFSET_BITS | offset)
    }

    /// As it is stored.
    pub fn number(self) -> u64 {
        self.0
    }

    /// As it was stored.
    pub fn of_number(number: u64) -> Self {
        Self(number)
    }

    /// Its level of priority.
    pub fn rank(self) -> u8 {
        (self.0 >> OFFSET_BITS) as u8
    }

    /// Its message.
    pub fn offset(self) -> Offset {
        self.0 & ((1 << OFFSET_BITS) - 1)
    }
}

/// The lanes of one subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lanes {
    heads: BTreeMap<u64, Offset>,
    known: BTreeMap<Offset, u64>,
    line: BTreeSet<(u64, Turn)>,
    /// The offsets of the line: derived.
    waiting: RangeSet,
}

impl Lanes {
    /// Whether no message has a lane.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.line.is_empty()
    }

    /// What stands in line.
    pub fn waiting(&self) -> &RangeSet {
        &self.waiting
    }

    /// The message that goes next in a lane, or has gone.
    pub fn head(&self, lane: u64) -> Option<Offset> {
        self.heads.get(&lane).copied()
    }

    /// The lane of a message. Costs the line if it just stands there.
    pub fn lane_of(&self, offset: Offset) -> Option<u64> {
        let known = self.known.get(&offset).copied();
        known.or_else(|| {
            let found = self.line.iter().find(|(_, turn)| turn.offset() == offset);
            found.map(|(lane, _)| *lane)
        })
    }

    /// How many stand in the line of a lane before `offset`, which does too.
    pub fn before(&self, lane: u64, offset: Offset) -> usize {
        let all = (lane, Turn(0))..=(lane, Turn(u64::MAX));
        let waiting = self.line.range(all);
        waiting
            .take_while(|(_, turn)| turn.offset() != offset)
            .count()
    }

    /// Whether the message is the head of its lane.
    pub fn is_head(&self, offset: Offset) -> bool {
        let lane = self.known.get(&offset);
        lane.is_some_and(|lane| self.head(*lane) == Some(offset))
    }

    /// The first in line.
    pub fn first(&self, lane: u64) -> Option<Turn> {
        let all = (lane, Turn(0))..=(lane, Turn(u64::MAX));
        self.line.range(all).next().map(|(_, turn)| *turn)
    }

    /// Makes a message the head.
    pub fn lead(&mut self, lane: u64, offset: Offset) {
        self.heads.insert(lane, offset);
        self.known.insert(offset, lane);
    }

    /// The lane has no head any more.
    pub fn vacate(&mut self, lane: u64) {
        self.heads.remove(&lane);
    }

    /// Notes which lane a message has.
    pub fn know(&mut self, offset: Offset, lane: u64) {
        self.known.insert(offset, lane);
    }

    /// A message that stands in line and was never handed over needs no more than its place there.
    pub fn forget_waiting(&mut self, range: OffsetRange) {
        let waiting = &self.waiting;
        let known = self
            .known
            .extract_if(range, |offset, _| waiting.get(*offset).is_some());
        known.for_each(drop);
    }

    /// A message that has left has no lane.
    pub fn forget(&mut self, offset: Offset) {
        self.known.remove(&offset);
    }

    /// The messages of a range whose lane is known, rising.
    pub fn known(&self, range: OffsetRange) -> impl Iterator<Item = (Offset, u64)> {
        self.known
            .range(range)
            .map(|(offset, lane)| (*offset, *lane))
    }

    /// Stands in line.
    pub fn join(&mut self, lane: u64, turn: Turn) {
        self.line.insert((lane, turn));
        self.waiting.add(turn.offset()..turn.offset() + 1);
    }

    /// Leaves the line.
    pub fn leave(&mut self, lane: u64, turn: Turn) {
        self.line.remove(&(lane, turn));
        self.waiting.remove(turn.offset()..turn.offset() + 1);
    }

    /// Takes out of the line what of it is in `range`; all their lanes are known then. Costs the line
    /// if it must be searched for lanes: that is for what removes many at once.
    pub fn leave_all(&mut self, range: OffsetRange) {
        let waiting: RangeSet = self.waiting.within(range.clone()).collect();
        if waiting.is_empty() {
            return;
        }
        let named = self.known.range(range);
        let named = named.filter(|(offset, _)| waiting.get(**offset).is_some());
        let named: BTreeSet<u64> = if named.clone().count() as u64 == waiting.count() {
            named.map(|(_, lane)| *lane).collect()
        } else {
            self.line.iter().map(|(lane, _)| *lane).collect()
        };
        for lane in named {
            let all = (lane, Turn(0))..=(lane, Turn(u64::MAX));
            let gone = self
                .line
                .extract_if(all, |(_, turn)| waiting.get(turn.offset()).is_some());
            for (lane, turn) in gone {
                self.known.insert(turn.offset(), lane);
            }
        }
        for part in waiting.ranges() {
            self.waiting.remove(part);
        }
    }

    /// All heads, all whose lane is known, and the line, for a snapshot.
    pub fn parts(
        &self,
    ) -> (
        impl Iterator<Item = Offset>,
        impl Iterator<Item = (Offset, u64)>,
        impl Iterator<Item = (u64, Turn)>,
    ) {
        (
            self.heads.values().copied(),
            self.known(0..Offset::MAX),
            self.line.iter().copied(),
        )
    }
}
