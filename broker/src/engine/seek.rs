//! A subscription is moved: it reads again, or passes over.

use std::collections::BTreeMap;

use siding_protocol::event::Answer;
use siding_protocol::refusal::Refusal;
use siding_protocol::settings::{DeliverySettings, Order};
use siding_protocol::types::{Offset, Timestamp};

use super::command::{Place, Seek};
use super::effect::Effects;
use super::log::{Kind, Log};
use super::planted::Bug;
use super::runs::RangeSet;
use super::state::{State, gone};
use super::subscription::Subscription;
use super::touched::Touched;

impl State {
    /// Fences every lease, and makes everything from the place on ready again.
    pub(super) fn seek(
        &mut self,
        seek: &Seek,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Result<Answer, Refusal> {
        let id = seek.subscription;
        let subscription = self.subscriptions.get_mut(&id).ok_or_else(gone)?;
        let log = self.logs.get_mut(&subscription.log).ok_or_else(gone)?;
        let (place, there_is) = match log.kind {
            Kind::Queue(_) if log.retain_settled_ms() == 0 => return Err(keeps_nothing()),
            Kind::Queue(_) => log.rewind(seek.place, self.now),
            Kind::Topic(_) => {
                let place = log.offset_of(seek.place);
                (place, std::iter::once(place..log.end).collect())
            }
        };
        refuse_keyed_past(&subscription.settings, place, log)?;
        let before = subscription.start;
        subscription.start_over(place, (&there_is, log.end), self.now);
        let everything = std::iter::once(0..Offset::MAX);
        log.sweep(everything, &self.subscriptions, effects);
        effects.note_end(id, before..log.end);
        let log = log.id;
        self.lose_again(id, effects, touched);
        touched.insert(id);
        self.rearm(id);
        self.note_kept(log);
        Ok(Answer::Counted(there_is.count()))
    }
}

fn keeps_nothing() -> Refusal {
    let why = "it keeps nothing that has left; a queue made with --retain-settled (retain_settled_ms) can be sought";
    Refusal::malformed("address", why)
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
    /// What is not there any more is a gap.
    fn start_over(&mut self, place: Offset, (there_is, end): (&RangeSet, Offset), now: Timestamp) {
        let (name, settings) = (self.name.clone(), self.settings.clone());
        let fresh = Self::new(self.id, self.log, name, settings, place);
        let before = std::mem::replace(self, fresh);
        (self.planted, self.paused) = (before.planted, before.paused);
        for hole in there_is.gaps(place..end) {
            self.evicted += hole.end - hole.start;
            self.gaps.add(hole);
        }
        for range in there_is.ranges() {
            for plain in before.attributes.gaps(range.clone()) {
                self.begin(plain, now);
            }
            for (part, said) in before.attributes.overlap(range) {
                self.begin_with(part, said.priority, now);
            }
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
