//! Commands that name messages by what they say, or move a subscription as a whole.

use prost::Message;
use siding_protocol::settings::StartAt;

use super::{LoggedRange, Publish};

/// What one filter says of a run that is published.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Verdict {
    /// The subscriptions that have this filter.
    #[prost(uint64, repeated, tag = "1")]
    pub subscriptions: Vec<u64>,
    /// The messages that match, by their place in the run; rising, apart.
    #[prost(message, repeated, tag = "2")]
    pub matches: Vec<LoggedRange>,
}

/// What a subscription's filter says of messages that were stored without a verdict.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Judge {
    /// Whose filter.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// What was read; rising, apart.
    #[prost(message, repeated, tag = "2")]
    pub read: Vec<LoggedRange>,
    /// The part of it that matches; rising, apart.
    #[prost(message, repeated, tag = "3")]
    pub matches: Vec<LoggedRange>,
}

/// Move a subscription: it forgets everything but its settings, and reads from there on.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Seek {
    /// Which one.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// Where to.
    #[prost(message, required, tag = "2")]
    pub place: Place,
}

/// A place in a log; what says nothing is its end.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Place {
    /// The first message; 0 or any evicted one: the oldest kept.
    #[prost(uint64, optional, tag = "1")]
    pub offset: Option<u64>,
    /// The first extent with a message published at or after this instant, Unix ms.
    #[prost(uint64, optional, tag = "2")]
    pub at_ms: Option<u64>,
}

impl From<StartAt> for Place {
    fn from(start: StartAt) -> Self {
        let (offset, at_ms) = match start {
            StartAt::Earliest => (Some(0), None),
            StartAt::Latest => (None, None),
            StartAt::Offset(offset) => (Some(offset), None),
            StartAt::Time(at) => (None, Some(at.0)),
        };
        Self { offset, at_ms }
    }
}

/// Take messages out of a subscription and store the same bytes elsewhere, in one: so exactly once.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Forward {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// Which: all of them ready, or all of them dead letters; rising, apart.
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<LoggedRange>,
    /// Whether they are dead letters.
    #[prost(bool, tag = "3")]
    pub dead: bool,
    /// Where to, without a producer; as many messages.
    #[prost(message, required, tag = "4")]
    pub publish: Publish,
}

/// What is done to messages that a filter has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SiftKind {
    /// Ready and delayed ones leave.
    Purge = 1,
    /// Dead letters are ready again.
    Redrive = 2,
    /// Dead letters leave.
    DropDead = 3,
}

/// One slice of a purge, redrive or drop with a filter; judged again by where the messages are now.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Sift {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// What to do.
    #[prost(enumeration = "SiftKind", tag = "2")]
    pub kind: i32,
    /// Which messages matched; rising, apart.
    #[prost(message, repeated, tag = "3")]
    pub ranges: Vec<LoggedRange>,
    /// Who goes on when it is done; means nothing after a restart. The slices of one redrive at a rate
    /// have the same.
    #[prost(uint64, tag = "4")]
    pub job: u64,
    /// Redrive: at most so many a second; 0: all at once.
    #[prost(uint64, tag = "5")]
    pub rate: u64,
    /// Redrive at a rate: the first slice, with which it begins.
    #[prost(bool, tag = "6")]
    pub begins: bool,
    /// Redrive at a rate: the last slice, after which no more is chosen.
    #[prost(bool, tag = "7")]
    pub ends: bool,
}
