//! What is wrong with a run or a message, and where.

use super::wide;
use crate::refusal::Refusal;

/// A value outside its range: what an answer `INVALID` or `TOO_LARGE` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must lie in {min} to {max}{}", unit(.field))]
pub struct OutOfRange {
    /// What is out of range, as the `.proto` names it.
    pub field: &'static str,
    /// The least allowed: a number, or bytes of a bytes or string field, or how many.
    pub min: u64,
    /// The most allowed, in the same unit.
    pub max: u64,
    /// A size or count over `max`: `TOO_LARGE`. Otherwise `INVALID`.
    pub too_large: bool,
}

/// What a size of `field` is counted in; others are numbers or counts.
fn unit(field: &str) -> &'static str {
    match field {
        "body" | "key" | "routing_key" | "dedup_id" | "headers.name" | "headers.value"
        | "headers.bytes" => " bytes",
        _ => "",
    }
}

impl OutOfRange {
    /// Refuses `value` outside `min` to `max`.
    pub(crate) fn check(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), Self> {
        if (min..=max).contains(&value) {
            Ok(())
        } else {
            Err(Self {
                field,
                min,
                max,
                too_large: false,
            })
        }
    }

    /// Refuses a size outside `min` to `max`.
    pub(crate) fn check_size(
        field: &'static str,
        size: usize,
        min: usize,
        max: usize,
    ) -> Result<(), Self> {
        Self::check(field, wide(size), wide(min), wide(max)).map_err(|range| Self {
            too_large: size > max,
            ..range
        })
    }

    /// The answer to whoever sent it.
    pub fn to_refusal(self) -> Refusal {
        if self.too_large {
            Refusal::TooLarge {
                field: self.field.into(),
                max: self.max,
            }
        } else {
            Refusal::out_of_range(self.field, self.min, self.max)
        }
    }
}

/// Why a run was refused, and where. Nothing of it may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {message} of the run, at byte {position}: {reason}")]
pub struct ScanError {
    /// Which message of the run, from 0.
    pub message: u32,
    /// Which byte of the run, from 0: where the offending field or value begins.
    pub position: usize,
    /// What is wrong there.
    pub reason: ScanReason,
}

/// What a run must not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanReason {
    /// Something other than a message (tag 0x0A) at the run's top level.
    #[error("a run holds only messages, tag 0x0A")]
    RunTag,
    /// The bytes end within a field.
    #[error("cut short")]
    Cut,
    /// A varint over 64 bits, or padded.
    #[error("a varint must fit 64 bits and be spelled the shortest way")]
    Varint,
    /// Field number 0, or past 2^29 - 1.
    #[error("no such field number")]
    FieldNumber,
    /// A wire type that the field does not have, or a group.
    #[error("field {field} has the wrong wire type")]
    WireType {
        /// The field's number.
        field: u32,
    },
    /// A field twice that may stand once.
    #[error("field {field} stands twice")]
    Repeated {
        /// The field's number.
        field: u32,
    },
    /// A field below 64 that this version does not know.
    #[error("field {field} is unknown; fields from 64 on are free")]
    UnknownField {
        /// The field's number.
        field: u32,
    },
    /// A text that is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// The field, as the `.proto` names it.
        field: &'static str,
    },
    /// A header value with an unknown type byte, or that does not fit its type.
    #[error("a header value does not fit its type byte")]
    HeaderValue,
    /// Both `delay_ms` and `deliver_at_ms`.
    #[error("at most one of delay_ms and deliver_at_ms")]
    DelayAndDeliverAt,
    /// A limit is broken.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

impl ScanError {
    /// The field and its range, where a limit was broken.
    pub fn out_of_range(&self) -> Option<OutOfRange> {
        match self.reason {
            ScanReason::OutOfRange(range) => Some(range),
            _ => None,
        }
    }

    /// The answer to whoever sent the run: `TOO_LARGE` or `INVALID`.
    pub fn to_refusal(self) -> Refusal {
        match self.out_of_range() {
            Some(range) => range.to_refusal(),
            None => Refusal::malformed("run", self.to_string()),
        }
    }
}
