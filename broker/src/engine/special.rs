//! What is special about the messages of a run, from the words of the publisher to a command.
//!
//! The publisher says durations, the log says instants: whoever proposes a publish turns the one into
//! the other with its own clock, so that a replay never asks a clock. A plain message says nothing.

use prost::Message;
use siding_protocol::limits::{DELAY_MS_MAX, PRIORITY_DEFAULT, PRIORITY_MAX};
use siding_protocol::refusal::Refusal;
use siding_protocol::run::{self, ScannedRun};
use siding_protocol::types::Timestamp;

use super::seed::Seed;
use super::subscription::Attributes;

/// What is special about consecutive messages of a run.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Special {
    /// Which message of the run, from 0.
    #[prost(uint32, tag = "1")]
    pub first: u32,
    /// How many behind it are just like it.
    #[prost(uint32, tag = "2")]
    pub more: u32,
    /// Absent: the default.
    #[prost(uint32, optional, tag = "3")]
    pub priority: Option<u32>,
    /// Not before, Unix ms; 0: at once.
    #[prost(uint64, tag = "4")]
    pub due_ms: u64,
    /// Not behind, Unix ms; 0: what the queue says.
    #[prost(uint64, tag = "5")]
    pub expires_at_ms: u64,
    /// The lane of its key; absent: none, or nobody orders by it.
    #[prost(fixed64, optional, tag = "6")]
    pub lane: Option<u64>,
}

impl Special {
    /// Behind its last message.
    pub fn end(&self) -> u32 {
        self.first.saturating_add(self.more).saturating_add(1)
    }

    /// What stays true of its messages.
    pub fn attributes(&self) -> Attributes {
        let priority = self.priority.unwrap_or(PRIORITY_DEFAULT);
        Attributes {
            priority: priority.min(PRIORITY_MAX) as u8,
            expires_at: Timestamp(self.expires_at_ms),
        }
    }

    /// As the publisher said it at `now`.
    fn of(said: &run::Special, lane: Option<u64>, now: Timestamp) -> Result<Self, Refusal> {
        let latest = now.plus_ms(DELAY_MS_MAX);
        let deliver_at = Timestamp(said.deliver_at_ms);
        if deliver_at > latest {
            return Err(Refusal::out_of_range("deliver_at_ms", 0, latest.0));
        }
        let due = match said.delay_ms {
            0 => deliver_at,
            delay_ms => now.plus_ms(delay_ms),
        };
        // What is past is ready at once, and says nothing.
        let due = if due > now { due } else { Timestamp(0) };
        let expires_at = match said.ttl_ms {
            0 => Timestamp(0),
            ttl_ms => due.max(now).plus_ms(ttl_ms),
        };
        Ok(Self {
            first: said.message,
            more: 0,
            priority: (said.priority != PRIORITY_DEFAULT).then_some(said.priority),
            due_ms: due.0,
            expires_at_ms: expires_at.0,
            lane,
        })
    }

    /// Whether it says nothing.
    fn is_plain(&self) -> bool {
        let times = (self.due_ms, self.expires_at_ms);
        (self.priority, self.lane, times) == (None, None, (0, 0))
    }

    /// Takes in the message behind it, if that is just like it.
    fn join(&mut self, next: &Self) -> bool {
        let like = Self {
            first: self.first,
            more: self.more,
            ..*next
        };
        let joined = next.first == self.end() && *self == like;
        self.more += u32::from(joined);
        joined
    }
}

/// The lane of a message with a key.
fn lane(run: &ScannedRun, said: &run::Special, seed: Seed) -> Option<u64> {
    let place = said.key.start as usize..said.key.end as usize;
    let key = run.bytes.get(place).filter(|key| !key.is_empty())?;
    Some(seed.hash64(key))
}

/// What is special in a run, rising; neighbours that are alike are one. `keyed` if somebody orders by
/// key.
///
/// # Errors
/// `Invalid` for an instant more than ten years ahead.
pub fn specials(
    run: &ScannedRun,
    keyed: Option<Seed>,
    now: Timestamp,
) -> Result<Vec<Special>, Refusal> {
    let mut specials: Vec<Special> = Vec::new();
    for said in &run.specials {
        let lane = keyed.and_then(|seed| lane(run, said, seed));
        let special = Special::of(said, lane, now)?;
        let joined = specials.last_mut().is_some_and(|last| last.join(&special));
        if !joined && !special.is_plain() {
            specials.push(special);
        }
    }
    Ok(specials)
}
