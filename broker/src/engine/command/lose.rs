//! The command of a salvage.

use prost::Message;

use super::LoggedRange;

/// These messages of a log are lost: their bytes are damaged. A range may reach past the log's end: what
/// was stored there is gone with the entries that said so, and its offsets are not given again.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Lose {
    /// Whose messages.
    #[prost(uint64, tag = "1")]
    pub log: u64,
    /// Rising, apart.
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<LoggedRange>,
    /// No id up to this one is given again: entries that are gone may have given it.
    #[prost(uint64, tag = "3")]
    pub last_id: u64,
}
