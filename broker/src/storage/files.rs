//! Journal files: their names, their header, their settings.
//!
//! ```text
//! journal/00000000000000000007.journal   file 7: in use, or a spare nothing was written to yet
//! journal/00000000000000000008.making    file 8 being filled or recycled; a crash leaves it, the
//!                                        next start removes it
//!
//! byte  0        8        12       16       24          32             40         44        4096
//!       ┌────────┬────────┬────────┬────────┬───────────┬──────────────┬──────────┬─────────┬────────
//!       │ magic  │ format │ zeros  │ number │ generation│ size in bytes│ CRC-32C  │ zeros   │ records
//!       └────────┴────────┴────────┴────────┴───────────┴──────────────┴──────────┴─────────┴────────
//! ```
//!
//! A file is whole before it has its name: filled with zeros to its size (or recycled), its header
//! written and synced, renamed, the directory synced. So the header of a `.journal` file is never
//! torn: one that fails its check is damage. A spare is a file in which no record of its own
//! generation stands; it becomes the file in use by its first record, without any rename, and
//! always in the order of the numbers.
//!
//! To change this format: raise `FORMAT`, keep reading the older ones, and add a data directory
//! of the release before as a fixture to the tests.

use std::collections::BTreeSet;
use std::fmt;
use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Damage, StorageError};
use super::fs::{File, Fs, OpenMode};
use super::record::{self, Checksums, HEADER_BYTES, Header};
use super::segment::BLOCK_HEADER_BYTES;
use super::segments;
use super::threads::Threads;
use crate::planted::{self, Bug};

/// Version of the file format that this release writes.
const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"SIDINGJ\n";
/// Where the records of a file start, in bytes.
pub const RECORDS_START: u64 = 4096;
const RECORDS_START_USIZE: usize = 4096;
/// Bytes of the header that mean something; the last four are its checksum.
const MEANING_BYTES: usize = 44;
const HEADER: Range<u64> = 0..44;
/// Where the generation stands in it.
const GENERATION: u64 = 24;
const FILE_BYTES_MIN: u64 = 64 << 10;
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Default size of a journal file, in bytes.
pub const JOURNAL_FILE_BYTES: u64 = 64 << 20;
/// No record's payload is larger than this, in bytes, however large the files.
pub const RECORD_BYTES_MAX: u64 = 20 << 20;

/// Who makes spare files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// A worker of its own, ahead of need; it keeps the reserve too.
    Ahead,
    /// Whoever needs one, at that moment: for tests of the journal alone.
    Inline,
}

/// Is told how far the reading of a journal has come.
pub trait Watch: fmt::Debug + Send + Sync {
    /// So many bytes of so many; with every record.
    fn read(&self, bytes: u64, of: u64);
}

/// Settings of a journal.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The directory of the journal's files; it must exist.
    pub directory: PathBuf,
    /// This node's id, stated in every record.
    pub node: u64,
    /// Size of new files in bytes: 64 KiB to 1 GiB, a multiple of 4 KiB.
    pub file_bytes: u64,
    /// Files kept ready ahead of need, at least 1.
    pub spares: usize,
    /// Most retired files kept for recycling; more are removed.
    pub recycled_max: usize,
    /// Who makes spare files.
    pub filling: Filling,
    /// Who works ahead.
    pub threads: Threads,
    /// Who wants to know how far recovery has come.
    pub watch: Option<Arc<dyn Watch>>,
}

impl JournalOptions {
    /// The default settings: files of 64 MiB, 3 spares filled by a thread, 16 files to recycle.
    pub fn new(fs: Arc<dyn Fs>, directory: PathBuf, node: u64) -> Self {
        Self {
            fs,
            directory,
            node,
            file_bytes: JOURNAL_FILE_BYTES,
            spares: 3,
            recycled_max: 16,
            filling: Filling::Ahead,
            threads: Threads::System,
            watch: None,
        }
    }

    /// Largest payload of one record, in bytes: a quarter of a file, at most 20 MiB.
    pub fn record_bytes_max(&self) -> u64 {
        (self.file_bytes / 4).min(RECORD_BYTES_MAX)
    }

    pub(super) fn check(&self) -> Result<(), StorageError> {
        let bytes = self.file_bytes;
        if (FILE_BYTES_MIN..=FILE_BYTES_MAX).contains(&bytes) && bytes.is_multiple_of(RECORDS_START)
        {
            Ok(())
        } else {
            Err(StorageError::FileBytes { bytes })
        }
    }

    /// Where a file of the journal is.
    pub fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}.journal"))
    }

    /// At a start: bodies lie in these, so each must be there, be it read or not.
    ///
    /// # Errors
    /// One is missing: nothing was changed.
    pub fn require(&self, numbers: impl Iterator<Item = u64>) -> Result<(), StorageError> {
        let names = self.fs.list(&self.directory);
        let names = names.map_err(StorageError::io("list", &self.directory))?;
        let number = |name: &String| match parse_name(name) {
            Name::Journal(number) => Some(number),
            Name::Making | Name::Foreign => None,
        };
        let there: BTreeSet<u64> = names.iter().filter_map(number).collect();
        let missing = numbers.filter(|number| !there.contains(number)).min();
        missing.map_or(Ok(()), |number| {
            Err(StorageError::missing(self.path(number)))
        })
    }

    pub(super) fn making_path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}.making"))
    }
}

/// What a name in the journal's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Journal(u64),
    Making,
    Foreign,
}

pub(super) fn parse_name(name: &str) -> Name {
    let number = |digits: &str| {
        let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| all_digits)
    };
    match name.rsplit_once('.') {
        Some((digits, "journal")) => number(digits).map_or(Name::Foreign, Name::Journal),
        Some((digits, "making")) if number(digits).is_some() => Name::Making,
        _ => Name::Foreign,
    }
}

/// A file in which bodies lie, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileId {
    /// Of one log; its records are blocks (`segment.rs`).
    Segment(u64),
    /// Of the node.
    Journal(u64),
}

impl FileId {
    /// What a path names, by its last part.
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        match parse_name(name) {
            Name::Journal(number) => Some(Self::Journal(number)),
            Name::Making => None,
            Name::Foreign => segments::number_of(name).map(Self::Segment),
        }
    }

    /// Its number, if it is one of the journal.
    pub fn in_journal(self) -> Option<u64> {
        match self {
            Self::Journal(number) => Some(number),
            Self::Segment(_) => None,
        }
    }

    /// Its number among the files of its kind.
    pub fn number(self) -> u64 {
        match self {
            Self::Segment(number) | Self::Journal(number) => number,
        }
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(number) => write!(f, "segment {number}"),
            Self::Journal(number) => write!(f, "journal file {number}"),
        }
    }
}

/// Where a record stands: enough to read it again as long as its file is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordAt {
    /// Which file.
    pub file: FileId,
    /// Start of the record in it, in bytes.
    pub position: u64,
    /// Bytes of the record's payload.
    pub length: u32,
}

impl RecordAt {
    /// Where header and payload stand in the file, in bytes.
    pub fn bytes(&self) -> Range<u64> {
        let header = match self.file {
            FileId::Segment(_) => BLOCK_HEADER_BYTES,
            FileId::Journal(_) => HEADER_BYTES,
        };
        let length = u64::from(self.length).saturating_add(header as u64);
        self.position..self.position.saturating_add(length)
    }
}

/// One open journal file.
#[derive(Debug)]
pub struct JournalFile {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) checksums: Checksums,
    pub(super) file: Box<dyn File>,
}

impl JournalFile {
    /// Opens a file of the journal and checks its header.
    pub(super) fn open(options: &JournalOptions, number: u64) -> Result<Self, StorageError> {
        let path = options.path(number);
        let file = options
            .fs
            .open(&path, OpenMode::ReadWrite)
            .map_err(StorageError::io("open", &path))?;
        let mut header = [0; MEANING_BYTES];
        let read = file
            .read_at(&mut header, 0)
            .map_err(StorageError::io("read", &path))?;
        let length = file.length().map_err(StorageError::io("read", &path))?;
        let damaged = |damage| Err(StorageError::damaged(&path, HEADER, damage));
        let Some((format, found, generation, bytes)) = parse_file_header(&header)
            .filter(|&(.., bytes)| read == MEANING_BYTES && length >= bytes)
        else {
            return damaged(Damage::Checksum {
                what: "header of the file",
            });
        };
        if format != FORMAT {
            return Err(StorageError::Format {
                path,
                found: format,
                known: FORMAT,
            });
        }
        if found != number {
            return damaged(Damage::Misnamed { found });
        }
        Ok(Self {
            number,
            path,
            bytes,
            checksums: Checksums::new(generation),
            file,
        })
    }

    /// Opens a file whose header may be damaged: its records still prove the generation that stands in it,
    /// each for itself. Also says what is wrong with the header.
    pub(super) fn open_damaged(
        options: &JournalOptions,
        number: u64,
    ) -> Result<(Self, Option<StorageError>), StorageError> {
        let damage = match Self::open(options, number) {
            Ok(file) => return Ok((file, None)),
            Err(damage @ StorageError::Damaged { .. }) => damage,
            Err(other) => return Err(other),
        };
        let path = options.path(number);
        let file = options
            .fs
            .open(&path, OpenMode::ReadOnly)
            .map_err(StorageError::io("open", &path))?;
        let mut generation = [0; 8];
        file.read_at(&mut generation, GENERATION)
            .map_err(StorageError::io("read", &path))?;
        let bytes = file.length().map_err(StorageError::io("read", &path))?;
        let file = Self {
            number,
            path,
            bytes,
            checksums: Checksums::new(u64::from_le_bytes(generation)),
            file,
        };
        Ok((file, Some(damage)))
    }

    /// Gives a file of the right size a number and a new generation, durably.
    pub(super) fn begin(
        file: Box<dyn File>,
        number: u64,
        bytes: u64,
        fs: &dyn Fs,
        (making, path): (&Path, PathBuf),
    ) -> Result<Self, StorageError> {
        let mut generation = fs
            .random()
            .map_err(StorageError::io("draw a generation for", &path))?;
        if planted::has(Bug::GenerationReused) {
            let mut old = [0; 8];
            file.read_at(&mut old, GENERATION)
                .map_err(StorageError::io("read", making))?;
            generation = u64::from_le_bytes(old);
        }
        let header = encode_file_header(number, generation, bytes);
        file.write_at(&[IoSlice::new(&header)], 0, false)
            .map_err(StorageError::io("write", making))?;
        if !planted::has(Bug::FileHeaderUnsynced) {
            file.sync_data().map_err(StorageError::io("sync", making))?;
        }
        Ok(Self {
            number,
            path,
            bytes,
            checksums: Checksums::new(generation),
            file,
        })
    }

    /// Reads a record again and checks all of it.
    pub(super) fn read(&self, at: RecordAt) -> Result<Bytes, StorageError> {
        let damaged = || StorageError::damaged(&self.path, at.bytes(), Damage::Record);
        let payload_bytes = usize::try_from(at.length).map_err(|_| damaged())?;
        let record = self
            .file
            .read(HEADER_BYTES + payload_bytes, at.position)
            .map_err(StorageError::io("read", &self.path))?;
        let header = record::parse(&record, &self.checksums, at.position)
            .filter(|header| header.payload_bytes == at.length)
            .ok_or_else(damaged)?;
        record::payload(&header, &record, &self.checksums).ok_or_else(damaged)?;
        Ok(Bytes::from(record).slice(HEADER_BYTES..))
    }

    /// The header of the first record, if one of this file's generation stands there.
    pub(super) fn first_record(&self) -> Result<Option<Header>, StorageError> {
        let mut bytes = [0; HEADER_BYTES];
        self.file
            .read_at(&mut bytes, RECORDS_START)
            .map_err(StorageError::io("read", &self.path))?;
        Ok(record::parse(&bytes, &self.checksums, RECORDS_START))
    }
}

fn encode_file_header(number: u64, generation: u64, bytes: u64) -> [u8; RECORDS_START_USIZE] {
    let mut header = [0; RECORDS_START_USIZE];
    let fields: [&[u8]; 6] = [
        &MAGIC,
        &FORMAT.to_le_bytes(),
        &[0; 4],
        &number.to_le_bytes(),
        &generation.to_le_bytes(),
        &bytes.to_le_bytes(),
    ];
    let mut meaning = fields.concat();
    let crc = Checksums::new(generation).of([meaning.as_slice()]);
    meaning.extend_from_slice(&crc.to_le_bytes());
    for (place, byte) in header.iter_mut().zip(meaning) {
        *place = byte;
    }
    header
}

/// Format, number, generation and size, if the checksum passes.
fn parse_file_header(header: &[u8; MEANING_BYTES]) -> Option<(u32, u64, u64, u64)> {
    let long = |at: usize| Some(u64::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let short = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let generation = long(24)?;
    let whole = header.starts_with(&MAGIC)
        && short(40)? == Checksums::new(generation).of([header.get(..40)?]);
    whole.then_some((short(8)?, long(16)?, generation, long(32)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory_fs::MemoryFs;

    #[test]
    fn names_tell_files_half_made_files_and_strangers_apart() {
        let options = JournalOptions::new(Arc::new(MemoryFs::new(1)), "/j".into(), 1);
        let name = |path: PathBuf| parse_name(path.file_name().unwrap().to_str().unwrap());
        assert_eq!(name(options.path(7)), Name::Journal(7));
        assert_eq!(name(options.path(u64::MAX)), Name::Journal(u64::MAX));
        assert_eq!(name(options.making_path(7)), Name::Making);
        for stranger in [
            "7.journal",
            "+0000000000000000007.journal",
            "notes.txt",
            "journal",
            "",
        ] {
            assert_eq!(parse_name(stranger), Name::Foreign, "{stranger}");
        }
    }

    #[test]
    fn a_file_header_with_any_bit_flipped_does_not_pass() {
        let block = encode_file_header(3, 9, 65_536);
        let whole: [u8; MEANING_BYTES] = *block.first_chunk().unwrap();
        assert_eq!(parse_file_header(&whole), Some((FORMAT, 3, 9, 65_536)));
        for bit in 0..MEANING_BYTES * 8 {
            let mut flipped = whole;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_file_header(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_size_outside_its_range_is_refused_and_the_largest_record_follows_it() {
        let mut options = JournalOptions::new(Arc::new(MemoryFs::new(1)), "/j".into(), 1);
        assert_eq!(options.record_bytes_max(), 16 << 20);
        for bytes in [0, 65_535, 65_537, (1 << 30) + 4096] {
            options.file_bytes = bytes;
            assert!(matches!(
                options.check(),
                Err(StorageError::FileBytes { .. })
            ));
        }
        for (bytes, max) in [(64 << 10, 16 << 10), (1 << 30, 20 << 20)] {
            options.file_bytes = bytes;
            options.check().unwrap();
            assert_eq!(options.record_bytes_max(), max);
        }
    }
}
