//! What a client asks, parsed once: from here on no field is out of its range.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::limits;
use crate::refusal::{Refusal, State};
use crate::run::{self, RunLimits, ScannedRun, Special};
use crate::settings::{
    DeliverySettings, QueueSettings, StartAt, TopicSettings, visibility_timeout, within,
};
use crate::types::{Address, Grant, Name, OffsetRange};
use crate::wire;
use crate::wire::frame::Kind;

/// A request for the engine.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "each variant is documented by its .proto message"
)]
pub enum Request {
    OpenProducer,
    Publish {
        name: Name,
        ticket: ProducerTicket,
        run: ScannedRun,
    },
    Transaction {
        ticket: ProducerTicket,
        operations: Vec<Operation>,
    },
    Settle(Settle),
    Consume(Consume),
    StopConsume {
        consumer: u32,
    },
    Receive(Receive),
    CreateQueue {
        name: Name,
        settings: QueueSettings,
    },
    CreateTopic {
        name: Name,
        settings: TopicSettings,
    },
    CreateSubscription {
        address: Address,
        settings: DeliverySettings,
        start: StartAt,
    },
    Delete {
        address: Address,
    },
    Describe {
        address: Address,
    },
    List {
        prefix: String,
        after: String,
        limit: u32,
    },
    Browse {
        address: Address,
        state: Option<State>,
        from_offset: u64,
        limit: u32,
    },
    Purge {
        address: Address,
    },
    Redrive {
        address: Address,
        limit: u64,
    },
}

/// What makes a retry exact: the same pair is stored once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerTicket {
    /// From `OpenProducer`.
    pub producer: u64,
    /// From 1, rising by one a request.
    pub sequence: u64,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Store a run.
    Publish {
        /// Queue or topic.
        name: Name,
        /// What to store.
        run: ScannedRun,
    },
    /// Settle deliveries.
    Settle(Settle),
}

/// What to do with leased messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Done.
    Ack,
    /// Failed: attempt counted; back after `delay_ms`, or the backoff.
    Nack {
        /// ms, 0 to 10 years.
        delay_ms: Option<u64>,
    },
    /// Given back uncharged.
    Release {
        /// ms, 0 to 10 years.
        delay_ms: u64,
    },
    /// To the dead letters.
    Reject {
        /// At most 1 KiB.
        reason: String,
    },
    /// Sets the remaining lease time.
    Extend {
        /// ms, 1 s to 12 h.
        remaining_ms: u64,
    },
}

/// Settles ranges of one grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// Queue or subscription.
    pub address: Address,
    /// As delivered.
    pub grant: Grant,
    /// Rising, apart, not empty.
    pub ranges: Vec<OffsetRange>,
    /// What to do.
    pub action: Action,
}

/// Push under credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consume {
    /// Queue or subscription.
    pub address: Address,
    /// The client's number for it on this connection.
    pub consumer: u32,
    /// Window in messages.
    pub credit_messages: u32,
    /// Window in bytes.
    pub credit_bytes: u64,
    /// ms; `None`: the subscription's.
    pub visibility_timeout_ms: Option<u64>,
}

/// Long poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receive {
    /// Queue or subscription.
    pub address: Address,
    /// 1 to 1,000.
    pub max_messages: u32,
    /// 1 to 8 MiB.
    pub max_bytes: u64,
    /// ms, 0 to 60 s.
    pub wait_ms: u64,
    /// ms; `None`: the subscription's.
    pub visibility_timeout_ms: Option<u64>,
}

impl Request {
    /// Parses one frame that a client may send after its hello.
    ///
    /// # Errors
    /// The refusal names the field and its range; a frame only a broker may send is `Protocol`.
    pub fn parse(kind: Kind, run_limits: RunLimits) -> Result<Self, Refusal> {
        Ok(match kind {
            Kind::OpenProducer(_) => Self::OpenProducer,
            Kind::Publish(publish) => {
                let ticket = producer_ticket(publish.producer, publish.sequence)?;
                let (name, run) = parse_publish(publish, run_limits)?;
                Self::Publish { name, ticket, run }
            }
            Kind::Transaction(wire) => parse_transaction(wire, run_limits)?,
            Kind::Settle(wire) => Self::Settle(Settle::parse(&wire)?),
            Kind::Consume(wire) => Self::Consume(Consume::parse(&wire)?),
            Kind::StopConsume(wire) => Self::StopConsume {
                consumer: wire.consumer,
            },
            Kind::Receive(wire) => Self::Receive(Receive::parse(&wire)?),
            Kind::CreateQueue(wire) => Self::CreateQueue {
                name: name(&wire.name)?,
                settings: QueueSettings::parse(wire.settings)?,
            },
            Kind::CreateTopic(wire) => Self::CreateTopic {
                name: name(&wire.name)?,
                settings: TopicSettings::parse(wire.settings)?,
            },
            Kind::CreateSubscription(wire) => Self::CreateSubscription {
                address: subscription_address(&wire.address)?,
                settings: DeliverySettings::parse(wire.settings)?,
                start: StartAt::parse(wire.start),
            },
            Kind::Delete(wire) => Self::Delete {
                address: address(&wire.address)?,
            },
            Kind::Describe(wire) => Self::Describe {
                address: address(&wire.address)?,
            },
            Kind::List(wire) => {
                let limit = page(wire.limit)?;
                Self::List {
                    prefix: wire.prefix,
                    after: wire.after,
                    limit,
                }
            }
            Kind::Browse(wire) => Self::Browse {
                address: address(&wire.address)?,
                state: parse_state(wire.state)?,
                from_offset: wire.from_offset,
                limit: page(wire.limit)?,
            },
            Kind::Purge(wire) => Self::Purge {
                address: address(&wire.address)?,
            },
            Kind::Redrive(wire) => Self::Redrive {
                address: address(&wire.address)?,
                limit: wire.limit,
            },
            _ => {
                return Err(Refusal::Protocol(
                    "a client must not send this frame".into(),
                ));
            }
        })
    }
}

impl Settle {
    fn parse(wire: &wire::Settle) -> Result<Self, Refusal> {
        let action = parse_action(wire)?;
        let grant = wire
            .grant
            .ok_or_else(|| Refusal::malformed("grant", "missing"))?;
        Ok(Self {
            address: address(&wire.address)?,
            grant: Grant {
                term: grant.term,
                counter: grant.counter,
            },
            ranges: parse_ranges(&wire.ranges)?,
            action,
        })
    }
}

impl Consume {
    fn parse(wire: &wire::Consume) -> Result<Self, Refusal> {
        let messages_max = limits::CREDIT_MESSAGES_MAX.into();
        let messages = u64::from(wire.credit_messages);
        within("credit_messages", Some(messages), 0, 1, messages_max)?;
        let bytes_max = limits::CREDIT_BYTES_MAX;
        Ok(Self {
            address: address(&wire.address)?,
            consumer: wire.consumer,
            credit_messages: wire.credit_messages,
            credit_bytes: within("credit_bytes", Some(wire.credit_bytes), 0, 1, bytes_max)?,
            visibility_timeout_ms: optional_visibility(wire.visibility_timeout_ms)?,
        })
    }
}

impl Receive {
    fn parse(wire: &wire::Receive) -> Result<Self, Refusal> {
        let messages_max = limits::RECEIVE_MESSAGES_MAX.into();
        within(
            "max_messages",
            Some(wire.max_messages.into()),
            0,
            1,
            messages_max,
        )?;
        let (bytes_max, wait_max) = (limits::CREDIT_BYTES_MAX, limits::RECEIVE_WAIT_MS_MAX);
        Ok(Self {
            address: address(&wire.address)?,
            max_messages: wire.max_messages,
            max_bytes: within("max_bytes", Some(wire.max_bytes), 0, 1, bytes_max)?,
            wait_ms: within("wait_ms", Some(wire.wait_ms), 0, 0, wait_max)?,
            visibility_timeout_ms: optional_visibility(wire.visibility_timeout_ms)?,
        })
    }
}

fn parse_transaction(wire: wire::Transaction, limits: RunLimits) -> Result<Request, Refusal> {
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
            let (name, run) = parse_publish(publish, limits)?;
            Ok(Operation::Publish { name, run })
        }
        Some(wire::operation::Kind::Settle(settle)) => {
            Ok(Operation::Settle(Settle::parse(&settle)?))
        }
        None => Err(Refusal::malformed("operations", "empty operation")),
    }
}

fn parse_publish(
    wire: wire::Publish,
    run_limits: RunLimits,
) -> Result<(Name, ScannedRun), Refusal> {
    match wire::Level::try_from(wire.level) {
        Ok(wire::Level::Unspecified | wire::Level::Synced) => {}
        _ => {
            return Err(Refusal::Unsupported {
                field: "level".into(),
            });
        }
    }
    Ok((name(&wire.name)?, parse_run(wire.run, run_limits)?))
}

fn parse_run(run: Bytes, run_limits: RunLimits) -> Result<ScannedRun, Refusal> {
    let scanned = run::scan(run, run_limits).map_err(run::ScanError::to_refusal)?;
    scanned.specials.iter().try_for_each(refuse_unsupported)?;
    Ok(scanned)
}

/// What a message may ask for and this broker does not do yet.
fn refuse_unsupported(special: &Special) -> Result<(), Refusal> {
    let asked = [
        ("priority", special.priority != limits::PRIORITY_DEFAULT),
        ("delay_ms", special.delay_ms > 0),
        ("deliver_at_ms", special.deliver_at_ms > 0),
        ("ttl_ms", special.ttl_ms > 0),
        ("dedup_id", !special.dedup_id.is_empty()),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((field, _)) => Err(Refusal::Unsupported {
            field: field.into(),
        }),
    }
}

fn parse_action(wire: &wire::Settle) -> Result<Action, Refusal> {
    let delay_max = limits::DELAY_MS_MAX;
    let delay = |default| within("delay_ms", wire.delay_ms, default, 0, delay_max);
    Ok(match wire.action() {
        wire::Action::Unspecified => return Err(Refusal::malformed("action", "missing")),
        wire::Action::Ack => Action::Ack,
        wire::Action::Nack => {
            delay(0)?;
            Action::Nack {
                delay_ms: wire.delay_ms,
            }
        }
        wire::Action::Release => Action::Release {
            delay_ms: delay(0)?,
        },
        wire::Action::Reject if wire.reason.len() > limits::REASON_BYTES_MAX => {
            let max = limits::REASON_BYTES_MAX as u64;
            return Err(Refusal::TooLarge {
                field: "reason".into(),
                max,
            });
        }
        wire::Action::Reject => Action::Reject {
            reason: wire.reason.clone(),
        },
        wire::Action::Extend => {
            let (min, max) = (limits::VISIBILITY_MS_MIN, limits::VISIBILITY_MS_MAX);
            Action::Extend {
                remaining_ms: within("delay_ms", wire.delay_ms, 0, min, max)?,
            }
        }
    })
}

fn parse_ranges(wire: &[wire::OffsetRange]) -> Result<Vec<OffsetRange>, Refusal> {
    within(
        "ranges",
        Some(wire.len() as u64),
        0,
        1,
        limits::SETTLE_RANGES_MAX as u64,
    )?;
    let mut ranges: Vec<OffsetRange> = Vec::with_capacity(wire.len());
    for range in wire {
        let end = range.first.checked_add(range.count);
        let end = end.filter(|end| *end > range.first);
        let end =
            end.ok_or_else(|| Refusal::malformed("ranges", "empty, or past the last offset"))?;
        if ranges.last().is_some_and(|last| last.end > range.first) {
            return Err(Refusal::malformed(
                "ranges",
                "not rising, or one offset named twice",
            ));
        }
        ranges.push(range.first..end);
    }
    let messages = ranges.iter().map(|range| range.end - range.start);
    let messages = messages.fold(0, u64::saturating_add);
    within("ranges", Some(messages), 0, 1, limits::SETTLE_MESSAGES_MAX)?;
    Ok(ranges)
}

fn producer_ticket(producer: u64, sequence: u64) -> Result<ProducerTicket, Refusal> {
    within("producer", Some(producer), 0, 1, u64::MAX)?;
    within("sequence", Some(sequence), 0, 1, u64::MAX - 1)?;
    Ok(ProducerTicket { producer, sequence })
}

fn optional_visibility(value: Option<u64>) -> Result<Option<u64>, Refusal> {
    value.map(|ms| visibility_timeout(Some(ms), 0)).transpose()
}

/// `None`: the default choice of states.
fn parse_state(state: i32) -> Result<Option<State>, Refusal> {
    match wire::State::try_from(state) {
        Ok(_) => Ok(State::from_wire(state)),
        Err(_) => Err(Refusal::malformed("state", "no such state")),
    }
}

fn page(limit: u32) -> Result<u32, Refusal> {
    within("limit", Some(limit.into()), 0, 1, limits::PAGE_MAX.into())?;
    Ok(limit)
}

fn name(text: &str) -> Result<Name, Refusal> {
    text.parse()
        .map_err(|error| Refusal::bad_name("name", error))
}

fn address(text: &str) -> Result<Address, Refusal> {
    text.parse()
        .map_err(|error| Refusal::bad_name("address", error))
}

fn subscription_address(text: &str) -> Result<Address, Refusal> {
    let address = address(text)?;
    if address.subscription.is_none() {
        return Err(Refusal::malformed(
            "address",
            "a subscription is named topic/subscription",
        ));
    }
    Ok(address)
}
