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
    /// Rising, apart, each with the attempt it will be.
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

/// The lowest ready offsets that are not reserved, as many as there is room for.
pub fn select(
    log: &Log,
    subscription: &Subscription,
    reserved: &RangeSet,
    room: Room,
) -> Selection {
    let mut selection = Selection::default();
    let mut left = room;
    for ready in subscription.ready.ranges() {
        for free in reserved.gaps(ready) {
            let part = log.beginning(&free, left.messages, left.bytes);
            if !selection.ranges.is_empty() && log.bytes_of(&part) > left.bytes {
                return selection;
            }
            take(log, subscription, &part, &mut selection);
            if selection.ranges.len() >= PARTS_PER_COMMAND_MAX {
                selection.ranges.truncate(PARTS_PER_COMMAND_MAX);
                let bytes = selection
                    .ranges
                    .iter()
                    .map(|(range, _)| log.bytes_of(range));
                selection.bytes = bytes.sum();
                return selection;
            }
            left.messages -= part.end - part.start;
            left.bytes = room.bytes.saturating_sub(selection.bytes);
            if left.messages == 0 || left.bytes == 0 || part.end < free.end {
                return selection;
            }
        }
    }
    selection
}

fn take(log: &Log, subscription: &Subscription, part: &OffsetRange, selection: &mut Selection) {
    selection.bytes += log.bytes_of(part);
    let mut at: Offset = part.start;
    for (exceptional, exception) in subscription.exceptions.overlap(part.clone()) {
        if at < exceptional.start {
            selection.ranges.push((at..exceptional.start, 1));
        }
        at = exceptional.end;
        push_attempt(&mut selection.ranges, exceptional, exception.attempts + 1);
    }
    if at < part.end {
        selection.ranges.push((at..part.end, 1));
    }
}

/// Neighbours that differ only in what a consumer does not see are one range.
fn push_attempt(ranges: &mut Vec<(OffsetRange, u32)>, range: OffsetRange, attempt: u32) {
    match ranges.last_mut() {
        Some((last, same)) if *same == attempt && last.end == range.start => last.end = range.end,
        _ => ranges.push((range, attempt)),
    }
}
