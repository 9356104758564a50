//! Settles: what to do with leased messages.

use super::{Rider, address};
use crate::limits;
use crate::refusal::Refusal;
use crate::settings::{text, within};
use crate::types::{Address, Grant, OffsetRange};
use crate::wire;

/// What to do with leased messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Done.
    Ack,
    /// Failed: attempt counted; back after `delay_ms`, or the backoff.
    Nack {
        /// ms, 0 to 10 years.
        delay_ms: Option<u64>,
        /// At most 1 KiB.
        reason: String,
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
    /// What rides on it.
    pub rider: Option<Box<Rider>>,
}

impl Settle {
    pub(super) fn parse(wire: &wire::Settle) -> Result<Self, Refusal> {
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
            rider: Rider::parse(wire)?,
        })
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
                reason: text("reason", wire.reason.clone(), limits::REASON_BYTES_MAX)?,
            }
        }
        wire::Action::Release => Action::Release {
            delay_ms: delay(0)?,
        },
        wire::Action::Reject => Action::Reject {
            reason: text("reason", wire.reason.clone(), limits::REASON_BYTES_MAX)?,
        },
        wire::Action::Extend => {
            let (min, max) = (limits::VISIBILITY_MS_MIN, limits::VISIBILITY_MS_MAX);
            Action::Extend {
                remaining_ms: within("remaining_ms", wire.delay_ms, 0, min, max)?,
            }
        }
    })
}

pub(super) fn parse_ranges(wire: &[wire::OffsetRange]) -> Result<Vec<OffsetRange>, Refusal> {
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
