//! One message as people see it: its parts as text, and as JSON.

use std::fmt::Write;

use serde_json::{Map, Value, json};
use siding::protocol::limits::PRIORITY_DEFAULT;
use siding::protocol::run::{HeaderValue, MessageView};

use crate::{clock, units};

/// A message with what its delivery says of it.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// The queue or topic it lies in.
    pub(crate) name: &'a str,
    pub(crate) offset: u64,
    pub(crate) attempt: u32,
    /// Unix ms.
    pub(crate) published_at_ms: u64,
    pub(crate) message: MessageView<'a>,
}

impl Shown<'_> {
    /// `name@offset`.
    pub(crate) fn id(&self) -> String {
        format!("{}@{}", self.name, self.offset)
    }

    /// As a JSON object: what `publish --json` takes back.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("id".into(), self.id().into());
        object.insert("attempt".into(), self.attempt.into());
        object.insert(
            "published_at".into(),
            clock::rfc3339(self.published_at_ms).into(),
        );
        if !self.message.key().is_empty() {
            object.insert("key".into(), self.message.key().into());
        }
        if !self.message.routing_key().is_empty() {
            object.insert("routing_key".into(), self.message.routing_key().into());
        }
        let headers: Map<_, _> = self
            .message
            .headers()
            .map(|(name, value)| (name.to_owned(), header_json(value)))
            .collect();
        if !headers.is_empty() {
            object.insert("headers".into(), headers.into());
        }
        let message = &self.message;
        if message.priority() != PRIORITY_DEFAULT {
            object.insert("priority".into(), message.priority().into());
        }
        // As an instant: published once more it is not delayed once more.
        let deliver_at = match message.delay_ms() {
            0 => message.deliver_at_ms(),
            delay_ms => self.published_at_ms.saturating_add(delay_ms),
        };
        if deliver_at > 0 {
            object.insert("deliver_at".into(), clock::rfc3339(deliver_at).into());
        }
        if message.ttl_ms() > 0 {
            object.insert("ttl".into(), units::duration(message.ttl_ms()).into());
        }
        if !message.dedup_id().is_empty() {
            object.insert("dedup_id".into(), message.dedup_id().into());
        }
        let (field, body) = body_json(self.message.body());
        object.insert(field.into(), body);
        object
    }
}

/// A body as JSON: text under `body`, anything else in hex under `body_hex`.
fn body_json(body: &[u8]) -> (&'static str, Value) {
    text_or_hex(("body", "body_hex"), body)
}

/// Text under the first name, anything else in hex under the second.
pub(crate) fn text_or_hex(
    names: (&'static str, &'static str),
    bytes: &[u8],
) -> (&'static str, Value) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (names.0, text.into()),
        Err(_) => (names.1, hex(bytes).into()),
    }
}

fn header_json(value: HeaderValue<'_>) -> Value {
    match value {
        HeaderValue::Bytes(bytes) => json!({ "hex": hex(bytes) }),
        HeaderValue::Text(text) => text.into(),
        HeaderValue::Int(number) => number.into(),
        HeaderValue::Float(number) => number.into(),
        HeaderValue::Bool(flag) => flag.into(),
    }
}

/// A header's value as bytes for a line or the environment.
pub(crate) fn header_bytes(value: HeaderValue<'_>) -> Vec<u8> {
    match value {
        HeaderValue::Bytes(bytes) => bytes.to_vec(),
        HeaderValue::Text(text) => text.as_bytes().to_vec(),
        HeaderValue::Int(number) => number.to_string().into_bytes(),
        HeaderValue::Float(number) => number.to_string().into_bytes(),
        HeaderValue::Bool(flag) => flag.to_string().into_bytes(),
    }
}

/// The beginning of a body on one line, for tables.
pub(crate) fn preview(body: &[u8]) -> String {
    const CHARS: usize = 60;
    let text = String::from_utf8_lossy(body);
    let mut shown: String = text
        .chars()
        .take(CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing into a String cannot fail.
            write!(text, "{byte:02x}").expect("a String takes all text");
            text
        })
}

/// Hex back to bytes; `None` if it is not hex.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_refuses_what_it_is_not() {
        assert_eq!(hex(&[0, 0xab, 0xff]), "00abff");
        assert_eq!(unhex("00ABff"), Some(vec![0, 0xab, 0xff]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }

    #[test]
    fn a_preview_is_one_short_line() {
        assert_eq!(preview(b"a\nb"), "a b");
        let long = preview(&[b'x'; 100]);
        assert_eq!(long.chars().count(), 61);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn a_body_that_is_not_text_is_shown_in_hex() {
        assert_eq!(body_json(b"hi"), ("body", "hi".into()));
        assert_eq!(body_json(&[0xff]), ("body_hex", "ff".into()));
    }
}
