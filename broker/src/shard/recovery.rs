//! The start of a shard: newest snapshot, then the journal's tail through `apply`.
//!
//! The only way back; a clean stop only makes it shorter.

use std::path::Path;
use std::sync::Arc;

use super::clock::TimeSource;
use super::core::{Core, Deed};
use super::perform::placed;
use super::progress::Progress;
use super::shadow::{BODIES_SECTION, ENGINE_SECTION, first_file};
use super::touches::Touches;
use crate::engine::command::{Entry, EntryError};
use crate::engine::seed::Seed;
use crate::engine::snapshot::SnapshotError;
use crate::storage::bodies::{Bodies, Budgets, IndexError};
use crate::storage::files::Watch;
use crate::storage::fs::Fs;
use crate::storage::{
    DataDir, FileId, Filling, Recovered, Segments, Snapshot, StorageError, Threads, Writer,
    recover_behind,
};

/// What of a shard's start is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of new journal files, bytes.
    pub journal_file_bytes: u64,
    /// Who makes spare journal files.
    pub filling: Filling,
    /// Memory for bodies.
    pub budgets: Budgets,
}

/// Why a shard does not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The disk, or what is on it.
    #[error(transparent)]
    Storage(StorageError),
    /// The data are damaged.
    #[error("{source}; {touches}")]
    Damaged {
        /// Where, and how.
        source: StorageError,
        /// Whose messages.
        touches: Touches,
    },
    /// The newest snapshot lacks a part.
    #[error("snapshot {index} has no section {section:?}")]
    Section {
        /// Of its last entry.
        index: u64,
        /// What is missing.
        section: &'static str,
    },
    /// The newest snapshot's engine part does not decode.
    #[error("snapshot {index}: {source}")]
    Engine {
        /// Of its last entry.
        index: u64,
        /// Why.
        source: SnapshotError,
    },
    /// The newest snapshot's index of bodies does not decode.
    #[error("snapshot {index}: {source}")]
    Bodies {
        /// Of its last entry.
        index: u64,
        /// Why.
        source: IndexError,
    },
    /// An entry that passed its checksum does not decode.
    #[error("entry {index}: {source}")]
    Entry {
        /// Which one.
        index: u64,
        /// Why.
        source: EntryError,
    },
}

/// A shard as it was.
#[derive(Debug)]
pub struct Recovery {
    /// The directory, locked.
    pub data_dir: DataDir,
    /// Its engine.
    pub core: Core,
    /// Where bodies lie.
    pub bodies: Bodies,
    /// The segments in which some of them lie.
    pub segments: Segments,
    /// Continues the journal.
    pub writer: Writer,
    /// The last entry applied.
    pub last_index: u64,
    /// The last entry of its snapshot; `None`: there is none.
    pub snapshot_index: Option<u64>,
}

/// Largest part of a journal record that one group fills, so that a group and one request more
/// always fit.
const GROUP_SHARE: u64 = 4;
/// Gathering stops here, however large the journal's files.
const GROUP_BYTES_MAX: u64 = 1 << 20;

/// Reads a data directory, creating it if it is new.
///
/// # Errors
/// Damage and unreadable files are named and never skipped.
pub fn start(
    fs: Arc<dyn Fs>,
    path: &Path,
    settings: Settings,
    threads: &Threads,
) -> Result<Recovery, RecoveryError> {
    let progress = Arc::new(Progress::start(&TimeSource::System));
    let data_dir = DataDir::open(fs, path)?;
    let mut options = data_dir.journal();
    let watch: Arc<dyn Watch> = progress.clone();
    options.watch = Some(watch);
    options.file_bytes = settings.journal_file_bytes;
    options.filling = settings.filling;
    options.threads = threads.clone();
    let group_bytes_max = GROUP_BYTES_MAX.min(options.record_bytes_max() / GROUP_SHARE);
    let group_bytes_max = usize::try_from(group_bytes_max).unwrap_or(usize::MAX);
    let snapshot = data_dir.snapshots().latest()?;
    let snapshot_index = snapshot.as_ref().map(|snapshot| snapshot.index);
    let first_file = snapshot.as_ref().map_or(0, first_file);
    let (mut shard, from) = shard_of(snapshot, group_bytes_max, settings.budgets)?;
    let segments = data_dir.segments();
    segments
        .adopt(shard.bodies.segments())
        .map_err(|source| shard.name(source))?;
    let in_journal = shard.bodies.live_files().filter_map(FileId::in_journal);
    options
        .require(in_journal)
        .map_err(|source| shard.name(source))?;
    let mut failure = None;
    let strangers = segments.strangers()?;
    let recovered = recover_behind(&options, first_file, &|_| from, &mut |record| {
        if failure.is_none() {
            progress.replayed();
            failure = shard.replay(record).err();
        }
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    let (writer, report) = recovered.map_err(|source| shard.name(source))?;
    if from == 1 && report.last.is_empty() && !strangers.is_empty() {
        let path = data_dir.snapshots().path();
        return Err(shard.name(StorageError::missing(path)));
    }
    // Only now: the journal goes on from the snapshot that does not name them.
    segments.remove_strangers(strangers)?;
    progress.tell_end(&report, from - 1);
    let Shard { mut core, bodies } = shard;
    let [high, low] = data_dir.draw()?;
    core.set_secret(Seed { high, low });
    core.limit_records(options.record_bytes_max());
    let last_index = report.last.get(&0).copied().unwrap_or(0).max(from - 1);
    Ok(Recovery {
        data_dir,
        core,
        bodies,
        segments,
        writer,
        last_index,
        snapshot_index,
    })
}

/// A shard as a snapshot and the entries behind it make it.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) core: Core,
    pub(super) bodies: Bodies,
}

/// What a snapshot holds, or nothing; and the first index that it does not hold.
pub(super) fn shard_of(
    snapshot: Option<Snapshot>,
    group_bytes_max: usize,
    budgets: Budgets,
) -> Result<(Shard, u64), RecoveryError> {
    let Some(snapshot) = snapshot else {
        let core = Core::new(group_bytes_max);
        return Ok((
            Shard {
                core,
                bodies: Bodies::new(budgets),
            },
            1,
        ));
    };
    let index = snapshot.index;
    let section = |section| {
        snapshot
            .section(section)
            .ok_or(RecoveryError::Section { index, section })
    };
    let core = Core::restore(section(ENGINE_SECTION)?, group_bytes_max)
        .map_err(|source| RecoveryError::Engine { index, source })?;
    let bodies = Bodies::import(section(BODIES_SECTION)?, budgets)
        .map_err(|source| RecoveryError::Bodies { index, source })?;
    Ok((Shard { core, bodies }, index + 1))
}

impl From<StorageError> for RecoveryError {
    /// Where nothing is known yet of what lies where.
    fn from(source: StorageError) -> Self {
        name(source, None)
    }
}

/// Says what a damage touches.
fn name(source: StorageError, known: Option<(&Core, &Bodies)>) -> RecoveryError {
    if !matches!(source, StorageError::Damaged { .. }) {
        return RecoveryError::Storage(source);
    }
    let touches = Touches::of(&source, known);
    RecoveryError::Damaged { source, touches }
}

impl Shard {
    /// Says what a damage touches.
    fn name(&self, source: StorageError) -> RecoveryError {
        name(source, Some((&self.core, &self.bodies)))
    }

    pub(super) fn replay(&mut self, record: Recovered) -> Result<(), RecoveryError> {
        if !record.kind.is_indexed() {
            return Ok(());
        }
        let index = record.index;
        let (entry, starts) = Entry::decode_head(record.payload, record.at.length)
            .map_err(|source| RecoveryError::Entry { index, source })?;
        self.core.replay(&entry);
        for deed in self.core.deeds() {
            match deed {
                Deed::Place(place) => {
                    let start = starts.get(place.run as usize);
                    let start = *start.expect("a place names a run of its entry");
                    self.bodies.place(placed(&place, record.at, start), None);
                }
                Deed::Discard(log, range) => self.bodies.discard(log, &range),
                _ => {}
            }
        }
        Ok(())
    }
}
