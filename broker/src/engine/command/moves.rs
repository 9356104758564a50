//! Commands that name messages by what they say, or move a subscription as a whole.

use prost::Message;

use super::LoggedRange;

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
