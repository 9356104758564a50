//! What the clients of a run saw, one log of events for each subscription, and the messages they
//! send.

use siding::Grant;
use siding_protocol::frame::BatchParts;
use siding_protocol::run;

use super::context::Now;
use crate::accounting::{Delivered, Event, Ms, Tag};
use crate::load::Bodies;

/// A subscription, or the one of a queue.
pub type Line = usize;

/// All that was seen.
#[derive(Debug)]
pub struct Ledger {
    bodies: Bodies,
    /// By line.
    events: Vec<Vec<Event>>,
    /// The last request that was sent before its confirm said that it is synced.
    noted: Ms,
}

impl Ledger {
    /// For so many lines.
    pub fn new(seed: u64, lines: usize) -> Self {
        Self {
            bodies: Bodies { seed },
            events: vec![Vec::new(); lines],
            noted: 0,
        }
    }

    /// The body of a message.
    pub fn body(&self, tag: Tag) -> Vec<u8> {
        self.bodies.of(tag)
    }

    /// Notes what concerns these lines.
    pub fn note(&mut self, lines: &[Line], event: Event) {
        for line in lines {
            if let Some(events) = self.events.get_mut(*line) {
                events.push(event);
            }
        }
    }

    /// Notes what concerns all lines.
    pub fn note_everywhere(&mut self, event: Event) {
        for events in &mut self.events {
            events.push(event);
        }
    }

    /// What was asked at this instant is synced, and all that the broker noted before.
    pub fn synced(&mut self, asked: Ms, at: Ms) {
        self.noted = self.noted.max(asked);
        self.note_everywhere(Event::Synced { asked, at });
    }

    /// What was noted before it is synced, as far as clients know.
    pub fn noted(&self) -> Ms {
        self.noted
    }

    /// A consumer got these messages.
    pub fn delivered(
        &mut self,
        line: Line,
        (consumer, visibility): (u32, Ms),
        now: &Now,
        batch: &BatchParts,
    ) -> u64 {
        let head = &batch.head;
        let run: Vec<u8> = batch.run.iter().flatten().copied().collect();
        let deadline = now.in_the_world(head.deadline_ms);
        let mut offset = head.first_offset;
        for message in run::messages(&run) {
            let tag = self.bodies.tag_of(message.body());
            let delivered = Event::Delivered(Delivered {
                offset,
                tag,
                attempt: head.attempt,
                grant: grant(batch),
                consumer,
                since: deadline.saturating_sub(visibility),
                at: now.ms,
                deadline,
            });
            self.note(&[line], delivered);
            offset += 1;
        }
        offset - head.first_offset
    }

    /// The events of each line.
    pub fn lines(&self) -> &[Vec<Event>] {
        &self.events
    }
}

/// Under which a batch was handed over.
pub fn grant(batch: &BatchParts) -> Grant {
    let grant = batch.head.grant.unwrap_or_default();
    Grant {
        term: grant.term,
        counter: grant.counter,
    }
}
