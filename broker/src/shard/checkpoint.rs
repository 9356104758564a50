//! Checkpoints: bodies that are still needed move out of the journal, the shard's state is written, and the
//! journal is cut behind it.
//!
//! ```text
//! idle ─due─► moving ───► relocating ─────► moved ──► writing ────────► cut: idle
//!             (a thread)  (in `Bodies`,               (a thread, from
//!                          part by part)               a shadow)
//! ```
//!
//! The core thread never does much at once for it: the shard's state is not gathered here but built again
//! beside it (`shadow.rs`), and whoever does that also says what the next checkpoint had better move. What was
//! settled in between is moved for nothing. The order is that of what a power cut may leave: segments are durable before a
//! snapshot names them, and only once that is durable are segments removed in which nothing is, by the thread
//! that wrote it, and journal files given back, those it has passed and that hold no body that it needs.
//!
//! On a full disk a checkpoint is lent the reserve, and moves no more than finds room in it. What it frees is
//! at least what it took, so the reserve stands again behind it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tracing::{error, info, warn};

use super::committer::{Machine, Outside};
use super::core::Core;
use super::recovery::RecoveryError;
use super::shadow::{At, Relocated, Shadow, Written, gather, remove, write};
use crate::planted::{self, Bug};
use crate::storage::bodies::{Bodies, Moved, Plan};
use crate::storage::mover::{Outcome, move_bodies};
use crate::storage::threads::Threads;
use crate::storage::{BodyReader, FileId, Files, Reserve, Segments, Snapshots, StorageError};

/// The one shard there is.
const SHARD: u32 = 0;

/// More bytes are not left in files that nobody needs.
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
    /// Every snapshot is compared with the shard's own.
    is_checked: bool,
    /// Journal bytes between two of them.
    every_bytes: u64,
    /// The number of the next segment.
    next_segment: u64,
    /// The last entry of the newest snapshot; `None`: there is none.
    base: Option<u64>,
    /// What was moved and is not in it.
    relocated: Vec<Relocated>,
    /// What is to be moved next, as the newest snapshot has it.
    plan: Plan,
    step: Step,
}

/// How far a checkpoint is.
#[derive(Debug)]
enum Step {
    Idle,
    /// A thread moves bodies.
    Moving,
    /// What has moved is taken in, part by part.
    Relocating(VecDeque<Moved>),
    /// What there was to be moved lies in segments: a snapshot is to be written.
    Moved,
    /// A thread writes the snapshot, with so many of the relocations.
    Writing(usize),
}

impl Checkpoints {
    /// One checkpoint for every `every_bytes` of journal. `bodies` says which segments there are, `base` how
    /// far the newest snapshot reaches.
    pub fn new(
        (snapshots, segments, reader): (Snapshots, Segments, BodyReader),
        (node, base): (u64, Option<u64>),
        (machine, reserve): (&Machine, Reserve),
        every_bytes: u64,
        bodies: &Bodies,
    ) -> Self {
        let last = bodies.segments().map(|segment| segment.number).max();
        Self {
            snapshots,
            segments,
            reader,
            node,
            threads: machine.threads.clone(),
            is_checked: machine.checks_snapshots,
            reserve,
            every_bytes,
            next_segment: last.map_or(1, |last| last + 1),
            base,
            relocated: Vec::new(),
            plan: Plan::default(),
            step: Step::Idle,
        }
    }

    /// Whether the journal has grown enough since the last one, or files with so many bytes in which nothing
    /// is needed any more are worth one.
    pub fn is_due(&self, written_bytes: u64, empty_bytes: u64) -> bool {
        let is_worth_it = written_bytes >= self.every_bytes || empty_bytes >= EMPTY_BYTES_MAX;
        self.is_idle() && is_worth_it
    }

    /// Whether there is something to be moved.
    pub fn may_move(&self) -> bool {
        !self.plan.is_empty()
    }

    /// Begins with moving what the checkpoint before has found, on a full disk into the room that is kept for
    /// it; `done` learns how it went.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn begin(
        &mut self,
        bodies: &Bodies,
        is_full: bool,
        done: Sender<Outside>,
    ) -> Result<(), std::io::Error> {
        let plan = std::mem::take(&mut self.plan);
        if plan.is_empty() {
            self.step = Step::Moved;
            return Ok(());
        }
        let room_bytes = if is_full {
            self.reserve.bodies_bytes()
        } else {
            u64::MAX
        };
        let fresh_from = bodies.fresh_from();
        let (segments, reader) = (self.segments.clone(), self.reader.clone());
        let next = self.next_segment;
        // Each move makes at most one.
        self.next_segment += plan.pieces();
        let reserve = self.reserve.clone();
        let run = move || {
            if is_full {
                // Without it there may be room yet, or there is an error to tell.
                reserve.lend();
            }
            let moves = plan.moves(fresh_from, room_bytes);
            move_bodies(&segments, &moves, next, &mut |record| reader.read(record))
        };
        self.threads.once("siding-move", move || {
            done.blocking_send(Outside::Moved(run())).ok();
        })?;
        self.step = Step::Moving;
        Ok(())
    }

    /// Bodies have moved, or not: then the journal keeps them.
    pub fn moved(&mut self, result: Result<Outcome, StorageError>) {
        self.step = Step::Moved;
        match result {
            Ok(Outcome { moved, unreadable }) => {
                for error in unreadable {
                    error!(%error, "bodies cannot be read; they stay where they are");
                }
                let blocks = moved.iter().flat_map(|part| part.blocks.values());
                let blocks: usize = blocks.map(Vec::len).sum();
                let segments: usize = moved.iter().map(|part| part.segments.len()).sum();
                info!(segments, blocks, "bodies moved");
                self.step = Step::Relocating(moved.into());
            }
            Err(error) => warn!(%error, "bodies were not moved; the journal keeps them"),
        }
    }

    /// Takes in a part of what has moved, after the entry `index`; others have their turn before the next.
    /// Whether there was one.
    pub fn relocate(&mut self, index: u64, bodies: &mut Bodies) -> bool {
        let Step::Relocating(parts) = &mut self.step else {
            return false;
        };
        let Some(part) = parts.pop_front() else {
            self.step = Step::Moved;
            return false;
        };
        bodies.relocate(&part);
        if planted::has(Bug::MoveForgotten) {
            return true;
        }
        self.relocated.push(Relocated {
            after: index,
            moved: Arc::new(part),
        });
        true
    }

    /// Whether a part waits to be taken in.
    pub fn is_relocating(&self) -> bool {
        matches!(self.step, Step::Relocating(_))
    }

    /// Whether a snapshot is to be written.
    pub fn is_moved(&self) -> bool {
        matches!(self.step, Step::Moved)
    }

    /// Starts to write a snapshot at the entry `index`, the last one applied; `done` learns how it went.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn write(
        &mut self,
        index: u64,
        (core, bodies, files): (&Core, &mut Bodies, &Files),
        done: Sender<Outside>,
    ) -> Result<(), std::io::Error> {
        // The shadow finds the same ones.
        bodies.take_empty_segments();
        let at = self.at(index, files);
        let full = files.recyclable(&|_| index).into_iter();
        let shadow = Shadow {
            snapshots: self.snapshots.clone(),
            segments: self.segments.clone(),
            reserve: self.reserve.clone(),
            base: self.base,
            replay: files.replay(SHARD, self.base.unwrap_or(0) + 1..=index),
            relocated: self.relocated.clone(),
            at,
            full: full.map(|file| (file, files.bytes(file))).collect(),
            planted: core.planted(),
            expected: self.is_checked.then(|| gather(at, core, bodies)),
        };
        self.threads.once("siding-snapshot", move || {
            // The core thread is gone: nobody needs to know.
            done.blocking_send(Outside::Checkpoint(shadow.write())).ok();
        })?;
        self.step = Step::Writing(self.relocated.len());
        Ok(())
    }

    /// A snapshot is written, or not: the one before still stands then.
    ///
    /// What it needed when it was gathered decides, not what is needed now: an entry since then that
    /// let the last body of a file go may not be synced, and after a power cut the snapshot would
    /// ask for a file that was given away.
    pub fn finished(
        &mut self,
        result: Result<Written, RecoveryError>,
        (bodies, files): (&mut Bodies, &Files),
    ) {
        let step = std::mem::replace(&mut self.step, Step::Idle);
        let Step::Writing(relocated) = step else {
            return;
        };
        match result {
            Ok(written) => {
                self.relocated.drain(..relocated);
                self.base = Some(written.index);
                cut(files, &written);
                bodies.note_kept(kept_for_bodies(files, written.index));
                self.plan = written.plan;
            }
            Err(error) => warn!(%error, "snapshot failed; the journal is not cut"),
        }
        if self.reserve.is_missing() {
            files.retry_spares();
        }
    }

    /// Writes a snapshot here, at a clean stop: nobody is held up any more. Where there is no room the next
    /// start replays more.
    ///
    /// # Errors
    /// The one before still stands.
    pub fn write_here(
        &self,
        index: u64,
        core: &Core,
        (bodies, files): (&mut Bodies, &Files),
    ) -> Result<(), StorageError> {
        let empty = bodies.take_empty_segments();
        let snapshot = gather(self.at(index, files), core, bodies);
        match write(&self.snapshots, &snapshot, &self.reserve) {
            Err(error) if error.is_no_room() => warn!(%error, "no snapshot: the disk is full"),
            written => {
                written?;
                info!(index, "snapshot written");
                remove(&self.segments, &empty);
            }
        }
        Ok(())
    }

    fn at(&self, index: u64, files: &Files) -> At {
        At {
            index,
            node: self.node,
            first_file: files.first_unpassed(&|_| index),
        }
    }

    #[cfg(test)]
    pub(super) fn set_every(&mut self, bytes: u64) {
        self.every_bytes = bytes;
    }

    #[cfg(test)]
    pub(super) fn base(&self) -> Option<u64> {
        self.base
    }

    /// Whether a thread is at work.
    pub fn is_running(&self) -> bool {
        matches!(self.step, Step::Moving | Step::Writing(_))
    }

    /// Whether none has begun.
    pub fn is_idle(&self) -> bool {
        matches!(self.step, Step::Idle)
    }

    /// What was running is of no interest any more.
    pub fn forget(&mut self) {
        self.step = Step::Idle;
    }
}

/// Gives back every full file that the snapshot at `index` has passed and in which it needs no body.
fn cut(files: &Files, written: &Written) {
    let Written {
        index,
        needed,
        removed,
        ..
    } = written;
    let passed = files.recyclable(&|_| *index).into_iter();
    let free = passed.filter(|file| !needed.contains(&FileId::Journal(*file)));
    let retired = free.filter(|file| files.retire(*file).is_ok()).count();
    info!(index, retired, removed, "snapshot written, journal cut");
}

/// The journal files that a snapshot at this entry has passed, and that are kept for bodies; with their bytes.
pub fn kept_for_bodies(files: &Files, index: u64) -> BTreeMap<u64, u64> {
    let passed = files.recyclable(&|_| index).into_iter();
    passed.map(|file| (file, files.bytes(file))).collect()
}
