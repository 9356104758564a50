//! Commands of jobs and of schedules.

use bytes::Bytes;
use prost::Message;
use siding_protocol::request::ScheduleSettings;

use super::Publish;

/// What rides on a settle of one message.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Rider {
    /// Handed to the next attempt.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub checkpoint: Option<Bytes>,
    /// What came of it.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub result: Option<Bytes>,
    /// Percent.
    #[prost(uint32, optional, tag = "3")]
    pub progress: Option<u32>,
    /// Beside the progress.
    #[prost(string, tag = "4")]
    pub note: String,
}

/// End a message that nobody holds; mark one that somebody does.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Cancel {
    /// Whose message.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// Which.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
}

/// Make a schedule.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateSchedule {
    /// Valid, free or the same.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Complete.
    #[prost(message, required, tag = "2")]
    pub settings: ScheduleSettings,
    /// One message.
    #[prost(bytes = "bytes", tag = "3")]
    pub run: Bytes,
}

/// Remove a schedule; what it published stays.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteSchedule {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// A nominal time of a schedule has come.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Fire {
    /// Which schedule.
    #[prost(uint64, tag = "1")]
    pub schedule: u64,
    /// Unix ms; by hand: now.
    #[prost(uint64, tag = "2")]
    pub nominal_ms: u64,
    /// Nominal times passed over before it, rising.
    #[prost(uint64, repeated, tag = "3")]
    pub missed_ms: Vec<u64>,
    /// Its message, if there is a target; without it the nominal time is missed.
    #[prost(message, optional, tag = "4")]
    pub publish: Option<Publish>,
    /// Somebody asked for it, besides its times.
    #[prost(bool, tag = "5")]
    pub by_hand: bool,
}
