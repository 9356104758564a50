//! Reading a run without copying it: borrowed views, decoded when asked.
//!
//! Meant for runs that passed the scan. On any other bytes the iterators end early; they do not
//! panic.

use super::{FIELD_1, HeaderValue, two_byte_length};
use crate::cursor::{Cursor, Value};
use crate::limits::PRIORITY_DEFAULT;

/// Splits off a leading field 1: of a run its first message, of a message its body; and what
/// follows it.
#[inline]
fn split_field_1(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [FIELD_1, length @ ..0x80, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [FIELD_1, low @ 0x80..=0xFF, high @ 1..0x80, rest @ ..] => {
            rest.split_at_checked(two_byte_length(*low, *high))
        }
        [FIELD_1, rest @ ..] => {
            let mut cursor = Cursor::new(rest);
            let field = cursor.delimited().ok()?;
            Some((field.rest(), cursor.rest()))
        }
        _ => None,
    }
}

/// The byte position after the first `count` messages of a run that passed the scan; `None`: it has
/// fewer.
pub fn skip(run: &[u8], count: u32) -> Option<usize> {
    let mut rest = run;
    for _ in 0..count {
        (_, rest) = split_field_1(rest)?;
    }
    Some(run.len().saturating_sub(rest.len()))
}

/// The messages of a run, in order.
pub const fn messages(run: &[u8]) -> Messages<'_> {
    Messages { rest: run }
}

/// Iterator of [`messages`]; ends at the first byte that begins no message.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = MessageView<'a>;

    #[inline]
    fn next(&mut self) -> Option<MessageView<'a>> {
        let (fields, rest) = split_field_1(self.rest)?;
        self.rest = rest;
        Some(MessageView { fields })
    }
}

/// One message, borrowed from its run. An absent field reads as its default.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    fields: &'a [u8],
}

impl<'a> MessageView<'a> {
    /// The body; empty where none was sent.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        // The body comes first in what every library writes.
        match split_field_1(self.fields) {
            Some((body, _)) => body,
            None => self.bytes(1),
        }
    }

    /// The key for order; empty: none.
    pub fn key(&self) -> &'a str {
        self.text(2)
    }

    /// The routing key for filters; empty: none.
    pub fn routing_key(&self) -> &'a str {
        self.text(3)
    }

    /// Names and values, in the order sent.
    pub const fn headers(&self) -> Headers<'a> {
        Headers {
            fields: Cursor::new(self.fields),
        }
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<HeaderValue<'a>> {
        self.headers()
            .find_map(|(found, value)| (found == name).then_some(value))
    }

    /// 0 to 9, 9 first; 4 where none was sent.
    pub fn priority(&self) -> u32 {
        self.varint(5)
            .and_then(|priority| u32::try_from(priority).ok())
            .unwrap_or(PRIORITY_DEFAULT)
    }

    /// Delay in ms; 0: none.
    pub fn delay_ms(&self) -> u64 {
        self.varint(6).unwrap_or(0)
    }

    /// Instant of delivery in Unix ms; 0: none.
    pub fn deliver_at_ms(&self) -> u64 {
        self.varint(7).unwrap_or(0)
    }

    /// Time to live in ms; 0: the queue's own.
    pub fn ttl_ms(&self) -> u64 {
        self.varint(8).unwrap_or(0)
    }

    /// The application's deduplication id; empty: none.
    pub fn dedup_id(&self) -> &'a str {
        self.text(9)
    }

    fn varint(&self, number: u32) -> Option<u64> {
        match find(&mut Cursor::new(self.fields), number)? {
            Value::Varint(value) => Some(value),
            Value::Fixed | Value::Bytes(_) => None,
        }
    }

    fn bytes(&self, number: u32) -> &'a [u8] {
        match find(&mut Cursor::new(self.fields), number) {
            Some(Value::Bytes(value)) => value.rest(),
            _ => &[],
        }
    }

    fn text(&self, number: u32) -> &'a str {
        std::str::from_utf8(self.bytes(number)).unwrap_or_default()
    }
}

/// The next field of that number; `None` at the end or where the bytes are bad.
fn find<'a>(fields: &mut Cursor<'a>, number: u32) -> Option<Value<'a>> {
    while !fields.is_empty() {
        let (found, value) = fields.field().ok()?;
        if found == number {
            return Some(value);
        }
    }
    None
}

/// Iterator of [`MessageView::headers`].
#[derive(Clone)]
pub struct Headers<'a> {
    fields: Cursor<'a>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, HeaderValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let Value::Bytes(mut header) = find(&mut self.fields, 4)? else {
            return None;
        };
        let (mut name, mut value) = (None, None);
        while !header.is_empty() {
            match header.field().ok()? {
                (1, Value::Bytes(text)) => name = std::str::from_utf8(text.rest()).ok(),
                (2, Value::Bytes(bytes)) => value = HeaderValue::decode(bytes.rest()),
                _ => {}
            }
        }
        name.zip(value)
    }
}
