//! Dead letters: a state of messages with a reason, kept for a while and up to a limit, and the way
//! back from it.

use siding_protocol::refusal::State;
use siding_protocol::types::{OffsetRange, Timestamp};

use super::{Context, Subscription};
use crate::engine::log::Change;
use crate::engine::planted::Bug;

/// Why messages are dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Reason {
    /// Charged as often as allowed.
    MaxAttempts = 1,
    /// A consumer said so.
    Rejected = 2,
    /// Handed over as often as allowed without having been begun.
    TooManyAcquires = 3,
    /// Its time to live passed before anybody got it.
    Expired = 4,
    /// The queue was full, and it was the oldest.
    Overflow = 5,
}

impl Reason {
    /// The name in documents and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxAttempts => "max_attempts",
            Self::Rejected => "rejected",
            Self::TooManyAcquires => "too_many_acquires",
            Self::Expired => "expired",
            Self::Overflow => "overflow",
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
    /// The words of the reject, or of the last nack.
    pub detail: String,
    /// What each counts towards `max_dead_bytes`: the average of its extent when it died.
    pub each_bytes: u64,
}

impl Subscription {
    /// Messages in nobody's hands become dead letters; past `max_dead` and `max_dead_bytes` the
    /// oldest leave.
    pub fn die(
        &mut self,
        range: OffsetRange,
        reason: Reason,
        detail: &str,
        context: &mut Context<'_>,
    ) {
        self.words.forget(range.clone());
        self.jobs.cancels.remove(range.clone());
        for (part, each_bytes) in context.log.averages(&range) {
            let death = Death {
                reason,
                at: context.now,
                detail: detail.to_owned(),
                each_bytes,
            };
            self.lay_out(part, death);
        }
        self.release_dead(range.clone());
        context.changes.push(Change::Died(range.clone()));
        if self.planted.has(Bug::DeadLetterDropped) && range.end - range.start > 1 {
            self.evict_dead(range.end - 1..range.end, context);
        }
        if !context.keeps_excess {
            self.drop_excess(context);
        }
    }

    /// Messages that waited until they were withdrawn die without words.
    pub(in crate::engine) fn die_waiting(
        &mut self,
        range: OffsetRange,
        reason: Reason,
        context: &mut Context<'_>,
    ) {
        self.edit_exceptions(range.clone(), |exception| exception.due = Timestamp(0));
        self.die(range, reason, "", context);
    }

    /// Messages whose attempts are used up die with the words of their last nack.
    pub fn die_of_attempts(&mut self, range: OffsetRange, context: &mut Context<'_>) {
        let said = self.words.overlap(range.clone());
        let mut parts: Vec<_> = said.map(|(part, words)| (part, words.clone())).collect();
        let silent = self.words.gaps(range).into_iter();
        parts.extend(silent.map(|part| (part, String::new())));
        parts.sort_unstable_by_key(|(part, _)| part.start);
        for (part, words) in parts {
            self.die(part, Reason::MaxAttempts, &words, context);
        }
    }

    /// Puts a dead letter where it belongs.
    pub(super) fn lay_out(&mut self, range: OffsetRange, death: Death) {
        self.deaths.insert(death.at, range.clone());
        self.dead_bytes += death.each_bytes * (range.end - range.start);
        self.dead.insert(range, death);
    }

    /// The oldest dead letters past `max_dead` and `max_dead_bytes` leave.
    pub(in crate::engine) fn drop_excess(&mut self, context: &mut Context<'_>) {
        let (most, most_bytes) = (self.settings.max_dead, self.settings.max_dead_bytes);
        while self.has_excess() {
            let Some((_, oldest)) = self.deaths.first() else {
                return;
            };
            // Dead letters of one instant can differ in what else is said of them.
            let Some((part, death)) = self.dead.overlap(oldest).next() else {
                return;
            };
            let excess = self.dead.count().saturating_sub(most);
            let excess_bytes = self.dead_bytes.saturating_sub(most_bytes);
            let excess = excess.max(excess_bytes.div_ceil(death.each_bytes.max(1)));
            self.evict_dead(part.start..part.end.min(part.start + excess), context);
        }
    }

    pub(in crate::engine) fn has_excess(&self) -> bool {
        let (most, most_bytes) = (self.settings.max_dead, self.settings.max_dead_bytes);
        self.dead.count() > most || self.dead_bytes > most_bytes
    }

    pub(super) fn evict_dead(&mut self, range: OffsetRange, context: &mut Context<'_>) {
        self.conclude(range.clone(), State::Dead, context);
        self.bury(range.clone());
        self.evicted += range.end - range.start;
        context.changes.push(Change::DeadGone(range));
    }

    /// When the oldest dead letters, those of one instant, have been kept long enough.
    pub(super) fn dead_until(&self) -> Option<(Timestamp, OffsetRange)> {
        let (at, range) = self.deaths.first()?;
        Some((at.plus_ms(self.settings.dead_retention_ms), range))
    }

    /// Takes `range`, all dead, out of the dead letters.
    pub fn bury(&mut self, range: OffsetRange) {
        let parts: Vec<_> = self
            .dead
            .overlap(range.clone())
            .map(|(part, death)| (part, death.at, death.each_bytes))
            .collect();
        for (part, at, each_bytes) in parts {
            self.deaths.remove(at, &part);
            self.dead_bytes -= each_bytes * (part.end - part.start);
        }
        self.dead.remove(range.clone());
        self.spare(range);
    }

    /// At most `limit` (0: all) dead letters, the lowest offsets first.
    pub fn first_dead(&self, limit: u64) -> Vec<OffsetRange> {
        let mut left = if limit == 0 { u64::MAX } else { limit };
        let mut chosen = Vec::new();
        for (range, _) in self.dead.iter() {
            let part = range.start..range.end.min(range.start.saturating_add(left));
            left -= part.end - part.start;
            chosen.push(part);
            if left == 0 {
                break;
            }
        }
        chosen
    }

    pub(in crate::engine) fn remove_dead(&mut self, range: OffsetRange, context: &mut Context<'_>) {
        self.conclude(range.clone(), State::Dead, context);
        self.bury(range.clone());
        context.changes.push(Change::DeadGone(range));
    }

    /// Removes dead letters for good: at most `limit` (0: all), the lowest offsets first.
    pub fn drop_dead(&mut self, limit: u64, context: &mut Context<'_>) -> u64 {
        let chosen = self.first_dead(limit);
        for range in &chosen {
            self.remove_dead(range.clone(), context);
        }
        self.purged += count(&chosen);
        count(&chosen)
    }
}

/// Messages of ranges.
pub(in crate::engine) fn count(ranges: &[OffsetRange]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}
