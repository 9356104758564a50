//! What holders are told and tell: a receive asked again gets what is still held, a holder says what it
//! has begun, a consumer hears of leases about to end.

use std::collections::BTreeMap;

use siding_broker::engine::command::{Lease, Mark};
use siding_broker::engine::effect::Expiring;
use siding_protocol::types::{Grant, OffsetRange};

use super::{Message, Model, Place};

/// A receive by its subscription and name.
pub type Named = (u64, Vec<u8>);

/// What somebody must get who asks again: messages with their attempts, under a grant.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// As before.
    pub grant: Grant,
    /// What of it is held.
    pub messages: Vec<(u64, u32)>,
    /// The gap that was told with it.
    pub gap: Option<OffsetRange>,
}

/// What receives that named themselves were given.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Handed over, and the lease not applied.
    fresh: BTreeMap<Named, Again>,
    /// The newest lease, and until when it is given again.
    leased: BTreeMap<Named, (Grant, u64, Option<OffsetRange>)>,
}

impl Given {
    pub(super) fn hand_over(&mut self, named: Named, again: Again) {
        self.fresh.insert(named, again);
    }

    pub(super) fn lease(&mut self, lease: &Lease, now: u64) {
        if !lease.request_id.is_empty() {
            let named = (lease.subscription, lease.request_id.clone());
            let is_it = |given: &Again| given.grant == lease.grant();
            if self.fresh.get(&named).is_some_and(is_it) {
                self.fresh.remove(&named);
            }
            let gap = lease.gap.map(OffsetRange::from);
            self.leased
                .insert(named, (lease.grant(), now + 60_000, gap));
        }
    }
}

impl Model {
    /// What a receive gets at `now` that has this name; `None`: what is ready.
    pub fn again(&self, named: &Named, now: u64) -> Option<Again> {
        if named.1.is_empty() {
            return None;
        }
        let subscription = self.subscriptions.get(&named.0)?;
        if let Some(fresh) = self.readers.given.fresh.get(named) {
            let mut again = fresh.clone();
            let is_ready = |found: &Message| found.place == Place::Ready;
            let messages = &subscription.messages;
            again
                .messages
                .retain(|(offset, _)| messages.get(offset).is_some_and(is_ready));
            return (!again.messages.is_empty()).then_some(again);
        }
        let (grant, until, gap) = self.readers.given.leased.get(named)?.clone();
        let held = subscription.messages.iter().filter(
            |(_, message)| matches!(message.place, Place::Leased { grant: held, .. } if held == grant),
        );
        let messages: Vec<_> = held
            .map(|(offset, message)| (*offset, message.attempts + 1))
            .collect();
        (now < until && !messages.is_empty()).then_some(Again {
            grant,
            messages,
            gap,
        })
    }

    /// A holder has begun what it still holds.
    pub(super) fn mark(&mut self, mark: &Mark) {
        let Some(subscription) = self.subscriptions.get_mut(&mark.subscription) else {
            return;
        };
        let ranges = mark.ranges.iter();
        for offset in ranges.flat_map(|range| range.first..range.first + range.count) {
            if let Some(message) = subscription.messages.get_mut(&offset)
                && let Place::Leased { grant, begun, .. } = &mut message.place
                && *grant == mark.grant()
            {
                *begun = true;
            }
        }
    }

    /// What a consumer is told to expire is leased to it until then.
    pub(super) fn check_expiring(&self, expiring: &Expiring) {
        let who = (expiring.session, expiring.consumer);
        let consumer = self.readers.consumers.get(&who).expect("attached");
        let subscription = self.subscriptions.get(&consumer.subscription);
        let messages = subscription.expect("it is read").messages.iter();
        let leased = messages.filter(|(_, message)| {
            matches!(message.place, Place::Leased { grant, deadline, .. }
                if (grant, deadline) == (expiring.grant, expiring.deadline.0))
        });
        let leased: Vec<_> = leased.map(|(offset, _)| *offset).collect();
        let told: Vec<_> = expiring.ranges.iter().cloned().flatten().collect();
        assert_eq!(leased, told, "what expires");
    }

    /// A broker was down.
    pub(super) fn lengthen_leases(&mut self, downtime: u64) {
        let subscriptions = self.subscriptions.values_mut();
        for message in subscriptions.flat_map(|found| found.messages.values_mut()) {
            if let Place::Leased {
                deadline,
                visibility_timeout_ms,
                hold_until,
                ..
            } = &mut message.place
            {
                let more = downtime.min(*visibility_timeout_ms);
                *deadline += more;
                if *hold_until > 0 {
                    *hold_until += more;
                }
            }
        }
    }
}
