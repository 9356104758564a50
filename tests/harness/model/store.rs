//! What a publish means: offsets, charges, retention.

use siding_broker::engine::command::Publish;
use siding_protocol::event::Confirm;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::settings::Order;
use siding_protocol::types::Level;

use super::dedup::Accepted;
use super::{Extent, Message, Model, Place, Subscription};
use crate::model::names::gone;

impl Model {
    /// `asked`: messages and bytes.
    pub(super) fn has_room(&self, id: u64, asked: (u64, u64)) -> Result<(), Refusal> {
        let log = self.logs.get(&id).ok_or_else(gone)?;
        let Some(settings) = &log.queue else {
            return Ok(());
        };
        let (messages, bytes) = self.charged(id);
        let limits = [
            ("max_messages", settings.max_messages, messages, asked.0),
            ("max_bytes", settings.max_bytes, bytes, asked.1),
        ];
        for (resource, limit, _, asked) in limits {
            if asked > limit {
                let field = resource.into();
                return Err(Refusal::TooLarge { field, max: limit });
            }
        }
        for (resource, limit, current, asked) in limits {
            if asked > 0 && current + asked > limit {
                let resource = resource.into();
                return Err(Refusal::Busy {
                    resource,
                    limit,
                    current,
                    retry_after_ms: 0,
                });
            }
        }
        Ok(())
    }

    /// Ready, delayed and leased messages of a queue; bytes as ceil(bytes x live / count) an extent.
    pub(super) fn charged(&self, id: u64) -> (u64, u64) {
        self.charged_for(id, |message| message.state() != State::Dead)
    }

    /// The same for some of them.
    pub(super) fn charged_for(&self, id: u64, which: impl Fn(&Message) -> bool) -> (u64, u64) {
        let log = self.logs.get(&id).expect("a log");
        let mut charged = (0, 0);
        for extent in &log.extents {
            let live = self.count(id, extent, &which);
            charged.0 += live;
            charged.1 += (extent.bytes * live).div_ceil(extent.count);
        }
        charged
    }

    /// Messages of an extent that any subscription of the log still has.
    pub(super) fn count(&self, id: u64, extent: &Extent, which: impl Fn(&Message) -> bool) -> u64 {
        let subscriptions = self.subscriptions.values();
        let mine = subscriptions.filter(|subscription| subscription.log == id);
        let range = extent.first..extent.first + extent.count;
        let messages = mine.flat_map(|found| found.messages.range(range.clone()));
        messages.filter(|(_, message)| which(message)).count() as u64
    }

    pub(super) fn store(&mut self, publish: &Publish, accepted: &Accepted) -> Confirm {
        let first_offset = self.logs.get(&publish.log).expect("judged before").end;
        let stored = (0..accepted.said.len()).filter(|index| !accepted.is_duplicate(*index));
        let stored: Vec<_> = (first_offset..).zip(stored).collect();
        let log = self.logs.get_mut(&publish.log).expect("judged before");
        for (offset, index) in &stored {
            let said = accepted.said.get(*index).expect("of the run");
            log.routing_keys.insert(*offset, said.routing_key.clone());
        }
        for (id, subscription) in &mut self.subscriptions {
            if subscription.log == publish.log {
                let (now, ttl) = (self.now, subscription.settings.ttl_ms);
                let fresh = stored.iter().filter(|(at, _)| *at >= subscription.start);
                let fresh: Vec<_> = fresh.copied().collect();
                for (offset, index) in &fresh {
                    let message = message(publish, *index as u64, now).living(ttl, now);
                    let message = subscription.ordered(message);
                    let message = subscription.welcome(message);
                    subscription.messages.insert(*offset, message);
                }
                let fresh = fresh.into_iter().map(|(offset, _)| offset);
                subscription.judge_published(*id, publish, &log.routing_keys, (fresh, now));
            }
        }
        for (count, bytes) in stored_pieces(publish, accepted) {
            self.place(publish.log, count, bytes);
        }
        self.remember(publish, accepted);
        self.retain(publish.log, self.now);
        Confirm {
            log_id: publish.log,
            first_offset,
            count: u32::try_from(stored.len()).expect("few"),
            level: Level::Written,
            duplicates: accepted.duplicates.clone(),
        }
    }

    fn place(&mut self, id: u64, count: u64, bytes: u64) {
        self.note_left();
        let log = self.logs.get(&id).expect("judged before");
        // An extent of a queue that has emptied is gone, or is open again only for a while.
        let last = log
            .extents
            .last()
            .cloned()
            .filter(|last| last.first >= log.start && last.first + last.count == log.end)
            .filter(|last| log.topic.is_some() || self.count(id, last, |_| true) > 0)
            .or_else(|| log.open_again(self.now).cloned());
        let grown = last.map(|last| Extent {
            count: last.count + count,
            bytes: last.bytes + bytes,
            last_at: self.now,
            left_at: None,
            ..last
        });
        let grown = grown.filter(|grown| grown.count <= 1_024 && grown.bytes <= 65_536);
        let log = self.logs.get_mut(&id).expect("judged before");
        match (grown, log.extents.last_mut()) {
            (Some(grown), Some(last)) => *last = grown,
            _ => log.extents.push(Extent {
                first: log.end,
                count,
                bytes,
                first_at: self.now,
                last_at: self.now,
                left_at: None,
            }),
        }
        log.end += count;
    }
}

/// Messages and bytes of what is stored of each piece between two duplicates.
fn stored_pieces(publish: &Publish, accepted: &Accepted) -> Vec<(u64, u64)> {
    let mut stored = Vec::new();
    let mut messages = accepted.said.iter().enumerate();
    for piece in &publish.pieces {
        let mut part = (0, 0);
        for (index, said) in messages.by_ref().take(piece.count as usize) {
            if accepted.is_duplicate(index) {
                stored.push(std::mem::take(&mut part));
            } else {
                part = (part.0 + 1, part.1 + said.bytes);
            }
        }
        stored.push(part);
    }
    stored.retain(|(count, _)| *count > 0);
    stored
}

/// Message `index` of a publish that arrives now.
fn message(publish: &Publish, index: u64, now: u64) -> Message {
    let mut message = Message {
        ready_since: now,
        ..Message::default()
    };
    for special in &publish.specials {
        let first = u64::from(special.first);
        if (first..=first + u64::from(special.more)).contains(&index) {
            message.priority = special.priority.unwrap_or(message.priority);
            message.expires_at = special.expires_at_ms;
            message.key = special.lane;
            if special.due_ms > now {
                message.place = Place::Delayed(special.due_ms, special.due_ms);
            }
        }
    }
    message
}

impl Subscription {
    /// Keys say something only where they give the order.
    fn ordered(&self, message: Message) -> Message {
        let key = message.key.filter(|_| self.settings.order() == Order::Key);
        Message { key, ..message }
    }
}

impl Message {
    /// With what the subscription says of messages that name no ttl: from when they can be delivered.
    pub(super) fn living(mut self, ttl: u64, now: u64) -> Self {
        let due = match self.place {
            Place::Delayed(due, _) => due,
            _ => now,
        };
        if self.expires_at == 0 && ttl > 0 {
            self.expires_at = due + ttl;
        }
        self
    }
}
