//! Messages as an application holds them, and where they are stored.

use std::fmt;

use bytes::Bytes;
use siding_protocol::run::{HeaderValue, MessageFields};

/// A message to publish: a body and optional attributes. Immutable once published.
///
/// Limits are checked when it is published: body 1 MiB unless the broker is configured otherwise,
/// key and routing key 256 bytes, 32 headers of 16 KiB together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    body: Bytes,
    key: String,
    routing_key: String,
    headers: Vec<(String, Value)>,
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

/// The broker's word that a message is stored as durably as its queue promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// Where.
    pub id: MessageId,
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
            ..MessageFields::default()
        })
    }
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
