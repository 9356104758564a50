//! What is done about bodies that cannot be read: their log is fenced, and no other.
//!
//! A fence is volatile: a restart tries again, and whoever reads what is damaged still raises it anew.

use std::collections::BTreeSet;

use siding_protocol::types::OffsetRange;

use super::Engine;
use super::log::{Kind, Log};
use super::runs::RangeSet;
use super::state::State;
use super::subscription::Subscription;

/// Logs of which nothing is handed over.
#[derive(Clone, Debug, Default)]
pub struct Fences(BTreeSet<u64>);

impl Fences {
    /// Whether nothing of a log is handed over.
    pub fn hold(&self, log: u64) -> bool {
        self.0.contains(&log)
    }
}

impl Engine {
    /// Hands over nothing more of a log, nor forwards it: what follows a message that cannot be read is
    /// not given as if nothing were missing. Everything else goes on, and so do all other logs.
    pub fn fence(&mut self, log: u64) {
        self.volatile.fences.0.insert(log);
    }

    /// Whether nothing of the log that a subscription reads is handed over.
    pub(super) fn is_fenced(&self, subscription: u64) -> bool {
        let found = self.state.subscriptions.get(&subscription);
        found.is_some_and(|found| self.volatile.fences.hold(found.log))
    }
}

impl State {
    /// A queue or topic as people call it; `None`: it is gone.
    pub fn name_of(&self, log: u64) -> Option<&str> {
        self.logs.get(&log).map(|log| log.name.as_str())
    }

    /// Messages of `range` that somebody may still ask for.
    pub fn needed(&self, log: u64, range: &OffsetRange) -> RangeSet {
        let Some(log) = self.logs.get(&log) else {
            return RangeSet::default();
        };
        let readers = log.subscriptions.iter();
        let readers = readers.filter_map(|id| self.subscriptions.get(id));
        let held = readers.map(|reader| reader.held_within(range.clone()));
        let mut needed: RangeSet = held
            .flat_map(|held| held.ranges().collect::<Vec<_>>())
            .collect();
        if let Some(kept) = log.kept_within(range) {
            needed.add(kept);
        }
        needed
    }
}

impl Log {
    /// What of `range` a topic keeps for whoever comes.
    fn kept_within(&self, range: &OffsetRange) -> Option<OffsetRange> {
        let kept = range.start.max(self.start)..range.end.min(self.end);
        let is_topic = matches!(self.kind, Kind::Topic(_));
        (is_topic && kept.start < kept.end).then_some(kept)
    }
}

impl Subscription {
    /// What of `range` has not left: waiting, in the hands of a consumer, or dead.
    pub(super) fn held_within(&self, range: OffsetRange) -> RangeSet {
        let mut held = self.waiting_within(range.clone());
        let dead = self.dead.overlap(range.clone()).map(|(part, _)| part);
        let leased = self.leases.values();
        let leased = leased.flat_map(|lease| lease.ranges.overlap(range.clone()));
        let leased = leased.map(|(part, _)| part);
        dead.chain(leased).for_each(|part| held.add(part));
        held
    }
}
