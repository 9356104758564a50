//! What retention takes, and what a seek makes of it.

use siding_broker::engine::command::Seek;
use siding_protocol::event::Answer;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::settings::Order;

use super::{Extent, Judged, Log, Message, Model};
use crate::model::names::gone;

impl Model {
    /// The first topic that loses an extent by its age, and when.
    pub(super) fn first_aging(&self) -> Option<(u64, u64)> {
        let logs = self.logs.iter();
        let aging = logs.filter_map(|(id, log)| Some((log.ages_at()?, *id)));
        aging.min().filter(|(at, _)| *at <= self.now)
    }

    /// Lets the oldest extents of a topic go; for their bytes, never the newest. Ready messages in
    /// them leave.
    pub(super) fn retain(&mut self, id: u64, now: u64) {
        let log = self.logs.get_mut(&id).expect("judged before");
        if log.topic.is_none() {
            return;
        }
        let before = log.start;
        while let Some(start) = log.passed(now) {
            log.start = start;
        }
        let passed = before..log.start;
        for subscription in self.subscriptions.values_mut() {
            if subscription.log != id {
                continue;
            }
            let messages = subscription.messages.iter();
            let taken = messages.filter(|(offset, message)| {
                passed.contains(*offset) && message.state() == State::Ready
            });
            let taken: Vec<_> = taken.map(|(offset, _)| *offset).collect();
            for offset in taken {
                subscription.messages.remove(&offset);
                subscription.evicted += 1;
                subscription.gaps.insert(offset);
            }
        }
    }

    /// Everything from a place on is new again; nothing before it is left.
    pub(super) fn seek(&mut self, seek: &Seek) -> Judged {
        let id = seek.subscription;
        let subscription = self.subscriptions.get_mut(&id).ok_or_else(gone)?;
        let log = self.logs.get(&subscription.log).expect("its log");
        if log
            .queue
            .as_ref()
            .is_some_and(|queue| queue.retain_settled_ms == 0)
        {
            return Err(Refusal::malformed("address", ""));
        }
        let start = log.place(&seek.place);
        if start < log.end && subscription.settings.order() == Order::Key {
            return Err(Refusal::malformed("start", ""));
        }
        let before = std::mem::take(&mut subscription.messages);
        subscription.evicted = 0;
        subscription.gaps.clear();
        for offset in start..log.end {
            if !log.has(offset) {
                subscription.evicted += 1;
                subscription.gaps.insert(offset);
                continue;
            }
            let plain = Message::default();
            let said = before.get(&offset).map(|before| before.priority);
            let priority = said.unwrap_or(plain.priority);
            let message = Message {
                priority,
                ready_since: self.now,
                ..plain
            };
            let message = message.living(subscription.settings.ttl_ms, self.now);
            let message = subscription.welcome(message);
            subscription.messages.insert(offset, message);
        }
        subscription.start = start;
        subscription.done.clear();
        (subscription.settled, subscription.purged) = (0, 0);
        subscription.filtered = 0;
        (subscription.expired, subscription.cancelled) = (0, 0);
        subscription.ended.clear();
        subscription.forwarded = 0;
        subscription.redriving = None;
        Ok(Answer::Counted(log.end - start - subscription.evicted))
    }
}

impl Log {
    /// A queue that keeps what has left may have holes.
    fn has(&self, offset: u64) -> bool {
        let held = |extent: &Extent| (extent.first..extent.first + extent.count).contains(&offset);
        self.topic.is_some() || self.extents.iter().any(held)
    }

    /// The offset of a place, within what is kept.
    pub(super) fn place(&self, place: &siding_broker::engine::command::Place) -> u64 {
        let since = |at: u64| {
            let mut extents = self.extents.iter();
            extents.find(|extent| extent.last_at >= at)
        };
        let said = match (place.offset, place.at_ms) {
            (Some(offset), _) => offset,
            (None, Some(at)) => since(at).map_or(self.end, |extent| extent.first),
            (None, None) => self.end,
        };
        let lowest = match &self.topic {
            Some(_) => self.start,
            None => self.extents.first().map_or(self.end, |extent| extent.first),
        };
        said.clamp(lowest, self.end)
    }

    fn ages_at(&self) -> Option<u64> {
        let topic = self.topic.as_ref()?;
        let mut kept = self
            .extents
            .iter()
            .filter(|extent| extent.first >= self.start);
        Some(kept.next()?.last_at + topic.retention_ms)
    }

    /// The new start if the oldest kept extent must go.
    fn passed(&self, now: u64) -> Option<u64> {
        let topic = self.topic.as_ref()?;
        let kept = self
            .extents
            .iter()
            .filter(|extent| extent.first >= self.start);
        let bytes: u64 = kept.clone().map(|extent| extent.bytes).sum();
        let oldest = kept.clone().next()?;
        let is_much = bytes > topic.retention_bytes && kept.count() > 1;
        let is_old = oldest.last_at + topic.retention_ms <= now;
        (is_much || is_old).then_some(oldest.first + oldest.count)
    }
}
