//! The last settles, so that a repeated one is told it is done.

use siding_protocol::types::{Grant, OffsetRange};

use super::Subscription;
use crate::engine::command::SettleKind;

/// Settles remembered; neighbours count as one. Enough for what others settle while a client
/// reconnects; 40 bytes each.
pub const REMEMBERED_SETTLES: usize = 2_048;

/// A settle that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Under which grant.
    pub grant: Grant,
    /// Which messages.
    pub range: OffsetRange,
    /// What was done.
    pub kind: SettleKind,
}

impl Subscription {
    /// Remembers a settle that took effect.
    pub fn remember(&mut self, settle: Remembered) {
        if let Some(last) = self.remembered.back_mut()
            && (last.grant, last.kind) == (settle.grant, settle.kind)
            && last.range.end == settle.range.start
        {
            last.range.end = settle.range.end;
            return;
        }
        if self.remembered.len() == REMEMBERED_SETTLES {
            self.remembered.pop_front();
        }
        self.remembered.push_back(settle);
    }
}
