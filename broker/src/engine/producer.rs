//! Producers: a publish request is stored once, however often it is sent.

use std::collections::{BTreeMap, VecDeque};

use siding_protocol::event::OperationDone;
use siding_protocol::limits::{PRODUCER_IDLE_MS_MAX, PRODUCER_REQUESTS_MAX, PRODUCERS_MAX};
use siding_protocol::types::Timestamp;

/// All producers of a shard, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers(pub BTreeMap<u64, Producer>);

/// The answers a producer may ask for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The last request, or the opening.
    pub last_used: Timestamp,
    /// Rising by sequence; none older than the window.
    pub answers: VecDeque<(u64, Remembered)>,
    /// The newest sequence whose answer made room for others.
    pub forgotten: u64,
    /// Parts of the answers: derived.
    parts: usize,
}

/// Parts that the answers of one producer may have, the duplicates of publishes and the operations of
/// transactions; past it the oldest answers go.
const PARTS_MAX: usize = 65_536;

/// What a request did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// A publish or a whole transaction, one an operation.
    Publish(siding_protocol::event::Confirm),
    /// A whole transaction.
    Transaction(Vec<OperationDone>),
}

/// How a request stands to its producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not stored yet.
    Fresh,
    /// Stored: this was the answer.
    Before(Remembered),
    /// Forgotten producer, or below its window: an earlier attempt may be stored.
    Unknown,
}

impl Producers {
    /// Adds a producer; forgets those idle for a day, and the longest idle one when full.
    pub fn open(&mut self, id: u64, now: Timestamp) {
        self.0
            .retain(|_, producer| now.ms_since(producer.last_used) <= PRODUCER_IDLE_MS_MAX);
        while self.0.len() >= PRODUCERS_MAX {
            let idle = self
                .0
                .iter()
                .min_by_key(|(id, producer)| (producer.last_used, **id));
            let Some(id) = idle.map(|(id, _)| *id) else {
                break;
            };
            self.0.remove(&id);
        }
        let producer = Producer::new(now, VecDeque::new(), 0);
        self.0.insert(id, producer);
    }

    /// Whether the request was stored before.
    pub fn seen(&self, id: u64, sequence: u64) -> Seen {
        let Some(producer) = self.0.get(&id) else {
            return Seen::Unknown;
        };
        let newest = producer.answers.back().map_or(0, |(newest, _)| *newest);
        if sequence > newest {
            return Seen::Fresh;
        }
        let below = newest - sequence >= u64::from(PRODUCER_REQUESTS_MAX);
        if below || sequence <= producer.forgotten {
            return Seen::Unknown;
        }
        match producer
            .answers
            .binary_search_by_key(&sequence, |(sequence, _)| *sequence)
        {
            Ok(index) => match producer.answers.get(index) {
                Some((_, answer)) => Seen::Before(answer.clone()),
                None => Seen::Unknown,
            },
            // Refused the first time: nothing was stored, the sequence is still free.
            Err(_) => Seen::Fresh,
        }
    }

    /// Remembers what a fresh request did.
    pub fn remember(&mut self, id: u64, sequence: u64, answer: Remembered, now: Timestamp) {
        let Some(producer) = self.0.get_mut(&id) else {
            return;
        };
        producer.last_used = now;
        producer.parts += answer.parts();
        let answers = &mut producer.answers;
        match answers.back() {
            // The retry of a refused request; every other one is the newest.
            Some((newest, _)) if *newest > sequence => {
                let at = answers.partition_point(|(older, _)| *older < sequence);
                answers.insert(at, (sequence, answer));
            }
            _ => answers.push_back((sequence, answer)),
        }
        let newest = answers.back().map_or(0, |(newest, _)| *newest);
        let oldest = newest.saturating_sub(u64::from(PRODUCER_REQUESTS_MAX) - 1);
        producer.forget_below(oldest);
    }
}

impl Producer {
    /// With what it may ask for again.
    pub fn new(last_used: Timestamp, answers: VecDeque<(u64, Remembered)>, forgotten: u64) -> Self {
        let parts = answers.iter().map(|(_, answer)| answer.parts());
        Self {
            last_used,
            parts: parts.sum(),
            answers,
            forgotten,
        }
    }

    /// Forgets what lies below the window, and the oldest answers if all have too many parts.
    fn forget_below(&mut self, oldest: u64) {
        while let Some((sequence, answer)) = self.answers.front() {
            let is_full = self.parts > PARTS_MAX && self.answers.len() > 1;
            if *sequence >= oldest && !is_full {
                return;
            }
            self.forgotten = self.forgotten.max(*sequence);
            self.parts -= answer.parts();
            self.answers.pop_front();
        }
    }
}

impl Remembered {
    fn parts(&self) -> usize {
        let of = |done: &OperationDone| match done {
            OperationDone::Publish(confirm) => confirm.duplicates.len(),
            OperationDone::Settle(_) | OperationDone::Cancelled => 0,
        };
        match self {
            Self::Publish(confirm) => confirm.duplicates.len(),
            Self::Transaction(done) => done.len() + done.iter().map(of).sum::<usize>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use siding_protocol::event::{Confirm, Duplicate};
    use siding_protocol::types::Level;

    use super::*;

    fn answer(first_offset: u64) -> Remembered {
        Remembered::Publish(Confirm {
            log_id: 1,
            first_offset,
            count: 1,
            level: Level::Written,
            duplicates: Vec::new(),
        })
    }

    #[test]
    fn answers_that_name_too_many_duplicates_make_room_for_newer_ones() {
        let mut producers = Producers::default();
        producers.open(5, Timestamp(0));
        for sequence in 1..=3 {
            let Remembered::Publish(mut confirm) = answer(sequence) else {
                continue;
            };
            let duplicate = Duplicate {
                index: 0,
                offset: 0,
            };
            confirm.duplicates = vec![duplicate; PARTS_MAX / 2];
            producers.remember(5, sequence, Remembered::Publish(confirm), Timestamp(0));
        }
        assert_eq!(producers.seen(5, 1), Seen::Unknown);
        assert_ne!(producers.seen(5, 2), Seen::Unknown);
        producers.remember(5, 4, answer(4), Timestamp(0));
        assert_ne!(producers.seen(5, 2), Seen::Unknown);
    }

    #[test]
    fn answers_of_large_transactions_make_room_for_newer_ones() {
        let mut producers = Producers::default();
        producers.open(5, Timestamp(0));
        for sequence in 1..=100 {
            let done = Remembered::Transaction(vec![OperationDone::Cancelled; 1_000]);
            producers.remember(5, sequence, done, Timestamp(0));
        }
        assert_eq!(producers.seen(5, 35), Seen::Unknown);
        assert_ne!(producers.seen(5, 36), Seen::Unknown);
    }

    #[test]
    fn the_last_1024_requests_are_answered_again_and_older_ones_are_unknown() {
        let mut producers = Producers::default();
        producers.open(5, Timestamp(0));
        for sequence in 1..=2_000 {
            assert_eq!(producers.seen(5, sequence), Seen::Fresh);
            producers.remember(5, sequence, answer(sequence), Timestamp(0));
        }
        assert_eq!(producers.seen(5, 976), Seen::Unknown);
        assert_eq!(producers.seen(5, 977), Seen::Before(answer(977)));
        assert_eq!(producers.seen(5, 2_000), Seen::Before(answer(2_000)));
        assert_eq!(producers.seen(6, 1), Seen::Unknown);
    }

    #[test]
    fn a_refused_request_may_be_sent_again_under_its_sequence() {
        let mut producers = Producers::default();
        producers.open(5, Timestamp(0));
        producers.remember(5, 1, answer(1), Timestamp(0));
        producers.remember(5, 3, answer(2), Timestamp(0));
        assert_eq!(producers.seen(5, 2), Seen::Fresh);
        producers.remember(5, 2, answer(3), Timestamp(0));
        assert_eq!(producers.seen(5, 2), Seen::Before(answer(3)));
    }

    #[test]
    fn the_longest_idle_producer_makes_room_and_a_day_forgets() {
        let mut producers = Producers::default();
        for id in 0..=PRODUCERS_MAX as u64 {
            producers.open(id, Timestamp(id));
        }
        assert_eq!(producers.0.len(), PRODUCERS_MAX);
        assert_eq!(producers.seen(0, 1), Seen::Unknown);
        producers.open(9_999, Timestamp(PRODUCER_IDLE_MS_MAX + 500));
        assert_eq!(producers.seen(400, 1), Seen::Unknown);
        assert_eq!(producers.seen(600, 1), Seen::Fresh);
    }
}
