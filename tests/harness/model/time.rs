//! What time does: leases and delays end, topics age, dead letters go or come back.

use siding_protocol::types::Grant;

use super::settle::Back;
use super::{Model, Place};

impl Model {
    /// Leases and delays end, topics age; what comes first comes first.
    pub(super) fn pass_time(&mut self) {
        while let Some((at, log)) = self.first_aging() {
            self.pass_time_until(at - 1);
            self.retain(log, at);
        }
        self.pass_time_until(self.now);
        self.note_left();
        self.let_go_by_age();
    }

    /// What is due by then happens now.
    pub(super) fn pass_time_until(&mut self, until: u64) {
        let now = self.now;
        let ids: Vec<_> = self.subscriptions.keys().copied().collect();
        for id in ids {
            while let Some(due) = self.subscriptions.get(&id).and_then(|one| one.due(until)) {
                self.lapse(id, false, |_, deadline| deadline <= due);
                let Some(subscription) = self.subscriptions.get_mut(&id) else {
                    break;
                };
                for message in subscription.messages.values_mut() {
                    if matches!(message.place, Place::Delayed(at, _) if at <= due) {
                        self.coverage.note("time", Some(message), 0);
                        (message.place, message.ready_since) = (Place::Ready, now);
                        message.holds_key = false;
                    }
                }
                let log = self.logs.get(&subscription.log).expect("its log");
                subscription.expire(due, log, now);
                subscription.outlive(due, now);
                subscription.forget_redriven();
                if subscription.slice_due(due) {
                    subscription.redrive_slice(now);
                }
            }
            if let Some(subscription) = self.subscriptions.get_mut(&id) {
                subscription.forget_old_records(until);
            }
        }
    }

    /// Ends leases without a settle, the earliest first: an attempt is charged.
    pub(super) fn lapse(&mut self, id: u64, marks: bool, ends: impl Fn(Grant, u64) -> bool) {
        let now = self.now;
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        let log = self.logs.get(&subscription.log).expect("its log");
        let mut ended = Vec::new();
        for (offset, message) in &subscription.messages {
            if let Place::Leased {
                grant,
                deadline,
                begun,
                ..
            } = message.place
                && ends(grant, deadline)
            {
                ended.push((deadline, grant, *offset, marks && !begun));
            }
        }
        ended.sort_unstable();
        for (_, grant, offset, acquired) in ended {
            let message = subscription.messages.get(&offset);
            self.coverage.note("lapse", message, 0);
            let back = Back {
                charged: !acquired,
                delay_ms: acquired.then_some(0),
                lapsed: Some(grant),
            };
            if acquired && subscription.acquired(offset, grant, log, now) {
                continue;
            }
            subscription.come_back(offset, back, log, now);
        }
        subscription.forget_redriven();
    }
}
