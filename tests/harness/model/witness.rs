//! What the model watches of a stage.

use siding_broker::engine::Engine;
use siding_broker::engine::command::Entry;
use siding_broker::engine::effect::{Delivery, Expiring};
use siding_broker::engine::read::Body;
use siding_protocol::types::{Grant, Timestamp};

use super::{Model, line};
use crate::bodies::Bodies;
use crate::stage::{Outcome, Witness};

impl Witness for Model {
    fn applied(&mut self, engine: &Engine, entry: &Entry, outcomes: &[Outcome], bodies: &Bodies) {
        let judged = self.apply(entry);
        self.taking.assert_told();
        self.compare_outcomes(&judged, outcomes, entry);
        self.compare_state(engine.state());
        self.compare_schedules(engine.state());
        self.compare_bodies(bodies);
    }

    fn choosing(&mut self, delivery: &Delivery, now: Timestamp) {
        self.delivered(delivery, now);
        self.taking.choose(delivery);
    }

    fn chosen(&mut self, delivery: &Delivery, bodies: &[Body]) {
        self.read_to_take(delivery, bodies);
    }

    fn delivered_read(&mut self, delivery: &Delivery) {
        self.taking.tell(delivery);
    }

    fn delivered(&mut self, delivery: &Delivery, now: Timestamp) {
        let subscription = self.subscriptions.get(&delivery.subscription);
        let reserved = |offset| self.readers.is_reserved(delivery.subscription, offset);
        let line = subscription.map(|found| found.line(now.0, reserved));
        let paused = subscription.is_some_and(|found| found.paused);
        // Who asks again gets what it was given before the pause.
        let is_new = !delivery.ranges.is_empty() && !self.readers.asks_again(delivery);
        assert!(!is_new || !paused, "handed over although paused");
        let gaps = subscription.map(|found| found.gaps.clone());
        self.readers.told(delivery, &gaps.unwrap_or_default());
        let turns = line::in_turn(line.unwrap_or_default());
        self.assert_carries(delivery);
        self.readers.delivered(delivery, &turns, self.term);
    }

    fn cancelling(&mut self, who: (u64, u32), held: (Grant, u64)) {
        let told = self.readers.consumers.get(&who).expect("attached");
        assert!(told.held.contains(&held), "it does not hold it");
    }

    fn expiring(&mut self, expiring: &Expiring) {
        self.check_expiring(expiring);
    }

    fn dispatched(&mut self, engine: &Engine, now: Timestamp) {
        for (id, subscription) in &self.subscriptions {
            if subscription.paused {
                continue;
            }
            let reserved = |offset| self.readers.is_reserved(*id, offset);
            let line = subscription.line(now.0, reserved).into_iter();
            self.readers
                .assert_served(*id, line.map(|candidate| candidate.offset));
        }
        self.readers.dispatched();
        self.compare_explanation(engine, now.0);
    }

    fn restarted(&mut self) {
        let coverage = std::mem::take(&mut self.coverage);
        *self = Self {
            coverage,
            ..Self::default()
        };
    }
}
