//! Messages as an application holds them, and where they are stored.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use siding_protocol::run::{HeaderValue, MessageFields};
use siding_protocol::types::Level;

use crate::lease::millis;

/// A message to publish: a body and optional attributes. Immutable once published.
///
/// Limits are checked when it is published: body 1 MiB unless the broker is configured otherwise,
/// key and routing key 256 bytes, 32 headers of 16 KiB together. What is out of its range fails the
/// publish with [`Error::InvalidMessage`](crate::Error::InvalidMessage), never clamped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    body: Bytes,
    key: String,
    routing_key: String,
    headers: Vec<(String, Value)>,
    priority: Option<u32>,
    delay_ms: u64,
    deliver_at_ms: u64,
    ttl_ms: u64,
    dedup_id: String,
}

/// A header's value, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any bytes.
    Bytes(Bytes),
    /// UTF-8.
    Text(String),
    /// A signed number.
    Int(i64),
    /// IEEE 754, 64 bits.
    Float(f64),
    /// True or false.
    Bool(bool),
}

/// Where one message is stored. Never reused: a name that is deleted and created again is another
/// log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The log of its queue or topic.
    pub log_id: u64,
    /// Its dense position there.
    pub offset: u64,
}

/// The broker's word that a message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// Where.
    pub id: MessageId,
    /// How durably: at least as was asked for.
    pub level: Level,
    /// A message of the same dedup id was there before: this is its id, and nothing was stored.
    pub duplicate: bool,
}

impl Message {
    /// A message with this body and nothing else.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// For order: messages of one key keep theirs where the queue says so. At most 256 bytes.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// For filters: dot-separated words. At most 256 bytes.
    #[must_use]
    pub fn routing_key(mut self, routing_key: impl Into<String>) -> Self {
        self.routing_key = routing_key.into();
        self
    }

    /// Adds a header. The name has 1 to 128 bytes, the value at most 4 KiB.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// 0 to 9, 9 first; 4 if this is not called. Kept across retries.
    #[must_use]
    pub const fn priority(mut self, priority: u32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Not before so long after it is stored: up to ten years, in whole ms. Then it takes the place of
    /// its publishing among the ready, ahead of newer ones. Not together with
    /// [`deliver_at_ms`](Self::deliver_at_ms).
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = at_least_one_ms(delay);
        self
    }

    /// Not before this instant: Unix ms, up to ten years ahead; one that has passed delays nothing.
    #[must_use]
    pub const fn deliver_at_ms(mut self, unix_ms: u64) -> Self {
        self.deliver_at_ms = unix_ms;
        self
    }

    /// Expires if nobody got it within so long: up to ten years, in whole ms. Zero, and not to call
    /// this: as the queue says.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl_ms = at_least_one_ms(ttl);
        self
    }

    /// The application's own name for this message, at most 128 bytes: a second one of that name within
    /// the queue's `dedup_window` is not stored again. With another body it is refused as
    /// `DEDUP_CONFLICT`.
    #[must_use]
    pub fn dedup_id(mut self, dedup_id: impl Into<String>) -> Self {
        self.dedup_id = dedup_id.into();
        self
    }

    /// Shows the message as the run builder wants it.
    pub(crate) fn with_fields<R>(&self, use_fields: impl FnOnce(&MessageFields<'_>) -> R) -> R {
        let headers: Vec<(&str, HeaderValue<'_>)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.borrowed()))
            .collect();
        use_fields(&MessageFields {
            body: &self.body,
            key: &self.key,
            routing_key: &self.routing_key,
            headers: &headers,
            priority: self.priority,
            delay_ms: self.delay_ms,
            deliver_at_ms: self.deliver_at_ms,
            ttl_ms: self.ttl_ms,
            dedup_id: &self.dedup_id,
        })
    }
}

/// 0 means none on the wire, so that what is less than a ms must not become it.
fn at_least_one_ms(duration: Duration) -> u64 {
    millis(duration).max(u64::from(!duration.is_zero()))
}

impl Value {
    fn borrowed(&self) -> HeaderValue<'_> {
        match self {
            Self::Bytes(bytes) => HeaderValue::Bytes(bytes),
            Self::Text(text) => HeaderValue::Text(text),
            Self::Int(number) => HeaderValue::Int(*number),
            Self::Float(number) => HeaderValue::Float(*number),
            Self::Bool(truth) => HeaderValue::Bool(*truth),
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.log_id, self.offset)
    }
}

/// A body alone makes a message.
macro_rules! message_from {
    ($($body:ty),*) => {$(
        impl From<$body> for Message {
            fn from(body: $body) -> Self {
                Self::new(body)
            }
        }
    )*};
}

message_from!(Bytes, Vec<u8>, String, &'static str);

impl From<&[u8]> for Message {
    fn from(body: &[u8]) -> Self {
        Self::new(Bytes::copy_from_slice(body))
    }
}

/// Each kind of header value, from the Rust type that is it.
macro_rules! value_from {
    ($($kind:ident($from:ty)),*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$kind(value.into())
            }
        }
    )*};
}

value_from!(
    Bytes(Bytes),
    Bytes(Vec<u8>),
    Text(String),
    Text(&str),
    Int(i64),
    Float(f64),
    Bool(bool)
);

#[cfg(test)]
mod tests {
    use siding_protocol::run::{MessageError, RunBuilder, RunLimits, messages};

    use super::*;

    #[test]
    fn everything_the_builder_takes_is_in_the_run() {
        let message = Message::new("hi")
            .priority(9)
            .delay(Duration::from_mins(1))
            .ttl(Duration::from_micros(1))
            .dedup_id("order-17");
        let mut run = RunBuilder::new(RunLimits::default());
        message
            .with_fields(|fields| run.push(fields))
            .expect("fits");
        let (run, _) = run.take();
        let view = messages(&run).next().expect("one");
        assert_eq!(
            (view.priority(), view.delay_ms(), view.ttl_ms()),
            (9, 60_000, 1)
        );
        assert_eq!(view.dedup_id(), "order-17");
        let both = message.deliver_at_ms(7);
        let mut run = RunBuilder::new(RunLimits::default());
        let refused = both.with_fields(|fields| run.push(fields));
        assert_eq!(refused, Err(MessageError::DelayAndDeliverAt));
    }
}
