//! New messages of the log: plain ones are ready, special ones as their publisher said, and all of
//! them only where the filter says so.

use siding_protocol::settings::Order;
use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use super::{Attributes, Exception, Subscription};
use crate::engine::command::{Judge, Publish, Verdict};
use crate::engine::runs::RangeSet;
use crate::engine::special::Special;

impl Subscription {
    /// Takes in `fresh` of a publish; its specials and verdicts count from `first`, which is message
    /// 0 of its run. Says whether any of it waits on time.
    pub fn arrive(
        &mut self,
        fresh: OffsetRange,
        first: Offset,
        publish: &Publish,
        now: Timestamp,
    ) -> bool {
        if publish.specials.is_empty() && self.takes_all_alike() {
            self.make_ready(fresh, now);
            return false;
        }
        let mut at = fresh.start;
        for special in &publish.specials {
            let start = (first + u64::from(special.first)).clamp(at, fresh.end);
            let end = (first + u64::from(special.end())).clamp(start, fresh.end);
            self.enter(at..start, Attributes::default(), Timestamp(0), now);
            self.enter_special(start..end, special, now);
            at = end;
        }
        self.enter(at..fresh.end, Attributes::default(), Timestamp(0), now);
        if !self.settings.filter.is_empty() {
            self.judge_arrived(&fresh, first, &publish.verdicts, now);
        }
        true
    }

    fn enter_special(&mut self, range: OffsetRange, special: &Special, now: Timestamp) {
        let lane = special.lane.filter(|_| self.settings.order() == Order::Key);
        for offset in range.clone() {
            if let Some(lane) = lane {
                self.lanes.know(offset, lane);
            }
        }
        let due = Timestamp(special.due_ms);
        self.enter(range.clone(), special.attributes(), due, now);
        // What can expire is looked for by its offset.
        let expires = self.attributes.get(range.start);
        let expires = expires.is_some_and(|said| said.expires_at > Timestamp(0));
        if lane.is_some() && !expires {
            self.lanes.forget_waiting(range);
        }
    }

    /// Whether plain messages are ready as they come.
    fn takes_all_alike(&self) -> bool {
        self.settings.ttl_ms == 0 && self.settings.filter.is_empty()
    }

    /// Takes in messages that were stored before it looked.
    pub fn begin(&mut self, stored: OffsetRange, now: Timestamp) {
        self.enter(stored, Attributes::default(), Timestamp(0), now);
    }

    /// As [`Self::begin`], with a priority.
    pub fn begin_with(&mut self, stored: OffsetRange, priority: u8, now: Timestamp) {
        let attributes = Attributes {
            priority,
            ..Attributes::default()
        };
        self.enter(stored, attributes, Timestamp(0), now);
    }

    /// Messages that nobody here has seen.
    fn enter(
        &mut self,
        range: OffsetRange,
        mut attributes: Attributes,
        due: Timestamp,
        now: Timestamp,
    ) {
        if range.is_empty() {
            return;
        }
        // A ttl begins when a message can be delivered.
        if attributes.expires_at == Timestamp(0) && self.settings.ttl_ms > 0 {
            attributes.expires_at = due.max(now).plus_ms(self.settings.ttl_ms);
        }
        self.set_attributes(range.clone(), attributes);
        self.watch(range.clone());
        if self.settings.filter.is_empty() {
            self.admit(range, due, now);
        } else {
            self.unjudged.insert(range, due);
        }
    }

    /// Messages that it reads.
    fn admit(&mut self, range: OffsetRange, due: Timestamp, now: Timestamp) {
        if due <= now {
            return self.make_ready(range, now);
        }
        let exception = Exception {
            due,
            ..Exception::default()
        };
        self.set_exception(range.clone(), exception);
        self.delayed.insert(due, range);
    }

    /// Without a verdict they wait for one.
    fn judge_arrived(
        &mut self,
        fresh: &OffsetRange,
        first: Offset,
        verdicts: &[Verdict],
        now: Timestamp,
    ) {
        let mine = |verdict: &&Verdict| verdict.subscriptions.binary_search(&self.id).is_ok();
        if let Some(verdict) = verdicts.iter().find(mine) {
            let matches = verdict.matches.iter();
            let matches = matches.map(|part| first + part.first..first + part.first + part.count);
            self.judge_range(fresh, &matches.collect(), now);
        }
    }

    /// What was read and still waits for a verdict is admitted where it matches, and leaves where it
    /// does not.
    pub fn judge(&mut self, judge: &Judge, now: Timestamp) {
        let matches = judge.matches.iter().map(|range| OffsetRange::from(*range));
        let matches: RangeSet = matches.collect();
        for range in &judge.read {
            self.judge_range(&(*range).into(), &matches, now);
        }
    }

    fn judge_range(&mut self, range: &OffsetRange, matches: &RangeSet, now: Timestamp) {
        let waiting = self.unjudged.overlap(range.clone());
        let waiting: Vec<_> = waiting.map(|(part, due)| (part, *due)).collect();
        self.unjudged.remove(range.clone());
        for (part, due) in waiting {
            for hit in matches.within(part.clone()) {
                self.admit(hit, due, now);
            }
            for miss in matches.gaps(part) {
                self.filtered += miss.end - miss.start;
                self.unwatch(miss.clone());
                self.forget(miss);
            }
        }
    }

    /// What waits for a verdict.
    pub fn unjudged_ranges(&self) -> impl Iterator<Item = OffsetRange> {
        self.unjudged.iter().map(|(range, _)| range)
    }

    /// The parts within `range` that wait for a verdict, rising.
    pub fn unjudged_within(&self, range: OffsetRange) -> impl Iterator<Item = OffsetRange> {
        self.unjudged.overlap(range).map(|(range, _)| range)
    }
}
