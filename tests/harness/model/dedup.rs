//! What a dedup id means: the text itself and the whole body are remembered, nothing is hashed.

use std::collections::VecDeque;

use bytes::Bytes;
use siding_broker::engine::command::{Operation, Publish};
use siding_protocol::event::Duplicate;
use siding_protocol::refusal::Refusal;
use siding_protocol::run::{messages, skip};

use super::{Log, Model};
use crate::model::names::gone;

/// One message as its publisher wrote it.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) bytes: u64,
    id: String,
    body: Vec<u8>,
    pub(super) routing_key: String,
}

/// A message that was stored under a dedup id.
#[derive(Clone, Debug)]
pub(super) struct Known {
    id: String,
    body: Vec<u8>,
    offset: u64,
    at: u64,
}

/// What the operations of one request ask of one log.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    messages: u64,
    bytes: u64,
    known: Vec<Known>,
}

impl Asked {
    /// Room alone, for messages that name no id.
    pub(super) fn room(messages: u64, bytes: u64) -> Self {
        Self {
            messages,
            bytes,
            known: Vec::new(),
        }
    }
}

/// A publish that was judged: its messages, and which of them are duplicates.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) said: Vec<Said>,
    pub(super) duplicates: Vec<Duplicate>,
    fresh: Vec<Known>,
}

/// The messages of a run.
pub(super) fn said(run: &Bytes) -> Vec<Said> {
    let mut rest = &run[..];
    let all = messages(run).map(|message| {
        let bytes = skip(rest, 1).expect("a message");
        (_, rest) = rest.split_at(bytes);
        Said {
            bytes: bytes as u64,
            id: message.dedup_id().to_owned(),
            body: message.body().to_vec(),
            routing_key: message.routing_key().to_owned(),
        }
    });
    all.collect()
}

/// The runs of a transaction's publishes, taken from those of the entry.
pub(super) fn runs_of(operations: &[Operation], runs: &mut VecDeque<Bytes>) -> VecDeque<Bytes> {
    let publishes = operations.iter().filter(|one| one.publish.is_some());
    publishes.filter_map(|_| runs.pop_front()).collect()
}

impl Asked {
    /// Messages and bytes.
    pub(super) fn sums(&self) -> (u64, u64) {
        (self.messages, self.bytes)
    }
}

impl Accepted {
    /// A run that is stored as it is.
    pub(super) fn whole(run: &Bytes) -> Self {
        Self {
            said: said(run),
            duplicates: Vec::new(),
            fresh: Vec::new(),
        }
    }

    pub(super) fn is_duplicate(&self, index: usize) -> bool {
        let mut duplicates = self.duplicates.iter();
        duplicates.any(|duplicate| duplicate.index as usize == index)
    }
}

impl Model {
    /// Which messages are duplicates, and whether there is room for the others.
    pub(super) fn accept(
        &self,
        publish: &Publish,
        run: &Bytes,
        asked: &mut Asked,
    ) -> Result<Accepted, Refusal> {
        let log = self.logs.get(&publish.log).ok_or_else(gone)?;
        let mut accepted = Accepted {
            said: said(run),
            duplicates: Vec::new(),
            fresh: Vec::new(),
        };
        let (mut messages, mut bytes) = (0, 0);
        for (index, said) in (0..).zip(&accepted.said) {
            let offset = log.end + asked.messages + messages;
            match log.known_as(said, self.now, &asked.known) {
                Some(known) if known.body != said.body => {
                    let offset = known.offset;
                    return Err(Refusal::DedupConflict { index, offset });
                }
                Some(known) => {
                    let offset = known.offset;
                    accepted.duplicates.push(Duplicate { index, offset });
                    continue;
                }
                None if !said.id.is_empty() && log.dedup().0 > 0 => {
                    let known = Known {
                        id: said.id.clone(),
                        body: said.body.clone(),
                        offset,
                        at: self.now,
                    };
                    asked.known.push(known.clone());
                    accepted.fresh.push(known);
                }
                None => {}
            }
            messages += 1;
            bytes += said.bytes;
        }
        if accepted.said.iter().any(|said| !said.id.is_empty()) {
            log.has_room_for_ids(asked.known.len() as u64, self.now)?;
        }
        (asked.messages, asked.bytes) = (asked.messages + messages, asked.bytes + bytes);
        self.could_store(publish.log, asked)?;
        Ok(accepted)
    }

    pub(super) fn remember(&mut self, publish: &Publish, accepted: &Accepted) {
        let log = self.logs.get_mut(&publish.log).expect("judged before");
        log.known.extend_from_slice(&accepted.fresh);
    }
}

impl Log {
    /// Window in ms and most ids.
    fn dedup(&self) -> (u64, u64) {
        let queue = self.queue.as_ref();
        let queue = queue.map(|it| (it.dedup_window_ms, it.max_dedup_ids));
        let topic = self.topic.as_ref();
        let topic = topic.map(|it| (it.dedup_window_ms, it.max_dedup_ids));
        queue.or(topic).expect("a queue or a topic")
    }

    fn known_as<'a>(&'a self, said: &Said, now: u64, more: &'a [Known]) -> Option<&'a Known> {
        let (window, _) = self.dedup();
        let all = self.known.iter().chain(more);
        let mut fresh = all.filter(|known| now < known.at + window);
        fresh.find(|known| !said.id.is_empty() && known.id == said.id)
    }

    fn has_room_for_ids(&self, more: u64, now: u64) -> Result<(), Refusal> {
        let (window, limit) = self.dedup();
        if more > limit {
            let field = "max_dedup_ids".into();
            return Err(Refusal::TooLarge { field, max: limit });
        }
        let fresh = self.known.iter().filter(|known| now < known.at + window);
        let current = fresh.count() as u64;
        if more > 0 && current + more > limit {
            return Err(Refusal::Busy {
                resource: "dedup".into(),
                limit,
                current,
                retry_after_ms: 0,
            });
        }
        Ok(())
    }
}
