//! The way back of dead letters: at once, or so many a second in slices that time lets happen, so
//! that a restart goes on where it was.

use siding_protocol::refusal::Refusal;
use siding_protocol::types::{OffsetRange, Timestamp};

use super::{Context, Subscription, count};
use crate::engine::command::Sift;
use crate::engine::log::Change;
use crate::engine::runs::RangeSet;

/// Slices of a second, at least.
const SLICES_A_SECOND: u64 = 10;

/// A redrive that goes on. What dies after it began is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriving {
    /// Dead letters before it: one that leaves by another way is not awaited.
    pub left: RangeSet,
    /// At most so many a second.
    pub rate: u64,
    /// When the next slice is due.
    pub next_at: Timestamp,
    /// The job whose filter still chooses what comes before it; 0: nobody's. Ends with the broker.
    pub fed_by: u64,
}

impl Redriving {
    /// Messages of one slice.
    fn step(&self) -> u64 {
        (self.rate / SLICES_A_SECOND).max(1)
    }

    /// When it does something by itself.
    pub fn due(&self) -> Option<Timestamp> {
        (!self.left.is_empty()).then_some(self.next_at)
    }

    /// From slice to slice, so that no second has more than `rate`.
    fn period_ms(&self) -> u64 {
        let slices = self.rate / self.step();
        1_000_u64.div_ceil(slices.max(1))
    }
}

impl Subscription {
    /// Dead letters back to ready at their old place, never tried: at most `limit` (0: all), the
    /// lowest offsets first; `rate` (0: all at once) a second. Says how many it is about.
    pub fn redrive(
        &mut self,
        limit: u64,
        rate: u64,
        context: &mut Context<'_>,
    ) -> Result<u64, Refusal> {
        let chosen = self.first_dead(limit);
        if rate == 0 {
            for range in &chosen {
                self.revive(range.clone(), context);
            }
        } else if self.redriving.is_some() {
            let name = "a redrive that goes on".into();
            return Err(Refusal::Exists { name });
        } else if !chosen.is_empty() {
            self.redriving = Some(Redriving {
                left: chosen.iter().cloned().collect(),
                rate,
                next_at: context.now,
                fed_by: 0,
            });
            self.redrive_slice(context);
        }
        Ok(count(&chosen))
    }

    /// A filter has chosen these dead letters for a redrive at a rate, which begins or goes on; one
    /// that was stopped takes no more. Says how many it takes.
    pub(in crate::engine) fn feed_redrive(
        &mut self,
        sift: &Sift,
        chosen: &RangeSet,
        context: &mut Context<'_>,
    ) -> Result<u64, Refusal> {
        if sift.begins && self.redriving.is_some() {
            let name = "a redrive that goes on".into();
            return Err(Refusal::Exists { name });
        }
        if sift.begins {
            self.redriving = Some(Redriving {
                left: RangeSet::default(),
                rate: sift.rate,
                next_at: context.now,
                fed_by: sift.job,
            });
        }
        let fed = self.redriving.as_mut();
        let Some(redriving) = fed.filter(|found| found.fed_by == sift.job) else {
            return Ok(0);
        };
        chosen.ranges().for_each(|range| redriving.left.add(range));
        if sift.ends {
            self.end_feeding();
        }
        if sift.begins {
            self.redrive_slice(context);
        }
        Ok(chosen.count())
    }

    /// Nothing more comes before the redrive that goes on.
    pub(in crate::engine) fn end_feeding(&mut self) {
        if let Some(redriving) = &mut self.redriving {
            redriving.fed_by = 0;
        }
        self.spare(0..0);
    }

    /// The next slice of the redrive that goes on.
    pub(super) fn redrive_slice(&mut self, context: &mut Context<'_>) {
        let Some(redriving) = &mut self.redriving else {
            return;
        };
        redriving.next_at = context.now.plus_ms(redriving.period_ms());
        let mut left = redriving.step();
        let mut slice = Vec::new();
        for range in redriving.left.ranges() {
            let part = range.start..range.end.min(range.start + left);
            left -= part.end - part.start;
            slice.push(part);
            if left == 0 {
                break;
            }
        }
        for range in slice {
            self.revive(range, context);
        }
    }

    /// Ends the redrive that goes on; says how many it leaves dead.
    pub fn stop_redrive(&mut self) -> u64 {
        let stopped = self.redriving.take();
        stopped.map_or(0, |redriving| redriving.left.count())
    }

    /// Dead letters have left: the redrive that goes on has them no more before it.
    pub(super) fn spare(&mut self, range: OffsetRange) {
        if let Some(redriving) = &mut self.redriving {
            redriving.left.remove(range);
            if redriving.left.is_empty() && redriving.fed_by == 0 {
                self.redriving = None;
            }
        }
    }

    pub(in crate::engine) fn revive(&mut self, range: OffsetRange, context: &mut Context<'_>) {
        self.bury(range.clone());
        // A lapsed grant may still settle late, until the message is delivered again.
        self.edit_exceptions(range.clone(), |exception| {
            (exception.attempts, exception.acquires) = (0, 0);
        });
        self.count_generation(range.clone());
        self.stop_expiring(range.clone());
        self.make_ready(range.clone(), context.now);
        context.changes.push(Change::Revived(range));
    }

    fn count_generation(&mut self, range: OffsetRange) {
        let before = self.generations.overlap(range.clone());
        let before: Vec<_> = before.map(|(part, times)| (part, *times)).collect();
        self.generations.insert(range, 1);
        for (part, times) in before {
            self.generations.insert(part, times.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_of_a_redrive_has_more_than_its_rate() {
        for rate in (1..2_000).chain([9_999, 1_000_000]) {
            let redriving = Redriving {
                left: RangeSet::default(),
                rate,
                next_at: Timestamp(0),
                fed_by: 0,
            };
            let slices = 1_000_u64.div_ceil(redriving.period_ms());
            let most = slices * redriving.step();
            assert!(most <= rate, "{most} of {rate} a second");
            assert!(most * 20 >= rate * 17, "{most} of {rate} a second");
        }
    }
}
