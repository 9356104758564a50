//! One message as one subscription sees it.

use bytes::Bytes;

use crate::refusal::State;
use crate::types::{Offset, Timestamp};
use crate::wire;

/// One message as one subscription sees it: the answer to `Get` and `Await`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobInfo {
    /// `queue` or `topic/subscription`.
    pub address: String,
    /// The log it lies in.
    pub log_id: u64,
    /// Where.
    pub offset: Offset,
    /// Where it stands; of one that has left without a record `Settled`, and nothing more is known.
    pub state: State,
    /// Charged so far.
    pub attempts: u32,
    /// Handed over and given back without having been begun.
    pub acquires: u32,
    /// delayed: when ready; leased: the deadline; dead, settled, expired, cancelled: since when.
    pub at: Timestamp,
    /// leased: by whom.
    pub holder: String,
    /// dead: why.
    pub reason: &'static str,
    /// The words of the last nack or reject.
    pub last_error: String,
    /// Percent.
    pub progress: Option<u32>,
    /// Beside the progress.
    pub note: String,
    /// What the next attempt is handed.
    pub checkpoint: Option<Bytes>,
    /// What came of it.
    pub result: Option<Bytes>,
    /// Somebody asked its holder to end it.
    pub cancel_requested: bool,
    /// Times redriven.
    pub generation: u32,
    /// As long as its body is kept; 0 where it is not known.
    pub published_at: Timestamp,
}

impl JobInfo {
    /// Nothing but where it stands.
    pub fn plain(address: String, log_id: u64, offset: Offset, state: State) -> Self {
        Self {
            address,
            log_id,
            offset,
            state,
            attempts: 0,
            acquires: 0,
            at: Timestamp(0),
            holder: String::new(),
            reason: "",
            last_error: String::new(),
            progress: None,
            note: String::new(),
            checkpoint: None,
            result: None,
            cancel_requested: false,
            generation: 0,
            published_at: Timestamp(0),
        }
    }

    /// Whether it has ended: nothing more happens to it by itself.
    pub const fn has_ended(&self) -> bool {
        !matches!(self.state, State::Ready | State::Delayed | State::Leased)
    }

    pub(super) fn into_wire(self) -> wire::JobInfo {
        wire::JobInfo {
            address: self.address,
            offset: self.offset,
            state: self.state.to_wire().into(),
            attempts: self.attempts,
            acquires: self.acquires,
            at_ms: self.at.0,
            holder: self.holder,
            reason: self.reason.to_owned(),
            last_error: self.last_error,
            progress: self.progress,
            note: self.note,
            checkpoint: self.checkpoint,
            result: self.result,
            cancel_requested: self.cancel_requested,
            generation: self.generation,
            published_at_ms: self.published_at.0,
        }
    }
}
