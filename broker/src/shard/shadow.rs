//! The snapshot of a shard that goes on meanwhile: a checkpoint is a recovery whose result is written.
//!
//! ```text
//! snapshot before ──► + entries of the journal, up to index N ──► snapshot at N
//!                     + where bodies were moved to meanwhile
//! ```
//!
//! A thread of its own reads the snapshot before and lets the entries since then through `apply`, as a start
//! would. Replay rebuilds the durable half exactly, so what it writes is byte for byte what the shard itself
//! would have written at N, which is not asked and goes on serving. What it takes grows with the state, on
//! that thread and for a moment in memory; what the core thread does for it grows with the number of files.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use super::core::Core;
use super::recovery::{RecoveryError, Shard, shard_of};
use crate::engine::planted::Planted;
use crate::storage::bodies::{Bodies, Budgets, Moved, Plan};
use crate::storage::{
    FileId, Replay, Reserve, Section, Segments, Snapshot, Snapshots, StorageError,
};

/// The engine's durable half.
pub const ENGINE_SECTION: &str = "engine";
/// Where bodies lie.
pub const BODIES_SECTION: &str = "bodies";
/// The first journal file that a start has to read; without it, all of them.
pub const JOURNAL_SECTION: &str = "journal";
/// It is asked for nothing: it gathers no group.
const GROUP_BYTES: usize = 0;

/// Bodies that were moved.
#[derive(Clone, Debug)]
pub struct Relocated {
    /// The last entry applied before that was taken in.
    pub after: u64,
    /// Where they lie since then.
    pub moved: Arc<Moved>,
}

/// Where a snapshot stands.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Its last entry.
    pub index: u64,
    /// The node that writes it.
    pub node: u64,
    /// The first journal file with, or for, entries behind it.
    pub first_file: u64,
}

/// What a snapshot is made of.
#[derive(Debug)]
pub struct Shadow {
    /// Where it goes.
    pub snapshots: Snapshots,
    /// Those in which it needs nothing are removed behind it.
    pub segments: Segments,
    /// Room for it.
    pub reserve: Reserve,
    /// The snapshot before; `None`: there is none.
    pub base: Option<u64>,
    /// The entries since then.
    pub replay: Replay,
    /// What was moved since then, in that order.
    pub relocated: Vec<Relocated>,
    /// Where it stands.
    pub at: At,
    /// The full journal files with no entry behind it, and their bytes.
    pub full: Vec<(u64, u64)>,
    /// The same that is planted in the shard.
    pub planted: Planted,
    /// What the shard itself would write; only tests ask that.
    pub expected: Option<Snapshot>,
}

/// A snapshot that is durable.
#[derive(Debug)]
pub struct Written {
    /// Its last entry.
    pub index: u64,
    /// The files in which it needs a body.
    pub needed: BTreeSet<FileId>,
    /// Segments in which it needs nothing any more, which it does not name, and which are removed.
    pub removed: usize,
    /// What the next checkpoint is to move.
    pub plan: Plan,
}

impl Shadow {
    /// Builds the snapshot and writes it. Blocks, and takes as long as a start.
    ///
    /// # Errors
    /// Something cannot be read or written: the snapshot before still stands.
    ///
    /// # Panics
    /// It is not what was expected.
    pub fn write(self) -> Result<Written, RecoveryError> {
        let written = self.build_and_write();
        // What was moved before may have borrowed it.
        self.reserve.take_back();
        written
    }

    fn build_and_write(&self) -> Result<Written, RecoveryError> {
        let mut shard = self.before()?;
        let mut relocated = self.relocated.iter().peekable();
        self.replay.run(&mut |record| {
            while let Some(it) = relocated.next_if(|it| it.after < record.index) {
                shard.bodies.relocate(&it.moved);
            }
            shard.replay(record)
        })?;
        let Shard { core, mut bodies } = shard;
        relocated.for_each(|it| bodies.relocate(&it.moved));
        let empty = bodies.take_empty_segments();
        let snapshot = gather(self.at, &core, &bodies);
        if let Some(expected) = &self.expected {
            assert!(
                *expected == snapshot,
                "the shadow of entry {} is the shard",
                self.at.index
            );
        }
        // Half of the memory goes before the other half is written.
        drop(core);
        write(&self.snapshots, &snapshot, &self.reserve)?;
        remove(&self.segments, &empty);
        Ok(Written {
            index: self.at.index,
            needed: bodies.live_files().collect(),
            removed: empty.len(),
            plan: bodies.plan(&self.full),
        })
    }

    /// The shard as the snapshot before has it.
    fn before(&self) -> Result<Shard, RecoveryError> {
        let base = self.base.map(|index| self.snapshots.read(index));
        let budgets = Budgets {
            tail_bytes: 0,
            read_bytes: 0,
        };
        let (mut shard, _) = shard_of(base.transpose()?, GROUP_BYTES, budgets)?;
        shard.core.plant_like(self.planted);
        Ok(shard)
    }
}

/// The snapshot of a shard as it is.
pub fn gather(at: At, core: &Core, bodies: &Bodies) -> Snapshot {
    let mut places = Vec::new();
    bodies.export(&mut places);
    let section = |name: &str, data| Section {
        name: name.to_owned(),
        data,
    };
    let first_file = Bytes::copy_from_slice(&at.first_file.to_le_bytes());
    Snapshot {
        index: at.index,
        term: core.term(),
        node: at.node,
        sections: vec![
            section(ENGINE_SECTION, core.snapshot().freeze()),
            section(BODIES_SECTION, places.into()),
            section(JOURNAL_SECTION, first_file),
        ],
    }
}

/// The first journal file that has to be read behind a snapshot. Releases that read them all wrote none.
pub fn first_file(snapshot: &Snapshot) -> u64 {
    let stated = snapshot.section(JOURNAL_SECTION);
    let stated = stated.and_then(|data| data.first_chunk());
    stated.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Removes segments that a durable snapshot does not name. Blocks: a file takes the disk a while to give back.
pub fn remove(segments: &Segments, empty: &[u64]) {
    if let Err(error) = segments.remove(empty) {
        warn!(%error, "a segment that nobody needs is not removed before the next start");
    }
}

/// Writes a snapshot, in the reserve if there is no other room: then that is lent. Blocks.
///
/// # Errors
/// The one before still stands.
pub fn write(
    snapshots: &Snapshots,
    snapshot: &Snapshot,
    reserve: &Reserve,
) -> Result<(), StorageError> {
    let written = match snapshots.write(snapshot) {
        Err(error) if error.is_no_room() && reserve.lend() => snapshots.write(snapshot),
        written => written,
    };
    reserve.expect_snapshot(snapshot.bytes());
    written
}
