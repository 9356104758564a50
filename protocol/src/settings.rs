//! Settings of queues, topics and subscriptions: wire to domain, defaults filled in, parsed once.
//!
//! The structs are complete (no absent fields) and are written to disk as they stand here, so a
//! default that changes later does not change what exists.

use crate::limits;
use crate::refusal::Refusal;
use crate::types::Offset;
use crate::wire;

/// How deliveries of a queue or subscription behave.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeliverySettings {
    /// ms, 1 s to 12 h.
    #[prost(uint64, tag = "1")]
    pub visibility_timeout_ms: u64,
    /// 1 to 1,000.
    #[prost(uint32, tag = "2")]
    pub max_attempts: u32,
    /// ms, 1 to 16 steps; the last repeats.
    #[prost(uint64, repeated, tag = "3")]
    pub backoff_ms: Vec<u64>,
    /// Dead letters kept.
    #[prost(uint64, tag = "4")]
    pub max_dead: u64,
}

/// Settings of a queue.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueueSettings {
    /// Of its built-in subscription.
    #[prost(message, required, tag = "1")]
    pub delivery: DeliverySettings,
    /// Ready, delayed and leased together.
    #[prost(uint64, tag = "2")]
    pub max_messages: u64,
    /// Bytes of the same.
    #[prost(uint64, tag = "3")]
    pub max_bytes: u64,
}

/// Settings of a topic.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TopicSettings {
    /// Past it the oldest extents leave.
    #[prost(uint64, tag = "1")]
    pub retention_bytes: u64,
}

/// Where a new subscription begins to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest kept message.
    Earliest,
    /// Behind the newest message.
    Latest,
    /// At this offset; behind the end it is the end, before the oldest it is the oldest.
    Offset(Offset),
}

/// Checks `value`, or takes `default` where none is given.
///
/// # Errors
/// `Invalid` with the range.
pub fn within(
    field: &'static str,
    value: Option<u64>,
    default: u64,
    min: u64,
    max: u64,
) -> Result<u64, Refusal> {
    let value = value.unwrap_or(default);
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(Refusal::out_of_range(field, min, max))
}

/// A visibility timeout in ms: 1 s to 12 h.
///
/// # Errors
/// `Invalid` with the range.
pub fn visibility_timeout(value: Option<u64>, default: u64) -> Result<u64, Refusal> {
    let (min, max) = (limits::VISIBILITY_MS_MIN, limits::VISIBILITY_MS_MAX);
    within("visibility_timeout_ms", value, default, min, max)
}

impl DeliverySettings {
    /// Parses the wire form; absent fields take their default.
    ///
    /// # Errors
    /// `Invalid` names the first field out of its range.
    pub fn parse(wire: Option<wire::DeliverySettings>) -> Result<Self, Refusal> {
        let wire = wire.unwrap_or_default();
        let attempts = within(
            "max_attempts",
            wire.max_attempts.map(u64::from),
            limits::MAX_ATTEMPTS_DEFAULT.into(),
            1,
            limits::MAX_ATTEMPTS_MAX.into(),
        )?;
        let steps_max = limits::BACKOFF_STEPS_MAX;
        if wire.backoff_ms.len() > steps_max {
            return Err(Refusal::TooLarge {
                field: "backoff_ms".into(),
                max: steps_max as u64,
            });
        }
        for step in &wire.backoff_ms {
            within("backoff_ms", Some(*step), 0, 0, limits::DELAY_MS_MAX)?;
        }
        let backoff_ms = match wire.backoff_ms {
            steps if steps.is_empty() => limits::BACKOFF_MS_DEFAULT.to_vec(),
            steps => steps,
        };
        let (dead, dead_max) = (limits::MAX_DEAD_DEFAULT, limits::MAX_DEAD_MAX);
        Ok(Self {
            visibility_timeout_ms: visibility_timeout(
                wire.visibility_timeout_ms,
                limits::VISIBILITY_MS_DEFAULT,
            )?,
            max_attempts: u32::try_from(attempts).unwrap_or(limits::MAX_ATTEMPTS_MAX),
            backoff_ms,
            max_dead: within("max_dead", wire.max_dead, dead, 1, dead_max)?,
        })
    }

    /// As on the wire, complete.
    pub fn to_wire(&self) -> wire::DeliverySettings {
        wire::DeliverySettings {
            visibility_timeout_ms: Some(self.visibility_timeout_ms),
            max_attempts: Some(self.max_attempts),
            backoff_ms: self.backoff_ms.clone(),
            max_dead: Some(self.max_dead),
        }
    }
}

impl QueueSettings {
    /// Parses the wire form; absent fields take their default.
    ///
    /// # Errors
    /// `Invalid` names the first field out of its range.
    pub fn parse(wire: Option<wire::QueueSettings>) -> Result<Self, Refusal> {
        let wire = wire.unwrap_or_default();
        let (messages, bytes) = (limits::MAX_MESSAGES_MAX, limits::MAX_BYTES_MAX);
        Ok(Self {
            delivery: DeliverySettings::parse(wire.delivery)?,
            max_messages: within("max_messages", wire.max_messages, messages, 1, messages)?,
            max_bytes: within(
                "max_bytes",
                wire.max_bytes,
                limits::MAX_BYTES_DEFAULT,
                1,
                bytes,
            )?,
        })
    }

    /// As on the wire, complete.
    pub fn to_wire(&self) -> wire::QueueSettings {
        wire::QueueSettings {
            delivery: Some(self.delivery.to_wire()),
            max_messages: Some(self.max_messages),
            max_bytes: Some(self.max_bytes),
        }
    }
}

impl TopicSettings {
    /// Parses the wire form; absent fields take their default.
    ///
    /// # Errors
    /// `Invalid` names the first field out of its range.
    pub fn parse(wire: Option<wire::TopicSettings>) -> Result<Self, Refusal> {
        let wire = wire.unwrap_or_default();
        let default = limits::RETENTION_BYTES_DEFAULT;
        let max = limits::MAX_BYTES_MAX;
        let bytes = within("retention_bytes", wire.retention_bytes, default, 1, max)?;
        Ok(Self {
            retention_bytes: bytes,
        })
    }

    /// As on the wire, complete.
    pub fn to_wire(&self) -> wire::TopicSettings {
        wire::TopicSettings {
            retention_bytes: Some(self.retention_bytes),
        }
    }
}

impl StartAt {
    /// Parses the wire form; absent is `Latest`.
    pub fn parse(wire: Option<wire::StartAt>) -> Self {
        match wire.and_then(|start| start.kind) {
            Some(wire::start_at::Kind::Earliest(_)) => Self::Earliest,
            Some(wire::start_at::Kind::Offset(offset)) => Self::Offset(offset),
            Some(wire::start_at::Kind::Latest(_)) | None => Self::Latest,
        }
    }
}
