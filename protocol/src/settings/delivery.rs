//! How deliveries of a queue or subscription behave.

use super::{visibility_timeout, within};
use crate::filter::{Filter, Scope};
use crate::limits;
use crate::refusal::Refusal;
use crate::types::Name;
use crate::wire;

/// How deliveries of a queue or subscription behave. Complete.
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
    /// Their bytes.
    #[prost(uint64, tag = "5")]
    pub max_dead_bytes: u64,
    /// ms from death.
    #[prost(uint64, tag = "6")]
    pub dead_retention_ms: u64,
    /// A name that takes what would become a dead letter; empty: none.
    #[prost(string, tag = "7")]
    pub dead_letter_to: String,
    /// In which order messages go.
    #[prost(enumeration = "Order", tag = "8")]
    pub order: i32,
    /// What a dead letter does to the rest of its key.
    #[prost(enumeration = "OnDead", tag = "9")]
    pub on_dead: i32,
    /// ms a waiting message rises one priority; 0: never.
    #[prost(uint64, tag = "10")]
    pub age_step_ms: u64,
    /// ms, of messages that name none; 0: for ever.
    #[prost(uint64, tag = "11")]
    pub ttl_ms: u64,
    /// What becomes of an expired message.
    #[prost(enumeration = "OnExpired", tag = "12")]
    pub on_expired: i32,
    /// ms from the hand-over past which no lease is extended; 0: no limit.
    #[prost(uint64, tag = "13")]
    pub max_hold_ms: u64,
    /// Whether a record is kept of what has ended.
    #[prost(bool, tag = "14")]
    pub track: bool,
    /// ms such a record is kept.
    #[prost(uint64, tag = "15")]
    pub done_retention_ms: u64,
    /// What it reads; empty: everything.
    #[prost(string, tag = "16")]
    pub filter: String,
    /// Whether it ends with the connection that made it.
    #[prost(bool, tag = "17")]
    pub ephemeral: bool,
    /// The name that the broker publishes what it reads into; empty: none.
    #[prost(string, tag = "18")]
    pub forward_to: String,
}

/// In which order messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Order {
    /// By priority, then by offset.
    None = 0,
    /// Besides: at most one message of a key is leased at a time; a retry holds its key.
    Key = 1,
}

/// What a dead letter does to the rest of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum OnDead {
    /// The next of its key goes on.
    Skip = 0,
    /// The key halts until the dead letter is redriven or dropped.
    HaltKey = 1,
}

/// What becomes of an expired message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum OnExpired {
    /// Counted and gone.
    Drop = 0,
    /// A dead letter.
    Dead = 1,
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
        let (dead, dead_max) = (limits::MAX_DEAD_DEFAULT, limits::MAX_DEAD_MAX);
        let (bytes, bytes_max) = (limits::MAX_DEAD_BYTES_DEFAULT, limits::MAX_BYTES_MAX);
        let (kept, done) = (
            limits::DEAD_RETENTION_MS_DEFAULT,
            limits::DONE_RETENTION_MS_DEFAULT,
        );
        let (second, years) = (limits::SECOND_MS, limits::DELAY_MS_MAX);
        let visibility_timeout_ms =
            visibility_timeout(wire.visibility_timeout_ms, limits::VISIBILITY_MS_DEFAULT)?;
        Ok(Self {
            visibility_timeout_ms,
            max_attempts: u32::try_from(attempts).unwrap_or(limits::MAX_ATTEMPTS_MAX),
            max_dead: within("max_dead", wire.max_dead, dead, 1, dead_max)?,
            max_dead_bytes: within("max_dead_bytes", wire.max_dead_bytes, bytes, 1, bytes_max)?,
            dead_retention_ms: within(
                "dead_retention_ms",
                wire.dead_retention_ms,
                kept,
                second,
                years,
            )?,
            order: parse_order(wire.order)?.into(),
            on_dead: parse_on_dead(wire.on_dead)?.into(),
            age_step_ms: optional_duration("age_step_ms", wire.age_step_ms, second)?,
            ttl_ms: within("ttl_ms", wire.ttl_ms, 0, 0, years)?,
            on_expired: parse_on_expired(wire.on_expired)?.into(),
            // A lease that is not extended is held for its visibility timeout.
            max_hold_ms: optional_duration("max_hold_ms", wire.max_hold_ms, visibility_timeout_ms)?,
            track: wire.track,
            done_retention_ms: within(
                "done_retention_ms",
                wire.done_retention_ms,
                done,
                0,
                limits::DONE_RETENTION_MS_MAX,
            )?,
            filter: checked_filter(wire.filter)?,
            ephemeral: wire.ephemeral,
            dead_letter_to: optional_name("dead_letter_to", wire.dead_letter_to)?,
            forward_to: optional_name("forward_to", wire.forward_to)?,
            backoff_ms: parse_backoff(wire.backoff_ms)?,
        })
    }

    /// As on the wire, complete.
    pub fn to_wire(&self) -> wire::DeliverySettings {
        let order = match self.order() {
            Order::None => wire::Order::None,
            Order::Key => wire::Order::Key,
        };
        let on_dead = match self.on_dead() {
            OnDead::Skip => wire::OnDead::Skip,
            OnDead::HaltKey => wire::OnDead::HaltKey,
        };
        let on_expired = match self.on_expired() {
            OnExpired::Drop => wire::OnExpired::Drop,
            OnExpired::Dead => wire::OnExpired::Dead,
        };
        wire::DeliverySettings {
            visibility_timeout_ms: Some(self.visibility_timeout_ms),
            max_attempts: Some(self.max_attempts),
            backoff_ms: self.backoff_ms.clone(),
            max_dead: Some(self.max_dead),
            max_dead_bytes: Some(self.max_dead_bytes),
            dead_retention_ms: Some(self.dead_retention_ms),
            dead_letter_to: self.dead_letter_to.clone(),
            order: order.into(),
            on_dead: on_dead.into(),
            age_step_ms: Some(self.age_step_ms),
            ttl_ms: Some(self.ttl_ms),
            on_expired: on_expired.into(),
            max_hold_ms: Some(self.max_hold_ms),
            track: self.track,
            done_retention_ms: Some(self.done_retention_ms),
            filter: self.filter.clone(),
            ephemeral: self.ephemeral,
            forward_to: self.forward_to.clone(),
        }
    }
}

/// Empty, or a filter.
fn checked_filter(filter: String) -> Result<String, Refusal> {
    if !filter.is_empty() {
        Filter::parse(&filter, Scope::Subscription)?;
    }
    Ok(filter)
}

fn parse_backoff(steps: Vec<u64>) -> Result<Vec<u64>, Refusal> {
    let max = limits::BACKOFF_STEPS_MAX;
    if steps.len() > max {
        return Err(Refusal::TooLarge {
            field: "backoff_ms".into(),
            max: max as u64,
        });
    }
    for step in &steps {
        within("backoff_ms", Some(*step), 0, 0, limits::DELAY_MS_MAX)?;
    }
    if steps.is_empty() {
        return Ok(limits::BACKOFF_MS_DEFAULT.to_vec());
    }
    Ok(steps)
}

/// 0, which turns it off, or `min` to ten years.
fn optional_duration(field: &'static str, value: Option<u64>, min: u64) -> Result<u64, Refusal> {
    match value {
        None | Some(0) => Ok(0),
        some => within(field, some, 0, min, limits::DELAY_MS_MAX),
    }
}

/// Empty, or a name.
fn optional_name(field: &'static str, name: String) -> Result<String, Refusal> {
    if !name.is_empty() {
        name.parse::<Name>()
            .map_err(|error| Refusal::bad_name(field, error))?;
    }
    Ok(name)
}

fn parse_order(order: i32) -> Result<Order, Refusal> {
    match wire::Order::try_from(order) {
        Ok(wire::Order::Unspecified | wire::Order::None) => Ok(Order::None),
        Ok(wire::Order::Key) => Ok(Order::Key),
        Err(_) => Err(Refusal::malformed("order", "no such order")),
    }
}

fn parse_on_dead(on_dead: i32) -> Result<OnDead, Refusal> {
    match wire::OnDead::try_from(on_dead) {
        Ok(wire::OnDead::Unspecified | wire::OnDead::Skip) => Ok(OnDead::Skip),
        Ok(wire::OnDead::HaltKey) => Ok(OnDead::HaltKey),
        Err(_) => Err(Refusal::malformed("on_dead", "no such choice")),
    }
}

fn parse_on_expired(on_expired: i32) -> Result<OnExpired, Refusal> {
    match wire::OnExpired::try_from(on_expired) {
        Ok(wire::OnExpired::Unspecified | wire::OnExpired::Drop) => Ok(OnExpired::Drop),
        Ok(wire::OnExpired::Dead) => Ok(OnExpired::Dead),
        Err(_) => Err(Refusal::malformed("on_expired", "no such choice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lease_begins_longer_than_it_may_be_held() {
        let parse = |visibility_timeout_ms, max_hold_ms| {
            let wire = wire::DeliverySettings {
                visibility_timeout_ms,
                max_hold_ms,
                ..wire::DeliverySettings::default()
            };
            DeliverySettings::parse(Some(wire)).map(|settings| settings.max_hold_ms)
        };
        let refused = |min| {
            let max = limits::DELAY_MS_MAX;
            Err(Refusal::out_of_range("max_hold_ms", min, max))
        };
        assert_eq!(parse(None, None), Ok(0));
        assert_eq!(parse(None, Some(0)), Ok(0));
        assert_eq!(parse(None, Some(30_000)), Ok(30_000));
        assert_eq!(parse(None, Some(29_999)), refused(30_000));
        assert_eq!(parse(Some(60_000), Some(59_999)), refused(60_000));
        assert_eq!(
            parse(Some(1_000), Some(limits::DELAY_MS_MAX + 1)),
            refused(1_000)
        );
    }
}
