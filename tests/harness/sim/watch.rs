//! The watch of a simulated disk: how often its rooms are exercised, and whether what is given away may be.
//!
//! A journal file is given away when it is renamed or removed, a segment when it is removed. From then on the newest
//! snapshot that a power cut leaves must do without it: it must have passed the file, and name neither. That is
//! judged at that moment from the disk alone, by what would be left of it, and knows nothing of who decided.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use siding_broker::shard::shadow::{BODIES_SECTION, first_file};
use siding_broker::storage::bodies::{Bodies, Budgets};
use siding_broker::storage::files::RECORDS_START;
use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::record::{self, Checksums};
use siding_broker::storage::{FileId, Snapshots};

/// How often something happened. A zero over many runs is a room that no test enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exercised {
    /// The journal went on in another file.
    pub roll_overs: u64,
    /// Snapshots that got their name.
    pub snapshots: u64,
    /// Of these, snapshots behind which a journal file was given away.
    pub cuts: u64,
    /// Journal files that were given away.
    pub files_given_away: u64,
    /// Segments that bodies were moved to.
    pub segments_made: u64,
    /// Segments that were removed while a broker served.
    pub segments_removed: u64,
    /// Reads of journal files and segments.
    pub reads: u64,
}

impl Exercised {
    /// What another run exercised, too.
    pub fn add(&mut self, other: &Self) {
        self.roll_overs += other.roll_overs;
        self.snapshots += other.snapshots;
        self.cuts += other.cuts;
        self.files_given_away += other.files_given_away;
        self.segments_made += other.segments_made;
        self.segments_removed += other.segments_removed;
        self.reads += other.reads;
    }
}

impl fmt::Display for Exercised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("roll-overs", self.roll_overs),
            ("snapshots", self.snapshots),
            ("cuts that retire files", self.cuts),
            ("journal files given away", self.files_given_away),
            ("segments made", self.segments_made),
            ("segments removed", self.segments_removed),
            ("reads of bodies and tails", self.reads),
        ];
        writeln!(f, "exercised")?;
        for (what, count) in rows {
            writeln!(f, "  {what:<28}{count}")?;
        }
        Ok(())
    }
}

/// Watches all disks of one run. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    exercised: Exercised,
    /// The journal file that was written to last, since the last start.
    written: Option<u64>,
    /// A file was given away since the last snapshot.
    is_cut: bool,
    broken: Vec<String>,
}

impl Watch {
    /// A broker starts on the disk.
    pub fn starts(&self) {
        self.watched().written = None;
    }

    /// How often each thing happened.
    pub fn exercised(&self) -> Exercised {
        self.watched().exercised
    }

    /// What was given away and may still be needed.
    pub fn broken(&self) -> Vec<String> {
        self.watched().broken.clone()
    }

    /// A file is made under this name.
    pub fn made(&self, path: &Path) {
        if let Some(FileId::Segment(_)) = FileId::of_path(path) {
            self.watched().exercised.segments_made += 1;
        }
    }

    /// Something is written to an open file.
    pub fn wrote(&self, path: &Path, offset: u64) {
        let Some(FileId::Journal(number)) = FileId::of_path(path) else {
            return;
        };
        if offset < RECORDS_START {
            return;
        }
        let mut watched = self.watched();
        if watched.written.is_some_and(|before| before < number) {
            watched.exercised.roll_overs += 1;
        }
        watched.written = watched.written.max(Some(number));
    }

    /// Something is read from an open file.
    pub fn read(&self, path: &Path) {
        if FileId::of_path(path).is_some() {
            self.watched().exercised.reads += 1;
        }
    }

    /// A file is about to lose its name, and may get another.
    pub fn gives_away(&self, disk: &MemoryFs, from: &Path, to: Option<&Path>) {
        if let Some(to) = to {
            self.named(to);
        }
        let Some(file) = FileId::of_path(from) else {
            return;
        };
        let judged = judge(disk, from, file);
        let mut watched = self.watched();
        match file {
            FileId::Journal(_) => {
                watched.exercised.files_given_away += 1;
                if !std::mem::replace(&mut watched.is_cut, true) {
                    watched.exercised.cuts += 1;
                }
            }
            FileId::Segment(_) => watched.exercised.segments_removed += 1,
        }
        if let Err(error) = judged {
            watched
                .broken
                .push(format!("{file} is given away: {error:#}"));
        }
    }

    fn named(&self, path: &Path) {
        let name = path.file_name().and_then(|name| name.to_str());
        let mut watched = self.watched();
        if name.is_some_and(|name| name.starts_with("snapshot-")) {
            watched.exercised.snapshots += 1;
            watched.is_cut = false;
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a power cut at this moment leaves a snapshot that does without the file.
fn judge(disk: &MemoryFs, path: &Path, file: FileId) -> Result<()> {
    let left = disk.crash(&mut |_, _| 0);
    let shard = shard_folder(path).context("below a data directory")?;
    let snapshot = Snapshots::new(Arc::new(left.clone()), shard).latest()?;
    let Some(snapshot) = snapshot else {
        // A segment without a snapshot is a stranger: nothing names it, and its bodies are in the journal.
        ensure!(matches!(file, FileId::Segment(_)), "there is no snapshot");
        return Ok(());
    };
    let bodies = snapshot.section(BODIES_SECTION).context("its bodies")?;
    let bodies = Bodies::import(bodies, Budgets::default())?;
    let names = bodies.live_files().any(|live| live == file);
    ensure!(!names, "snapshot {} names it", snapshot.index);
    if let FileId::Journal(number) = file {
        let first = first_file(&snapshot);
        ensure!(number < first, "a start reads from file {first} on");
        let last = last_index(&left.contents(path).unwrap_or_default());
        let index = snapshot.index;
        ensure!(last <= index, "entry {last} is behind snapshot {index}");
    }
    Ok(())
}

/// Where the snapshots lie, seen from a journal file or a segment.
fn shard_folder(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    let data = folder.ancestors().find(|folder| {
        folder.parent().is_some() && (folder.ends_with("journal") || folder.ends_with("shard-0"))
    })?;
    Some(data.parent()?.join("shard-0"))
}

/// The last entry that stands in a journal file; 0: none.
fn last_index(bytes: &[u8]) -> u64 {
    const GENERATION: usize = 24;
    let generation = bytes.get(GENERATION..).and_then(|rest| rest.first_chunk());
    let Some(generation) = generation.map(|bytes| u64::from_le_bytes(*bytes)) else {
        return 0;
    };
    let checksums = Checksums::new(generation);
    let (mut position, mut last) = (RECORDS_START, 0);
    while let Some(header) = usize::try_from(position)
        .ok()
        .and_then(|at| bytes.get(at..))
        .and_then(|rest| record::parse(rest, &checksums, position))
    {
        if header.kind.is_indexed() {
            last = header.index;
        }
        position += header.record_bytes();
    }
    last
}
