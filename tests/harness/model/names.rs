//! What creating, deleting, purging and redriving mean.

use std::collections::{BTreeMap, BTreeSet};

use siding_broker::engine::command::{CreateQueue, CreateSubscription, CreateTopic, Delete};
use siding_protocol::event::Answer;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::settings::{DeliverySettings, Order, QueueSettings, TopicSettings};

use super::{Judged, Log, Message, Model, Subscription};

/// The name was deleted meanwhile.
pub(super) fn gone() -> Refusal {
    Refusal::NotFound {
        name: "(deleted)".into(),
        nearest: Vec::new(),
    }
}

impl Model {
    fn create(
        &mut self,
        name: &str,
        queue: Option<QueueSettings>,
        topic: Option<TopicSettings>,
    ) -> Result<bool, Refusal> {
        if let Some(found) = self.logs.values().find(|log| log.name == name) {
            let same = (&found.queue, &found.topic) == (&queue, &topic);
            let name = name.to_owned();
            return if same {
                Ok(false)
            } else {
                Err(Refusal::Exists { name })
            };
        }
        self.last_id += 1;
        let log = Log {
            name: name.to_owned(),
            queue,
            topic,
            extents: Vec::new(),
            known: Vec::new(),
            start: 0,
            end: 0,
            routing_keys: BTreeMap::new(),
        };
        self.logs.insert(self.last_id, log);
        Ok(true)
    }

    pub(super) fn create_queue(&mut self, create: &CreateQueue) -> Judged {
        if create.settings.delivery.dead_letter_to == create.name {
            return Err(Refusal::malformed("dead_letter_to", ""));
        }
        if self.create(&create.name, Some(create.settings.clone()), None)? {
            let delivery = create.settings.delivery.clone();
            self.subscribe(self.last_id, None, delivery, 0..0);
        }
        Ok(Answer::Done)
    }

    pub(super) fn create_topic(&mut self, create: &CreateTopic) -> Judged {
        self.create(&create.name, None, Some(create.settings.clone()))?;
        Ok(Answer::Done)
    }

    pub(super) fn create_subscription(&mut self, create: &CreateSubscription) -> Judged {
        let log = self.logs.get(&create.log).ok_or_else(gone)?;
        if log.queue.is_some() {
            return Err(Refusal::malformed("address", ""));
        }
        let mut mine = self.subscriptions.values().filter(|s| s.log == create.log);
        if let Some(found) = mine.find(|s| s.name.as_ref() == Some(&create.name)) {
            let name = format!("{}/{}", log.name, create.name);
            let same = found.settings == create.settings;
            return if same {
                Ok(Answer::Done)
            } else {
                Err(Refusal::Exists { name })
            };
        }
        if create.settings.dead_letter_to == log.name {
            return Err(Refusal::malformed("dead_letter_to", ""));
        }
        if self.reaches(&create.settings.forward_to, &log.name, 0) {
            return Err(Refusal::malformed("forward_to", ""));
        }
        let start = log.place(&create.start);
        if start < log.end && create.settings.order() == Order::Key {
            return Err(Refusal::malformed("start", ""));
        }
        let kept = start..log.end;
        let (name, settings) = (Some(create.name.clone()), create.settings.clone());
        self.subscribe(create.log, name, settings, kept);
        Ok(Answer::Done)
    }

    fn subscribe(
        &mut self,
        log: u64,
        name: Option<String>,
        settings: DeliverySettings,
        kept: std::ops::Range<u64>,
    ) {
        self.last_id += 1;
        let start = kept.start;
        let now = self.now;
        let message = Message {
            ready_since: now,
            ..Message::default()
        };
        let message = message.living(settings.ttl_ms, now);
        let mut subscription = Subscription {
            log,
            name,
            settings,
            start,
            messages: BTreeMap::new(),
            done: Vec::new(),
            ended: BTreeMap::new(),
            redriving: None,
            paused: false,
            settled: 0,
            expired: 0,
            cancelled: 0,
            purged: 0,
            evicted: 0,
            keeps_excess: false,
            filtered: 0,
            forwarded: 0,
            gaps: BTreeSet::new(),
        };
        for offset in kept {
            let message = subscription.welcome(message.clone());
            subscription.messages.insert(offset, message);
        }
        self.subscriptions.insert(self.last_id, subscription);
    }

    pub(super) fn delete(&mut self, delete: &Delete) -> Judged {
        if !self.logs.contains_key(&delete.log) {
            return Err(gone());
        }
        if let Some(id) = delete.subscription {
            let removed = self.subscriptions.remove(&id);
            return removed.map(|_| Answer::Done).ok_or_else(gone);
        }
        self.logs.remove(&delete.log);
        self.subscriptions
            .retain(|_, found| found.log != delete.log);
        Ok(Answer::Done)
    }

    pub(super) fn purge(&mut self, id: u64, limit: u64) -> Judged {
        let subscription = self.subscriptions.get_mut(&id).ok_or_else(gone)?;
        let before = subscription.messages.len();
        let mut left = if limit == 0 { u64::MAX } else { limit };
        subscription.messages.retain(|_, message| {
            let is_safe = matches!(message.state(), State::Leased | State::Dead);
            is_safe || left.checked_sub(1).map(|rest| left = rest).is_none()
        });
        let purged = (before - subscription.messages.len()) as u64;
        subscription.purged += purged;
        Ok(Answer::Counted(purged))
    }
}
