//! One producer in a snapshot: the answers it may ask for again.

use prost::Message;
use siding_protocol::event::{Confirm, Duplicate, OperationDone, Settled};
use siding_protocol::types::{Level, Timestamp};

use crate::engine::producer::{self, Producer};

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredProducer {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    last_used_ms: u64,
    #[prost(message, repeated, tag = "3")]
    answers: Vec<StoredAnswer>,
    #[prost(uint64, tag = "4")]
    forgotten: u64,
}

/// A publish has one operation and is no transaction.
#[derive(Clone, PartialEq, Message)]
struct StoredAnswer {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(bool, tag = "2")]
    transaction: bool,
    #[prost(message, repeated, tag = "3")]
    operations: Vec<StoredOperation>,
}

/// Without a log: a settle of `settled` messages, or a cancel.
#[derive(Clone, PartialEq, Message)]
struct StoredOperation {
    #[prost(uint64, tag = "1")]
    log: u64,
    #[prost(uint64, tag = "2")]
    first: u64,
    #[prost(uint32, tag = "3")]
    count: u32,
    #[prost(uint64, tag = "4")]
    settled: u64,
    #[prost(bool, tag = "5")]
    cancelled: bool,
    /// Of a publish: index and offset of each duplicate.
    #[prost(uint64, repeated, tag = "6")]
    duplicates: Vec<u64>,
}

impl StoredProducer {
    pub(super) fn of((id, producer): (&u64, &Producer)) -> Self {
        let answers = producer.answers.iter().map(|(sequence, answer)| {
            let (transaction, operations) = match answer {
                producer::Remembered::Publish(confirm) => (
                    false,
                    vec![StoredOperation::of(&OperationDone::Publish(
                        confirm.clone(),
                    ))],
                ),
                producer::Remembered::Transaction(done) => {
                    (true, done.iter().map(StoredOperation::of).collect())
                }
            };
            StoredAnswer {
                sequence: *sequence,
                transaction,
                operations,
            }
        });
        let last_used_ms = producer.last_used.0;
        Self {
            id: *id,
            last_used_ms,
            answers: answers.collect(),
            forgotten: producer.forgotten,
        }
    }

    pub(super) fn into_producer(self) -> (u64, Producer) {
        let answers = self.answers.into_iter().filter_map(|stored| {
            let mut done = stored
                .operations
                .into_iter()
                .map(StoredOperation::into_done);
            let answer = if stored.transaction {
                producer::Remembered::Transaction(done.collect())
            } else if let Some(OperationDone::Publish(confirm)) = done.next() {
                producer::Remembered::Publish(confirm)
            } else {
                return None;
            };
            Some((stored.sequence, answer))
        });
        let last_used = Timestamp(self.last_used_ms);
        let producer = Producer::new(last_used, answers.collect(), self.forgotten);
        (self.id, producer)
    }
}

impl StoredOperation {
    fn of(done: &OperationDone) -> Self {
        match done {
            OperationDone::Publish(confirm) => Self {
                log: confirm.log_id,
                first: confirm.first_offset,
                count: confirm.count,
                duplicates: confirm
                    .duplicates
                    .iter()
                    .flat_map(|one| [one.index.into(), one.offset])
                    .collect(),
                ..Self::default()
            },
            OperationDone::Cancelled => Self {
                cancelled: true,
                ..Self::default()
            },
            OperationDone::Settle(settled) => Self {
                settled: settled.settled,
                ..Self::default()
            },
        }
    }

    fn into_done(self) -> OperationDone {
        if self.cancelled {
            return OperationDone::Cancelled;
        }
        if self.log == 0 {
            return OperationDone::Settle(Settled {
                settled: self.settled,
                outcomes: Vec::new(),
            });
        }
        let (log_id, first_offset, count) = (self.log, self.first, self.count);
        let duplicates = self.duplicates.chunks_exact(2).filter_map(|pair| {
            let &[index, offset] = pair else { return None };
            let index = u32::try_from(index).ok()?;
            Some(Duplicate { index, offset })
        });
        OperationDone::Publish(Confirm {
            log_id,
            first_offset,
            count,
            level: Level::Written,
            duplicates: duplicates.collect(),
        })
    }
}
