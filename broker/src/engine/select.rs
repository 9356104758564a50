//! Which message next: one pure function. Order, limits and fairness all come from it.

use siding_protocol::types::{Offset, OffsetRange};

use super::PARTS_PER_COMMAND_MAX;
use super::consumer::Room;
use super::log::Log;
use super::runs::RangeSet;
use super::subscription::Subscription;

/// Ranges chosen for one hand-over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Apart, in the order of their turn, each with the attempt it will be.
    pub ranges: Vec<(OffsetRange, u32)>,
    /// Their bytes.
    pub bytes: u64,
}

impl Selection {
    /// Only the ranges; neighbours that differ in attempts stay apart.
    pub fn offsets(&self) -> Vec<OffsetRange> {
        self.ranges.iter().map(|(range, _)| range.clone()).collect()
    }
}

/// The first of what is ready and not reserved, as much as there is room for: the highest level
/// first, in it the lowest offsets.
pub fn select(
    log: &Log,
    subscription: &Subscription,
    reserved: &RangeSet,
    room: Room,
) -> Selection {
    let mut choice = Choice {
        log,
        subscription,
        room,
        left: room,
        selection: Selection::default(),
    };
    for (_, level) in subscription.ready.levels() {
        for ready in level.ranges() {
            for free in reserved.gaps(ready) {
                if !choice.take(&free) {
                    return choice.selection;
                }
            }
        }
    }
    choice.selection
}

/// A selection in the making.
struct Choice<'a> {
    log: &'a Log,
    subscription: &'a Subscription,
    room: Room,
    left: Room,
    selection: Selection,
}

impl Choice<'_> {
    /// Takes the beginning of `free` that there is room for; false: that was the last.
    fn take(&mut self, free: &OffsetRange) -> bool {
        let part = self
            .log
            .beginning(free, self.left.messages, self.left.bytes);
        let first = self.selection.ranges.is_empty();
        if !first && self.log.bytes_of(&part) > self.left.bytes {
            return false;
        }
        self.push(&part);
        if self.selection.ranges.len() >= PARTS_PER_COMMAND_MAX {
            self.truncate();
            return false;
        }
        self.left.messages -= part.end - part.start;
        self.left.bytes = self.room.bytes.saturating_sub(self.selection.bytes);
        self.left.messages > 0 && self.left.bytes > 0 && part.end == free.end
    }

    fn push(&mut self, part: &OffsetRange) {
        let selection = &mut self.selection;
        selection.bytes += self.log.bytes_of(part);
        let mut at: Offset = part.start;
        for (exceptional, exception) in self.subscription.exceptions.overlap(part.clone()) {
            if at < exceptional.start {
                push_attempt(&mut selection.ranges, at..exceptional.start, 1);
            }
            at = exceptional.end;
            push_attempt(&mut selection.ranges, exceptional, exception.attempts + 1);
        }
        if at < part.end {
            push_attempt(&mut selection.ranges, at..part.end, 1);
        }
    }

    fn truncate(&mut self) {
        self.selection.ranges.truncate(PARTS_PER_COMMAND_MAX);
        let ranges = self.selection.ranges.iter();
        let bytes = ranges.map(|(range, _)| self.log.bytes_of(range));
        self.selection.bytes = bytes.sum();
    }
}

/// Neighbours that differ only in what a consumer does not see are one range.
fn push_attempt(ranges: &mut Vec<(OffsetRange, u32)>, range: OffsetRange, attempt: u32) {
    match ranges.last_mut() {
        Some((last, same)) if *same == attempt && last.end == range.start => last.end = range.end,
        _ => ranges.push((range, attempt)),
    }
}
