//! What filters say, message by message; only of the few that lives use.

use std::collections::BTreeMap;

use siding_broker::engine::command::{Judge, LoggedRange, Publish};

use super::{Message, Model, Place, Subscription};

/// The filters of lives.
pub const FILTERS: [&str; 3] = ["", "routing_key matches a.*", "not routing_key exists"];

/// Whether a message with this routing key passes.
fn passes(filter: &str, routing_key: &str) -> bool {
    match filter {
        "" => true,
        "routing_key matches a.*" => {
            routing_key.starts_with("a.") && routing_key.matches('.').count() == 1
        }
        "not routing_key exists" => routing_key.is_empty(),
        other => panic!("the model does not know {other}"),
    }
}

pub(super) fn offsets(ranges: &[LoggedRange]) -> impl Iterator<Item = u64> {
    let ranges = ranges.iter();
    ranges.flat_map(|range| range.first..range.first + range.count)
}

impl Model {
    /// Judges every message that is named and waits for it, by what it says itself.
    pub(super) fn judge_stored(&mut self, judge: &Judge) {
        let now = self.now;
        let Some(subscription) = self.subscriptions.get_mut(&judge.subscription) else {
            return;
        };
        let Some(log) = self.logs.get(&subscription.log) else {
            return;
        };
        for offset in offsets(&judge.read) {
            subscription.judge(offset, &log.routing_keys, now);
        }
    }
}

impl Subscription {
    /// A message that is new to it: it waits for a verdict if there is a filter.
    pub(super) fn welcome(&self, mut message: Message) -> Message {
        if !self.settings.filter.is_empty() {
            let due = match message.place {
                Place::Delayed(due, _) => due,
                _ => 0,
            };
            message.place = Place::Unjudged(due);
        }
        message
    }

    /// A publish says what its filter says of it, or nothing.
    pub(super) fn judge_published(
        &mut self,
        id: u64,
        publish: &Publish,
        routing_keys: &BTreeMap<u64, String>,
        (fresh, now): (impl Iterator<Item = u64>, u64),
    ) {
        let mut verdicts = publish.verdicts.iter();
        if verdicts.any(|verdict| verdict.subscriptions.contains(&id)) {
            fresh.for_each(|offset| self.judge(offset, routing_keys, now));
        }
    }

    fn judge(&mut self, offset: u64, routing_keys: &BTreeMap<u64, String>, now: u64) {
        let Some(message) = self.messages.get_mut(&offset) else {
            return;
        };
        let Place::Unjudged(due) = message.place else {
            return;
        };
        let routing_key = routing_keys.get(&offset).expect("it was published");
        if !passes(&self.settings.filter, routing_key) {
            self.messages.remove(&offset);
            self.filtered += 1;
        } else if due > now {
            message.place = Place::Delayed(due, due);
        } else {
            (message.place, message.ready_since) = (Place::Ready, now);
        }
    }
}
