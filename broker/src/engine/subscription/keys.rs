//! How messages stand in the lanes of their keys.
//!
//! A head that is ready may still stand aside for one that goes before it; once it is leased, or delayed
//! for a retry, or dead where the dead halt their key, it holds its lane.

use siding_protocol::settings::OnDead;
use siding_protocol::types::{Offset, OffsetRange};

use super::Subscription;
use crate::engine::lanes::Turn;
use crate::engine::planted::Bug;
use crate::engine::ready::rank_of;

impl Subscription {
    /// Counted as ready, but not free to go: behind others of their key, or without a verdict.
    pub fn held_back(&self) -> impl Iterator<Item = OffsetRange> {
        self.unjudged_ranges().chain(self.lanes.waiting().ranges())
    }

    /// The parts of that within `range`, rising each.
    pub fn held_back_within(&self, range: OffsetRange) -> impl Iterator<Item = OffsetRange> {
        let in_line = self.lanes.waiting().within(range.clone());
        self.unjudged_within(range).chain(in_line)
    }

    fn turn(&self, offset: Offset) -> Turn {
        let attributes = self.attributes.get(offset).copied().unwrap_or_default();
        Turn::new(rank_of(attributes.priority.into()), offset)
    }

    /// A message waits to go: at once if nothing of its key goes before it.
    pub(super) fn join_lane(&mut self, offset: Offset, lane: u64) {
        let turn = self.turn(offset);
        match self.lanes.head(lane) {
            // It held the lane, and gives it up.
            Some(head) if head == offset => match self.lanes.first(lane) {
                Some(first) if first < turn => {
                    self.lanes.join(lane, turn);
                    self.promote(lane);
                }
                _ => self.ready.add(offset..offset + 1, turn.rank()),
            },
            Some(head)
                if self.planted.has(Bug::TwoLeasesOnOneKey) && self.ready.get(head).is_none() =>
            {
                self.lanes.know(offset, lane);
                self.ready.add(offset..offset + 1, turn.rank());
            }
            Some(head) if self.ready.get(head).is_none() || self.turn(head) < turn => {
                self.lanes.join(lane, turn);
            }
            Some(head) => {
                self.stand_aside(lane, head);
                self.lead(lane, turn);
            }
            None => self.lead(lane, turn),
        }
    }

    /// A head that is ready goes back into the line.
    fn stand_aside(&mut self, lane: u64, head: Offset) {
        let turn = self.turn(head);
        self.ready.remove(head..head + 1);
        self.lanes.join(lane, turn);
    }

    fn lead(&mut self, lane: u64, turn: Turn) {
        self.lanes.lead(lane, turn.offset());
        self.ready
            .add(turn.offset()..turn.offset() + 1, turn.rank());
    }

    /// The first in line becomes the head.
    fn promote(&mut self, lane: u64) {
        self.lanes.vacate(lane);
        if let Some(first) = self.lanes.first(lane) {
            self.lanes.leave(lane, first);
            self.lead(lane, first);
        }
    }

    /// Messages that were handed over before they stood aside are leased all the same, if their lane is
    /// free still: whoever got them has them.
    pub(super) fn step_forward(&mut self, range: OffsetRange) {
        if self.lanes.waiting().is_empty() {
            return;
        }
        for (offset, lane) in self.keyed(range) {
            let head = self.lanes.head(lane);
            let free = head.filter(|head| self.ready.get(*head).is_some());
            if let Some(head) = free
                && self.lanes.waiting().get(offset).is_some()
            {
                let turn = self.turn(offset);
                self.lanes.leave(lane, turn);
                self.stand_aside(lane, head);
                self.lead(lane, turn);
            }
        }
    }

    /// Dead letters hold their key, or let the next go on.
    pub(super) fn release_dead(&mut self, range: OffsetRange) {
        if self.settings.on_dead() == OnDead::Skip {
            for (offset, lane) in self.keyed(range) {
                if self.lanes.head(lane) == Some(offset) {
                    self.promote(lane);
                }
            }
        }
    }

    /// Messages have left, and hold their keys no longer.
    pub(super) fn leave_lanes(&mut self, range: OffsetRange) {
        for (offset, lane) in self.keyed(range) {
            if self.lanes.head(lane) == Some(offset) {
                self.promote(lane);
            }
            self.lanes.forget(offset);
        }
    }

    pub(super) fn keyed(&self, range: OffsetRange) -> Vec<(Offset, u64)> {
        if self.lanes.is_empty() {
            return Vec::new();
        }
        self.lanes.known(range).collect()
    }

    /// Which message, handed over before it stood aside, keeps the head of its lane from going.
    pub fn blocker_of(
        &self,
        head: Offset,
        handed_over: impl Iterator<Item = OffsetRange>,
    ) -> Option<Offset> {
        let lane = self.lanes.lane_of(head)?;
        let aside = handed_over.flat_map(|range| self.lanes.waiting().within(range));
        let mut known = aside.flat_map(|range| self.lanes.known(range));
        let found = known.find(|(_, other)| *other == lane);
        found.map(|(offset, _)| offset)
    }

    /// Heads that may not go yet although they are ready: another of their key was handed over before it
    /// stood aside, and its lease is on its way.
    pub fn blocked_heads(&self, handed_over: impl Iterator<Item = OffsetRange>) -> Vec<Offset> {
        if self.lanes.waiting().is_empty() {
            return Vec::new();
        }
        let aside = handed_over.flat_map(|range| self.lanes.waiting().within(range));
        let lanes = aside.flat_map(|range| self.lanes.known(range));
        lanes
            .filter_map(|(_, lane)| self.lanes.head(lane))
            .collect()
    }
}
