//! Which message next: one pure function. Order, limits and fairness all come from it.

use siding_protocol::types::{Offset, OffsetRange, Timestamp};

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
    pub fn offsets(&self) -> impl Iterator<Item = OffsetRange> {
        self.ranges.iter().map(|(range, _)| range.clone())
    }
}

/// The first of what is ready and not reserved, as much as there is room for: the highest level
/// first, in it the lowest offsets. What has expired by `now` is passed over; while it is paused,
/// everything is.
pub fn select(
    log: &Log,
    subscription: &Subscription,
    reserved: &RangeSet,
    now: Timestamp,
    room: Room,
) -> Selection {
    let mut choice = Choice {
        log,
        subscription,
        room,
        left: room,
        selection: Selection::default(),
    };
    if subscription.paused {
        return choice.selection;
    }
    Free::of(subscription, reserved, now).in_turn(now, |range| choice.take(range));
    choice.selection
}

/// How many messages go before `offset`, which is ready, looked for in the first `pieces_max` ranges:
/// so many, or at least so many. `None`: it is not free to go.
pub fn before(
    subscription: &Subscription,
    reserved: &RangeSet,
    now: Timestamp,
    offset: Offset,
    pieces_max: usize,
) -> Option<Before> {
    let free = Free::of(subscription, reserved, now);
    if free.taken().get(offset).is_some() {
        return None;
    }
    let (mut messages, mut pieces, mut found) = (0, 0, false);
    free.in_turn(now, |range| {
        found = range.contains(&offset);
        let end = if found { offset } else { range.end };
        messages += end - range.start;
        pieces += 1;
        !found && pieces < pieces_max
    });
    Some(if found {
        Before::Exactly(messages)
    } else {
        Before::AtLeast(messages)
    })
}

/// How many messages go before one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// So many.
    Exactly(u64),
    /// It was not looked for any further.
    AtLeast(u64),
}

/// How many messages can be chosen.
pub fn count(subscription: &Subscription, reserved: &RangeSet, now: Timestamp) -> u64 {
    let free = Free::of(subscription, reserved, now);
    // What is taken may have left by another way before its lease is logged.
    let taken = free.taken().ranges();
    let taken = taken.flat_map(|range| subscription.ready.within(range));
    subscription.ready.count() - taken.map(|range| range.end - range.start).sum::<u64>()
}

/// What of the ready is free to go.
struct Free<'a> {
    subscription: &'a Subscription,
    reserved: &'a RangeSet,
    /// With it what has expired and whose key is taken, if there is any.
    taken: Option<RangeSet>,
}

impl<'a> Free<'a> {
    fn of(subscription: &'a Subscription, reserved: &'a RangeSet, now: Timestamp) -> Self {
        let mut expired = subscription.expired_at(now).peekable();
        let blocked = subscription.blocked_heads(reserved.ranges());
        let more = expired.peek().is_some() || !blocked.is_empty();
        let taken = more.then(|| {
            let blocked = blocked.into_iter().map(|head| head..head + 1);
            let all = reserved.ranges().chain(expired).chain(blocked);
            all.collect()
        });
        Self {
            subscription,
            reserved,
            taken,
        }
    }

    fn taken(&self) -> &RangeSet {
        self.taken.as_ref().unwrap_or(self.reserved)
    }

    /// The levels, the highest first, each with its free ranges, rising.
    fn levels(&self) -> impl Iterator<Item = (u8, impl Iterator<Item = OffsetRange>)> {
        let levels = self.subscription.ready.levels();
        levels.map(|(rank, level)| {
            let free = level.ranges().flat_map(|range| self.taken().gaps(range));
            (rank, free)
        })
    }

    /// What is free, in the order of its turn, piece by piece, until `visit` says no.
    fn in_turn(&self, now: Timestamp, visit: impl FnMut(&OffsetRange) -> bool) {
        match self.subscription.settings.age_step_ms {
            0 => self.by_level(visit),
            step_ms => self.by_age(now, step_ms, visit),
        }
    }

    fn by_level(&self, mut visit: impl FnMut(&OffsetRange) -> bool) {
        for (_, level) in self.levels() {
            for range in level {
                if !visit(&range) {
                    return;
                }
            }
        }
    }

    /// Waiting raises the head of a level: what it ranks like then is compared, of equals the lowest
    /// offset goes first.
    fn by_age(&self, now: Timestamp, step_ms: u64, mut visit: impl FnMut(&OffsetRange) -> bool) {
        let heads = self.levels().filter_map(|(rank, mut rest)| {
            let range = rest.next()?;
            Some(Head { rank, range, rest })
        });
        let mut heads: Vec<_> = heads.collect();
        loop {
            let turns = heads.iter().map(|head| {
                let (since, alike) = self.arrival(&head.range, now);
                let steps = now.ms_since(since) / step_ms;
                (u64::from(head.rank).saturating_sub(steps), alike)
            });
            let turns: Vec<_> = turns.collect();
            let order = |(rank, range): &(u64, OffsetRange)| (*rank, range.start);
            let first = turns.iter().enumerate().min_by_key(|(_, turn)| order(turn));
            let Some((at, (rank, range))) = first else {
                return;
            };
            let equal = turns.iter().filter(|(other, _)| other == rank);
            let rivals = equal.map(|(_, rival)| rival.start);
            let end = rivals.filter(|rival| *rival > range.start).min();
            let end = end.map_or(range.end, |rival| rival.min(range.end));
            if !visit(&(range.start..end)) {
                return;
            }
            let spent = heads.get_mut(at).is_some_and(|head| !head.advance(end));
            if spent {
                heads.swap_remove(at);
            }
        }
    }

    /// Since when the first of `range` waits, and how far others wait as long.
    fn arrival(&self, range: &OffsetRange, now: Timestamp) -> (Timestamp, OffsetRange) {
        let mut arrivals = self.subscription.arrivals.overlap(range.clone());
        let first = arrivals.next().map(|(alike, since)| (*since, alike));
        first.unwrap_or((now, range.clone()))
    }
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
        self.selection.bytes += self.log.bytes_of(part);
        push_attempts(self.subscription, part, &mut self.selection.ranges);
    }

    fn truncate(&mut self) {
        self.selection.ranges.truncate(PARTS_PER_COMMAND_MAX);
        let ranges = self.selection.ranges.iter();
        let bytes = ranges.map(|(range, _)| self.log.bytes_of(range));
        self.selection.bytes = bytes.sum();
    }
}

/// The first free range of a level, and the others.
struct Head<I> {
    rank: u8,
    range: OffsetRange,
    rest: I,
}

impl<I: Iterator<Item = OffsetRange>> Head<I> {
    /// What is before `end` is taken; false: nothing is left.
    fn advance(&mut self, end: Offset) -> bool {
        self.range.start = end;
        if self.range.is_empty() {
            return match self.rest.next() {
                Some(next) => {
                    self.range = next;
                    true
                }
                None => false,
            };
        }
        true
    }
}

/// Adds a range, cut where the attempt that it will be differs.
pub(super) fn push_attempts(
    subscription: &Subscription,
    part: &OffsetRange,
    ranges: &mut Vec<(OffsetRange, u32)>,
) {
    let mut at: Offset = part.start;
    for (exceptional, exception) in subscription.exceptions.overlap(part.clone()) {
        if at < exceptional.start {
            push_attempt(ranges, at..exceptional.start, 1);
        }
        at = exceptional.end;
        push_attempt(ranges, exceptional, exception.attempts + 1);
    }
    if at < part.end {
        push_attempt(ranges, at..part.end, 1);
    }
}

/// Neighbours that differ only in what a consumer does not see are one range.
fn push_attempt(ranges: &mut Vec<(OffsetRange, u32)>, range: OffsetRange, attempt: u32) {
    match ranges.last_mut() {
        Some((last, same)) if *same == attempt && last.end == range.start => last.end = range.end,
        _ => ranges.push((range, attempt)),
    }
}
