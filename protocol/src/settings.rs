//! Settings of queues, topics and subscriptions: wire to domain, defaults filled in, parsed once.
//!
//! The structs are complete (no absent fields) and are written to disk as they stand here, so a
//! default that changes later does not change what exists.

mod delivery;
mod names;

use crate::limits;
use crate::refusal::Refusal;
use crate::types::{Offset, Timestamp};
use crate::wire;

pub use delivery::{DeliverySettings, OnDead, OnExpired, Order};
pub use names::{Overflow, QueueSettings, TopicSettings};

/// Where a new subscription begins to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest kept message.
    Earliest,
    /// Behind the newest message.
    Latest,
    /// At this offset; behind the end it is the end, before the oldest it is the oldest.
    Offset(Offset),
    /// At the first message published at or after it, or up to one extent earlier.
    Time(Timestamp),
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

/// Checks a text's length.
///
/// # Errors
/// `TooLarge` with the most.
pub fn text(field: &'static str, text: String, max: usize) -> Result<String, Refusal> {
    at_most(field, text.len(), max)?;
    Ok(text)
}

/// Checks a length in bytes.
///
/// # Errors
/// `TooLarge` with the most.
pub fn at_most(field: &'static str, bytes: usize, max: usize) -> Result<(), Refusal> {
    if bytes <= max {
        return Ok(());
    }
    let (field, max) = (field.into(), max as u64);
    Err(Refusal::TooLarge { field, max })
}

impl StartAt {
    /// Parses the wire form; absent is `Latest`.
    pub fn parse(wire: Option<wire::StartAt>) -> Self {
        match wire.and_then(|start| start.kind) {
            Some(wire::start_at::Kind::Earliest(_)) => Self::Earliest,
            Some(wire::start_at::Kind::Offset(offset)) => Self::Offset(offset),
            Some(wire::start_at::Kind::TimeMs(at)) => Self::Time(Timestamp(at)),
            Some(wire::start_at::Kind::Latest(_)) | None => Self::Latest,
        }
    }

    /// As on the wire.
    pub fn to_wire(self) -> wire::StartAt {
        use wire::start_at::{Earliest, Kind, Latest};
        let kind = Some(match self {
            Self::Earliest => Kind::Earliest(Earliest {}),
            Self::Latest => Kind::Latest(Latest {}),
            Self::Offset(offset) => Kind::Offset(offset),
            Self::Time(at) => Kind::TimeMs(at.0),
        });
        wire::StartAt { kind }
    }
}
