//! What a log keeps, and for how long: retention of topics, and of what a queue has settled.

use std::collections::{BTreeMap, BTreeSet};

use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use super::effect::{Effect, Effects};
use super::log::{Kind, Log};
use super::state::State;
use super::subscription::Subscription;
use super::touched::Touched;

impl State {
    /// Time passes for a log, until what is due by then; what ends later may come in between.
    pub(super) fn age(
        &mut self,
        id: u64,
        due: Timestamp,
        effects: &mut Effects,
        touched: &mut Touched,
    ) {
        let mut evicted = Vec::new();
        if let Some(log) = self.logs.get_mut(&id) {
            // What goes may have kept the next of its key from going.
            touched.extend(log.subscriptions.iter().copied());
            if log.retain(&mut self.subscriptions, due, effects) {
                evicted.clone_from(&log.subscriptions);
            }
            log.let_go(due, effects);
            log.forget_ids(self.now);
        }
        for subscription in evicted {
            self.rearm(subscription);
        }
        self.rearm(id);
    }
}

impl Log {
    /// When time next takes something from it, or it has ids to forget.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let ids = self.dedup.next_due(self.dedup_window_ms());
        let kept = self.ages_at().into_iter().chain(self.kept_until());
        kept.chain(ids).min()
    }

    /// When the oldest extent has been kept long enough.
    fn ages_at(&self) -> Option<Timestamp> {
        let Kind::Topic(settings) = &self.kind else {
            return None;
        };
        let oldest = self.extents.get(self.passed())?;
        Some(oldest.last_at.plus_ms(settings.retention_ms))
    }

    /// Where a place said by an instant is: the first extent with a message published at or after it.
    pub fn first_since(&self, at: Timestamp) -> Offset {
        let before = self.extents.partition_point(|extent| extent.last_at < at);
        self.extents
            .get(before)
            .map_or(self.end, |extent| extent.first)
    }

    /// Extents below `start`, which a subscription holds.
    fn passed(&self) -> usize {
        let start = self.start;
        self.extents.partition_point(|extent| extent.first < start)
    }

    /// Topic: lets the oldest extents go until retention is kept. What a subscription holds leased,
    /// delayed or dead stays until it lets go. For their bytes alone the newest ones stay. Says whether
    /// any went: what waits in its subscriptions may be due at other times then.
    pub(super) fn retain(
        &mut self,
        subscriptions: &mut BTreeMap<u64, Subscription>,
        now: Timestamp,
        effects: &mut Effects,
    ) -> bool {
        let Kind::Topic(settings) = &self.kind else {
            return false;
        };
        let (retention_bytes, retention_ms) = (settings.retention_bytes, settings.retention_ms);
        let start = self.start;
        for extent in self.extents.iter().skip(self.passed()) {
            let is_old = extent.last_at.plus_ms(retention_ms) <= now;
            let is_much = self.bytes > retention_bytes && extent.end() != self.end;
            if !is_old && !is_much {
                break;
            }
            self.start = extent.end();
            self.messages -= u64::from(extent.count);
            self.bytes -= u64::from(extent.bytes);
        }
        if self.start == start {
            return false;
        }
        self.lost.remove(0..self.start);
        for id in &self.subscriptions {
            if let Some(subscription) = subscriptions.get_mut(id) {
                subscription.evict(start..self.start);
                effects.note_end(*id, start..self.start);
            }
        }
        self.sweep(std::iter::once(0..Offset::MAX), subscriptions, effects);
        true
    }

    /// Topic: discards extents below `start`, of those that `left` touches, that no subscription holds
    /// any more.
    pub(super) fn sweep(
        &mut self,
        left: impl Iterator<Item = OffsetRange>,
        subscriptions: &BTreeMap<u64, Subscription>,
        effects: &mut Effects,
    ) {
        let (log, passed) = (self.id, self.passed());
        if passed == 0 {
            return;
        }
        let holders = || {
            self.subscriptions
                .iter()
                .filter_map(|id| subscriptions.get(id))
        };
        let mut gone = BTreeSet::new();
        for range in left {
            let from = self.extent_at(range.start);
            let extents = self.extents.iter().take(passed).skip(from);
            let extents = extents.take_while(|extent| extent.first < range.end);
            let free = extents.filter(|extent| {
                let range = extent.range();
                !holders().any(|subscription| subscription.keeps(&range))
            });
            gone.extend(free.map(|extent| extent.first));
        }
        if gone.is_empty() {
            return;
        }
        let mut kept: Vec<_> = self.extents.drain(..passed).collect();
        for extent in kept.extract_if(.., |extent| gone.contains(&extent.first)) {
            let range = extent.range();
            effects.push(Effect::Discard { log, range });
        }
        let kept = kept.into_iter().rev();
        kept.for_each(|extent| self.extents.push_front(extent));
    }
}

impl Subscription {
    /// Whether it still needs bodies of `range`; what comes back from a lease below the log's start
    /// is ready there.
    fn keeps(&self, range: &OffsetRange) -> bool {
        self.holds(range)
            || self.ready.within(range.clone()).next().is_some()
            || self.held_back_within(range.clone()).next().is_some()
    }
}
