//! What can break below the broker, and how each kind is mended.

use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use super::files::FileId;

/// An error of storage. Each names the file, the place and the reason, and what mends it.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The operating system refused. After a failed write or sync of a journal file the journal
    /// is poisoned: restart the broker, which reads again what truly reached the disk.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes that were durable are damaged, or gone. Nothing is cut or skipped on its own.
    #[error(
        "{} is damaged{}: {damage}; nothing was changed: `siding salvage` says what can be kept, \
         or restore this data directory from a copy of one moment",
        path.display(), At(bytes)
    )]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// Where in it, as far as it is known; empty: something is missing there.
        bytes: Range<u64>,
        /// What is wrong there.
        damage: Damage,
    },
    /// An earlier write or sync failed, and that is final for this process.
    #[error(
        "the journal failed earlier in this process and writes nothing more; restart to recover"
    )]
    Poisoned,
    /// `commit_here` while submitted groups are still on their way: a mistake of the caller.
    #[error("{in_flight} submitted groups must come back before committing here")]
    InFlight {
        /// Groups submitted and not yet completed.
        in_flight: usize,
    },
    /// One record larger than this journal takes. Nothing was written.
    #[error("a record of {bytes} bytes is larger than the {bytes_max} this journal takes")]
    TooLarge {
        /// Bytes of its payload.
        bytes: u64,
        /// Most bytes of one payload.
        bytes_max: u64,
    },
    /// No journal file could be made, most likely because the disk is full. Nothing was written;
    /// make room and try again.
    #[error("no journal file can be made: {0}")]
    NoSpare(#[source] Box<StorageError>),
    /// `journal_file_bytes` outside 64 KiB to 1 GiB, or not a multiple of 4 KiB.
    #[error("journal_file_bytes = {bytes}: must be 65536 to 1073741824 and a multiple of 4096")]
    FileBytes {
        /// The setting.
        bytes: u64,
    },
    /// Another process holds the data directory.
    #[error("{} is in use by another broker; stop it, or choose another directory", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// A salvage was interrupted while it changed names.
    #[error("a salvage of {} was interrupted; run `siding salvage --accept-data-loss` on it again", path.display())]
    SalvageUnfinished {
        /// The data directory.
        path: PathBuf,
    },
    /// A record of a file that was retired.
    #[error("{file} is no longer kept")]
    Retired {
        /// Which file.
        file: FileId,
    },
    /// Written by a newer or unknown release. Open it with the release that wrote it.
    #[error("{} has format {found}, this release knows {known}; use a newer release", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The version this release writes.
        known: u32,
    },
    /// The thread that writes the journal ended on its own: a bug, final for this process.
    #[error("the journal thread is gone; restart to recover")]
    ThreadGone,
}

/// What is wrong with bytes that were durable once.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Damage {
    /// A record does not pass its checks although later ones prove that it was synced.
    #[error(
        "a record fails its check, yet the record at byte {evidence} (group {group}) was written \
         after it had been synced"
    )]
    BeforeDurable {
        /// Where the proof stands, in bytes.
        evidence: u64,
        /// The group of that record.
        group: u64,
    },
    /// A file that another one follows ends before the place where it was left.
    #[error("a record fails its check, yet file {next} says that records reach to byte {end}")]
    ShortFile {
        /// The file that follows.
        next: u64,
        /// Where the records of this one end, in bytes.
        end: u64,
    },
    /// Entries of a shard are missing.
    #[error("shard {shard} continues with index {found} where {expected} is due")]
    Gap {
        /// The shard.
        shard: u32,
        /// The index that is due.
        expected: u64,
        /// The index found.
        found: u64,
    },
    /// A record read again does not pass its checks.
    #[error("the record fails its check")]
    Record,
    /// A header or section of a file does not pass its checks.
    #[error("the {what} fails its check")]
    Checksum {
        /// Which part.
        what: &'static str,
    },
    /// A file holds the number of another one.
    #[error("the file says that it is number {found}")]
    Misnamed {
        /// The number in it.
        found: u64,
    },
    /// A file that must be there is gone.
    #[error("it is missing, though the directory holds data")]
    Missing,
}

impl StorageError {
    /// Whether the disk is full, or what may be used of it.
    pub fn is_no_room(&self) -> bool {
        let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }

    /// Turns what the operating system said into an error that names the deed and the file.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, bytes: Range<u64>, damage: Damage) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            bytes,
            damage,
        }
    }

    /// What must be there is not.
    pub fn missing(path: PathBuf) -> Self {
        Self::Damaged {
            path,
            bytes: 0..0,
            damage: Damage::Missing,
        }
    }

    /// Whether it lies in the process or the machine and not in the data: the same may go well later.
    pub fn is_passing(&self) -> bool {
        let Self::Io { source, .. } = self else {
            return false;
        };
        let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR];
        let passing = passing.map(Errno::raw_os_error);
        source
            .raw_os_error()
            .is_some_and(|errno| passing.contains(&errno))
    }
}

/// A place in a file, for people.
struct At<'a>(&'a Range<u64>);

impl Display for At<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.0;
        match end.saturating_sub(*start) {
            0 if *start == 0 => Ok(()),
            0 => write!(f, " at byte {start}"),
            bytes => write!(f, " at bytes {start} to {end} ({bytes} bytes)"),
        }
    }
}
