//! Frames: 4 bytes big-endian length, then one protobuf `Frame`. Pure, no IO.
//!
//! In: [`split`] takes a frame off what has arrived, without copying it, and [`decode`] reads it.
//! Out: [`Outgoing`] gathers what one connection is to write; runs go into it as they are.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

mod guard;
mod outgoing;
#[cfg(test)]
mod tests;

pub use outgoing::{BatchParts, COPIED_BYTES_MAX, Outgoing, Recipient};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::run::OutOfRange;
use crate::wire;

/// Bytes of the length before each frame.
pub const LENGTH_BYTES: usize = 4;

/// The most a reader makes room for ahead of what has come, whatever length a frame declares.
pub const AHEAD_BYTES_MAX: usize = 64 << 10;

/// Who sent a frame: it decides what may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Requests, fields 2 to 63, and the answer to a ping; counts are bounded before anything is decoded.
    Client,
    /// Answers, deliveries and notices; bounded by the frame's length only.
    Broker,
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The declared length is over the maximum. Nothing was reserved; the connection cannot go on.
    #[error("a frame of {bytes} bytes; at most {max} are allowed")]
    TooLong {
        /// As declared.
        bytes: usize,
        /// As allowed.
        max: usize,
    },
    /// Not protobuf, or not a `Frame`. The connection cannot go on.
    #[error("not a frame: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A client sent what only a broker may say. The connection cannot go on.
    #[error("field {field} is for a broker to send")]
    NotARequest {
        /// The frame's field.
        field: u32,
    },
    /// More elements or bytes than are ever decoded; this request is refused, the connection goes on.
    #[error("{range}")]
    OutOfRange {
        /// The request's correlation id.
        correlation: u64,
        /// What, and its range.
        range: OutOfRange,
    },
}

/// Takes the payload of one whole frame off the front of `buf`, sharing its memory; `None`: not all
/// of it is there yet.
///
/// # Errors
/// [`FrameError::TooLong`], from the first four bytes on, before anything is reserved.
pub fn split(buf: &mut BytesMut, max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(bytes) = declared(buf) else {
        return Ok(None);
    };
    if bytes > max {
        return Err(FrameError::TooLong { bytes, max });
    }
    if buf.len().saturating_sub(LENGTH_BYTES) < bytes {
        return Ok(None);
    }
    buf.advance(LENGTH_BYTES);
    Ok(Some(buf.split_to(bytes).freeze()))
}

/// Bytes the frame begun in `buf` still misses, at most [`AHEAD_BYTES_MAX`]; 0: it is whole.
/// A reader reserves this much, so its memory follows what came, not what was declared.
pub fn missing(buf: &[u8]) -> usize {
    let whole = match declared(buf) {
        Some(bytes) => bytes.saturating_add(LENGTH_BYTES),
        None => LENGTH_BYTES,
    };
    whole.saturating_sub(buf.len()).min(AHEAD_BYTES_MAX)
}

fn declared(buf: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*buf.first_chunk()?);
    // On a machine of 16 bits every length that does not fit is over every maximum.
    Some(usize::try_from(length).unwrap_or(usize::MAX))
}

/// Reads a frame's payload; runs share its memory. `kind` is `None` for a kind that this version
/// does not know.
///
/// # Errors
/// All but [`FrameError::TooLong`]. What a client sent is measured before it is decoded: a few bytes
/// an element on the wire must not become a hundred in memory.
pub fn decode(payload: Bytes, sender: Sender) -> Result<wire::Frame, FrameError> {
    if sender == Sender::Client {
        guard::check_request(&payload)?;
    }
    Ok(wire::Frame::decode(payload)?)
}

/// Appends one whole frame. For frames with runs see [`Outgoing`].
pub fn encode(correlation: u64, kind: wire::frame::Kind, out: &mut BytesMut) {
    let frame = wire::Frame {
        correlation,
        kind: Some(kind),
    };
    let bytes = frame.encoded_len();
    let mut room = room(bytes.saturating_add(LENGTH_BYTES), out);
    put_length(bytes, &mut room);
    frame.encode_raw(&mut room);
}

/// So many bytes at the end of `out`, to be filled: putting varints into a slice takes a fifth of the
/// instructions of appending them byte by byte.
fn room(bytes: usize, out: &mut BytesMut) -> &mut [u8] {
    let at = out.len();
    out.resize(at.saturating_add(bytes), 0);
    out.get_mut(at..).unwrap_or_default()
}

/// Frames are far below 4 GiB; one that is not saturates, and the other side refuses it.
fn put_length(bytes: usize, out: &mut impl BufMut) {
    out.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
}
