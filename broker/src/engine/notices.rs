//! Tells attached consumers that a lease is about to end: once for each deadline of a grant, when a
//! fifth of its time is left. Volatile; what it costs is counted in grants, not in messages.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use siding_protocol::types::{Grant, Timestamp};

use super::Engine;
use super::command::{Settle, SettleKind};
use super::effect::{Effect, Effects, Expiring};

/// A notice comes when one part in so many of the time is left.
const LEFT_PART: u64 = 5;

/// When which deadlines are to be told.
#[derive(Debug, Default)]
pub struct Notices {
    /// When, whose, and the deadline.
    due: BTreeSet<(Timestamp, Grant, Timestamp)>,
    /// The deadlines of a grant that are armed or told, each with when.
    by_grant: BTreeMap<Grant, BTreeMap<Timestamp, Timestamp>>,
}

impl Notices {
    /// A consumer holds something until `deadline`.
    pub fn arm(&mut self, now: Timestamp, grant: Grant, deadline: Timestamp) {
        let deadlines = self.by_grant.entry(grant).or_default();
        if let Entry::Vacant(vacant) = deadlines.entry(deadline) {
            let left = deadline.ms_since(now) / LEFT_PART;
            let at = *vacant.insert(Timestamp(deadline.0.saturating_sub(left)));
            self.due.insert((at, grant, deadline));
        }
    }

    /// The deadlines that a grant has now.
    fn rearm(&mut self, now: Timestamp, grant: Grant, deadlines: &BTreeSet<Timestamp>) {
        let Some(armed) = self.by_grant.get_mut(&grant) else {
            return;
        };
        for (deadline, at) in armed.extract_if(.., |deadline, _| !deadlines.contains(deadline)) {
            self.due.remove(&(at, grant, deadline));
        }
        for deadline in deadlines {
            self.arm(now, grant, *deadline);
        }
    }

    /// Nobody holds anything under a grant any more.
    pub fn forget(&mut self, grant: Grant) {
        for (deadline, at) in self.by_grant.remove(&grant).unwrap_or_default() {
            self.due.remove(&(at, grant, deadline));
        }
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _, _)| *at)
    }

    fn take_due(&mut self, now: Timestamp) -> Option<(Grant, Timestamp)> {
        let first = self.due.first().filter(|(at, _, _)| *at <= now)?;
        let (_, grant, deadline) = *first;
        self.due.pop_first();
        Some((grant, deadline))
    }
}

impl Engine {
    /// Tells whose leases are about to end.
    pub(super) fn tell_expiring(&mut self, now: Timestamp, effects: &mut Effects) {
        while let Some((grant, deadline)) = self.volatile.notices.take_due(now) {
            let Some(held) = self.volatile.held(grant) else {
                continue;
            };
            let (session, consumer) = (held.session, held.number);
            let subscription = self.state.subscriptions.get(&held.subscription);
            let Some(lease) = subscription.and_then(|found| found.leases.get(&grant)) else {
                continue;
            };
            let ranges = lease.ranges.iter().filter(|(_, until)| **until == deadline);
            let ranges: Vec<_> = ranges.map(|(range, _)| range).collect();
            if !ranges.is_empty() {
                effects.push(Effect::Expiring(Expiring {
                    session,
                    consumer,
                    grant,
                    ranges,
                    deadline,
                }));
            }
        }
    }

    /// An extend was applied: what it moved is told anew.
    pub(super) fn follow_extend(&mut self, settle: &Settle) {
        let grant = settle.grant();
        if settle.kind() != SettleKind::Extend || self.volatile.held(grant).is_none() {
            return;
        }
        let subscription = self.state.subscriptions.get(&settle.subscription);
        if let Some(lease) = subscription.and_then(|found| found.leases.get(&grant)) {
            let deadlines = lease.ranges.iter().map(|(_, until)| *until).collect();
            self.volatile
                .notices
                .rearm(self.state.now, grant, &deadlines);
        }
    }
}
