//! What a session tells: who asked, and what became of it.

use std::sync::Arc;

use siding_protocol::event::{Confirm, Settled};
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

use crate::consumer::DeliveryQueue;
use crate::error::Error;
use crate::publisher::{PublisherCore, SealedRun};
use crate::settle::Settlement;
use crate::shared::{Ask, Reply, misfit};

/// What a producer sends in one request.
#[derive(Debug)]
pub(crate) enum Cargo {
    /// A run of a publisher.
    Run {
        publisher: Arc<PublisherCore>,
        run: SealedRun,
    },
    /// A transaction, and who waits for it.
    Transaction {
        transaction: Box<wire::Transaction>,
        reply: Reply<wire::TransactionDone>,
    },
}

/// One thing to tell one party.
#[derive(Debug)]
pub(crate) enum Event {
    Answered(Ask, Result<Kind, Error>),
    Settled(Settlement, Result<Settled, Error>),
    Produced(Cargo, Result<Kind, Error>),
    /// A producer or consumer was opened, or closed.
    Replied(Reply<()>, Result<(), Error>),
    /// Nothing more will come to this consumer.
    Ended(Arc<DeliveryQueue>, Option<Error>),
}

impl Event {
    /// Tells it. Whoever stopped listening is not told.
    /// Whether it is about one message, and so for one caller.
    pub(crate) fn is_for_one(&self) -> bool {
        matches!(self, Self::Produced(Cargo::Run { run, .. }, _) if run.is_one())
    }

    pub(crate) fn tell(self) {
        match self {
            Self::Answered(ask, result) => drop(ask.reply.send(result)),
            Self::Settled(settlement, result) => settlement.finish(&result),
            Self::Produced(cargo, result) => cargo.finish(result),
            Self::Replied(reply, result) => drop(reply.send(result)),
            Self::Ended(queue, error) => queue.end(error),
        }
    }
}

impl Cargo {
    /// Bytes that count against the connection's in-flight bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Run { run, .. } => run.run.len(),
            Self::Transaction { transaction, .. } => {
                let operations = transaction.operations.iter();
                operations
                    .map(|operation| match &operation.kind {
                        Some(wire::operation::Kind::Publish(publish)) => publish.run.len(),
                        _ => 0,
                    })
                    .sum()
            }
        }
    }

    fn finish(self, result: Result<Kind, Error>) {
        match self {
            Self::Run { publisher, run } => {
                let stored = result.and_then(|kind| match kind {
                    Kind::Confirm(confirm) => Ok(Confirm::from_wire(confirm)),
                    _ => Err(misfit()),
                });
                publisher.finish(&run, stored);
            }
            Self::Transaction { reply, .. } => {
                let done = result.and_then(|kind| match kind {
                    Kind::TransactionDone(done) => Ok(done),
                    _ => Err(misfit()),
                });
                drop(reply.send(done));
            }
        }
    }
}
