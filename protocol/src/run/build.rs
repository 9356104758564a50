//! Writing a run: each message straight into the open run's bytes, checked before it is written.

use bytes::{BufMut, Bytes, BytesMut};

use super::{FIELD_1, HeaderValue, OutOfRange, RunLimits};
use crate::limits::{
    DEDUP_ID_BYTES_MAX, DELAY_MS_MAX, HEADER_NAME_BYTES_MAX, HEADER_VALUE_BYTES_MAX,
    HEADERS_BYTES_MAX, HEADERS_MAX, KEY_BYTES_MAX, PRIORITY_MAX, RUN_MESSAGES_MAX,
    TRANSACTION_BYTES_MAX,
};

/// The longest body whose message has a length of one byte too.
const PLAIN_BYTES_MAX: u8 = 125;

/// One message to write. `MessageFields { body, ..Default::default() }` is a plain one.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageFields<'a> {
    /// Up to the configured maximum, 1 MiB by default.
    pub body: &'a [u8],
    /// For order; at most 256 bytes, empty: none.
    pub key: &'a str,
    /// For filters; at most 256 bytes, empty: none.
    pub routing_key: &'a str,
    /// At most 32, names and values together at most 16 KiB.
    pub headers: &'a [(&'a str, HeaderValue<'a>)],
    /// 0 to 9, 9 first; `None`: 4.
    pub priority: Option<u32>,
    /// In ms, up to ten years; 0: none. Not together with `deliver_at_ms`.
    pub delay_ms: u64,
    /// Unix ms; 0: none.
    pub deliver_at_ms: u64,
    /// In ms, up to ten years; 0: the queue's own.
    pub ttl_ms: u64,
    /// The application's own name for this message; at most 128 bytes, empty: none.
    pub dedup_id: &'a str,
}

/// Why a message was not written. The run is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A limit is broken.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// Both `delay_ms` and `deliver_at_ms`.
    #[error("at most one of delay_ms and deliver_at_ms")]
    DelayAndDeliverAt,
    /// The open run has no room for this message: take it, then write again.
    #[error("the run is full")]
    RunFull,
}

/// An open run.
#[derive(Debug)]
pub struct RunBuilder {
    bytes: BytesMut,
    count: u32,
    limits: RunLimits,
}

impl RunBuilder {
    /// An empty run under these limits.
    pub fn new(limits: RunLimits) -> Self {
        Self {
            bytes: BytesMut::new(),
            count: 0,
            limits,
        }
    }

    /// Appends one message.
    ///
    /// # Errors
    /// The first limit it breaks; [`MessageError::RunFull`] asks to take the run first. Nothing is
    /// appended then.
    #[inline]
    pub fn push(&mut self, message: &MessageFields<'_>) -> Result<(), MessageError> {
        // The usual message in two copies; the other way writes the same bytes.
        if let Ok(body @ 1..=PLAIN_BYTES_MAX) = u8::try_from(message.body.len())
            && message.is_plain()
            && usize::from(body) <= self.limits.body_bytes_max
        {
            let message_bytes = body.wrapping_add(2);
            self.check_room(usize::from(message_bytes).wrapping_add(2))?;
            self.bytes
                .extend_from_slice(&[FIELD_1, message_bytes, FIELD_1, body]);
            self.bytes.extend_from_slice(message.body);
        } else {
            self.push_any(message)?;
        }
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    fn push_any(&mut self, message: &MessageFields<'_>) -> Result<(), MessageError> {
        message.check(self.limits)?;
        let message_bytes = fields_len(message);
        let encoded_bytes = delimited_len(message_bytes);
        self.check_room(encoded_bytes)?;
        self.bytes.reserve(encoded_bytes);
        put_length(FIELD_1, message_bytes, &mut self.bytes);
        if !message.body.is_empty() {
            put_bytes(1, message.body, &mut self.bytes);
        }
        put_rest(message, &mut self.bytes);
        Ok(())
    }

    #[inline]
    fn check_room(&self, message_bytes: usize) -> Result<(), MessageError> {
        let bytes = self.bytes.len().saturating_add(message_bytes);
        if self.count == RUN_MESSAGES_MAX || bytes > TRANSACTION_BYTES_MAX {
            Err(MessageError::RunFull)
        } else {
            Ok(())
        }
    }

    /// Bytes of the open run.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Messages in the open run.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether nothing has been pushed since the last take.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The run and its messages; a new, empty one is open then, in the same memory while it lasts
    /// and again once the taken bytes are dropped.
    pub fn take(&mut self) -> (Bytes, u32) {
        (self.bytes.split().freeze(), std::mem::take(&mut self.count))
    }
}

impl MessageFields<'_> {
    /// Nothing but a body.
    #[inline]
    fn is_plain(&self) -> bool {
        self.key.is_empty()
            && self.routing_key.is_empty()
            && self.headers.is_empty()
            && self.priority.is_none()
            && (self.delay_ms | self.deliver_at_ms | self.ttl_ms) == 0
            && self.dedup_id.is_empty()
    }

    /// Every limit that the scan checks too.
    ///
    /// # Errors
    /// The first one broken.
    pub fn check(&self, limits: RunLimits) -> Result<(), MessageError> {
        OutOfRange::check_size("body", self.body.len(), 0, limits.body_bytes_max)?;
        OutOfRange::check_size("key", self.key.len(), 0, KEY_BYTES_MAX)?;
        OutOfRange::check_size("routing_key", self.routing_key.len(), 0, KEY_BYTES_MAX)?;
        OutOfRange::check_size("headers", self.headers.len(), 0, HEADERS_MAX)?;
        let mut headers_bytes = 0_usize;
        for (name, value) in self.headers {
            let value_bytes = value.encoded_len();
            OutOfRange::check_size("headers.name", name.len(), 1, HEADER_NAME_BYTES_MAX)?;
            OutOfRange::check_size("headers.value", value_bytes, 1, HEADER_VALUE_BYTES_MAX)?;
            headers_bytes = headers_bytes
                .saturating_add(name.len())
                .saturating_add(value_bytes);
        }
        OutOfRange::check_size("headers.bytes", headers_bytes, 0, HEADERS_BYTES_MAX)?;
        let priority = u64::from(self.priority.unwrap_or(0));
        OutOfRange::check("priority", priority, 0, u64::from(PRIORITY_MAX))?;
        OutOfRange::check("delay_ms", self.delay_ms, 0, DELAY_MS_MAX)?;
        OutOfRange::check("ttl_ms", self.ttl_ms, 0, DELAY_MS_MAX)?;
        OutOfRange::check_size("dedup_id", self.dedup_id.len(), 0, DEDUP_ID_BYTES_MAX)?;
        if self.delay_ms > 0 && self.deliver_at_ms > 0 {
            return Err(MessageError::DelayAndDeliverAt);
        }
        Ok(())
    }
}

/// Bytes that a message takes in a run.
pub fn encoded_len(message: &MessageFields<'_>) -> usize {
    delimited_len(fields_len(message))
}

/// Bytes of a message's fields.
#[inline]
fn fields_len(message: &MessageFields<'_>) -> usize {
    let body = optional_len(message.body.len());
    if message.is_plain() {
        return body;
    }
    let texts =
        [message.key, message.routing_key, message.dedup_id].map(|text| optional_len(text.len()));
    let headers = message
        .headers
        .iter()
        .map(|header| delimited_len(header_len(header)));
    let numbers = numbers(message)
        .map(|(_, number)| number.map_or(0, |number| varint_len(number).saturating_add(1)));
    texts
        .into_iter()
        .chain(headers)
        .chain(numbers)
        .fold(body, usize::saturating_add)
}

/// The varint fields that are present: their key bytes and values.
fn numbers(message: &MessageFields<'_>) -> [(u8, Option<u64>); 4] {
    let present = |value: u64| (value > 0).then_some(value);
    [
        (5 << 3, message.priority.map(u64::from)),
        (6 << 3, present(message.delay_ms)),
        (7 << 3, present(message.deliver_at_ms)),
        (8 << 3, present(message.ttl_ms)),
    ]
}

/// All fields but the body, in rising order.
fn put_rest(message: &MessageFields<'_>, out: &mut BytesMut) {
    for (number, text) in [(2, message.key), (3, message.routing_key)] {
        if !text.is_empty() {
            put_bytes(number, text.as_bytes(), out);
        }
    }
    for header in message.headers {
        let (name, value) = header;
        put_length((4 << 3) | 2, header_len(header), out);
        put_bytes(1, name.as_bytes(), out);
        put_length((2 << 3) | 2, value.encoded_len(), out);
        value.encode(out);
    }
    for (key, number) in numbers(message) {
        if let Some(number) = number {
            out.put_u8(key);
            put_varint(number, out);
        }
    }
    if !message.dedup_id.is_empty() {
        put_bytes(9, message.dedup_id.as_bytes(), out);
    }
}

fn header_len((name, value): &(&str, HeaderValue<'_>)) -> usize {
    delimited_len(name.len()).saturating_add(delimited_len(value.encoded_len()))
}

#[inline]
fn put_bytes(number: u8, bytes: &[u8], out: &mut BytesMut) {
    put_length((number << 3) | 2, bytes.len(), out);
    out.put_slice(bytes);
}

/// A field's key and its length; one write where the length has one byte.
#[inline]
fn put_length(key: u8, length: usize, out: &mut BytesMut) {
    if let Ok(short @ ..0x80) = u8::try_from(length) {
        out.put_slice(&[key, short]);
    } else {
        out.put_u8(key);
        put_varint(super::wide(length), out);
    }
}

fn put_varint(value: u64, out: &mut BytesMut) {
    prost::encoding::encode_varint(value, out);
}

fn varint_len(value: u64) -> usize {
    prost::encoding::encoded_len_varint(value)
}

/// A key byte, a length and that many bytes.
#[inline]
fn delimited_len(bytes: usize) -> usize {
    let length = if bytes < 0x80 {
        1
    } else {
        varint_len(super::wide(bytes))
    };
    bytes.saturating_add(length).saturating_add(1)
}

/// As `delimited_len`, but an empty field is not written.
#[inline]
fn optional_len(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { delimited_len(bytes) }
}
