//! A rule says no: expected, typed, with numbers. Parsed and written by both sides.

use std::borrow::Cow;

use crate::error_code::ErrorCode;
use crate::types::NameError;
use crate::wire;

/// The state of a message in its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Waits for a consumer.
    Ready,
    /// Waits for its time.
    Delayed,
    /// In the hands of a consumer.
    Leased,
    /// A dead letter.
    Dead,
    /// Done, or gone by another exit.
    Settled,
    /// Its time to live passed before anybody got it.
    Expired,
    /// Taken back before anybody got it.
    Cancelled,
}

impl State {
    /// The name in documents and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Leased => "leased",
            Self::Dead => "dead",
            Self::Settled => "settled",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// As on the wire.
    pub const fn to_wire(self) -> wire::State {
        match self {
            Self::Ready => wire::State::Ready,
            Self::Delayed => wire::State::Delayed,
            Self::Leased => wire::State::Leased,
            Self::Dead => wire::State::Dead,
            Self::Settled => wire::State::Settled,
            Self::Expired => wire::State::Expired,
            Self::Cancelled => wire::State::Cancelled,
        }
    }

    /// From the wire; `None` if unspecified or unknown.
    pub fn from_wire(state: i32) -> Option<Self> {
        Some(match wire::State::try_from(state).ok()? {
            wire::State::Unspecified => return None,
            wire::State::Ready => Self::Ready,
            wire::State::Delayed => Self::Delayed,
            wire::State::Leased => Self::Leased,
            wire::State::Dead => Self::Dead,
            wire::State::Settled => Self::Settled,
            wire::State::Expired => Self::Expired,
            wire::State::Cancelled => Self::Cancelled,
        })
    }
}

/// Why a request was refused. Nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes were not the protocol.
    #[error("not the protocol: {0}")]
    Protocol(Cow<'static, str>),
    /// The token is missing, unknown or expired.
    #[error("not authenticated")]
    Unauthenticated,
    /// A field is out of its range or malformed.
    #[error("{field}: {why}{}", allowed(*.min, *.max))]
    Invalid {
        /// The field's name on the wire.
        field: Cow<'static, str>,
        /// Lowest allowed value.
        min: u64,
        /// Highest allowed value.
        max: u64,
        /// What is wrong with it.
        why: Cow<'static, str>,
    },
    /// A field is too large.
    #[error("{field} is larger than {max}")]
    TooLarge {
        /// The field's name on the wire.
        field: Cow<'static, str>,
        /// Largest allowed, in bytes or count.
        max: u64,
    },
    /// No such queue, topic or subscription.
    #[error("{name:?} not found{}", did_you_mean(.nearest))]
    NotFound {
        /// The name asked for.
        name: String,
        /// Up to three names that look like it.
        nearest: Vec<String>,
    },
    /// The name exists, with other settings or as another kind.
    #[error("{name:?} exists with other settings")]
    Exists {
        /// The name asked for.
        name: String,
    },
    /// The grant no longer holds the message.
    #[error("lease lost: the message is {}", .state.name())]
    LeaseLost {
        /// Where the message is instead.
        state: State,
    },
    /// The dedup id is taken by a different body.
    #[error("the dedup id of message {index} is taken by a different body, at offset {offset}")]
    DedupConflict {
        /// Which message of the run, from 0.
        index: u32,
        /// Where the other body is.
        offset: u64,
    },
    /// The producer was forgotten, or the sequence lies below its window.
    #[error("producer unknown or sequence below its window: an earlier attempt may be stored")]
    ProducerUnknown,
    /// The principal may not do this.
    #[error("denied")]
    Denied,
    /// A transaction over names of different shards.
    #[error("the names of the transaction live in different shards")]
    CrossShard,
    /// This broker does not do what the field asks.
    #[error("{field} is not supported by this broker")]
    Unsupported {
        /// The field's name on the wire.
        field: Cow<'static, str>,
    },
    /// A resource is at its limit; try again later.
    #[error("busy: {resource} holds {current} of {limit}; try again in {retry_after_ms} ms")]
    Busy {
        /// What is full.
        resource: Cow<'static, str>,
        /// Its limit.
        limit: u64,
        /// What it holds now.
        current: u64,
        /// When to try again: 100 ms to 60 s.
        retry_after_ms: u64,
    },
    /// The broker is closing.
    #[error("the broker is draining")]
    Draining,
    /// Another node leads.
    #[error("another node leads this shard")]
    NotLeader,
    /// Too few nodes are up.
    #[error("no quorum")]
    NoQuorum,
    /// The disk failed.
    #[error("storage failed: {0}")]
    Storage(Cow<'static, str>),
    /// The broker broke a promise of its own.
    #[error("internal error: {0}")]
    Internal(Cow<'static, str>),
    /// The first operation of a transaction that failed.
    #[error("operation {index}: {refusal}")]
    Operation {
        /// From 0.
        index: u32,
        /// Why.
        refusal: Box<Refusal>,
    },
}

/// The range, where there is one: a malformed field has none.
fn allowed(min: u64, max: u64) -> String {
    if min == max {
        return String::new();
    }
    format!(" (allowed: {min} to {max})")
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() {
        return String::new();
    }
    let quoted: Vec<_> = nearest.iter().map(|name| format!("{name:?}")).collect();
    format!("; did you mean {}?", quoted.join(" or "))
}

impl Refusal {
    /// `field` must lie in `min..=max` and does not.
    pub fn out_of_range(field: &'static str, min: u64, max: u64) -> Self {
        Self::Invalid {
            field: field.into(),
            min,
            max,
            why: "out of range".into(),
        }
    }

    /// `field` is malformed: `why`.
    pub fn malformed(field: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid {
            field: field.into(),
            min: 0,
            max: 0,
            why: why.into(),
        }
    }

    /// `field` is not a name.
    pub fn bad_name(field: &'static str, error: NameError) -> Self {
        Self::Invalid {
            field: field.into(),
            min: 1,
            max: 128,
            why: error.to_string().into(),
        }
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Protocol(_) => ErrorCode::Protocol,
            Self::Unauthenticated => ErrorCode::Unauthenticated,
            Self::Invalid { .. } => ErrorCode::Invalid,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Exists { .. } => ErrorCode::Exists,
            Self::LeaseLost { .. } => ErrorCode::LeaseLost,
            Self::DedupConflict { .. } => ErrorCode::DedupConflict,
            Self::ProducerUnknown => ErrorCode::ProducerUnknown,
            Self::Denied => ErrorCode::Denied,
            Self::CrossShard => ErrorCode::CrossShard,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::Busy { .. } => ErrorCode::Busy,
            Self::Draining => ErrorCode::Draining,
            Self::NotLeader => ErrorCode::NotLeader,
            Self::NoQuorum => ErrorCode::NoQuorum,
            Self::Storage(_) => ErrorCode::Storage,
            Self::Internal(_) => ErrorCode::Internal,
            Self::Operation { refusal, .. } => refusal.code(),
        }
    }

    /// As on the wire.
    pub fn to_wire(&self) -> wire::Error {
        let mut error = wire::Error {
            code: self.code().number().into(),
            message: self.to_string(),
            ..wire::Error::default()
        };
        match self {
            Self::Invalid {
                field,
                min,
                max,
                why,
            } => {
                error.field = field.clone().into_owned();
                (error.min, error.max) = (*min, *max);
                error.message = why.clone().into_owned();
            }
            Self::TooLarge { field, max } => {
                error.field = field.clone().into_owned();
                error.max = *max;
            }
            Self::NotFound { name, nearest } => {
                error.name.clone_from(name);
                error.nearest.clone_from(nearest);
            }
            Self::Exists { name } => error.name.clone_from(name),
            Self::LeaseLost { state } => error.set_state(state.to_wire()),
            Self::DedupConflict { index, offset } => {
                (error.message_index, error.offset) = (*index, *offset);
            }
            Self::Unsupported { field } => error.field = field.clone().into_owned(),
            Self::Busy {
                resource,
                limit,
                current,
                retry_after_ms,
            } => {
                error.resource = resource.clone().into_owned();
                (error.limit, error.current) = (*limit, *current);
                error.retry_after_ms = *retry_after_ms;
            }
            Self::Protocol(why) | Self::Storage(why) | Self::Internal(why) => {
                error.message = why.clone().into_owned();
            }
            Self::Operation { index, refusal } => {
                error = refusal.to_wire();
                error.operation = Some(*index);
            }
            _ => {}
        }
        error
    }

    /// From the wire. A code this version does not know is `Internal` with the broker's words.
    pub fn from_wire(error: wire::Error) -> Self {
        let operation = error.operation;
        let refusal = Self::plain_from_wire(error);
        match operation {
            None => refusal,
            Some(index) => Self::Operation {
                index,
                refusal: Box::new(refusal),
            },
        }
    }

    fn plain_from_wire(error: wire::Error) -> Self {
        let state = State::from_wire(error.state).unwrap_or(State::Settled);
        let text: Cow<'static, str> = error.message.into();
        let field = error.field.into();
        match ErrorCode::from_number(error.code) {
            Some(ErrorCode::Protocol) => Self::Protocol(text),
            Some(ErrorCode::Unauthenticated) => Self::Unauthenticated,
            Some(ErrorCode::Invalid) => Self::Invalid {
                field,
                min: error.min,
                max: error.max,
                why: text,
            },
            Some(ErrorCode::TooLarge) => Self::TooLarge {
                field,
                max: error.max,
            },
            Some(ErrorCode::NotFound) => Self::NotFound {
                name: error.name,
                nearest: error.nearest,
            },
            Some(ErrorCode::Exists) => Self::Exists { name: error.name },
            Some(ErrorCode::LeaseLost) => Self::LeaseLost { state },
            Some(ErrorCode::DedupConflict) => Self::DedupConflict {
                index: error.message_index,
                offset: error.offset,
            },
            Some(ErrorCode::ProducerUnknown) => Self::ProducerUnknown,
            Some(ErrorCode::Denied) => Self::Denied,
            Some(ErrorCode::CrossShard) => Self::CrossShard,
            Some(ErrorCode::Unsupported) => Self::Unsupported { field },
            Some(ErrorCode::Busy) => Self::Busy {
                resource: error.resource.into(),
                limit: error.limit,
                current: error.current,
                retry_after_ms: error.retry_after_ms,
            },
            Some(ErrorCode::Draining) => Self::Draining,
            Some(ErrorCode::NotLeader) => Self::NotLeader,
            Some(ErrorCode::NoQuorum) => Self::NoQuorum,
            Some(ErrorCode::Storage) => Self::Storage(text),
            Some(ErrorCode::Internal) => Self::Internal(text),
            None => Self::Internal(format!("code {}: {text}", error.code).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_crosses_the_wire_unchanged() {
        let refusals = [
            Refusal::Protocol("garbage".into()),
            Refusal::Unauthenticated,
            Refusal::out_of_range("wait_ms", 0, 60_000),
            Refusal::TooLarge {
                field: "body".into(),
                max: 1 << 20,
            },
            Refusal::NotFound {
                name: "emial".into(),
                nearest: vec!["email".into()],
            },
            Refusal::Exists {
                name: "jobs".into(),
            },
            Refusal::LeaseLost {
                state: State::Leased,
            },
            Refusal::DedupConflict {
                index: 3,
                offset: 70,
            },
            Refusal::ProducerUnknown,
            Refusal::Denied,
            Refusal::CrossShard,
            Refusal::Unsupported {
                field: "ttl_ms".into(),
            },
            Refusal::Busy {
                resource: "max_bytes".into(),
                limit: 10,
                current: 11,
                retry_after_ms: 800,
            },
            Refusal::Draining,
            Refusal::NotLeader,
            Refusal::NoQuorum,
            Refusal::Storage("write failed".into()),
            Refusal::Internal("lost".into()),
            Refusal::Operation {
                index: 3,
                refusal: Box::new(Refusal::Denied),
            },
        ];
        for refusal in refusals {
            assert_eq!(Refusal::from_wire(refusal.to_wire()), refusal);
        }
    }

    #[test]
    fn a_malformed_field_names_no_range() {
        let refusal = Refusal::malformed("grant", "missing");
        assert_eq!(refusal.to_string(), "grant: missing");
        let refusal = Refusal::out_of_range("limit", 1, 9);
        assert_eq!(refusal.to_string(), "limit: out of range (allowed: 1 to 9)");
    }

    #[test]
    fn a_refusal_of_a_name_names_the_nearest() {
        let refusal = Refusal::NotFound {
            name: "emial".into(),
            nearest: vec!["email".into()],
        };
        assert_eq!(
            refusal.to_string(),
            r#""emial" not found; did you mean "email"?"#
        );
    }
}
