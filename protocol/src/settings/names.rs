//! Settings of queues and topics.

use super::{DeliverySettings, Order, within};
use crate::limits;
use crate::refusal::Refusal;
use crate::types::Level;
use crate::wire;

/// Settings of a queue. Complete.
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
    /// What a publish does that does not fit.
    #[prost(enumeration = "Overflow", tag = "4")]
    pub overflow: i32,
    /// Of publishes that name none.
    #[prost(enumeration = "Level", tag = "5")]
    pub level: i32,
    /// ms a dedup id is remembered; 0: not at all.
    #[prost(uint64, tag = "6")]
    pub dedup_window_ms: u64,
    /// Dedup ids remembered.
    #[prost(uint64, tag = "7")]
    pub max_dedup_ids: u64,
    /// ms settled messages can be sought back.
    #[prost(uint64, tag = "8")]
    pub retain_settled_ms: u64,
}

/// Settings of a topic. Complete.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TopicSettings {
    /// Past it the oldest extents leave.
    #[prost(uint64, tag = "1")]
    pub retention_bytes: u64,
    /// ms after which extents leave.
    #[prost(uint64, tag = "2")]
    pub retention_ms: u64,
    /// Of publishes that name none.
    #[prost(enumeration = "Level", tag = "3")]
    pub level: i32,
    /// ms a dedup id is remembered; 0: not at all.
    #[prost(uint64, tag = "4")]
    pub dedup_window_ms: u64,
    /// Dedup ids remembered.
    #[prost(uint64, tag = "5")]
    pub max_dedup_ids: u64,
}

/// What a publish into a full queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Overflow {
    /// It is refused `BUSY`.
    Reject = 0,
    /// It drops the oldest that nobody holds.
    DropOldest = 1,
    /// It makes the oldest that nobody holds dead letters.
    DeadOldest = 2,
}

impl QueueSettings {
    /// Parses the wire form; absent fields take their default.
    ///
    /// # Errors
    /// `Invalid` names the first field out of its range.
    pub fn parse(wire: Option<wire::QueueSettings>) -> Result<Self, Refusal> {
        let wire = wire.unwrap_or_default();
        let (messages, bytes) = (limits::MAX_MESSAGES_MAX, limits::MAX_BYTES_MAX);
        let retained = wire.retain_settled_ms;
        let settings = Self {
            max_messages: within("max_messages", wire.max_messages, messages, 1, messages)?,
            max_bytes: within(
                "max_bytes",
                wire.max_bytes,
                limits::MAX_BYTES_DEFAULT,
                1,
                bytes,
            )?,
            overflow: parse_overflow(wire.overflow)?.into(),
            level: Level::parse(wire.level)?.unwrap_or(Level::Synced).into(),
            dedup_window_ms: dedup_window(wire.dedup_window_ms)?,
            max_dedup_ids: dedup_ids(wire.max_dedup_ids)?,
            retain_settled_ms: within("retain_settled_ms", retained, 0, 0, limits::DELAY_MS_MAX)?,
            delivery: own_delivery(wire.delivery)?,
        };
        if settings.retain_settled_ms > 0 && settings.delivery.order() == Order::Key {
            let why = "what is ordered by key cannot be sought back: the keys of what has left are not known";
            return Err(Refusal::malformed("retain_settled_ms", why));
        }
        Ok(settings)
    }

    /// As on the wire, complete.
    pub fn to_wire(&self) -> wire::QueueSettings {
        let overflow = match self.overflow() {
            Overflow::Reject => wire::Overflow::Reject,
            Overflow::DropOldest => wire::Overflow::DropOldest,
            Overflow::DeadOldest => wire::Overflow::DeadOldest,
        };
        wire::QueueSettings {
            delivery: Some(self.delivery.to_wire()),
            max_messages: Some(self.max_messages),
            max_bytes: Some(self.max_bytes),
            overflow: overflow.into(),
            level: self.level().to_wire().into(),
            dedup_window_ms: Some(self.dedup_window_ms),
            max_dedup_ids: Some(self.max_dedup_ids),
            retain_settled_ms: Some(self.retain_settled_ms),
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
        let (bytes, bytes_max) = (limits::RETENTION_BYTES_DEFAULT, limits::MAX_BYTES_MAX);
        let (ms, ms_max) = (limits::RETENTION_MS_DEFAULT, limits::DELAY_MS_MAX);
        Ok(Self {
            retention_bytes: within("retention_bytes", wire.retention_bytes, bytes, 1, bytes_max)?,
            retention_ms: within(
                "retention_ms",
                wire.retention_ms,
                ms,
                limits::SECOND_MS,
                ms_max,
            )?,
            level: Level::parse(wire.level)?.unwrap_or(Level::Synced).into(),
            dedup_window_ms: dedup_window(wire.dedup_window_ms)?,
            max_dedup_ids: dedup_ids(wire.max_dedup_ids)?,
        })
    }

    /// As on the wire, complete.
    pub fn to_wire(&self) -> wire::TopicSettings {
        wire::TopicSettings {
            retention_bytes: Some(self.retention_bytes),
            retention_ms: Some(self.retention_ms),
            level: self.level().to_wire().into(),
            dedup_window_ms: Some(self.dedup_window_ms),
            max_dedup_ids: Some(self.max_dedup_ids),
        }
    }
}

/// Of a queue's built-in subscription: it reads everything, stays, and is read by consumers.
fn own_delivery(wire: Option<wire::DeliverySettings>) -> Result<DeliverySettings, Refusal> {
    let delivery = DeliverySettings::parse(wire)?;
    for (field, is_set) in [
        ("filter", !delivery.filter.is_empty()),
        ("ephemeral", delivery.ephemeral),
        ("forward_to", !delivery.forward_to.is_empty()),
    ] {
        if is_set {
            return Err(Refusal::malformed(field, "of a topic's subscription only"));
        }
    }
    Ok(delivery)
}

fn dedup_window(value: Option<u64>) -> Result<u64, Refusal> {
    let (default, max) = (limits::DEDUP_WINDOW_MS_DEFAULT, limits::DEDUP_WINDOW_MS_MAX);
    within("dedup_window_ms", value, default, 0, max)
}

fn dedup_ids(value: Option<u64>) -> Result<u64, Refusal> {
    let (default, max) = (limits::DEDUP_IDS_DEFAULT, limits::DEDUP_IDS_MAX);
    within("max_dedup_ids", value, default, 1, max)
}

fn parse_overflow(overflow: i32) -> Result<Overflow, Refusal> {
    match wire::Overflow::try_from(overflow) {
        Ok(wire::Overflow::Unspecified | wire::Overflow::Reject) => Ok(Overflow::Reject),
        Ok(wire::Overflow::DropOldest) => Ok(Overflow::DropOldest),
        Ok(wire::Overflow::DeadOldest) => Ok(Overflow::DeadOldest),
        Err(_) => Err(Refusal::malformed("overflow", "no such choice")),
    }
}
