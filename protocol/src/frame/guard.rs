//! Measures a request before it is decoded.
//!
//! An empty element of a repeated field takes two bytes on the wire and a struct in memory, so a
//! frame's length alone bounds nothing. What is not a run is held to a size at which the worst
//! frame is harmless, and operations, the largest structs, are counted. The walk uses prost's own
//! readers, so both see the same fields; it ends where prost will fail.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::FrameError;
use crate::limits::{REQUEST_HEAD_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};
use crate::run::OutOfRange;

const FRAME_CORRELATION: u32 = 1;
const FRAME_PUBLISH: u32 = 5;
const FRAME_TRANSACTION: u32 = 6;
/// From here on a frame's fields are what a broker says.
const FRAME_EVENT_MIN: u32 = 64;
/// Either side pings, so either side answers.
const FRAME_PONG: u32 = 65;
const PUBLISH_RUN: u32 = 15;
const TRANSACTION_OPERATIONS: u32 = 3;
const OPERATION_PUBLISH: u32 = 1;

/// Refuses a request that would decode into much more than it is.
pub(super) fn check_request(payload: &[u8]) -> Result<(), FrameError> {
    let mut correlation = 0;
    let mut run_bytes = 0_usize;
    let mut operations = 0_usize;
    for (number, field) in Fields(payload) {
        match (number, field) {
            (FRAME_CORRELATION, Field::Varint(value)) => correlation = value,
            (FRAME_PUBLISH, Field::Bytes(publish)) => {
                run_bytes = run_bytes.saturating_add(runs(publish));
            }
            (FRAME_TRANSACTION, Field::Bytes(transaction)) => {
                for operation in bytes_of(transaction, TRANSACTION_OPERATIONS) {
                    operations = operations.saturating_add(1);
                    run_bytes = bytes_of(operation, OPERATION_PUBLISH)
                        .map(runs)
                        .fold(run_bytes, usize::saturating_add);
                }
            }
            (FRAME_PONG, _) => {}
            (FRAME_EVENT_MIN.., _) => return Err(FrameError::NotARequest { field: number }),
            _ => {}
        }
    }
    let head_bytes = payload.len().saturating_sub(run_bytes);
    OutOfRange::check_size("operations", operations, 0, TRANSACTION_OPERATIONS_MAX)
        .and_then(|()| OutOfRange::check_size("request", head_bytes, 0, REQUEST_HEAD_BYTES_MAX))
        .map_err(|range| FrameError::OutOfRange { correlation, range })
}

/// Bytes of a publish's run: carried as they are, never decoded.
fn runs(publish: &[u8]) -> usize {
    bytes_of(publish, PUBLISH_RUN)
        .map(<[u8]>::len)
        .fold(0, usize::saturating_add)
}

fn bytes_of(message: &[u8], wanted: u32) -> impl Iterator<Item = &[u8]> {
    Fields(message).filter_map(move |(number, field)| match field {
        Field::Bytes(bytes) if number == wanted => Some(bytes),
        _ => None,
    })
}

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message, up to the first that is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (number, wire_type) = decode_key(&mut self.0).ok()?;
        let field = match wire_type {
            WireType::Varint => Field::Varint(decode_varint(&mut self.0).ok()?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            _ => {
                skip_field(wire_type, number, &mut self.0, DecodeContext::default()).ok()?;
                Field::Other
            }
        };
        Some((number, field))
    }
}
