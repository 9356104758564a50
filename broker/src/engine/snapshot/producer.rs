//! One producer in a snapshot: the answers it may ask for again.

use prost::Message;
use siding_protocol::event::{Confirm, OperationDone, Settled};
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

/// `count` 0: a settle of `settled` messages.
#[derive(Clone, Copy, PartialEq, Message)]
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
}

impl StoredProducer {
    pub(super) fn of((id, producer): (&u64, &Producer)) -> Self {
        let answers = producer.answers.iter().map(|(sequence, answer)| {
            let (transaction, operations) = match answer {
                producer::Remembered::Publish(confirm) => (
                    false,
                    vec![StoredOperation::of(&OperationDone::Publish(*confirm))],
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
        (
            self.id,
            Producer {
                last_used,
                answers: answers.collect(),
            },
        )
    }
}

impl StoredOperation {
    fn of(done: &OperationDone) -> Self {
        match done {
            OperationDone::Publish(confirm) => Self {
                log: confirm.log_id,
                first: confirm.first_offset,
                count: confirm.count,
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
        if self.count == 0 {
            return OperationDone::Settle(Settled {
                settled: self.settled,
                outcomes: Vec::new(),
            });
        }
        let (log_id, first_offset, count) = (self.log, self.first, self.count);
        OperationDone::Publish(Confirm {
            log_id,
            first_offset,
            count,
            level: Level::Written,
        })
    }
}
