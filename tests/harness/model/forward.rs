//! Messages that go elsewhere on their own.

use siding_broker::engine::command::Forward;
use siding_protocol::refusal::State;

use super::dedup::{Accepted, Asked};
use super::{Model, Place};
use crate::model::filters::offsets;

impl Model {
    /// All of them leave one subscription and arrive in a log with the same words; or nothing happens.
    pub(super) fn forward(&mut self, forward: &Forward) {
        let run = self.runs.pop_front().expect("the run of a forward");
        let accepted = Accepted::whole(&run);
        let Some(subscription) = self.subscriptions.get(&forward.subscription) else {
            return;
        };
        let is_there = offsets(&forward.ranges).all(|offset| {
            let message = subscription.messages.get(&offset);
            message.is_some_and(|message| {
                if forward.dead {
                    message.state() == State::Dead
                } else {
                    message.place == Place::Ready
                }
            })
        });
        let publish = &forward.publish;
        let (messages, bytes) = publish.size();
        let asked = Asked::room(messages.into(), bytes);
        let is_known = self.logs.contains_key(&publish.log);
        if !is_there || !is_known || self.could_store(publish.log, &asked).is_err() {
            return;
        }
        let log = self.logs.get(&subscription.log).expect("its log");
        let words = offsets(&forward.ranges).map(|offset| log.routing_keys.get(&offset));
        let arriving = accepted.said.iter().map(|said| Some(&said.routing_key));
        assert!(words.eq(arriving), "other messages arrive than leave");
        let subscription = self.subscriptions.get_mut(&forward.subscription);
        let subscription = subscription.expect("found above");
        for offset in offsets(&forward.ranges) {
            subscription.messages.remove(&offset);
            subscription.forwarded += 1;
        }
        subscription.forget_redriven();
        self.make_room(publish.log, &asked);
        self.store(publish, &accepted);
    }

    /// Whether what goes to one name comes to another, following every forward.
    pub(super) fn reaches(&self, from: &str, to: &str, depth: usize) -> bool {
        let forwards = |name: &str| {
            let subscriptions = self.subscriptions.values();
            let of = subscriptions.filter(|found| {
                let log = self.logs.get(&found.log);
                log.is_some_and(|log| log.name == name)
            });
            let targets = of.map(|found| found.settings.forward_to.clone());
            targets
                .filter(|target| !target.is_empty())
                .collect::<Vec<_>>()
        };
        !from.is_empty()
            && (from == to
                || (depth < 8
                    && forwards(from)
                        .iter()
                        .any(|next| self.reaches(next, to, depth + 1))))
    }
}
