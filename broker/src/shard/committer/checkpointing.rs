//! When a shard makes checkpoints: after so much journal, and when its disk is full.

use siding_protocol::types::Timestamp;

use super::{Committer, ShardError};
use crate::engine::shortage::Shortage;
use crate::shard::sessions::Sessions;

/// While the disk is full, room is looked for once in so long.
pub(super) const ROOM_MS: u64 = 500;

impl<S: Sessions> Committer<S> {
    /// Whether a checkpoint has begun and is not over.
    pub fn is_checkpointing(&self) -> bool {
        !self.checkpoints.is_idle()
    }

    /// While no spare journal file can be made, or the reserve is missing, publishes are refused and the
    /// spares that are left are for what makes room: acks, and the checkpoint that lets the journal be cut.
    pub(super) fn look_for_room(&mut self, now: Timestamp) -> Result<(), ShardError> {
        let is_full = self.is_full();
        let bodies = self.performer.bodies();
        let bodies_bytes = bodies.tail_bytes_used() + bodies.read_bytes_used();
        let is_checkpointing = !self.checkpoints.is_idle();
        let scarce = self.memory.shortage(bodies_bytes, is_checkpointing);
        let shortage = if is_full { Shortage::Disk } else { scarce };
        self.core.note_shortage(shortage);
        if !is_full {
            self.room_at = None;
        } else if self.room_at.is_none_or(|at| at <= now) {
            self.room_at = Some(now.plus_ms(ROOM_MS));
            self.door.journal().files().retry_spares();
            let is_worth_it = self.door.written_bytes() > 0 || self.checkpoints.may_move();
            if is_worth_it && self.checkpoints.is_idle() {
                self.begin_checkpoint()?;
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.door.journal().spare_gauge().is_failing()
    }

    /// A snapshot says where bodies lie: it must not be ahead of one that a power cut may take.
    fn may_snapshot(&self) -> bool {
        self.flush.at().is_none()
    }

    fn begin_checkpoint(&mut self) -> Result<(), ShardError> {
        self.door.take_written_bytes();
        let is_full = self.is_full();
        let (bodies, done) = (self.performer.bodies(), self.to_core.clone());
        Ok(self.checkpoints.begin(bodies, is_full, done)?)
    }

    /// Begins a checkpoint that is due, and goes on with one that has moved its bodies.
    pub(super) fn checkpoint(&mut self) -> Result<(), ShardError> {
        let empty_bytes = self.performer.bodies().empty_bytes();
        if self
            .checkpoints
            .is_due(self.door.written_bytes(), empty_bytes)
        {
            self.begin_checkpoint()?;
        }
        let bodies = self.performer.bodies_mut();
        if self.checkpoints.relocate(self.applied_index, bodies) {
            // The next part, or the snapshot, with the next turn.
            self.inbox.wake();
        }
        if !self.checkpoints.is_moved() {
            return Ok(());
        }
        if !self.may_snapshot() {
            self.flush.hurry();
            return Ok(());
        }
        let files = self.door.journal().files();
        let state = (&self.core, self.performer.bodies_mut(), files);
        Ok(self
            .checkpoints
            .write(self.applied_index, state, self.to_core.clone())?)
    }
}
