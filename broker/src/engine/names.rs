//! Queues, topics and subscriptions come and go.

use siding_protocol::event::Answer;
use siding_protocol::limits::NAMES_MAX;
use siding_protocol::refusal::Refusal;
use siding_protocol::types::Offset;

use super::command::{CreateQueue, CreateSubscription, CreateTopic, Delete};
use super::effect::{Effect, Effects};
use super::log::{Extent, Kind, Log};
use super::runs::RangeSet;
use super::seed::Seed;
use super::seek::refuse_keyed_past;
use super::state::{State, gone};
use super::subscription::Subscription;
use super::touched::Touched;

impl State {
    pub(super) fn create_queue(&mut self, create: &CreateQueue) -> Result<Answer, Refusal> {
        let delivery = create.settings.delivery.clone();
        refuse_loop(&create.name, &delivery.dead_letter_to)?;
        let kind = Kind::Queue(create.settings.clone());
        let Some(log) = self.create(&create.name, kind, create.seed)? else {
            return Ok(Answer::Done);
        };
        let id = self.next_id();
        self.subscriptions
            .insert(id, Subscription::new(id, log, None, delivery, 0));
        self.attach(log, id);
        Ok(Answer::Done)
    }

    pub(super) fn create_topic(&mut self, create: &CreateTopic) -> Result<Answer, Refusal> {
        let kind = Kind::Topic(create.settings.clone());
        self.create(&create.name, kind, create.seed)?;
        Ok(Answer::Done)
    }

    /// The new log's id; `None` if it is there with the same settings.
    fn create(&mut self, name: &str, kind: Kind, seed: Seed) -> Result<Option<u64>, Refusal> {
        if let Some(log) = self.names.get(name).and_then(|id| self.logs.get(id)) {
            let same = log.kind == kind;
            return if same {
                Ok(None)
            } else {
                Err(Refusal::Exists { name: name.into() })
            };
        }
        at_most("names", self.names.len())?;
        let id = self.next_id();
        self.names.insert(name.into(), id);
        let mut log = Log::new(id, name.into(), kind, seed);
        log.planted = self.planted;
        self.logs.insert(id, log);
        Ok(Some(id))
    }

    pub(super) fn create_subscription(
        &mut self,
        create: &CreateSubscription,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Result<Answer, Refusal> {
        let log = self.logs.get(&create.log).ok_or_else(gone)?;
        let address = || format!("{}/{}", log.name, create.name);
        if matches!(log.kind, Kind::Queue(_)) {
            return Err(Refusal::malformed(
                "address",
                "a queue has its one subscription already",
            ));
        }
        if let Some(found) = self.subscription_named(log, &create.name) {
            let same = found.settings == create.settings;
            return if same {
                Ok(Answer::Done)
            } else {
                Err(Refusal::Exists { name: address() })
            };
        }
        at_most("subscriptions", log.subscriptions.len())?;
        refuse_loop(&log.name, &create.settings.dead_letter_to)?;
        if self.forwards_back(&log.name, &create.settings.forward_to) {
            let why = "what it forwards would come back to it";
            return Err(Refusal::malformed("forward_to", why));
        }
        let (start, end) = (log.offset_of(create.start), log.end);
        refuse_keyed_past(&create.settings, start, log)?;
        let id = self.next_id();
        let name = Some(create.name.clone());
        let settings = create.settings.clone();
        let mut subscription = Subscription::new(id, create.log, name, settings, start);
        subscription.begin(start..end, self.now);
        self.subscriptions.insert(id, subscription);
        self.rearm(id);
        self.attach(create.log, id);
        self.lose_again(id, effects, touched);
        touched.insert(id);
        Ok(Answer::Done)
    }

    pub(super) fn delete(
        &mut self,
        delete: Delete,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        let log = self.logs.get_mut(&delete.log).ok_or_else(gone)?;
        if let Some(id) = delete.subscription {
            log.subscriptions.retain(|other| *other != id);
            self.subscriptions.remove(&id).ok_or_else(gone)?;
            self.rearm(id);
            if let Some(log) = self.logs.get_mut(&delete.log) {
                let everything = std::iter::once(0..Offset::MAX);
                log.sweep(everything, &self.subscriptions, effects);
            }
            return Ok(Answer::Done);
        }
        let ids = std::mem::take(&mut log.subscriptions);
        let kept = log.kept.extents().map(|(_, extent)| extent);
        let kept: RangeSet = log.live_extents().chain(kept).map(Extent::range).collect();
        for range in kept.ranges() {
            let log = log.id;
            effects.push(Effect::Discard { log, range });
        }
        self.names.remove(&log.name);
        self.logs.remove(&delete.log);
        self.rearm(delete.log);
        for id in ids {
            self.subscriptions.remove(&id);
            self.rearm(id);
        }
        Ok(Answer::Done)
    }

    /// The subscription of a log with this name.
    pub fn subscription_named(&self, log: &Log, name: &str) -> Option<&Subscription> {
        let mut all = log
            .subscriptions
            .iter()
            .filter_map(|id| self.subscriptions.get(id));
        all.find(|subscription| subscription.name.as_deref() == Some(name))
    }

    fn attach(&mut self, log: u64, subscription: u64) {
        if let Some(log) = self.logs.get_mut(&log) {
            log.subscriptions.push(subscription);
        }
        if let Some(subscription) = self.subscriptions.get_mut(&subscription) {
            subscription.planted = self.planted;
        }
    }
}

fn refuse_loop(name: &str, dead_letter_to: &str) -> Result<(), Refusal> {
    if name == dead_letter_to {
        let why = "its dead letters would come back to it";
        return Err(Refusal::malformed("dead_letter_to", why));
    }
    Ok(())
}

fn at_most(resource: &'static str, current: usize) -> Result<(), Refusal> {
    if current < NAMES_MAX {
        return Ok(());
    }
    let (limit, current) = (NAMES_MAX as u64, current as u64);
    Err(Refusal::Busy {
        resource: resource.into(),
        limit,
        current,
        retry_after_ms: 60_000,
    })
}
