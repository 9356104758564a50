//! A journal on a disk in memory, and what every recovery is checked against.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a journal that refuses has failed the test"
)]

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::{
    Append, Filling, JournalOptions, Kind, Level, RecordAt, Recovered, Report, StorageError,
    Writer, recover_behind,
};

/// The smallest files there may be: they roll over soonest.
pub const FILE_BYTES: u64 = 64 << 10;

/// Settings of a journal in `/j`, with files made on demand.
pub fn options(fs: &MemoryFs) -> JournalOptions {
    let mut options = JournalOptions::new(Arc::new(fs.clone()), PathBuf::from("/j"), 77);
    options.file_bytes = FILE_BYTES;
    options.filling = Filling::Inline;
    options.recycled_max = 2;
    options
}

/// The path of a journal file.
pub fn path(file: u64) -> PathBuf {
    PathBuf::from(format!("/j/{file:020}.journal"))
}

/// The entry of an index: its payload follows from index and length, so it can be checked alone.
pub fn entry(index: u64, length: usize) -> Append {
    let mut payload = Vec::new();
    let bytes = Bytes::from(body(index, length));
    // Several parts: small ones are gathered, large ones written from where they lie.
    let cut = length / 3;
    payload.push(bytes.slice(..cut));
    payload.push(bytes.slice(cut..));
    Append {
        kind: Kind::Entry,
        shard: 0,
        index,
        term: 1,
        payload,
    }
}

/// The payload of the entry of an index.
pub fn body(index: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(index).fill(&mut bytes);
    bytes
}

/// What a recovery answered.
#[derive(Debug)]
pub struct Found {
    /// The entries behind the snapshot, in order.
    pub records: Vec<Recovered>,
    /// Continues the journal.
    pub writer: Writer,
    /// What recovery says it did.
    pub report: Report,
}

/// Recovers everything behind `passed`, the last index of the snapshot.
pub fn recover_from(fs: &MemoryFs, passed: u64) -> Result<Found, StorageError> {
    recover_behind_from(fs, (passed, 0))
}

/// As [`recover_from`], and reads no file before that of the snapshot.
pub fn recover_behind_from(
    fs: &MemoryFs,
    (passed, first_file): (u64, u64),
) -> Result<Found, StorageError> {
    let mut records = Vec::new();
    let from = |_| passed + 1;
    let (writer, report) = recover_behind(&options(fs), first_file, &from, &mut |record| {
        records.push(record);
    })?;
    Ok(Found {
        records,
        writer,
        report,
    })
}

/// Recovers a disk that an honest crash left: everything confirmed is there, nothing but what was
/// written, in order, and it can be read again. `lengths` are those of the bodies of all entries
/// written, from index 1.
///
/// # Errors
/// What is wrong.
pub fn examine(
    disk: &MemoryFs,
    (passed, first_file): (u64, u64),
    lengths: &[usize],
    confirmed: usize,
) -> Result<Found> {
    let found = recover_behind_from(disk, (passed, first_file));
    let found = found.context("recovery refused an honest crash")?;
    let reader = found.writer.reader();
    for (record, index) in found.records.iter().zip(passed + 1..) {
        ensure!(
            record.index == index,
            "index {} where {index} is due",
            record.index
        );
        let length = lengths.get(usize::try_from(index)? - 1);
        let length = *length.with_context(|| format!("entry {index} was never written"))?;
        let whole = record.payload == body(index, length);
        ensure!(whole, "entry {index} does not hold what was written");
        let again = reader.read(record.at)?;
        ensure!(again == record.payload, "entry {index} reads differently");
    }
    let kept = usize::try_from(passed)? + found.records.len();
    let report = &found.report;
    ensure!(
        kept >= confirmed,
        "{confirmed} confirmed, {kept} found: {report:?}"
    );
    Ok(found)
}

/// A journal with its books: which entries were written, and which of them confirmed.
#[derive(Debug)]
pub struct Rig {
    /// Its disk.
    pub fs: MemoryFs,
    /// Its writer.
    pub writer: Writer,
    /// Length of the body of each entry written, from index 1.
    pub lengths: Vec<usize>,
    /// How many of them were confirmed.
    pub confirmed: usize,
    /// The last index of the snapshot.
    pub passed: u64,
    /// The first file with, or for, entries behind it.
    pub first_file: u64,
    /// Where the entries stand that recovery found or that were written since.
    pub places: Vec<RecordAt>,
}

impl Rig {
    /// A journal on an empty disk.
    pub fn new(fs: MemoryFs) -> Self {
        let found = recover_from(&fs, 0).unwrap();
        assert!(found.records.is_empty());
        assert_eq!(found.report, Report::default());
        Self {
            fs,
            writer: found.writer,
            lengths: Vec::new(),
            confirmed: 0,
            passed: 0,
            first_file: 0,
            places: Vec::new(),
        }
    }

    /// Appends one group of entries with bodies of these lengths.
    pub fn append(&mut self, lengths: &[usize], level: Level) -> Result<(), StorageError> {
        let first = self.lengths.len() as u64 + 1;
        let group: Vec<_> = (first..)
            .zip(lengths)
            .map(|(index, &n)| entry(index, n))
            .collect();
        self.lengths.extend(lengths);
        self.writer.append(&group, level, &mut self.places)?;
        if level == Level::Synced {
            self.confirmed = self.lengths.len();
        }
        Ok(())
    }

    /// Fills files and retires them until the one in use is a recycled one, full of old records.
    pub fn recycle(&mut self) {
        for _ in 0..5 {
            for _ in 0..8 {
                self.append(&[9000], Level::Synced).unwrap();
            }
            self.retire();
        }
    }

    /// Takes a snapshot of everything confirmed and retires what it has passed.
    pub fn retire(&mut self) {
        self.passed = self.confirmed as u64;
        let files = self.writer.files();
        for number in files.recyclable(&|_| self.passed) {
            files.retire(number).unwrap();
        }
    }

    /// Recovers a disk this journal might have left and checks it. Answers with the journal on
    /// that disk.
    ///
    /// # Errors
    /// What is wrong.
    pub fn try_recover(&self, disk: &MemoryFs) -> Result<Self> {
        let snapshot = (self.passed, self.first_file);
        let found = examine(disk, snapshot, &self.lengths, self.confirmed)?;
        let kept = usize::try_from(self.passed)? + found.records.len();
        Ok(Self {
            fs: disk.clone(),
            writer: found.writer,
            lengths: self.lengths[..kept].to_vec(),
            // Recovery made durable all that it found.
            confirmed: kept,
            passed: self.passed,
            first_file: self.first_file,
            places: found.records.iter().map(|record| record.at).collect(),
        })
    }

    /// As [`Self::try_recover`], where a fault fails the test.
    pub fn recover(&self, disk: &MemoryFs) -> Self {
        match self.try_recover(disk) {
            Ok(after) => after,
            Err(fault) => panic!("{fault:#}"),
        }
    }

    /// As [`Self::recover`]; then goes on, crashes again losing all it may, and recovers again.
    pub fn recover_twice(&self, disk: &MemoryFs) {
        let mut second = self.recover(disk);
        second.append(&[100, 700], Level::Synced).unwrap();
        second.append(&[40], Level::Written).unwrap();
        let third = second.recover(&second.fs.crash(&mut |_, _| 0));
        assert_eq!(third.confirmed, second.confirmed);
    }
}
