//! Salvage: a data directory that a start refuses is opened by an explicit loss.
//!
//! ```text
//! look: snapshot ─► every whole record, replayed up to the first that is missing ─► every body is read
//!         │                                                                          │
//!         └── what is damaged, what of it is lost, what is kept (nothing is changed) ┘
//! accept: what is lost leaves through `apply` ─► bodies of the journal, and of damaged segments, move to new
//!         segments ─► snapshot ─► names change (storage/redo.rs): the new ones in, the old ones aside
//! ```
//! The journal begins anew behind that snapshot, so what follows is an ordinary start.

mod behind;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::info;

pub use self::behind::Behind;
pub use self::report::{NameReport, Report};
use super::core::Deed;
use super::recovery::{RecoveryError, Shard, shard_of};
use super::shadow::{BODIES_SECTION, ENGINE_SECTION};
use crate::engine::command::{Command, Entry, LoggedRange, Lose, Start};
use crate::engine::runs::RangeSet;
use crate::storage::bodies::Budgets;
use crate::storage::fs::Fs;
use crate::storage::mover::move_bodies;
use crate::storage::record::HEADER_BYTES;
use crate::storage::survey::{Survey, make_spare, survey};
use crate::storage::{
    BodyReader, DataDir, FileId, Filling, JournalOptions, RecordAt, Recovered, Section, Segments,
    Snapshot, StorageError, redo,
};

/// Why nothing can be salvaged. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// There is no data directory.
    #[error("{} holds no data of a broker", path.display())]
    NoData {
        /// Where.
        path: PathBuf,
    },
    /// The disk refuses, or what is damaged is needed to read anything.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Which queues there are, and what of them is settled, stands nowhere else.
    #[error(
        "{source}; the journal begins with entry {first}, and what came before stood in the snapshot \
         only: which queues there are, and what of them is settled, is lost. {in_segments} bytes of \
         bodies lie in segments, of nobody knows whom. This cannot be salvaged: restore a copy"
    )]
    NoState {
        /// What is wrong with the snapshot.
        source: StorageError,
        /// The first entry there is; 0: none.
        first: u64,
        /// Bytes.
        in_segments: u64,
    },
}

impl From<StorageError> for SalvageError {
    fn from(error: StorageError) -> Self {
        Self::Recovery(error.into())
    }
}

/// A data directory, read as far as it can be; locked, and not changed yet.
#[derive(Debug)]
pub struct Salvage {
    data_dir: DataDir,
    options: JournalOptions,
    survey: Survey,
    segments: Segments,
    shard: Shard,
    /// Of the last entry that is kept.
    last_index: u64,
    /// Segments of which something is damaged.
    bad_segments: BTreeSet<u64>,
    /// By log.
    lost: BTreeMap<u64, RangeSet>,
    behind: Behind,
    damages: Vec<String>,
    snapshot_index: u64,
}

/// Finishes a salvage that was interrupted while it changed names; false: there is none.
///
/// # Errors
/// Another process has the directory, or the disk fails.
pub fn finish(fs: &dyn Fs, path: &Path) -> Result<bool, SalvageError> {
    look_for_data(fs, path)?;
    Ok(DataDir::finish_salvage(fs, path)?)
}

/// Reads a data directory as far as it can be read.
///
/// # Errors
/// Another process has it, or nothing can be salvaged.
pub fn look(fs: Arc<dyn Fs>, path: &Path) -> Result<Salvage, SalvageError> {
    look_for_data(&*fs, path)?;
    let data_dir = DataDir::open(fs, path)?;
    let mut damages = Vec::new();
    let (snapshot, no_snapshot) = match data_dir.snapshots().latest() {
        Ok(Some(snapshot)) => (Some(snapshot), None),
        Ok(None) => (
            None,
            Some(StorageError::missing(data_dir.snapshots().path())),
        ),
        Err(error @ StorageError::Damaged { .. }) => {
            damages.push(error.to_string());
            (None, Some(error))
        }
        Err(other) => return Err(other.into()),
    };
    let (mut shard, from) = shard_of(snapshot, usize::MAX, budgets())?;
    let mut segments = data_dir.segments();
    let bad = segments.adopt_damaged(shard.bodies.segments())?;
    damages.extend(bad.iter().map(|(_, error)| error.to_string()));
    let mut options = data_dir.journal();
    options.filling = Filling::Inline;
    let mut replay = Replay {
        shard: &mut shard,
        due: from,
        first: 0,
        behind: Behind::default(),
        failure: None,
    };
    let survey = survey(&options, &mut |record| replay.take(record))?;
    let (first, due, behind) = (replay.first, replay.due, replay.behind);
    if let Some(failure) = replay.failure {
        return Err(failure.into());
    }
    if let Some(source) = no_snapshot.filter(|_| first != 1) {
        let in_segments = segments.stray_bytes()?;
        let is_new = first == 0 && in_segments == 0 && damages.is_empty();
        if !is_new || !survey.damages.is_empty() {
            return Err(SalvageError::NoState {
                source,
                first,
                in_segments,
            });
        }
    }
    damages.extend(survey.damages.iter().map(ToString::to_string));
    if survey.files.is_empty() && from > 1 {
        // One that was cut still has the file that it goes on in, or a spare.
        damages.push(StorageError::missing(options.directory.clone()).to_string());
    }
    options.file_bytes = survey.file_bytes.unwrap_or(options.file_bytes);
    let mut salvage = Salvage {
        data_dir,
        options,
        survey,
        segments,
        shard,
        last_index: due - 1,
        bad_segments: bad.iter().map(|(segment, _)| segment.number).collect(),
        lost: BTreeMap::new(),
        behind,
        damages,
        snapshot_index: from - 1,
    };
    salvage.read_bodies()?;
    salvage.count_tail();
    Ok(salvage)
}

fn look_for_data(fs: &dyn Fs, path: &Path) -> Result<(), SalvageError> {
    let names = fs.list(path).unwrap_or_default();
    let known = ["node.toml", "journal", "shard-0", "siding.lock"];
    // A disk in memory lists no directories.
    let inside = || {
        fs.list(&path.join("journal"))
            .is_ok_and(|names| !names.is_empty())
    };
    if names.iter().any(|name| known.contains(&name.as_str())) || inside() {
        return Ok(());
    }
    Err(SalvageError::NoData {
        path: path.to_path_buf(),
    })
}

/// Nothing is served from here.
fn budgets() -> Budgets {
    Budgets {
        tail_bytes: 0,
        read_bytes: 0,
    }
}

/// Replays records up to the first that is missing, and counts the others.
struct Replay<'a> {
    shard: &'a mut Shard,
    /// The index that is to come.
    due: u64,
    /// The first one seen.
    first: u64,
    behind: Behind,
    failure: Option<RecoveryError>,
}

impl Replay<'_> {
    fn take(&mut self, record: Recovered) {
        if self.first == 0 {
            self.first = record.index;
        }
        if record.index < self.due || self.failure.is_some() {
            return;
        }
        if record.index > self.due || self.behind.has_begun() {
            let after = self.behind.last_index(self.due - 1);
            self.behind.note(record, after);
            return;
        }
        self.due += 1;
        self.failure = self.shard.replay(record).err();
    }
}

impl Salvage {
    /// What was found.
    pub fn report(&self) -> Report {
        Report::of(self)
    }

    /// Whether there is anything to salvage.
    pub fn is_damaged(&self) -> bool {
        !self.damages.is_empty() || self.behind.has_begun()
    }

    fn reader(&self) -> BodyReader {
        BodyReader::new(self.survey.reader.clone(), self.segments.clone())
    }

    /// Reads every body that is needed: what cannot be read is lost.
    fn read_bodies(&mut self) -> Result<(), SalvageError> {
        let reader = self.reader();
        let records: Vec<RecordAt> = self.shard.bodies.live_records().collect();
        let mut unread = Vec::new();
        for at in records {
            let error = match reader.read(at) {
                Ok(_) => continue,
                Err(error) if error.is_passing() => return Err(error.into()),
                Err(error) => error,
            };
            // Of the journal, damages are known; a file of it may be gone.
            let text = error.to_string();
            if let FileId::Segment(number) = at.file {
                self.bad_segments.insert(number);
                self.damages.push(text);
            } else if matches!(error, StorageError::Retired { .. }) && !self.damages.contains(&text)
            {
                self.damages.push(text);
            }
            unread.push(at);
        }
        for at in unread {
            for (log, ranges) in self.shard.bodies.lying_in(at.file, &at.bytes()) {
                let lost = self.lost.entry(log).or_default();
                for range in ranges {
                    lost.add(range);
                }
            }
        }
        Ok(())
    }

    /// What was stored by entries that cannot be replayed takes offsets that nobody gets again.
    fn count_tail(&mut self) {
        let state = self.shard.core.state();
        for (log, messages) in &self.behind.stored {
            if let Some(found) = state.logs.get(log) {
                let lost = self.lost.entry(*log).or_default();
                lost.add(found.end..found.end.saturating_add(*messages));
            }
        }
    }

    /// Makes the loss explicit: the directory opens from now on. The damaged files are put aside into a
    /// directory, whose name is returned.
    ///
    /// # Errors
    /// The disk is full, or fails: either nothing was changed, or [`finish`] goes on.
    pub fn accept(mut self) -> Result<PathBuf, SalvageError> {
        self.lose();
        let index = self.last_index + 1;
        self.move_bodies()?;
        let snapshots = self.data_dir.snapshots();
        let old = snapshots.files()?;
        let (unnamed, named) = snapshots.write_unnamed(&self.snapshot(index))?;
        let last = self.survey.files.last().copied().unwrap_or(0);
        make_spare(&self.options, last + 1)?;
        let fs = Arc::clone(self.data_dir.fs());
        let data = self.data_dir.path().to_path_buf();
        let aside = PathBuf::from(redo::make_aside(&*fs, &data)?);
        let journal = self.survey.files.iter();
        let journal = journal.map(|number| self.options.path(*number));
        let segments = self.segments.unneeded(self.shard.bodies.segments())?;
        let below = |path: &Path| path.strip_prefix(&data).unwrap_or(path).to_path_buf();
        let originals = journal.chain(old).chain(segments);
        let mut renames: Vec<_> = originals
            .filter_map(|path| Some((below(&path), aside.join(path.file_name()?))))
            .collect();
        renames.push((below(&unnamed), below(&named)));
        redo::rename_all(&*fs, &data, &renames)?;
        info!(aside = %aside.display(), index, files = renames.len() - 1, "salvaged");
        Ok(data.join(aside))
    }

    /// What is lost leaves by the only door; grants and ids that gone entries gave are not given again.
    fn lose(&mut self) {
        let gone: u64 = self.survey.damages.iter().map(damaged_bytes).sum();
        let gone = gone.saturating_add(self.behind.bytes);
        let core = &mut self.shard.core;
        let starts = gone.div_ceil(HEADER_BYTES as u64);
        let term = core.term().max(self.survey.term) + 1 + starts;
        let last_id = core.state().last_id.saturating_add(gone);
        let start = Command::Start(Start { term });
        let ids = Command::Lose(Lose {
            log: 0,
            ranges: Vec::new(),
            last_id,
        });
        let lost = self.lost.iter().map(|(log, ranges)| {
            Command::Lose(Lose {
                log: *log,
                ranges: ranges.ranges().map(LoggedRange::from).collect(),
                last_id,
            })
        });
        let entry = Entry {
            now: core.last_now(),
            commands: [start, ids].into_iter().chain(lost).collect(),
            runs: Vec::new(),
        };
        core.replay(&entry);
        for deed in core.deeds() {
            if let Deed::Discard(log, range) = deed {
                self.shard.bodies.discard(log, &range);
            }
        }
    }

    /// What is needed and lies in the journal, or in a damaged segment, moves to new segments.
    fn move_bodies(&mut self) -> Result<(), SalvageError> {
        let reader = self.reader();
        let moves = self.shard.bodies.moves_out_of(&self.bad_segments);
        let next = self.segments.next_number()?;
        let outcome = move_bodies(&self.segments, &moves, next, &mut |at| reader.read(at))?;
        if let Some(error) = outcome.unreadable.into_iter().next() {
            // It could be read a moment ago.
            return Err(error.into());
        }
        for part in &outcome.moved {
            self.shard.bodies.relocate(part);
        }
        self.shard.bodies.take_empty_segments();
        self.shard.bodies.drop_segments(&self.bad_segments);
        Ok(())
    }

    fn snapshot(&self, index: u64) -> Snapshot {
        let Shard { core, bodies } = &self.shard;
        let mut places = Vec::new();
        bodies.export(&mut places);
        let section = |name: &str, data| Section {
            name: name.to_owned(),
            data,
        };
        Snapshot {
            index,
            term: core.term(),
            node: self.data_dir.node(),
            sections: vec![
                section(ENGINE_SECTION, core.snapshot().freeze()),
                section(BODIES_SECTION, places.into()),
            ],
        }
    }
}

fn damaged_bytes(error: &StorageError) -> u64 {
    match error {
        StorageError::Damaged { bytes, .. } => bytes.end.saturating_sub(bytes.start),
        _ => 0,
    }
}
