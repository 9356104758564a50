//! Runs: the bytes that travel unchanged from publisher to consumer.
//!
//! A run is 1 to 65,536 messages, encoded once. [`RunBuilder`] writes one, [`scan`] judges one
//! when it enters the broker, [`messages`] reads one without copying, [`skip`] finds the byte where
//! a slice of one ends. A slice of a run at message boundaries is a run, and two runs joined are a
//! run, so nobody in between decodes or encodes a message.
//!
//! Nothing here panics, whatever the bytes; nothing here allocates per message.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

mod build;
mod error;
mod header;
mod piece;
#[cfg(test)]
mod properties;
mod scan;
#[cfg(test)]
mod tests;
mod view;

pub use build::{MessageError, MessageFields, RunBuilder, encoded_len};
pub use error::{OutOfRange, ScanError, ScanReason};
pub use header::HeaderValue;
pub use piece::Piece;
pub use scan::{ScannedRun, Special, scan};
pub use view::{Headers, MessageView, Messages, messages, skip};

use crate::limits::BODY_BYTES_DEFAULT;

/// The tag of `Run.message`, and of `Message.body`: field 1, length-delimited.
const FIELD_1: u8 = 0x0A;

/// What of a run's limits is configured; the others stand in [`crate::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// Most bytes of one body, at most [`crate::limits::BODY_BYTES_CEILING`].
    pub body_bytes_max: usize,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: BODY_BYTES_DEFAULT,
        }
    }
}

/// Lossless on every machine there is; saturates on one there is not.
pub(crate) fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// A varint of two bytes.
#[inline]
fn two_byte_length(low: u8, high: u8) -> usize {
    usize::from(low & 0x7F) | (usize::from(high) << 7)
}
