//! What happened in a run, as one number: two runs of a seed must come to the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use siding_broker::shard::core::Input;

use super::context::What;
use super::mailbox::Word;

/// A running hash; clones share it.
#[derive(Clone, Debug)]
pub struct Trace(Arc<AtomicU64>);

impl Default for Trace {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(0xCBF2_9CE4_8422_2325)))
    }
}

impl Trace {
    /// Adds numbers.
    pub fn note(&self, numbers: &[u64]) {
        let hash = self.0.load(Ordering::Relaxed);
        let hash = numbers.iter().fold(hash, |hash, number| {
            (hash.rotate_left(23) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        self.0.store(hash, Ordering::Relaxed);
    }

    /// Adds something that happened.
    pub(super) fn happening(&self, at_us: u64, order: u64, what: &What) {
        let (kind, about, more) = match what {
            What::ToBroker(session, input) => (1, *session, input_kind(input)),
            What::ToClient(session, word) => (2, *session, word_kind(word)),
            What::Lost(session) => (3, *session, 0),
            What::Act(client, task) => (4, *client as u64, *task),
            What::Wake(life) => (5, *life, 0),
            What::Step(life, name) => (6, *life, name.len() as u64),
            What::Fault => (7, 0, 0),
            What::Room => (9, 0, 0),
            What::Start => (8, 0, 0),
        };
        self.note(&[at_us, order, kind, about, more]);
    }

    /// What it came to.
    pub fn hash(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn input_kind(input: &Input) -> u64 {
    match input {
        Input::Opened { .. } => 1,
        Input::Request { origin, .. } => 2 + (origin.correlation << 3),
        Input::Paused { paused, .. } => 3 + (u64::from(*paused) << 3),
        Input::Closed { .. } => 4,
    }
}

fn word_kind(word: &Word) -> u64 {
    match word {
        Word::Answer(correlation, answer) => u64::from(answer.is_ok()) + (correlation << 3),
        Word::Delivered(_, _, batches) => {
            let heads = batches.iter().map(|batch| &batch.head);
            let messages = heads.map(|head| head.first_offset + u64::from(head.count));
            2 + (messages.sum::<u64>() << 3)
        }
        Word::Received(correlation, _) => 3 + (correlation << 3),
        Word::Ended(..) => 4,
        Word::CancelRequested(..) => 5,
        Word::Expiring(..) => 6,
        Word::Browsed(correlation, _) => 7 + (correlation << 3),
    }
}
