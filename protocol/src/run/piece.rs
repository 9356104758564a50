//! Cutting a run into what the engine keeps as extents.

use crate::limits::{EXTENT_BYTES_MAX, EXTENT_MESSAGES_MAX};

/// Consecutive messages of a run: at most `EXTENT_MESSAGES_MAX` of them and `EXTENT_BYTES_MAX`
/// bytes, or one larger message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Messages.
    pub count: u32,
    /// Bytes in the run.
    pub bytes: u32,
}

/// Closes a piece when the next message would make it more than an extent.
pub(super) struct Pieces {
    closed: Vec<Piece>,
    count: u32,
    bytes: usize,
    bytes_max: usize,
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self {
            closed: Vec::new(),
            count: 0,
            bytes: 0,
            bytes_max: usize::try_from(EXTENT_BYTES_MAX).unwrap_or(usize::MAX),
        }
    }

    #[inline]
    pub(super) fn add(&mut self, message_bytes: usize) {
        let bytes = self.bytes.saturating_add(message_bytes);
        if self.count == EXTENT_MESSAGES_MAX || (bytes > self.bytes_max && self.count > 0) {
            self.cut();
            self.bytes = message_bytes;
            self.count = 1;
        } else {
            self.bytes = bytes;
            self.count = self.count.saturating_add(1);
        }
    }

    fn cut(&mut self) {
        self.closed.push(Piece {
            count: self.count,
            // A run is far below 4 GiB, so this never saturates.
            bytes: u32::try_from(self.bytes).unwrap_or(u32::MAX),
        });
    }

    pub(super) fn close(mut self) -> Vec<Piece> {
        self.cut();
        self.closed
    }
}
