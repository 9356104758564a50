//! Snapshot files: a shard's state at an index, written whole or not at all.
//!
//! ```text
//! shard-0/snapshot-00000000000000004711          the state after entry 4711
//! shard-0/snapshot-00000000000000004711.making   being written; a crash leaves it
//!
//! byte  0        8        12        16      24     32     40           44
//!       ┌────────┬────────┬─────────┬───────┬──────┬──────┬────────────┬──────────
//!       │ magic  │ format │ sections│ index │ term │ node │ CRC-32C of │ sections
//!       │        │        │         │       │      │      │ 0 to 40    │
//!       └────────┴────────┴─────────┴───────┴──────┴──────┴────────────┴──────────
//! each section:
//! byte  0             4             8            16           20
//!       ┌─────────────┬─────────────┬────────────┬────────────┬──────┬───────
//!       │ CRC-32C of  │ name bytes  │ data bytes │ CRC-32C of │ name │ data
//!       │ 4 to 20     │             │            │ name, data │      │
//!       └─────────────┴─────────────┴────────────┴────────────┴──────┴───────
//! ```
//!
//! Little endian; index and node are mixed under every checksum, so that a section of another
//! snapshot is not taken for one of this. The file ends with its last section.
//!
//! A snapshot has its name only when it is synced, and the older ones go only when its name is. So
//! the newest name is a whole snapshot: if it fails its check, that is damage, and never a reason
//! to fall back to an older one, whose journal may be gone.
//!
//! To change this format: raise `FORMAT`, keep reading the older ones, and add a data directory
//! of the release before as a fixture to the tests. A new section needs none of that: sections
//! have names.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::error::{Damage, StorageError};
use super::fs::{Fs, OpenMode};
use super::making::{self, Growing, PIECE_BYTES};
use super::record::Checksums;
use super::writer::to_u64;
use crate::planted::{self, Bug};

const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"SIDINGS\n";
const HEADER_BYTES: usize = 44;
const HEADER: Range<u64> = 0..44;
const SECTION_HEADER_BYTES: usize = 20;
const PREFIX: &str = "snapshot-";

/// One named part of a snapshot; storage does not look inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Which part it is.
    pub name: String,
    /// Its bytes.
    pub data: Bytes,
}

/// A shard's state at an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry it contains.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The node that wrote it.
    pub node: u64,
    /// Its parts, in order.
    pub sections: Vec<Section>,
}

impl Snapshot {
    /// About how long its file is, in bytes.
    pub fn bytes(&self) -> u64 {
        let data = self
            .sections
            .iter()
            .map(|section| to_u64(section.data.len()));
        data.sum()
    }

    /// The bytes of a section, if there is one of that name.
    pub fn section(&self, name: &str) -> Option<&Bytes> {
        self.sections
            .iter()
            .find(|section| section.name == name)
            .map(|section| &section.data)
    }
}

/// The snapshots of one shard.
#[derive(Clone, Debug)]
pub struct Snapshots {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
}

impl Snapshots {
    /// The snapshots in an existing directory.
    pub fn new(fs: Arc<dyn Fs>, directory: PathBuf) -> Self {
        Self { fs, directory }
    }

    /// Where they are, without a number.
    pub fn path(&self) -> PathBuf {
        self.directory.join("snapshot")
    }

    /// Writes a snapshot durably, then removes the older ones. On an error the one before is still there,
    /// and this one may be.
    pub fn write(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        let path = self.path_of(snapshot.index);
        let making = path.with_extension("making");
        self.write_aside(snapshot, &making)?;
        self.fs
            .rename(&making, &path)
            .map_err(StorageError::io("rename", &making))?;
        if !planted::has(Bug::OldSnapshotGoneFirst) {
            self.sync_directory()?;
        }
        // It stands: what of the others cannot be removed goes with the next one.
        self.remove_older(snapshot.index).ok();
        Ok(())
    }

    fn remove_older(&self, index: u64) -> Result<(), StorageError> {
        let (all, half_made) = self.list()?;
        let older = all.into_iter().filter(|(other, _)| *other < index);
        for path in older.map(|(_, path)| path).chain(half_made) {
            self.fs
                .remove(&path)
                .map_err(StorageError::io("remove", &path))?;
        }
        self.sync_directory()
    }

    /// The newest snapshot, whole and checked; `None` if there never was one.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if the newest fails its checks.
    pub fn latest(&self) -> Result<Option<Snapshot>, StorageError> {
        let newest = self.list()?.0.pop();
        newest.map(|(index, _)| self.read(index)).transpose()
    }

    /// The snapshot at this index, whole and checked.
    ///
    /// # Errors
    /// It cannot be read, or fails its checks.
    pub fn read(&self, index: u64) -> Result<Snapshot, StorageError> {
        let path = self.path_of(index);
        let file = self
            .fs
            .open(&path, OpenMode::ReadOnly)
            .map_err(StorageError::io("open", &path))?;
        let length = file.length().map_err(StorageError::io("read", &path))?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = file
            .read_at(&mut bytes, 0)
            .map_err(StorageError::io("read", &path))?;
        bytes.truncate(read);
        let snapshot = parse(Bytes::from(bytes), &path)?;
        if snapshot.index == index {
            Ok(snapshot)
        } else {
            let damage = Damage::Misnamed {
                found: snapshot.index,
            };
            Err(StorageError::damaged(&path, HEADER, damage))
        }
    }

    /// Writes a snapshot durably under a name that is none yet; answers with that name and the one it is to
    /// get.
    ///
    /// # Errors
    /// The disk is full, or fails.
    pub fn write_unnamed(&self, snapshot: &Snapshot) -> Result<(PathBuf, PathBuf), StorageError> {
        let path = self.path_of(snapshot.index);
        let unnamed = path.with_extension("salvaged");
        self.write_aside(snapshot, &unnamed)?;
        self.sync_directory()?;
        Ok((unnamed, path))
    }

    /// The snapshots there are, whole or not, oldest first.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn files(&self) -> Result<Vec<PathBuf>, StorageError> {
        Ok(self.list()?.0.into_iter().map(|(_, path)| path).collect())
    }

    fn path_of(&self, index: u64) -> PathBuf {
        self.directory.join(format!("{PREFIX}{index:020}"))
    }

    fn write_aside(&self, snapshot: &Snapshot, making: &Path) -> Result<(), StorageError> {
        let file = making::begin(&*self.fs, making)?;
        let mut file = Growing::new(file, !planted::has(Bug::SnapshotNamedUnsynced));
        let mut append = |parts: [&[u8]; 2]| {
            file.append(&parts.map(IoSlice::new))
                .map_err(StorageError::io("write", making))
        };
        let checksums = checksums(snapshot.index, snapshot.node);
        append([&encode_header(snapshot, &checksums), &[]])?;
        for section in &snapshot.sections {
            let header = encode_section_header(section, &checksums);
            append([&header, section.name.as_bytes()])?;
            for piece in section.data.chunks(PIECE_BYTES) {
                append([piece, &[]])?;
            }
        }
        file.sync().map_err(StorageError::io("sync", making))
    }

    /// Indexes and paths of all snapshots, oldest first; and what crashes left half made.
    #[expect(
        clippy::type_complexity,
        reason = "two plain lists, used in this file only"
    )]
    fn list(&self) -> Result<(Vec<(u64, PathBuf)>, Vec<PathBuf>), StorageError> {
        let (mut all, mut half_made) = (Vec::new(), Vec::new());
        let directory = &self.directory;
        for name in self
            .fs
            .list(directory)
            .map_err(StorageError::io("list", directory))?
        {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            match rest.parse() {
                Ok(index) => all.push((index, directory.join(name))),
                Err(_) if rest.ends_with(".making") => half_made.push(directory.join(name)),
                Err(_) => {}
            }
        }
        all.sort_unstable();
        Ok((all, half_made))
    }

    fn sync_directory(&self) -> Result<(), StorageError> {
        self.fs
            .sync_dir(&self.directory)
            .map_err(StorageError::io("sync", &self.directory))
    }
}

fn checksums(index: u64, node: u64) -> Checksums {
    Checksums::new(index ^ node.rotate_left(32))
}

fn encode_header(snapshot: &Snapshot, checksums: &Checksums) -> Vec<u8> {
    let count = u32::try_from(snapshot.sections.len()).unwrap_or(u32::MAX);
    let fields: [&[u8]; 6] = [
        &MAGIC,
        &FORMAT.to_le_bytes(),
        &count.to_le_bytes(),
        &snapshot.index.to_le_bytes(),
        &snapshot.term.to_le_bytes(),
        &snapshot.node.to_le_bytes(),
    ];
    let mut header = fields.concat();
    let crc = checksums.of([header.as_slice()]);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

fn encode_section_header(section: &Section, checksums: &Checksums) -> Vec<u8> {
    let name_bytes = u32::try_from(section.name.len()).unwrap_or(u32::MAX);
    let fields: [&[u8]; 3] = [
        &name_bytes.to_le_bytes(),
        &to_u64(section.data.len()).to_le_bytes(),
        &checksums
            .of([section.name.as_bytes(), &section.data])
            .to_le_bytes(),
    ];
    let lengths = fields.concat();
    let mut header = checksums.of([lengths.as_slice()]).to_le_bytes().to_vec();
    header.extend_from_slice(&lengths);
    header
}

fn parse(mut bytes: Bytes, path: &Path) -> Result<Snapshot, StorageError> {
    let length = bytes.len();
    let damaged = |rest: &Bytes, what| {
        let from = to_u64(length.saturating_sub(rest.len()));
        StorageError::damaged(path, from..to_u64(length), Damage::Checksum { what })
    };
    let (mut snapshot, count, format) = parse_header(&bytes).ok_or_else(|| {
        let what = "header of the snapshot";
        StorageError::damaged(path, HEADER, Damage::Checksum { what })
    })?;
    if format != FORMAT {
        let path = path.to_path_buf();
        return Err(StorageError::Format {
            path,
            found: format,
            known: FORMAT,
        });
    }
    let checksums = checksums(snapshot.index, snapshot.node);
    bytes.advance(HEADER_BYTES);
    for _ in 0..count {
        let (section, section_bytes) = parse_section(&bytes, &checksums)
            .ok_or_else(|| damaged(&bytes, "section of the snapshot"))?;
        bytes.advance(section_bytes);
        snapshot.sections.push(section);
    }
    if bytes.is_empty() {
        Ok(snapshot)
    } else {
        Err(damaged(&bytes, "end of the snapshot"))
    }
}

/// The header's meaning, the number of sections and the format.
fn parse_header(bytes: &[u8]) -> Option<(Snapshot, u32, u32)> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let long = |at: usize| Some(u64::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let short = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let (index, term, node) = (long(16)?, long(24)?, long(32)?);
    let whole =
        header.starts_with(&MAGIC) && short(40)? == checksums(index, node).of([header.get(..40)?]);
    let snapshot = Snapshot {
        index,
        term,
        node,
        sections: Vec::new(),
    };
    whole.then_some((snapshot, short(12)?, short(8)?))
}

/// A section at the start of the bytes, and how many of them it takes.
fn parse_section(bytes: &Bytes, checksums: &Checksums) -> Option<(Section, usize)> {
    let header: &[u8; SECTION_HEADER_BYTES] = bytes.first_chunk()?;
    let short = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    if short(0)? != checksums.of([header.get(4..)?]) {
        return None;
    }
    let name_end = SECTION_HEADER_BYTES.checked_add(usize::try_from(short(4)?).ok()?)?;
    let data_bytes = u64::from_le_bytes(*header.get(8..)?.first_chunk()?);
    let end = name_end.checked_add(usize::try_from(data_bytes).ok()?)?;
    let name = bytes.get(SECTION_HEADER_BYTES..name_end)?;
    let data = bytes.get(name_end..end)?;
    if short(16)? != checksums.of([name, data]) {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?.to_owned();
    Some((
        Section {
            name,
            data: bytes.slice(name_end..end),
        },
        end,
    ))
}
