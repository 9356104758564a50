//! Checkpoints: bodies that are still needed move out of the journal, the shard's state is written, and the
//! journal is cut behind it.
//!
//! ```text
//! idle ─due─► moving ─────► moved ─gathered─► writing ─durable─► cut: idle
//!             (a thread)    (in `Bodies`)     (a thread)
//! ```
//!
//! What a snapshot holds is gathered on the core thread at one moment between two entries. The order is that
//! of what a power cut may leave: segments are durable before a snapshot names them, and only once that is
//! durable are journal files given back, those it has passed and that hold no body that is still needed, and
//! segments removed in which nothing is.
//!
//! On a full disk a checkpoint is lent the reserve, and moves no more than finds room in it. What it frees is
//! at least what it took, so the reserve stands again behind it.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;
use tracing::{error, info, warn};

use super::committer::Outside;
use super::core::Core;
use crate::storage::bodies::Bodies;
use crate::storage::mover::{Outcome, move_bodies};
use crate::storage::threads::Threads;
use crate::storage::{
    BodyReader, FileId, Files, Reserve, Section, Segments, Snapshot, Snapshots, StorageError,
};

/// The engine's durable half.
pub const ENGINE_SECTION: &str = "engine";
/// Where bodies lie.
pub const BODIES_SECTION: &str = "bodies";

/// More bytes are not left in segments that nobody needs.
const EMPTY_BYTES_MAX: u64 = 64 << 20;

/// When checkpoints are made, and where they are written.
#[derive(Debug)]
pub struct Checkpoints {
    snapshots: Snapshots,
    segments: Segments,
    reader: BodyReader,
    node: u64,
    threads: Threads,
    reserve: Reserve,
    /// Journal bytes between two of them.
    every_bytes: u64,
    /// The number of the next segment.
    next_segment: u64,
    step: Step,
}

/// How far a checkpoint is.
#[derive(Debug)]
enum Step {
    Idle,
    /// A thread moves bodies.
    Moving,
    /// What there was to be moved lies in segments: the state is to be gathered.
    Moved,
    /// A thread writes the snapshot.
    Writing {
        /// The files in which it needs a body.
        needed: BTreeSet<FileId>,
        /// Segments it does not name any more.
        empty: Vec<u64>,
    },
}

impl Checkpoints {
    /// One checkpoint for every `every_bytes` of journal. `bodies` says which segments there are.
    pub fn new(
        (snapshots, segments, reader): (Snapshots, Segments, BodyReader),
        node: u64,
        (threads, reserve): (Threads, Reserve),
        every_bytes: u64,
        bodies: &Bodies,
    ) -> Self {
        let last = bodies.segments().map(|segment| segment.number).max();
        Self {
            snapshots,
            segments,
            reader,
            node,
            threads,
            reserve,
            every_bytes,
            next_segment: last.map_or(1, |last| last + 1),
            step: Step::Idle,
        }
    }

    /// Whether the journal has grown enough since the last one, or segments with so many bytes in which
    /// nothing is needed any more are worth one.
    pub fn is_due(&self, written_bytes: u64, empty_bytes: u64) -> bool {
        let is_worth_it = written_bytes >= self.every_bytes || empty_bytes >= EMPTY_BYTES_MAX;
        self.is_idle() && is_worth_it
    }

    /// Begins with moving what is still needed out of the full files that the entry `index` ends, on a full
    /// disk into the room that is kept for it; `done` learns how it went.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn begin(
        &mut self,
        (bodies, files, index): (&Bodies, &Files, u64),
        is_full: bool,
        done: Sender<Outside>,
    ) -> Result<(), std::io::Error> {
        let room_bytes = if is_full {
            self.reserve.bodies_bytes()
        } else {
            u64::MAX
        };
        let moves = bodies.moves(&files.recyclable(&|_| index), room_bytes);
        if moves.is_empty() {
            self.step = Step::Moved;
            return Ok(());
        }
        let (segments, reader) = (self.segments.clone(), self.reader.clone());
        let next = self.next_segment;
        // Each move makes at most one.
        self.next_segment += moves.len() as u64;
        let reserve = self.reserve.clone();
        let run = move || {
            if is_full {
                // Without it there may be room yet, or there is an error to tell.
                reserve.lend();
            }
            move_bodies(&segments, &moves, next, &mut |record| reader.read(record))
        };
        self.threads.once("siding-move", move || {
            done.blocking_send(Outside::Moved(run())).ok();
        })?;
        self.step = Step::Moving;
        Ok(())
    }

    /// Bodies have moved, or not: then the journal keeps them.
    pub fn moved(&mut self, result: Result<Outcome, StorageError>, bodies: &mut Bodies) {
        self.step = Step::Moved;
        match result {
            Ok(Outcome { moved, unreadable }) => {
                for error in unreadable {
                    error!(%error, "bodies cannot be read; they stay where they are");
                }
                let blocks: usize = moved.blocks.values().map(Vec::len).sum();
                info!(segments = moved.segments.len(), blocks, "bodies moved");
                bodies.relocate(moved);
            }
            Err(error) => warn!(%error, "bodies were not moved; the journal keeps them"),
        }
    }

    /// Whether the state is to be gathered and written.
    pub fn is_moved(&self) -> bool {
        matches!(self.step, Step::Moved)
    }

    /// Starts to write what is applied, up to the entry `index`, of `term`; `done` learns how it went.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn write(
        &mut self,
        applied: (u64, u64),
        (core, bodies): (&Core, &mut Bodies),
        done: Sender<Outside>,
    ) -> Result<(), std::io::Error> {
        let empty = bodies.take_empty_segments();
        let snapshot = self.gather(applied, core, bodies);
        let (snapshots, reserve) = (self.snapshots.clone(), self.reserve.clone());
        self.threads.once("siding-snapshot", move || {
            let index = snapshot.index;
            let result = write(&snapshots, &snapshot, &reserve).map(|()| index);
            // The core thread is gone: nobody needs to know.
            done.blocking_send(Outside::Checkpoint(result)).ok();
        })?;
        let needed = bodies.live_files().collect();
        self.step = Step::Writing { needed, empty };
        Ok(())
    }

    /// A snapshot is written, or not: the one before still stands then.
    ///
    /// What it needed when it was gathered decides, not what is needed now: an entry since then that
    /// let the last body of a file go may not be synced, and after a power cut the snapshot would
    /// ask for a file that was given away.
    pub fn finished(&mut self, result: Result<u64, StorageError>, files: &Files) {
        let step = std::mem::replace(&mut self.step, Step::Idle);
        let Step::Writing { needed, empty } = step else {
            return;
        };
        match result {
            Ok(index) => self.cut(files, (&needed, &empty), index),
            // The empty segments are removed by the next start.
            Err(error) => warn!(%error, "snapshot failed; the journal is not cut"),
        }
        if self.reserve.is_missing() {
            files.retry_spares();
        }
    }

    /// Writes a snapshot here, at a clean stop. Where there is no room the next start replays more.
    ///
    /// # Errors
    /// The one before still stands.
    pub fn write_here(
        &self,
        applied: (u64, u64),
        core: &Core,
        bodies: &mut Bodies,
    ) -> Result<(), StorageError> {
        let empty = bodies.take_empty_segments();
        let snapshot = self.gather(applied, core, bodies);
        match write(&self.snapshots, &snapshot, &self.reserve) {
            Err(error) if error.is_no_room() => warn!(%error, "no snapshot: the disk is full"),
            written => {
                written?;
                info!(index = snapshot.index, "snapshot written");
                self.remove(&empty);
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn set_every(&mut self, bytes: u64) {
        self.every_bytes = bytes;
    }

    /// Whether a thread is at work.
    pub fn is_running(&self) -> bool {
        matches!(self.step, Step::Moving | Step::Writing { .. })
    }

    /// Whether none has begun.
    pub fn is_idle(&self) -> bool {
        matches!(self.step, Step::Idle)
    }

    /// What was running is of no interest any more.
    pub fn forget(&mut self) {
        self.step = Step::Idle;
    }

    fn gather(&self, (index, term): (u64, u64), core: &Core, bodies: &Bodies) -> Snapshot {
        let mut places = Vec::new();
        bodies.export(&mut places);
        let section = |name: &str, data: Bytes| Section {
            name: name.to_owned(),
            data,
        };
        let engine = section(ENGINE_SECTION, core.snapshot().freeze());
        let bodies = section(BODIES_SECTION, places.into());
        Snapshot {
            index,
            term,
            node: self.node,
            sections: vec![engine, bodies],
        }
    }

    /// Gives back every full file that the snapshot at `index` has passed and in which it needs no body.
    fn cut(&self, files: &Files, (needed, empty): (&BTreeSet<FileId>, &[u64]), index: u64) {
        let passed = files.recyclable(&|_| index).into_iter();
        let free = passed.filter(|file| !needed.contains(&FileId::Journal(*file)));
        let retired = free.filter(|file| files.retire(*file).is_ok()).count();
        self.remove(empty);
        info!(
            index,
            retired,
            removed = empty.len(),
            "snapshot written, journal cut"
        );
    }

    fn remove(&self, empty: &[u64]) {
        if let Err(error) = self.segments.remove(empty) {
            warn!(%error, "a segment that nobody needs is not removed before the next start");
        }
    }
}

/// Writes a snapshot, in the reserve if there is no other room. Blocks.
fn write(
    snapshots: &Snapshots,
    snapshot: &Snapshot,
    reserve: &Reserve,
) -> Result<(), StorageError> {
    let written = match snapshots.write(snapshot) {
        Err(error) if error.is_no_room() && reserve.lend() => snapshots.write(snapshot),
        written => written,
    };
    reserve.expect_snapshot(snapshot.bytes());
    reserve.take_back();
    written
}
