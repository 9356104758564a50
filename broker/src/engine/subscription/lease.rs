//! Leases: who holds what until when, and how that ends.

use siding_protocol::types::{Grant, OffsetRange, Timestamp};

use super::{Comeback, Context, Subscription};
use crate::engine::planted::Bug;
use crate::engine::runs::RangeMap;

/// The exclusive right to delivered messages until a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is still held, each until its deadline.
    pub ranges: RangeMap<Timestamp>,
    /// What the deadlines were reckoned with, ms.
    pub visibility_timeout_ms: u64,
    /// The client instance.
    pub holder: String,
}

impl Lease {
    fn earliest(&self) -> Option<Timestamp> {
        self.ranges.iter().map(|(_, deadline)| *deadline).min()
    }
}

impl Subscription {
    /// Leases what of `ranges` is still ready; old grants are fenced from here on.
    pub fn lease(
        &mut self,
        grant: Grant,
        ranges: impl Iterator<Item = OffsetRange>,
        deadline: Timestamp,
        mut lease: Lease,
    ) {
        for range in ranges {
            self.step_forward(range.clone());
            let parts: Vec<_> = self.ready.within(range).collect();
            for part in parts {
                self.unready(part.clone());
                if !self.planted.has(Bug::TtlOnALeasedMessage) {
                    self.unwatch(part.clone());
                }
                if !self.planted.has(Bug::StaleGrantAccepted) {
                    self.lapsed.remove(part.clone());
                }
                self.jobs.cancels.remove(part.clone());
                lease.ranges.insert(part, deadline);
            }
        }
        self.put_lease(grant, lease);
    }

    /// Changes one lease; what has no ranges left is gone.
    fn edit_lease(&mut self, grant: Grant, edit: impl FnOnce(&mut Lease)) {
        if let Some(mut lease) = self.remove_lease(grant) {
            edit(&mut lease);
            self.put_lease(grant, lease);
        }
    }

    fn remove_lease(&mut self, grant: Grant) -> Option<Lease> {
        let lease = self.leases.remove(&grant)?;
        self.leased -= lease.ranges.count();
        if let Some(deadline) = lease.earliest() {
            self.deadlines.remove(&(deadline, grant));
        }
        Some(lease)
    }

    pub(super) fn put_lease(&mut self, grant: Grant, lease: Lease) {
        if let Some(deadline) = lease.earliest() {
            self.leased += lease.ranges.count();
            self.deadlines.insert((deadline, grant));
            self.leases.insert(grant, lease);
        }
    }

    /// Takes ranges, which the grant holds, out of its lease.
    pub fn take_from_lease(&mut self, grant: Grant, ranges: impl Iterator<Item = OffsetRange>) {
        self.edit_lease(grant, |lease| {
            for range in ranges {
                lease.ranges.remove(range);
            }
        });
    }

    /// Sets until when the grant holds ranges, which it does hold.
    pub fn set_deadline(
        &mut self,
        grant: Grant,
        ranges: impl Iterator<Item = OffsetRange>,
        deadline: Timestamp,
    ) {
        self.edit_lease(grant, |lease| {
            ranges.for_each(|range| lease.ranges.insert(range, deadline));
        });
    }

    /// The lease with the earliest deadline.
    pub fn first_deadline(&self) -> Option<(Timestamp, Grant)> {
        self.deadlines.first().copied()
    }

    /// Ends what of a lease is due by `until`, without a settle; its messages come back charged.
    pub fn lapse(&mut self, grant: Grant, until: Timestamp, context: &mut Context<'_>) {
        let mut ended = Vec::new();
        self.edit_lease(grant, |lease| {
            let due = lease
                .ranges
                .iter()
                .filter(|(_, deadline)| **deadline <= until);
            ended.extend(due.map(|(range, _)| range));
            for range in &ended {
                lease.ranges.remove(range.clone());
            }
        });
        let comeback = Comeback {
            charged: true,
            delay_ms: None,
            lapsed: Some(grant),
        };
        for range in ended {
            self.come_back(range, comeback, context);
        }
    }

    /// Lengthens every lease by `downtime_ms`, at most by what it was reckoned with.
    pub fn lengthen_leases(&mut self, downtime_ms: u64) {
        let grants: Vec<_> = self.leases.keys().copied().collect();
        for grant in grants {
            self.edit_lease(grant, |lease| {
                let more = downtime_ms.min(lease.visibility_timeout_ms);
                let longer = lease
                    .ranges
                    .iter()
                    .map(|(range, at)| (range, at.plus_ms(more)));
                lease.ranges = longer.collect();
            });
        }
    }
}
