//! How messages leave that nobody settles.

use siding_protocol::types::{Offset, OffsetRange};

use super::{Context, Subscription};
use crate::engine::log::Change;
use crate::engine::runs::RangeSet;

impl Subscription {
    /// What of `range` nobody holds and is not dead: ready, held back or delayed.
    pub(in crate::engine) fn waiting_within(&self, range: OffsetRange) -> RangeSet {
        let ready = self.ready.within(range.clone());
        let held_back = self.held_back_within(range.clone());
        let delayed = self.exceptions.overlap(range);
        let delayed = delayed.filter(|(_, exception)| exception.is_delayed());
        let waiting = ready.chain(held_back);
        waiting.chain(delayed.map(|(part, _)| part)).collect()
    }

    /// Drops what is ready or delayed: at most `limit` (0: all), the lowest offsets first.
    pub fn purge(&mut self, limit: u64, context: &mut Context<'_>) -> u64 {
        let delayed = self.delayed.iter().map(|(_, range)| range);
        let waiting = self.ready.ranges().chain(self.held_back());
        let mut gone: RangeSet = waiting.chain(delayed).collect();
        if limit == 0 {
            self.lanes.leave_all(0..Offset::MAX);
        } else {
            gone = gone.first(limit);
        }
        for range in gone.ranges() {
            self.withdraw(range.clone());
            self.forget(range.clone());
            context.changes.push(Change::Gone(range));
        }
        self.purged += gone.count();
        gone.count()
    }

    /// The first gap that is not being told.
    pub fn untold_gap(&self, told: &RangeSet) -> Option<OffsetRange> {
        let mut untold = self.gaps.ranges().flat_map(|gap| told.gaps(gap));
        untold.next()
    }

    /// Retention takes what of `range` is ready: whoever reads on is told.
    pub fn evict(&mut self, range: OffsetRange) {
        let ready = self.ready.within(range.clone());
        let parts: RangeSet = ready.chain(self.held_back_within(range.clone())).collect();
        self.lanes.leave_all(range);
        for part in parts.ranges() {
            self.withdraw(part.clone());
            self.forget(part.clone());
            self.gaps.add(part);
        }
        self.evicted += parts.count();
    }
}
