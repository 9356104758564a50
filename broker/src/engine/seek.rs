//! A subscription is moved: it reads again, or passes over.

use std::collections::{BTreeMap, BTreeSet};

use siding_protocol::event::Answer;
use siding_protocol::refusal::Refusal;
use siding_protocol::settings::{DeliverySettings, Order};
use siding_protocol::types::{Offset, Timestamp};

use super::command::{Place, Seek};
use super::effect::Effects;
use super::log::{Kind, Log};
use super::planted::Bug;
use super::state::{State, gone};
use super::subscription::Subscription;

impl State {
    /// Fences every lease, and makes everything from the place on ready again.
    pub(super) fn seek(
        &mut self,
        seek: &Seek,
        effects: &mut Effects,
        touched: &mut BTreeSet<u64>,
    ) -> Result<Answer, Refusal> {
        let id = seek.subscription;
        let subscription = self.subscriptions.get_mut(&id).ok_or_else(gone)?;
        let log = self.logs.get_mut(&subscription.log).ok_or_else(gone)?;
        if matches!(log.kind, Kind::Queue(_)) {
            let why = "a queue that keeps nothing it has settled cannot be sought back";
            return Err(Refusal::malformed("address", why));
        }
        let place = log.offset_of(seek.place);
        refuse_keyed_past(&subscription.settings, place, log)?;
        subscription.start_over(place, log.end, self.now);
        log.sweep(&self.subscriptions, effects);
        let count = log.end - place;
        touched.insert(id);
        self.rearm(id);
        Ok(Answer::Counted(count))
    }
}

/// The lanes of what was stored before are not known any more.
pub(super) fn refuse_keyed_past(
    settings: &DeliverySettings,
    start: Offset,
    log: &Log,
) -> Result<(), Refusal> {
    if start < log.end && settings.order() == Order::Key {
        let why = "what is ordered by key begins at the end of its topic";
        return Err(Refusal::malformed("start", why));
    }
    Ok(())
}

impl Log {
    /// The offset of a place, within what is kept.
    pub(super) fn offset_of(&self, place: Place) -> Offset {
        let said = match (place.offset, place.at_ms) {
            (Some(offset), _) => offset,
            (None, Some(at_ms)) => self.first_since(Timestamp(at_ms)),
            (None, None) => self.end,
        };
        said.clamp(self.start, self.end)
    }
}

impl Subscription {
    /// Forgets all that happened; of what the publishers said it keeps the priorities it knows.
    fn start_over(&mut self, place: Offset, end: Offset, now: Timestamp) {
        let (name, settings) = (self.name.clone(), self.settings.clone());
        let fresh = Self::new(self.id, self.log, name, settings, place);
        let before = std::mem::replace(self, fresh);
        (self.planted, self.paused) = (before.planted, before.paused);
        for plain in before.attributes.gaps(place..end) {
            self.begin(plain, now);
        }
        for (part, said) in before.attributes.overlap(place..end) {
            self.begin_with(part, said.priority, now);
        }
        if self.planted.has(Bug::SeekLeavesALease)
            && let Some((grant, lease)) = before.leases.into_iter().next_back()
        {
            for (range, _) in lease.ranges.iter() {
                self.withdraw(range);
            }
            self.restore(BTreeMap::from([(grant, lease)]), Vec::new());
        }
    }
}
