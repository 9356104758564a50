//! Snapshots of the shard, and the cut of the journal behind them.
//!
//! What a snapshot holds is gathered on the core thread at one moment between two entries; it is
//! written on a thread of its own. Only once it is durable are journal files given back: those it
//! has passed and that hold no body that is still needed.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;
use tracing::{info, warn};

use super::committer::Outside;
use super::core::Core;
use crate::storage::bodies::Bodies;
use crate::storage::threads::Threads;
use crate::storage::{Files, Section, Snapshot, Snapshots, StorageError};

/// The engine's durable half.
pub const ENGINE_SECTION: &str = "engine";
/// Where bodies lie.
pub const BODIES_SECTION: &str = "bodies";

/// When snapshots are made, and where.
#[derive(Debug)]
pub struct Checkpoints {
    snapshots: Snapshots,
    node: u64,
    threads: Threads,
    /// Journal bytes between two snapshots.
    every_bytes: u64,
    /// The snapshot being written: the files in which it needs a body.
    running: Option<BTreeSet<u64>>,
}

impl Checkpoints {
    /// One snapshot for every `every_bytes` of journal.
    pub fn new(snapshots: Snapshots, node: u64, threads: Threads, every_bytes: u64) -> Self {
        Self {
            snapshots,
            node,
            threads,
            every_bytes,
            running: None,
        }
    }

    /// Whether the journal has grown enough since the last one.
    pub fn is_due(&self, written_bytes: u64) -> bool {
        !self.is_running() && written_bytes >= self.every_bytes
    }

    /// Starts to write a snapshot of what is applied, `bodies` included; `done` learns how it went.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(
        &mut self,
        snapshot: Snapshot,
        bodies: &Bodies,
        done: Sender<Outside>,
    ) -> Result<(), std::io::Error> {
        let snapshots = self.snapshots.clone();
        let write = move || {
            let index = snapshot.index;
            let result = snapshots.write(&snapshot).map(|()| index);
            // The core thread is gone: nobody needs to know.
            done.blocking_send(Outside::Checkpoint(result)).ok();
        };
        self.threads.once("siding-snapshot", write)?;
        self.running = Some(bodies.live_files().collect());
        Ok(())
    }

    /// A snapshot is written, or not: the one before still stands then.
    ///
    /// What it needed when it was gathered decides, not what is needed now: an entry since then that
    /// let the last body of a file go may not be synced, and after a power cut the snapshot would
    /// ask for a file that was given away.
    pub fn finished(&mut self, result: Result<u64, StorageError>, files: &Files) {
        let needed = self.running.take().unwrap_or_default();
        match result {
            Ok(index) => cut(files, &needed, index),
            Err(error) => warn!(%error, "snapshot failed; the journal is not cut"),
        }
    }

    /// Writes a snapshot here, at a clean stop.
    ///
    /// # Errors
    /// The one before still stands.
    pub fn write_here(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        self.snapshots.write(snapshot)?;
        info!(index = snapshot.index, "snapshot written");
        Ok(())
    }

    /// A snapshot that was running is of no interest any more.
    pub fn forget(&mut self) {
        self.running = None;
    }

    /// Whether one is being written.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Gathers what is applied, up to the entry `index`, of `term`.
    pub fn gather(&self, (index, term): (u64, u64), core: &Core, bodies: &Bodies) -> Snapshot {
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
}

/// Gives back every full file that the snapshot at `index` has passed and in which it needs no body.
fn cut(files: &Files, needed: &BTreeSet<u64>, index: u64) {
    let passed = files.recyclable(&|_| index);
    let free = passed.into_iter().filter(|file| !needed.contains(file));
    let retired = free.filter(|file| files.retire(*file).is_ok()).count();
    info!(index, retired, "snapshot written, journal cut");
}
