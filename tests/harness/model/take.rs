//! What a hand-over means that is settled first: nothing until it is settled, then everything or, for
//! whoever is gone by then, nothing.

use std::collections::BTreeMap;

use siding_broker::engine::command::{SettleKind, Take};
use siding_broker::engine::effect::{DeliverTo, Delivery};
use siding_broker::engine::read::Body;
use siding_protocol::event::{SettleOutcome, SettleOutcomeKind, Settled};
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::types::Grant;

use super::names::gone;
use super::{Model, Place};

/// Hand-overs that are settled first.
#[derive(Clone, Debug, Default)]
pub(super) struct Taking {
    /// Chosen, and not settled.
    chosen: BTreeMap<Grant, Delivery>,
    /// What the engine says leaves with the entry that the model sees next.
    told: BTreeMap<Grant, Delivery>,
}

impl Taking {
    pub(super) fn choose(&mut self, delivery: &Delivery) {
        assert_eq!(delivery.deadline.0, 0, "there is no lease");
        self.chosen.insert(delivery.grant, delivery.clone());
    }

    pub(super) fn tell(&mut self, delivery: &Delivery) {
        let before = self.told.insert(delivery.grant, delivery.clone());
        assert!(before.is_none(), "{} is handed over twice", delivery.grant);
    }

    /// Everything that left was settled by this entry.
    pub(super) fn assert_told(&self) {
        assert!(self.told.is_empty(), "not settled: {:?}", self.told);
    }
}

impl Model {
    /// Whether its consumer is still the one that it was chosen for.
    fn is_wanted(&self, delivery: &Delivery) -> bool {
        let DeliverTo::Consumer { session, consumer } = delivery.to else {
            panic!("only consumers are acked on delivery");
        };
        let found = self.readers.consumers.get(&(session, consumer));
        let mut held = found.into_iter().flat_map(|found| &found.held);
        held.any(|(grant, _)| *grant == delivery.grant)
    }

    /// What cannot be settled any more is for others again.
    pub(super) fn read_to_take(&mut self, delivery: &Delivery, bodies: &[Body]) {
        let id = delivery.subscription;
        let found = self.subscriptions.get(&id);
        let is_wanted = self.is_wanted(delivery) && found.is_some_and(|found| !found.paused);
        let came = |offset: &u64| {
            let holds =
                |body: &Body| (body.first..body.first + u64::from(body.count)).contains(offset);
            is_wanted && bodies.iter().any(holds)
        };
        let offsets = delivery.ranges.iter().flat_map(|(range, _)| range.clone());
        let (left, given_up): (Vec<_>, Vec<_>) = offsets.partition(came);
        for offset in given_up {
            self.readers.unreserve(id, offset);
            self.readers.give_back(delivery.grant, offset);
        }
        if left.is_empty() {
            self.taking.chosen.remove(&delivery.grant);
            for offset in delivery.gap.iter().flat_map(Clone::clone) {
                self.readers.forget_told(id, offset);
            }
        }
    }

    pub(super) fn take(&mut self, take: &Take) -> Result<Settled, Refusal> {
        let (id, grant, now) = (take.subscription, take.grant(), self.now);
        let chosen = self.taking.chosen.remove(&grant);
        let told = self.taking.told.remove(&grant);
        for offset in take
            .gap
            .iter()
            .flat_map(|gap| gap.first..gap.first + gap.count)
        {
            self.readers.forget_told(id, offset);
            if let Some(found) = self.subscriptions.get_mut(&id) {
                found.gaps.remove(&offset);
            }
        }
        let chosen = chosen.filter(|delivery| self.is_wanted(delivery));
        let found = self.subscriptions.get_mut(&id).ok_or_else(gone)?;
        let mut done = Settled::default();
        let mut taken = Vec::new();
        let ranges = take.ranges.iter();
        for offset in ranges.flat_map(|range| range.first..range.first + range.count) {
            self.readers.unreserve(id, offset);
            let message = found.messages.get(&offset);
            let is_ready = message.is_some_and(|message| message.place == Place::Ready);
            let key = message.and_then(|message| message.key);
            let is_held = key.is_some_and(|key| found.holder(key).is_some());
            if is_ready && !is_held && !found.paused {
                found.end(offset, State::Settled, now);
                found.settled += 1;
                found.done.push((grant, offset, SettleKind::Ack.into()));
                done.settled += 1;
                taken.push(offset);
                continue;
            }
            self.readers.give_back(grant, offset);
            match done.outcomes.last_mut() {
                Some(last) if last.range.end == offset => last.range.end += 1,
                _ => done.outcomes.push(SettleOutcome {
                    range: offset..offset + 1,
                    kind: SettleOutcomeKind::LeaseLost(State::Settled),
                }),
            }
        }
        assert_leaves(chosen, told, &taken);
        Ok(done)
    }
}

/// Who chose it gets all that was settled of it, in the order of their turn, and nobody else does.
fn assert_leaves(chosen: Option<Delivery>, told: Option<Delivery>, taken: &[u64]) {
    let Some(mut chosen) = chosen else {
        return assert_eq!(told, None, "its consumer is gone");
    };
    let messages = |delivery: &Delivery| -> Vec<_> {
        let ranges = delivery.ranges.iter();
        let offsets = ranges.flat_map(|(range, attempt)| range.clone().map(|at| (at, *attempt)));
        offsets.filter(|(at, _)| taken.contains(at)).collect()
    };
    let expected = messages(&chosen);
    if expected.is_empty() && chosen.gap.is_none() {
        return assert_eq!(told, None, "nothing was settled");
    }
    let mut told = told.expect("what was settled is handed over");
    assert_eq!(messages(&told), expected);
    chosen.checkpoints.retain(|(at, _)| taken.contains(at));
    (chosen.ranges, told.ranges) = (Vec::new(), Vec::new());
    assert_eq!(told, chosen);
}
