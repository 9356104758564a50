//! Plays a workload on a journal with checkpoints, and keeps the books of every moment of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use siding_broker::storage::fs::{Fs, OpenMode};
use siding_broker::storage::memory_fs::{MemoryFs, Operation};
use siding_broker::storage::record::HEADER_BYTES;
use siding_broker::storage::{Bodies, FileId, Level, RecordAt, Section, Snapshot, Snapshots};

use super::shelf::Shelf;
use crate::journal::{FILE_BYTES, Rig, body, path, recover_behind_from};

/// What is done to a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// One small entry, synced.
    Synced,
    /// A group of several sectors, synced.
    SyncedLarge,
    /// One small entry, un-synced.
    Written,
    /// Entries without a body, un-synced: they are all as long as a mark.
    WrittenMany,
    /// The durable mark, un-synced.
    Mark,
    /// A sync of what is open.
    Sync,
    /// Synced groups until a new file is begun.
    Roll,
    /// Un-synced groups until a new file is begun.
    RollWritten,
    /// Live bodies move to segments, a snapshot is written, and the files that it passed are retired.
    Checkpoint,
    /// A sync that fails, and the start after it.
    FailedSync,
    /// The process is killed and started again.
    Restart,
    /// The power is cut, and the journal started again.
    PowerCut,
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Synced,
        Self::SyncedLarge,
        Self::Written,
        Self::WrittenMany,
        Self::Mark,
        Self::Sync,
        Self::Roll,
        Self::RollWritten,
        Self::Checkpoint,
        Self::FailedSync,
        Self::Restart,
        Self::PowerCut,
    ];
}

/// The journal that a workload begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// None: an empty directory. The cache cannot be dropped.
    Fresh,
    /// One with little room left in its file, on a disk that takes few bytes in one call.
    NearlyFull,
    /// One in a recycled file with little room left, with a file to recycle next.
    Recycled,
}

/// All of them.
pub const START_ALL: [Start; 3] = [Start::Fresh, Start::NearlyFull, Start::Recycled];

/// Room left in a file that is nearly full, in bytes: a group of [`Op::Roll`] ends it.
const NEARLY_FULL: u64 = 2400;
/// Bodies of a group that fills a file quickly, and of one that ends it.
const FILLING: usize = 15_000;
const ENDING: [usize; 2] = [900, 1400];

/// A start, made once.
#[derive(Debug)]
pub struct Base {
    start: Start,
    disk: MemoryFs,
    lengths: Vec<usize>,
    passed: u64,
    first_file: u64,
    floor: u64,
}

impl Base {
    /// Everything that it holds is durable and behind a snapshot.
    ///
    /// # Errors
    /// Storage does not even do this.
    pub fn new(start: Start) -> Result<Self> {
        let fs = MemoryFs::new(1);
        if start == Start::Fresh {
            return Ok(Self {
                start,
                disk: fs,
                lengths: Vec::new(),
                passed: 0,
                first_file: 0,
                floor: 0,
            });
        }
        let mut rig = Rig::new(fs);
        if start == Start::Recycled {
            rig.recycle();
        }
        let floor = rig.lengths.len() as u64;
        let mut shelf = Shelf::open(&rig.fs, None, floor)?;
        while room(&rig) > NEARLY_FULL {
            let rest = room(&rig).saturating_sub(NEARLY_FULL) + 1;
            let length = usize::try_from(rest)?.saturating_sub(64).min(FILLING);
            rig.append(&[length], Level::Synced)?;
            let at = *rig.places.last().context("an entry")?;
            shelf.apply(rig.confirmed as u64, at);
        }
        rig.passed = rig.confirmed as u64;
        rig.first_file = rig.writer.files().first_unpassed(&|_| rig.passed);
        let written = snapshot((rig.passed, rig.first_file), &shelf.bodies);
        snapshots(&rig.fs).write(&written)?;
        Ok(Self {
            start,
            disk: rig.fs.crash(&mut |_, _| 0),
            lengths: rig.lengths,
            passed: rig.passed,
            first_file: rig.first_file,
            floor,
        })
    }
}

/// A moment at which the power may go, and what must be found afterwards.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The disk.
    pub disk: MemoryFs,
    /// Length of the body of each entry written, from index 1.
    pub lengths: Arc<[usize]>,
    /// Where the last of them stand; of none, where a tail may have been cut before.
    pub places: Arc<[Written]>,
    /// Entries confirmed.
    pub confirmed: usize,
    /// The last index of the snapshot that is durable for certain.
    pub passed: u64,
    /// The last index of the newest snapshot that may be there.
    pub passing: u64,
    /// Bodies up to this entry were gone before the workload.
    pub floor: u64,
}

/// Lengths of all entries, and of the last ones where they stand and with which header.
type Entries = (Arc<[usize]>, Arc<[Written]>);

/// Where a record stands, and its header.
pub type Written = (RecordAt, [u8; HEADER_BYTES]);

/// A workload being played.
#[derive(Debug)]
pub struct Player {
    rig: Rig,
    shelf: Shelf,
    /// Entries whose bodies are on the shelf.
    applied: usize,
    floor: u64,
    start: Start,
    /// Copies of the disks that the operation at hand has left behind.
    left: Vec<MemoryFs>,
    /// The entries of the operation at hand, before a recovery cut some of them.
    written: Option<Entries>,
    /// Starts so far: they make the bodies of two lives differ.
    life: usize,
    random: fastrand::Rng,
    /// Lengths are drawn, too.
    varies: bool,
}

impl Player {
    /// Opens a base. With a seed lengths are random. Answers with the moments of the start as well.
    ///
    /// # Errors
    /// A promise that storage did not keep.
    pub fn start(base: &Base, seed: Option<u64>) -> Result<(Self, Vec<Moment>)> {
        let fs = base.disk.kill();
        set_up(&fs, base.start);
        let shelf = open_shelf(&fs, base.floor)?;
        let found =
            recover_behind_from(&fs, (base.passed, base.first_file)).context("the start")?;
        let confirmed = base.lengths.len();
        let mut player = Self {
            rig: Rig {
                fs,
                writer: found.writer,
                lengths: base.lengths.clone(),
                confirmed,
                passed: base.passed,
                first_file: base.first_file,
                places: Vec::new(),
            },
            shelf,
            applied: confirmed,
            floor: base.floor,
            start: base.start,
            left: Vec::new(),
            written: None,
            life: 1,
            random: fastrand::Rng::with_seed(seed.unwrap_or(1)),
            varies: seed.is_some(),
        };
        let moments = player.moments(confirmed, base.passed);
        if base.start == Start::Recycled {
            player.retire()?;
        }
        Ok((player, moments))
    }

    /// Does one thing more, and answers with every moment of it.
    ///
    /// # Errors
    /// A promise that storage did not keep.
    pub fn play(&mut self, op: Op) -> Result<Vec<Moment>> {
        let (confirmed, passed) = (self.rig.confirmed, self.rig.passed);
        self.act(op).with_context(|| format!("{op:?}"))?;
        self.take_in();
        Ok(self.moments(confirmed, passed))
    }

    /// The moments since the last call, of an operation before which so much was promised.
    fn moments(&mut self, confirmed: usize, passed: u64) -> Vec<Moment> {
        let is_restarted = self.written.is_some();
        let (lengths, places) = self.written.take().unwrap_or_else(|| self.entries());
        let moment = |disk, places: &Arc<[Written]>| Moment {
            disk,
            lengths: Arc::clone(&lengths),
            places: Arc::clone(places),
            confirmed,
            passed,
            passing: self.rig.passed,
            floor: self.floor,
        };
        let mut moments: Vec<_> = std::mem::take(&mut self.left)
            .into_iter()
            .map(|disk| moment(disk, &places))
            .collect();
        // A recovery that was interrupted may have cut a tail already: it is reported once.
        let places = if is_restarted { Arc::default() } else { places };
        let mut recorded = self.rig.fs.recorded();
        // The last one is that of the end, when more is promised.
        recorded.pop();
        moments.extend(recorded.into_iter().map(|disk| moment(disk, &places)));
        let (lengths, places) = self.entries();
        moments.push(Moment {
            disk: self.rig.fs.kill(),
            lengths,
            places,
            confirmed: self.rig.confirmed,
            passed: self.rig.passed,
            passing: self.rig.passed,
            floor: self.floor,
        });
        moments
    }

    fn entries(&self) -> Entries {
        let rig = &self.rig;
        let header = |at: &RecordAt| (*at, header_at(&rig.fs, *at).unwrap_or([0; HEADER_BYTES]));
        let places = rig.places.iter().map(header).collect();
        (rig.lengths.as_slice().into(), places)
    }

    fn act(&mut self, op: Op) -> Result<()> {
        match op {
            Op::Synced => self.append(&[40], Level::Synced)?,
            Op::SyncedLarge => self.append(&[700, 0, 3000], Level::Synced)?,
            Op::Written => self.append(&[100], Level::Written)?,
            Op::WrittenMany => self.rig.append(&[0; 10], Level::Written)?,
            Op::Mark => self.rig.writer.mark()?,
            Op::Sync => {
                self.rig.writer.sync()?;
                self.rig.confirmed = self.rig.lengths.len();
            }
            Op::Roll => self.roll(Level::Synced)?,
            Op::RollWritten => self.roll(Level::Written)?,
            Op::Checkpoint => self.checkpoint()?,
            Op::FailedSync => {
                self.append(&[200], Level::Written)?;
                self.rig
                    .fs
                    .fail(Operation::Sync, 1, std::io::ErrorKind::Other);
                if self.rig.writer.sync().is_ok() {
                    self.rig.confirmed = self.rig.lengths.len();
                } else {
                    self.restart(&self.rig.fs.kill())?;
                }
            }
            Op::Restart => self.restart(&self.rig.fs.kill())?,
            Op::PowerCut => {
                let random = &mut self.random;
                let share = random.f64();
                let mut choose = |newest| if random.f64() < share { newest } else { 0 };
                let disk = self.rig.fs.crash(&mut |_, newest| choose(newest));
                self.restart(&disk)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, lengths: &[usize], level: Level) -> Result<()> {
        let length = |length: &usize| match length {
            0 => 0,
            _ if self.varies => fastrand::Rng::with_seed(self.rig.lengths.len() as u64)
                .usize(..=2 * length)
                .saturating_add(self.life),
            length => length + self.life,
        };
        let lengths: Vec<usize> = lengths.iter().map(length).collect();
        Ok(self.rig.append(&lengths, level)?)
    }

    fn roll(&mut self, level: Level) -> Result<()> {
        let file = self.file();
        while self.file() == file {
            if room(&self.rig) < FILLING as u64 / 4 {
                self.append(&ENDING, level)?;
            } else {
                let length = FILLING.min(usize::try_from(room(&self.rig))?) - 256;
                self.rig.append(&[length + self.life], level)?;
            }
        }
        Ok(())
    }

    /// The file that is written to.
    fn file(&self) -> Option<u64> {
        let kept = self.rig.writer.files().kept();
        kept.last().map(|(number, _)| *number)
    }

    /// The bodies of new entries are placed.
    fn take_in(&mut self) {
        let entries = (1..=self.rig.lengths.len()).rev();
        let new = entries.zip(self.rig.places.iter().rev());
        let new = new.take(self.rig.lengths.len().saturating_sub(self.applied));
        for (index, at) in new.collect::<Vec<_>>().into_iter().rev() {
            self.shelf.apply(index as u64, *at);
        }
        self.applied = self.rig.lengths.len();
    }

    /// In the order in which a shard does it; a snapshot waits for the sync of what it holds.
    fn checkpoint(&mut self) -> Result<()> {
        self.rig.writer.sync()?;
        self.rig.confirmed = self.rig.lengths.len();
        let index = self.rig.confirmed as u64;
        if index == self.rig.passed {
            return Ok(());
        }
        let files = self.rig.writer.files();
        let full = files.recyclable(&|_| index);
        let first_file = files.first_unpassed(&|_| index);
        let reader = self.rig.writer.reader();
        // Every other time all of the journal stays where it is.
        if index.is_multiple_of(2) {
            self.shelf.move_bodies(&full, &reader)?;
        }
        let empty = self.shelf.bodies.take_empty_segments();
        let written = snapshot((index, first_file), &self.shelf.bodies);
        snapshots(&self.rig.fs).write(&written)?;
        (self.rig.passed, self.rig.first_file) = (index, first_file);
        self.retire()?;
        Ok(self.shelf.segments.remove(&empty)?)
    }

    /// Gives back the files that the snapshot has passed and in which no body is needed.
    fn retire(&mut self) -> Result<()> {
        let needed: BTreeSet<FileId> = self.shelf.bodies.live_files().collect();
        let files = self.rig.writer.files();
        for number in files.recyclable(&|_| self.rig.passed) {
            if !needed.contains(&FileId::Journal(number)) {
                files.retire(number)?;
            }
        }
        Ok(())
    }

    /// Starts again on what a crash left of the disk.
    fn restart(&mut self, disk: &MemoryFs) -> Result<()> {
        self.left.extend(self.rig.fs.recorded());
        self.written = Some(self.entries());
        set_up(disk, self.start);
        self.shelf = open_shelf(disk, self.floor)?;
        self.rig = self.rig.try_recover(disk)?;
        self.applied = usize::try_from(self.rig.passed)?;
        self.life += 1;
        Ok(())
    }
}

fn set_up(disk: &MemoryFs, start: Start) {
    disk.set_keeps_cache(start == Start::Fresh);
    disk.set_call_bytes((start == Start::NearlyFull).then_some(1000));
    disk.record();
}

/// Bytes left in the file that is written to, as far as the entries tell.
fn room(rig: &Rig) -> u64 {
    let end = rig.places.last().map_or(4096, |last| {
        last.position + (64 + u64::from(last.length)).next_multiple_of(8)
    });
    FILE_BYTES.saturating_sub(end)
}

/// The snapshots beside a journal.
pub(super) fn snapshots(fs: &MemoryFs) -> Snapshots {
    Snapshots::new(Arc::new(fs.clone()), PathBuf::from("/s"))
}

/// The bytes where the header of a record stands; `None` if its file is not there.
pub(super) fn header_at(fs: &MemoryFs, at: RecordAt) -> Option<[u8; HEADER_BYTES]> {
    let file = fs.open(&path(at.file.number()), OpenMode::ReadOnly).ok()?;
    let mut header = [0; HEADER_BYTES];
    file.read_at(&mut header, at.position).ok()?;
    Some(header)
}

/// The bodies as a start finds them.
fn open_shelf(fs: &MemoryFs, floor: u64) -> Result<Shelf> {
    Shelf::open(fs, snapshots(fs).latest()?.as_ref(), floor)
}

/// The bytes of the engine in the snapshot at an index.
pub(super) fn engine(index: u64) -> Vec<u8> {
    body(index, 1100)
}

/// The first journal file that is read behind a snapshot.
pub(super) fn first_file(snapshot: &Snapshot) -> u64 {
    let stated = snapshot.section("journal");
    let stated = stated.and_then(|data| data.first_chunk());
    stated.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn snapshot((index, first_file): (u64, u64), bodies: &Bodies) -> Snapshot {
    let mut places = Vec::new();
    bodies.export(&mut places);
    let section = |name: &str, data| Section {
        name: name.to_owned(),
        data: Bytes::from(data),
    };
    Snapshot {
        index,
        term: 1,
        node: 77,
        sections: vec![
            section("engine", engine(index)),
            section("bodies", places),
            section("journal", first_file.to_le_bytes().to_vec()),
        ],
    }
}
