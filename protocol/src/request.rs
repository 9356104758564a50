//! What a client asks, parsed once: from here on no field is out of its range.

mod later;
mod publish;
mod rider;
mod schedule;
mod settle;
#[cfg(test)]
mod tests;

use publish::{parse_publish, parse_run, parse_transaction, producer_ticket};
use settle::parse_ranges;

pub use rider::Rider;
pub use schedule::{Cron, Overlap, ScheduleSettings, When};
pub use settle::{Action, Settle};

use bytes::Bytes;

use crate::filter::{Filter, Scope};
use crate::limits;
use crate::refusal::{Refusal, State};
use crate::run::{RunLimits, ScannedRun};
use crate::settings::{
    DeliverySettings, QueueSettings, StartAt, TopicSettings, at_most, text, visibility_timeout,
    within,
};
use crate::types::{Address, Grant, Level, Name, Offset, OffsetRange};
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
        /// `None`: the queue's own.
        level: Option<Level>,
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
        settings: Box<QueueSettings>,
    },
    CreateTopic {
        name: Name,
        settings: TopicSettings,
    },
    CreateSubscription {
        address: Address,
        settings: Box<DeliverySettings>,
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
        /// At most 4 KiB; empty: everything.
        filter: String,
    },
    Purge(Sieve),
    Redrive {
        sieve: Sieve,
        rate: u64,
    },
    StopRedrive {
        address: Address,
    },
    DropDead(Sieve),
    Started {
        address: Address,
        grant: Grant,
        ranges: Vec<OffsetRange>,
    },
    Seek {
        address: Address,
        to: StartAt,
    },
    Pause {
        address: Address,
        paused: bool,
    },
    Get(MessageId),
    Await {
        id: MessageId,
        wait_ms: u64,
    },
    Cancel(MessageId),
    Explain {
        address: Address,
        about: About,
    },
    CreateSchedule {
        name: Name,
        settings: Box<ScheduleSettings>,
        run: ScannedRun,
    },
    DeleteSchedule {
        name: Name,
    },
    ListSchedules {
        prefix: String,
        after: String,
        limit: u32,
    },
    RunSchedule {
        name: Name,
    },
}

/// One message as one subscription sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageId {
    /// Queue or subscription.
    pub address: Address,
    /// In its log.
    pub offset: Offset,
}

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// Everything at the address.
    All,
    /// One message.
    Message(Offset),
    /// What would be published under this dedup id.
    DedupId(String),
}

/// Which messages an operation takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sieve {
    /// Queue or subscription.
    pub address: Address,
    /// At most so many, the lowest offsets first; 0: all.
    pub limit: u64,
    /// At most 4 KiB; empty: everything.
    pub filter: String,
    /// Only count.
    pub dry_run: bool,
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
    /// End a message that nobody holds.
    Cancel(MessageId),
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
    /// What is delivered was acked before its bytes left.
    pub ack_on_delivery: bool,
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
    /// Repeated within 60 s it gets the same leases back; empty: none. At most 64 bytes.
    pub request_id: Bytes,
}

impl Sieve {
    /// How many of so many it takes at most.
    pub fn at_most(&self, count: u64) -> u64 {
        if self.limit == 0 {
            count
        } else {
            count.min(self.limit)
        }
    }

    /// Everything at an address.
    pub const fn all(address: Address) -> Self {
        Self {
            address,
            limit: 0,
            filter: String::new(),
            dry_run: false,
        }
    }
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
                let (name, level, run) = parse_publish(publish, run_limits)?;
                Self::Publish {
                    name,
                    ticket,
                    level,
                    run,
                }
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
                settings: Box::new(QueueSettings::parse(wire.settings)?),
            },
            Kind::CreateTopic(wire) => Self::CreateTopic {
                name: name(&wire.name)?,
                settings: TopicSettings::parse(wire.settings)?,
            },
            Kind::CreateSubscription(wire) => Self::CreateSubscription {
                address: subscription_address(&wire.address)?,
                settings: Box::new(DeliverySettings::parse(wire.settings)?),
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
                filter: look_filter(wire.filter)?,
            },
            other => return later::parse(other, run_limits),
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
            ack_on_delivery: wire.ack_on_delivery,
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
        at_most(
            "request_id",
            wire.request_id.len(),
            limits::REQUEST_ID_BYTES_MAX,
        )?;
        Ok(Self {
            address: address(&wire.address)?,
            max_messages: wire.max_messages,
            max_bytes: within("max_bytes", Some(wire.max_bytes), 0, 1, bytes_max)?,
            wait_ms: within("wait_ms", Some(wire.wait_ms), 0, 0, wait_max)?,
            visibility_timeout_ms: optional_visibility(wire.visibility_timeout_ms)?,
            request_id: wire.request_id.clone(),
        })
    }
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

/// Empty, or a filter of a look.
fn look_filter(filter: String) -> Result<String, Refusal> {
    if !filter.is_empty() {
        Filter::parse(&filter, Scope::Look)?;
    }
    Ok(filter)
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
