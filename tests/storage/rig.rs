//! A journal on a disk in memory, and what every recovery is checked against.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::{
    Append, Filling, JournalOptions, Kind, Level, RecordAt, Recovered, Report, StorageError,
    Writer, recover,
};

/// The smallest files there may be: they roll over soonest.
pub(crate) const FILE_BYTES: u64 = 64 << 10;

/// Settings of a journal in `/j`, with files made on demand.
pub(crate) fn options(fs: &MemoryFs) -> JournalOptions {
    let mut options = JournalOptions::new(Arc::new(fs.clone()), PathBuf::from("/j"), 77);
    options.file_bytes = FILE_BYTES;
    options.filling = Filling::Inline;
    options.recycled_max = 2;
    options
}

/// The entry of an index: its payload follows from index and length, so it can be checked alone.
pub(crate) fn entry(index: u64, length: usize) -> Append {
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

pub(crate) fn body(index: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(index);
    (0..length).map(|_| random.u8(..)).collect()
}

/// Recovers everything behind `passed`, the last index of the snapshot.
pub(crate) fn recover_from(
    fs: &MemoryFs,
    passed: u64,
) -> Result<(Vec<Recovered>, Writer, Report), StorageError> {
    let mut found = Vec::new();
    let (writer, report) = recover(&options(fs), &|_| passed + 1, &mut |record| {
        found.push(record);
    })?;
    Ok((found, writer, report))
}

/// A journal with its books: which entries were written, and which of them confirmed.
pub(crate) struct Rig {
    pub(crate) fs: MemoryFs,
    pub(crate) writer: Writer,
    /// Length of the body of each entry written, from index 1.
    pub(crate) lengths: Vec<usize>,
    pub(crate) confirmed: usize,
    /// The last index of the snapshot.
    pub(crate) passed: u64,
    pub(crate) places: Vec<RecordAt>,
}

impl Rig {
    pub(crate) fn new(fs: MemoryFs) -> Self {
        let (found, writer, report) = recover_from(&fs, 0).unwrap();
        assert!(found.is_empty());
        assert_eq!(report, Report::default());
        Self {
            fs,
            writer,
            lengths: Vec::new(),
            confirmed: 0,
            passed: 0,
            places: Vec::new(),
        }
    }

    /// Appends one group of entries with bodies of these lengths.
    pub(crate) fn append(&mut self, lengths: &[usize], level: Level) -> Result<(), StorageError> {
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
    pub(crate) fn recycle(&mut self) {
        for _ in 0..5 {
            for _ in 0..8 {
                self.append(&[9000], Level::Synced).unwrap();
            }
            self.retire();
        }
    }

    /// Takes a snapshot of everything confirmed and retires what it has passed.
    pub(crate) fn retire(&mut self) {
        self.passed = self.confirmed as u64;
        let files = self.writer.files();
        for number in files.recyclable(&|_| self.passed) {
            files.retire(number).unwrap();
        }
    }

    /// Recovers a disk this journal might have left: everything confirmed is there, nothing but
    /// what was written, in order; and it can be continued. Answers with the journal on that disk.
    pub(crate) fn recover(&self, disk: &MemoryFs) -> Self {
        let (found, writer, report) = match recover_from(disk, self.passed) {
            Ok(recovered) => recovered,
            Err(error) => panic!("recovery refused an honest crash: {error}"),
        };
        let reader = writer.reader();
        for (record, index) in found.iter().zip(self.passed + 1..) {
            assert_eq!(record.index, index);
            let length = self.lengths[usize::try_from(index).unwrap() - 1];
            assert_eq!(record.payload, body(index, length), "entry {index}");
            assert_eq!(reader.read(record.at).unwrap(), record.payload);
        }
        let kept = usize::try_from(self.passed).unwrap() + found.len();
        assert!(
            kept >= self.confirmed,
            "{} confirmed, {kept} found: {report:?}",
            self.confirmed
        );
        assert!(kept <= self.lengths.len(), "records that nobody wrote");
        Self {
            fs: disk.clone(),
            writer,
            lengths: self.lengths[..kept].to_vec(),
            // Recovery made durable all that it found.
            confirmed: kept,
            passed: self.passed,
            places: found.iter().map(|record| record.at).collect(),
        }
    }

    /// As [`Self::recover`]; then goes on, crashes again losing all it may, and recovers again.
    pub(crate) fn recover_twice(&self, disk: &MemoryFs) {
        let mut second = self.recover(disk);
        second.append(&[100, 700], Level::Synced).unwrap();
        second.append(&[40], Level::Written).unwrap();
        let third = second.recover(&second.fs.crash(&mut |_, _| 0));
        assert_eq!(third.confirmed, second.confirmed);
    }
}
