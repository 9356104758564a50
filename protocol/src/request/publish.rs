//! Publishes and transactions.

use bytes::Bytes;

use super::{MessageId, Operation, ProducerTicket, Request, Settle, address, name};
use crate::limits;
use crate::refusal::Refusal;
use crate::run::{self, RunLimits, ScannedRun};
use crate::settings::within;
use crate::types::{Level, Name};
use crate::wire;

pub(super) fn parse_transaction(
    wire: wire::Transaction,
    limits: RunLimits,
) -> Result<Request, Refusal> {
    let ticket = producer_ticket(wire.producer, wire.sequence)?;
    let operations_max = limits::TRANSACTION_OPERATIONS_MAX;
    let count = wire.operations.len() as u64;
    within("operations", Some(count), 0, 1, operations_max as u64)?;
    let run_bytes = wire
        .operations
        .iter()
        .map(|operation| match &operation.kind {
            Some(wire::operation::Kind::Publish(publish)) => publish.run.len(),
            _ => 0,
        });
    if run_bytes.sum::<usize>() > limits::TRANSACTION_BYTES_MAX {
        return Err(Refusal::TooLarge {
            field: "operations".into(),
            max: limits::TRANSACTION_BYTES_MAX as u64,
        });
    }
    let operations = (0..).zip(wire.operations).map(|(index, operation)| {
        parse_operation(operation, limits).map_err(|refusal| Refusal::Operation {
            index,
            refusal: Box::new(refusal),
        })
    });
    let operations = operations.collect::<Result<Vec<_>, _>>()?;
    Ok(Request::Transaction { ticket, operations })
}

fn parse_operation(wire: wire::Operation, limits: RunLimits) -> Result<Operation, Refusal> {
    match wire.kind {
        Some(wire::operation::Kind::Publish(publish)) => {
            // A transaction is synced, whatever its publishes ask for.
            let (name, _, run) = parse_publish(publish, limits)?;
            Ok(Operation::Publish { name, run })
        }
        Some(wire::operation::Kind::Settle(settle)) => {
            Ok(Operation::Settle(Settle::parse(&settle)?))
        }
        Some(wire::operation::Kind::Cancel(cancel)) => Ok(Operation::Cancel(MessageId {
            address: address(&cancel.address)?,
            offset: cancel.offset,
        })),
        None => Err(Refusal::malformed("operations", "empty operation")),
    }
}

pub(super) fn parse_publish(
    wire: wire::Publish,
    run_limits: RunLimits,
) -> Result<(Name, Option<Level>, ScannedRun), Refusal> {
    let level = Level::parse(wire.level)?;
    Ok((name(&wire.name)?, level, parse_run(wire.run, run_limits)?))
}

pub(super) fn parse_run(run: Bytes, run_limits: RunLimits) -> Result<ScannedRun, Refusal> {
    run::scan(run, run_limits).map_err(run::ScanError::to_refusal)
}

pub(super) fn producer_ticket(producer: u64, sequence: u64) -> Result<ProducerTicket, Refusal> {
    within("producer", Some(producer), 0, 1, u64::MAX)?;
    within("sequence", Some(sequence), 0, 1, u64::MAX - 1)?;
    Ok(ProducerTicket { producer, sequence })
}
