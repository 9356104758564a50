//! Publish and ack in one step: exactly once between queues of one shard.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use siding_protocol::event::{self, OperationDone};
use siding_protocol::request::{Action, Rider};
use siding_protocol::run::{MessageError, RunBuilder, RunLimits};
use siding_protocol::wire;
use siding_protocol::wire::operation::Kind;

use crate::delivery::{DeliveredBatch, Delivery};
use crate::error::Error;
use crate::lease::{Lease, millis};
use crate::message::Message;
use crate::settle::{Listener, Settlement, Settling, parse_settled};
use crate::shared::{Command, Handle, misfit};

/// Operations that will be done together or not at all: at most 1,000, at most 16 MiB.
///
/// Dropped without a commit, nothing is done and its deliveries are released.
#[derive(Debug)]
#[must_use = "call `commit`"]
pub struct Transaction {
    handle: Arc<Handle>,
    operations: Vec<wire::Operation>,
    held: Held,
    invalid: Option<MessageError>,
}

/// The leases it will settle; released if it does not come to that.
#[derive(Debug, Default)]
struct Held {
    deliveries: Vec<Delivery>,
    batches: Vec<DeliveredBatch>,
}

impl Transaction {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self {
            handle,
            operations: Vec::new(),
            held: Held::default(),
            invalid: None,
        }
    }

    /// Adds a publish. A message that breaks a limit fails the commit.
    pub fn publish(self, name: &str, message: impl Into<Message>) -> Self {
        self.publish_all(name, [message])
    }

    /// Adds one publish of several messages, at least one, to one name: they are stored side by side.
    pub fn publish_all<M: Into<Message>>(
        mut self,
        name: &str,
        messages: impl IntoIterator<Item = M>,
    ) -> Self {
        let body_bytes_max = usize::try_from(self.handle.limits().body_bytes_max);
        let mut run = RunBuilder::new(RunLimits {
            body_bytes_max: body_bytes_max.unwrap_or(usize::MAX),
        });
        for message in messages {
            let pushed = message.into().with_fields(|fields| run.push(fields));
            if let Err(error) = pushed {
                self.invalid.get_or_insert(error);
            }
        }
        let publish = wire::Publish {
            name: name.to_owned(),
            run: run.take().0,
            ..wire::Publish::default()
        };
        self.add(Kind::Publish(publish))
    }

    /// Adds an ack of one delivery.
    pub fn ack(mut self, mut delivery: Delivery) -> Self {
        let operation = settle_operation(delivery.lease_mut(), Action::Ack, Rider::default());
        self.held.deliveries.push(delivery);
        self.add(operation)
    }

    /// Adds any settle of one delivery, with what rides on it: `Action::Nack`, `Release` and `Reject`
    /// end its grant as by itself. (An `Action::Extend` leaves it to nobody: use
    /// [`extend`](Self::extend).)
    pub fn settle(mut self, mut delivery: Delivery, action: Action, rider: Rider) -> Self {
        let operation = settle_operation(delivery.lease_mut(), action, rider);
        self.held.deliveries.push(delivery);
        self.add(operation)
    }

    /// Adds an ack of one delivery, and what came of it: at most 256 KiB.
    pub fn ack_with(self, delivery: Delivery, result: impl Into<Bytes>) -> Self {
        let rider = Rider {
            result: Some(result.into()),
            ..Rider::default()
        };
        self.settle(delivery, Action::Ack, rider)
    }

    /// Adds setting the remaining time of a lease, 1 s to 12 h, with what rides on it; the delivery
    /// stays yours.
    pub fn extend(self, delivery: &Delivery, remaining: Duration, rider: Rider) -> Self {
        let action = Action::Extend {
            remaining_ms: millis(remaining),
        };
        let operation = settle_operation(delivery.lease(), action, rider);
        self.add(operation)
    }

    /// Adds a cancel of one message of a queue or subscription, as
    /// [`Client::cancel`](crate::Client::cancel).
    pub fn cancel(self, address: &str, offset: u64) -> Self {
        let address = address.to_owned();
        self.add(Kind::Cancel(wire::Cancel { address, offset }))
    }

    /// Adds an ack of a whole batch, as one operation.
    pub fn ack_batch(mut self, mut batch: DeliveredBatch) -> Self {
        let operation = settle_operation(batch.lease_mut(), Action::Ack, Rider::default());
        self.held.batches.push(batch);
        self.add(operation)
    }

    /// Does it all, or nothing. Sent again over reconnects until it is answered, and done once.
    ///
    /// Gives one answer an operation, in order.
    ///
    /// # Errors
    /// `Refused(Refusal::Operation{..})` names the first operation that failed: nothing was done, and
    /// the deliveries are released. A message that breaks a limit; a closed client.
    ///
    /// # Cancel safety
    /// Dropped after its first poll, it may be done or not; its deliveries are then released, which
    /// changes nothing for those already acked.
    pub async fn commit(mut self) -> Result<Vec<OperationDone>, Error> {
        if let Some(error) = self.invalid.take() {
            return Err(error.into());
        }
        let transaction = wire::Transaction {
            operations: std::mem::take(&mut self.operations),
            ..wire::Transaction::default()
        };
        let done = self
            .handle
            .call(|reply| Command::Transact { transaction, reply });
        let done = done.await?;
        self.held.disarm();
        let operations = done.operations.into_iter().map(parse_done);
        operations.collect::<Option<_>>().ok_or(misfit())
    }

    fn add(mut self, kind: Kind) -> Self {
        self.operations.push(wire::Operation { kind: Some(kind) });
        self
    }
}

impl Held {
    /// They are settled: dropping them must not release them.
    fn disarm(&mut self) {
        let deliveries = self.deliveries.iter_mut().map(Delivery::lease_mut);
        let batches = self.batches.iter_mut().map(DeliveredBatch::lease_mut);
        for lease in deliveries.chain(batches) {
            lease.disarm();
        }
    }
}

fn settle_operation(lease: &Lease, action: Action, rider: Rider) -> Kind {
    let mut settlement = Settlement::new(Settling {
        address: Arc::clone(&lease.source.address),
        grant: lease.grant,
        action,
        rider: rider.unless_empty(),
        range: lease.range.clone(),
        listener: Listener::Nobody,
    });
    Kind::Settle(settlement.as_wire())
}

fn parse_done(done: wire::OperationDone) -> Option<OperationDone> {
    use wire::operation_done::Kind;
    Some(match done.kind? {
        Kind::Confirm(confirm) => OperationDone::Publish(event::Confirm::from_wire(confirm)),
        Kind::Settled(settled) => OperationDone::Settle(parse_settled(settled).ok()?),
        Kind::Done(_) => OperationDone::Cancelled,
    })
}
