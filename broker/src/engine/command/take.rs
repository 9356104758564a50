//! The command of a hand-over that is settled first.

use prost::Message;
use siding_protocol::types::Grant;

use super::LoggedRange;

/// Settles what of these is ready, for a consumer that gets it once it is settled.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Take {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// Term of the grant.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// Counter of the grant.
    #[prost(uint64, tag = "3")]
    pub counter: u64,
    /// Rising, apart.
    #[prost(message, repeated, tag = "4")]
    pub ranges: Vec<LoggedRange>,
    /// What retention took before, and is told with it.
    #[prost(message, optional, tag = "5")]
    pub gap: Option<LoggedRange>,
}

impl Take {
    /// The grant under which they are handed over.
    pub fn grant(&self) -> Grant {
        Grant {
            term: self.term,
            counter: self.counter,
        }
    }
}
