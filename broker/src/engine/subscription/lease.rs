//! Leases: who holds what until when, and how that ends.

use siding_protocol::limits::ACQUIRES_MAX;
use siding_protocol::types::{Grant, Offset, OffsetRange, Timestamp};

use super::{Comeback, Context, Reason, Subscription};
use crate::engine::planted::Bug;
use crate::engine::runs::{RangeMap, RangeSet};

/// The exclusive right to delivered messages until a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is still held, each until its deadline.
    pub ranges: RangeMap<Timestamp>,
    /// What the deadlines were reckoned with, ms.
    pub visibility_timeout_ms: u64,
    /// It is extended no further than this; 0: as far as its holder likes.
    pub hold_until: Timestamp,
    /// The client instance.
    pub holder: String,
    /// What of it the holder has begun.
    pub begun: RangeSet,
    /// The receive that it answered, if that named itself.
    pub asked: Option<Box<Asked>>,
}

/// A receive that named itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub request_id: Vec<u8>,
    /// Asked again by then it gets the same.
    pub until: Timestamp,
    /// And is told the same gap.
    pub gap: Option<OffsetRange>,
}

impl Lease {
    /// ms that it may be extended by at `now`; `None`: any.
    pub(in crate::engine) fn hold_left_ms(&self, now: Timestamp) -> Option<u64> {
        (self.hold_until > Timestamp(0)).then(|| self.hold_until.ms_since(now))
    }

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
        if let Some(asked) = &lease.asked
            && self.asked.get(&asked.request_id) == Some(&grant)
        {
            self.asked.remove(&asked.request_id);
        }
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
            if let Some(asked) = &lease.asked {
                let newest = self.asked.entry(asked.request_id.clone()).or_insert(grant);
                *newest = grant.max(*newest);
            }
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

    /// When the lease of a message ends.
    pub fn deadline_of(&self, offset: Offset) -> Option<Timestamp> {
        let mut leases = self.leases.values();
        leases.find_map(|lease| lease.ranges.get(offset).copied())
    }

    /// Messages leased.
    pub fn leased_count(&self) -> u64 {
        self.leased
    }

    /// Ends what of a lease is due by `until`, without a settle; its messages come back charged.
    pub fn lapse(&mut self, grant: Grant, until: Timestamp, context: &mut Context<'_>) {
        for range in self.take_due(grant, until) {
            self.come_back(range, charged(grant), context);
        }
    }

    /// A consumer is gone with its connection: what it held under a grant comes back charged. If its
    /// client says what it begins, the rest comes back at once and uncharged, so often.
    pub fn lose(&mut self, grant: Grant, marks_started: bool, context: &mut Context<'_>) {
        let Some(lease) = self.leases.get(&grant) else {
            return;
        };
        let begun = lease.begun.clone();
        for range in self.take_due(grant, Timestamp(u64::MAX)) {
            if !marks_started {
                self.come_back(range, charged(grant), context);
                continue;
            }
            let parts: Vec<_> = begun.within(range.clone()).collect();
            for part in parts {
                self.come_back(part, charged(grant), context);
            }
            for part in begun.gaps(range) {
                self.come_back_acquired(part, grant, context);
            }
        }
    }

    fn come_back_acquired(&mut self, range: OffsetRange, grant: Grant, context: &mut Context<'_>) {
        let uncharged = Comeback {
            charged: false,
            delay_ms: Some(0),
            lapsed: Some(grant),
        };
        let kept = self.end_asked(range, context).into_iter();
        let parts: Vec<_> = kept.flat_map(|part| self.exceptions_of(part)).collect();
        for (part, mut exception) in parts {
            exception.acquires += 1;
            self.set_exception(part.clone(), exception);
            if exception.acquires < ACQUIRES_MAX {
                self.come_back(part, uncharged, context);
            } else {
                self.lapsed.insert(part.clone(), grant);
                self.die(part, Reason::TooManyAcquires, "", context);
            }
        }
    }

    /// Notes what of its lease a holder has begun.
    pub fn mark(&mut self, grant: Grant, ranges: impl Iterator<Item = OffsetRange>) {
        if let Some(lease) = self.leases.get_mut(&grant) {
            for range in ranges {
                let held: Vec<_> = lease.ranges.overlap(range).map(|(part, _)| part).collect();
                for part in held {
                    lease.begun.add(part);
                }
            }
        }
    }

    /// What a receive of this name was given and still holds, and the gap it was told.
    pub fn asked(
        &self,
        request_id: &[u8],
        now: Timestamp,
    ) -> Option<(Grant, &Lease, Option<OffsetRange>)> {
        let grant = *self.asked.get(request_id)?;
        let lease = self.leases.get(&grant)?;
        let asked = lease.asked.as_ref()?;
        (now < asked.until).then(|| (grant, lease, asked.gap.clone()))
    }

    fn take_due(&mut self, grant: Grant, until: Timestamp) -> Vec<OffsetRange> {
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
        ended
    }

    /// Lengthens every lease by `downtime_ms`, at most by what it was reckoned with, and with it how long
    /// it may be held.
    pub fn lengthen_leases(&mut self, downtime_ms: u64) {
        let grants: Vec<_> = self.leases.keys().copied().collect();
        let planted = self.planted;
        for grant in grants {
            self.edit_lease(grant, |lease| {
                let more = downtime_ms.min(lease.visibility_timeout_ms);
                let forgotten = planted.has(Bug::LeasesEndOnRestart);
                let longer = lease.ranges.iter().map(|(range, at)| {
                    (
                        range,
                        if forgotten {
                            Timestamp(0)
                        } else {
                            at.plus_ms(more)
                        },
                    )
                });
                lease.ranges = longer.collect();
                if lease.hold_until > Timestamp(0) {
                    lease.hold_until = lease.hold_until.plus_ms(more);
                }
            });
        }
    }
}

/// How a lease ends that nobody settled.
fn charged(grant: Grant) -> Comeback {
    Comeback {
        charged: true,
        delay_ms: None,
        lapsed: Some(grant),
    }
}
