//! The scan that every published run passes once, before anything else looks at it.
//!
//! A run that passes decodes in every protobuf library to the same messages, keeps every limit,
//! and can be cut at any message boundary. This is the hottest loop of the broker: a message that
//! is only a body costs one pattern match.

use std::ops::Range;

use bytes::Bytes;

use super::piece::{Piece, Pieces};
use super::{FIELD_1, HeaderValue, OutOfRange, RunLimits, ScanError, ScanReason, two_byte_length};
use crate::cursor::{Cursor, Fault, Value};
use crate::limits::{
    CARRIED_BYTES_MAX, DEDUP_ID_BYTES_MAX, DELAY_MS_MAX, HEADER_NAME_BYTES_MAX,
    HEADER_VALUE_BYTES_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, KEY_BYTES_MAX, PRIORITY_DEFAULT,
    PRIORITY_MAX, RUN_MESSAGES_MAX, TRANSACTION_BYTES_MAX,
};

/// Fields from here on are not ours and are carried unread.
const CARRIED_FIELD_MIN: u32 = 64;

/// A run that passed the scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedRun {
    /// The run, unchanged.
    pub bytes: Bytes,
    /// Its messages, 1 to 65,536.
    pub count: u32,
    /// Consecutive pieces that cover the run, each fit to be one extent.
    pub pieces: Vec<Piece>,
    /// The messages that are more than body, routing key and headers, rising.
    pub specials: Vec<Special>,
}

/// A message that is not plain: what changes when or in which order it is delivered, or whether it
/// is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Special {
    /// Which message of the run, from 0.
    pub message: u32,
    /// Where it lies in the run, its tag and length included: a place to cut.
    pub bytes: Range<u32>,
    /// Where its key lies in the run; empty: none.
    pub key: Range<u32>,
    /// 0 to 9, 9 first.
    pub priority: u32,
    /// ms, at most ten years; 0: none. Never both this and `deliver_at_ms`.
    pub delay_ms: u64,
    /// Unix ms, any; 0: none.
    pub deliver_at_ms: u64,
    /// ms, at most ten years; 0: none.
    pub ttl_ms: u64,
    /// Where its deduplication id lies in the run; empty: none.
    pub dedup_id: Range<u32>,
}

impl Default for Special {
    fn default() -> Self {
        Self {
            message: 0,
            bytes: 0..0,
            key: 0..0,
            priority: PRIORITY_DEFAULT,
            delay_ms: 0,
            deliver_at_ms: 0,
            ttl_ms: 0,
            dedup_id: 0..0,
        }
    }
}

impl Special {
    /// At its place: the message lies between `rest` and `after`, both the last bytes of a run of
    /// `run_bytes`.
    fn at(self, message: u32, run_bytes: usize, rest: &[u8], after: &[u8]) -> Self {
        let position = |left: &[u8]| narrow(run_bytes.saturating_sub(left.len()));
        Self {
            message,
            bytes: position(rest)..position(after),
            ..self
        }
    }
}

/// Judges a run and cuts it into pieces.
///
/// # Errors
/// The first thing wrong, with message and byte. An empty run and one over
/// [`TRANSACTION_BYTES_MAX`] are out of range.
pub fn scan(run: Bytes, limits: RunLimits) -> Result<ScannedRun, ScanError> {
    OutOfRange::check_size("run", run.len(), 1, TRANSACTION_BYTES_MAX).map_err(|range| {
        ScanError {
            message: 0,
            position: 0,
            reason: range.into(),
        }
    })?;
    let mut pieces = Pieces::new();
    let mut specials = Vec::new();
    let mut count = 0_u32;
    let mut rest: &[u8] = &run;
    while !rest.is_empty() {
        let after = match after_plain(rest, limits.body_bytes_max) {
            Some(after) => after,
            None => match after_any(rest, run.len(), limits) {
                Ok((after, None)) => after,
                Ok((after, Some(special))) => {
                    specials.push(special.at(count, run.len(), rest, after));
                    after
                }
                Err(fault) => return Err(at_message(count, fault)),
            },
        };
        if count == RUN_MESSAGES_MAX {
            let cursor = Cursor::at_end_of(rest, run.len());
            return Err(at_message(count, cursor.fault(too_many_messages())));
        }
        count = count.saturating_add(1);
        pieces.add(rest.len().saturating_sub(after.len()));
        rest = after;
    }
    Ok(ScannedRun {
        bytes: run,
        count,
        pieces: pieces.close(),
        specials,
    })
}

const fn at_message(message: u32, fault: Fault) -> ScanError {
    ScanError {
        message,
        position: fault.position,
        reason: fault.reason,
    }
}

fn too_many_messages() -> ScanReason {
    ScanReason::OutOfRange(OutOfRange {
        field: "message",
        min: 1,
        max: u64::from(RUN_MESSAGES_MAX),
        too_large: true,
    })
}

/// What follows a message that is only a body with lengths of one or two bytes; `None`: look closer.
#[inline]
fn after_plain(run: &[u8], body_bytes_max: usize) -> Option<&[u8]> {
    let (body_bytes, rest) = match run {
        // The message's length covers the body's tag and length: two bytes, three when long.
        [FIELD_1, message @ 2..0x80, FIELD_1, body, rest @ ..]
            if *body == message.wrapping_sub(2) =>
        {
            (usize::from(*body), rest)
        }
        [
            FIELD_1,
            message_low @ 0x80..=0xFF,
            message_high @ 1..0x80,
            FIELD_1,
            body_low @ 0x80..=0xFF,
            body_high @ 1..0x80,
            rest @ ..,
        ] => {
            let body = two_byte_length(*body_low, *body_high);
            if two_byte_length(*message_low, *message_high) != body.wrapping_add(3) {
                return None;
            }
            (body, rest)
        }
        _ => return None,
    };
    if body_bytes > body_bytes_max {
        return None;
    }
    rest.get(body_bytes..)
}

type Judged<'a> = (&'a [u8], Option<Special>);

/// What follows the first message of `run`, the last bytes of a run of `run_bytes`.
#[cold]
#[inline(never)]
fn after_any(run: &[u8], run_bytes: usize, limits: RunLimits) -> Result<Judged<'_>, Fault> {
    let cursor = Cursor::at_end_of(run, run_bytes);
    let Some((&FIELD_1, rest)) = run.split_first() else {
        return Err(cursor.fault(ScanReason::RunTag));
    };
    let mut cursor = Cursor::at_end_of(rest, run_bytes);
    let message = cursor.delimited()?;
    let special = MessageScan::default().scan(message, limits)?;
    Ok((cursor.rest(), special))
}

/// What has been seen of one message.
#[derive(Default)]
struct MessageScan {
    seen: Seen,
    headers: usize,
    headers_bytes: usize,
    carried_bytes: usize,
    special: Special,
}

impl MessageScan {
    fn scan(mut self, mut fields: Cursor<'_>, limits: RunLimits) -> Result<Option<Special>, Fault> {
        while !fields.is_empty() {
            let start = fields;
            let (number, value) = fields.field()?;
            // A fault inside a header knows its own place; all others are the field's.
            if let (4, Value::Bytes(header)) = (number, value) {
                self.header(header)?;
                continue;
            }
            let judged = if number >= CARRIED_FIELD_MIN {
                self.carry(&start, &fields)
            } else {
                self.known(number, value, limits)
            };
            judged.map_err(|reason| start.fault(reason))?;
        }
        Ok((self.special != Special::default()).then_some(self.special))
    }

    fn known(&mut self, field: u32, value: Value<'_>, limits: RunLimits) -> Result<(), ScanReason> {
        self.seen.once(field)?;
        match (field, value) {
            (1, Value::Bytes(body)) => {
                OutOfRange::check_size("body", body.rest().len(), 0, limits.body_bytes_max)?;
            }
            (2, Value::Bytes(key)) => {
                text("key", key, 0, KEY_BYTES_MAX)?;
                self.special.key = place(&key);
            }
            (3, Value::Bytes(key)) => text("routing_key", key, 0, KEY_BYTES_MAX)?,
            (5, Value::Varint(priority)) => {
                OutOfRange::check("priority", priority, 0, u64::from(PRIORITY_MAX))?;
                self.special.priority = u32::try_from(priority).unwrap_or(PRIORITY_MAX);
            }
            (6, Value::Varint(delay_ms)) => {
                OutOfRange::check("delay_ms", delay_ms, 0, DELAY_MS_MAX)?;
                self.special.delay_ms = delay_ms;
            }
            (7, Value::Varint(deliver_at_ms)) => self.special.deliver_at_ms = deliver_at_ms,
            (8, Value::Varint(ttl_ms)) => {
                OutOfRange::check("ttl_ms", ttl_ms, 0, DELAY_MS_MAX)?;
                self.special.ttl_ms = ttl_ms;
            }
            (9, Value::Bytes(id)) => {
                text("dedup_id", id, 0, DEDUP_ID_BYTES_MAX)?;
                self.special.dedup_id = place(&id);
            }
            (1..=9, _) => return Err(ScanReason::WireType { field }),
            _ => return Err(ScanReason::UnknownField { field }),
        }
        if self.special.delay_ms > 0 && self.special.deliver_at_ms > 0 {
            return Err(ScanReason::DelayAndDeliverAt);
        }
        Ok(())
    }

    fn header(&mut self, mut fields: Cursor<'_>) -> Result<(), Fault> {
        let header = fields;
        let mut seen = Seen::default();
        let (mut name_bytes, mut value_bytes) = (0, 0);
        while !fields.is_empty() {
            let start = fields;
            let (field, value) = fields.field()?;
            let judged = match (field, value) {
                (CARRIED_FIELD_MIN.., _) => self.carry(&start, &fields),
                (1, Value::Bytes(name)) => {
                    name_bytes = name.rest().len();
                    seen.once(1)
                        .and_then(|()| text("headers.name", name, 1, HEADER_NAME_BYTES_MAX))
                }
                (2, Value::Bytes(value)) => {
                    value_bytes = value.rest().len();
                    seen.once(2).and_then(|()| header_value(value.rest()))
                }
                (1 | 2, _) => Err(ScanReason::WireType { field }),
                _ => Err(ScanReason::UnknownField { field }),
            };
            judged.map_err(|reason| start.fault(reason))?;
        }
        self.headers = self.headers.saturating_add(1);
        self.headers_bytes = self
            .headers_bytes
            .saturating_add(name_bytes)
            .saturating_add(value_bytes);
        // Absent name and value are empty ones, and those are too short.
        OutOfRange::check_size("headers.name", name_bytes, 1, HEADER_NAME_BYTES_MAX)
            .and_then(|()| {
                OutOfRange::check_size("headers.value", value_bytes, 1, HEADER_VALUE_BYTES_MAX)
            })
            .and_then(|()| OutOfRange::check_size("headers", self.headers, 0, HEADERS_MAX))
            .and_then(|()| {
                OutOfRange::check_size("headers.bytes", self.headers_bytes, 0, HEADERS_BYTES_MAX)
            })
            .map_err(|range| header.fault(range.into()))
    }

    fn carry(&mut self, start: &Cursor<'_>, after: &Cursor<'_>) -> Result<(), ScanReason> {
        let bytes = after.position().saturating_sub(start.position());
        self.carried_bytes = self.carried_bytes.saturating_add(bytes);
        Ok(OutOfRange::check_size(
            "carried",
            self.carried_bytes,
            0,
            CARRIED_BYTES_MAX,
        )?)
    }
}

/// Where a text lies; an empty one lies nowhere.
fn place(text: &Cursor<'_>) -> Range<u32> {
    match text.rest().len() {
        0 => 0..0,
        bytes => narrow(text.position())..narrow(text.position().saturating_add(bytes)),
    }
}

fn text(field: &'static str, value: Cursor<'_>, min: usize, max: usize) -> Result<(), ScanReason> {
    OutOfRange::check_size(field, value.rest().len(), min, max)?;
    match std::str::from_utf8(value.rest()) {
        Ok(_) => Ok(()),
        Err(_) => Err(ScanReason::NotUtf8 { field }),
    }
}

/// A position in a run, which is far below 4 GiB.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn header_value(value: &[u8]) -> Result<(), ScanReason> {
    OutOfRange::check_size("headers.value", value.len(), 1, HEADER_VALUE_BYTES_MAX)?;
    match HeaderValue::decode(value) {
        Some(_) => Ok(()),
        None => Err(ScanReason::HeaderValue),
    }
}

/// The fields below 64 that have been seen, as bits.
#[derive(Default)]
struct Seen(u64);

impl Seen {
    fn once(&mut self, field: u32) -> Result<(), ScanReason> {
        let bit = 1_u64.wrapping_shl(field);
        if self.0 & bit != 0 {
            return Err(ScanReason::Repeated { field });
        }
        self.0 |= bit;
        Ok(())
    }
}
