//! What is done to a whole subscription.

use prost::Message;

/// Drop what is ready or delayed.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Purge {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// At most so many, the lowest offsets first; 0: all.
    #[prost(uint64, tag = "2")]
    pub limit: u64,
}

/// Dead letters back to ready.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Redrive {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// At most so many, the lowest offsets first; 0: all.
    #[prost(uint64, tag = "2")]
    pub limit: u64,
    /// At most so many a second; 0: all at once.
    #[prost(uint64, tag = "3")]
    pub rate: u64,
}

/// No more dead letters back to ready.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StopRedrive {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
}

/// Stop handing over, or go on.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Pause {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// Which of the two.
    #[prost(bool, tag = "2")]
    pub paused: bool,
}

/// Dead letters away for good.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct DropDead {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// At most so many, the lowest offsets first; 0: all.
    #[prost(uint64, tag = "2")]
    pub limit: u64,
}
