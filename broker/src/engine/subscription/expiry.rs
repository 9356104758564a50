//! Messages that are of no use any more when their time has passed.
//!
//! What waits is watched; what is leased is not, so it never expires: whoever began it may end it. Dead
//! letters are past it.

use siding_protocol::refusal::State;
use siding_protocol::settings::OnExpired;
use siding_protocol::types::{OffsetRange, Timestamp};

use super::{Attributes, Context, Reason, Subscription};
use crate::engine::log::Change;

impl Attributes {
    /// Whether they can expire.
    fn ends(&self) -> bool {
        self.expires_at > Timestamp(0)
    }

    /// Whether they have expired.
    fn has_ended(&self, now: Timestamp) -> bool {
        self.ends() && self.expires_at <= now
    }
}

impl Subscription {
    /// `range` begins to wait.
    pub(super) fn watch(&mut self, range: OffsetRange) {
        for (part, attributes) in self.attributes.overlap(range) {
            if attributes.ends() {
                self.expiries.insert(attributes.expires_at, part);
            }
        }
    }

    /// `range` waits no longer.
    pub(super) fn unwatch(&mut self, range: OffsetRange) {
        if self.expiries.count() == 0 {
            return;
        }
        for (part, attributes) in self.attributes.overlap(range) {
            if attributes.ends() {
                self.expiries.remove(attributes.expires_at, &part);
            }
        }
    }

    /// Ends what of `range`, in nobody's hands, has expired meanwhile; returns the rest.
    pub(super) fn end_expired(
        &mut self,
        range: OffsetRange,
        context: &mut Context<'_>,
    ) -> Vec<OffsetRange> {
        let now = context.now;
        let ended = self.attributes.overlap(range.clone());
        let ended = ended.filter(|(_, attributes)| attributes.has_ended(now));
        let ended: Vec<_> = ended.map(|(part, _)| part).collect();
        let mut rest = Vec::new();
        let mut at = range.start;
        for part in ended {
            rest.push(at..part.start);
            at = part.end;
            self.end(part, context);
        }
        rest.push(at..range.end);
        rest.retain(|part| !part.is_empty());
        rest
    }

    /// Ends what waits and is due to expire; one entry of the timeline.
    pub fn expire(&mut self, range: OffsetRange, context: &mut Context<'_>) {
        self.withdraw(range.clone());
        self.end(range, context);
    }

    fn end(&mut self, range: OffsetRange, context: &mut Context<'_>) {
        if self.settings.on_expired() == OnExpired::Dead {
            return self.die_waiting(range, Reason::Expired, context);
        }
        self.conclude(range.clone(), State::Expired, context);
        self.expired += range.end - range.start;
        context.changes.push(Change::Gone(range));
    }

    /// Whoever brings messages back wants them delivered: they do not expire any more.
    pub(super) fn stop_expiring(&mut self, range: OffsetRange) {
        let parts = self.attributes.overlap(range);
        let parts: Vec<_> = parts
            .map(|(part, attributes)| (part, *attributes))
            .collect();
        for (part, attributes) in parts {
            let expires_at = Timestamp(0);
            self.set_attributes(
                part,
                Attributes {
                    expires_at,
                    ..attributes
                },
            );
        }
    }

    /// What waits and has expired, although no entry has said so yet.
    pub fn expired_at(&self, now: Timestamp) -> impl Iterator<Item = OffsetRange> {
        let due = self.expiries.iter();
        let due = due.take_while(move |(at, _)| *at <= now);
        due.map(|(_, range)| range)
    }
}
