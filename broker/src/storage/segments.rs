//! The segment files of a shard: which there are, and reading their blocks.
//!
//! The table is shared between whoever moves bodies, whoever reads them and whoever drops what is
//! needed no more. Its lock is held for a look-up, never for IO. What the newest snapshot does not name is
//! nobody's: a crash left it before a snapshot could, or after one that needed it no more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use siding_protocol::types::Offset;

use super::error::{Damage, StorageError};
use super::files::{FileId, RecordAt};
use super::fs::{File, Fs, OpenMode};
use super::record::Checksums;
use super::segment::{
    BLOCK_HEADER_BYTES, FOOTER_END_BYTES, FOOTER_ROW_BYTES, FORMAT, HEAD_BYTES, Head, footer_rows,
    parse_block, parse_footer, parse_head, stated_generation,
};

const SUFFIX: &str = ".segment";
/// Files that are held open to be read; the one read longest ago is closed for another.
const OPEN_MAX: usize = 64;

/// One segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Names it; rises.
    pub number: u64,
    /// Whose bodies.
    pub log: u64,
    /// Below every offset in it, or equal.
    pub base: Offset,
    /// Bytes of the bodies that were written to it.
    pub bytes: u64,
}

/// The segment files of one shard. Clones are cheap and may go to other threads; reads block.
#[derive(Clone, Debug)]
pub struct Segments {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
    /// Blocks are read though the header is damaged: they prove the generation that stands in it.
    is_lenient: bool,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    known: BTreeMap<u64, Segment>,
    /// Read last at the back.
    open: VecDeque<(u64, Arc<OpenSegment>)>,
}

/// A segment that can be read.
#[derive(Debug)]
struct OpenSegment {
    path: PathBuf,
    checksums: Checksums,
    file: Box<dyn File>,
}

impl Segments {
    /// Those in a directory, which need not exist yet.
    pub fn new(fs: Arc<dyn Fs>, directory: PathBuf) -> Self {
        Self {
            fs,
            directory,
            is_lenient: false,
            table: Arc::default(),
        }
    }

    /// For a salvage: takes these for its own whatever is damaged of them, reads what can be read, and says
    /// what is wrong with headers and footers.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn adopt_damaged(
        &mut self,
        needed: impl Iterator<Item = Segment>,
    ) -> Result<Vec<(Segment, StorageError)>, StorageError> {
        self.fs
            .create_dir_all(&self.directory)
            .map_err(StorageError::io("create", &self.directory))?;
        let mut damaged = Vec::new();
        for segment in needed {
            match self.open(&segment).and_then(|open| open.footer()) {
                Err(error @ StorageError::Damaged { .. }) => damaged.push((segment, error)),
                other => other?,
            }
            self.add(segment);
        }
        self.is_lenient = true;
        Ok(damaged)
    }

    /// A number that no file in the directory has, nor any behind it.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn next_number(&self) -> Result<u64, StorageError> {
        let names = self.fs.list(&self.directory);
        let names = names.map_err(StorageError::io("list", &self.directory))?;
        let last = names.iter().filter_map(|name| number_of(name)).max();
        Ok(last.map_or(1, |last| last.saturating_add(1)))
    }

    /// At a start: these are needed, so each must be there and whole. What of their blocks is damaged is
    /// told when they are read.
    ///
    /// # Errors
    /// One is missing or damaged: nothing was changed.
    pub fn adopt(&self, needed: impl Iterator<Item = Segment>) -> Result<(), StorageError> {
        let (fs, directory) = (&*self.fs, &self.directory);
        fs.create_dir_all(directory)
            .map_err(StorageError::io("create", directory))?;
        let needed: BTreeMap<u64, Segment> = needed.map(|it| (it.number, it)).collect();
        for segment in needed.values() {
            self.open(segment)?.footer()?;
        }
        self.table().known = needed;
        Ok(())
    }

    /// Files in the directory other than these.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn unneeded(
        &self,
        needed: impl Iterator<Item = Segment>,
    ) -> Result<Vec<PathBuf>, StorageError> {
        let needed: BTreeSet<String> = needed.map(|segment| name_of(&segment)).collect();
        let names = self.fs.list(&self.directory);
        let names = names.map_err(StorageError::io("list", &self.directory))?;
        let others = names.into_iter().filter(|name| name.ends_with(SUFFIX));
        let others = others.filter(|name| !needed.contains(name));
        Ok(others.map(|name| self.directory.join(name)).collect())
    }

    /// Bytes of the files that nobody has adopted.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn stray_bytes(&self) -> Result<u64, StorageError> {
        let mut bytes = 0_u64;
        for path in self.strangers()? {
            let file = self.fs.open(&path, OpenMode::ReadOnly);
            let file = file.map_err(StorageError::io("open", &path))?;
            let length = file.length().map_err(StorageError::io("read", &path))?;
            bytes = bytes.saturating_add(length);
        }
        Ok(bytes)
    }

    /// Files that nobody has adopted.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn strangers(&self) -> Result<Vec<PathBuf>, StorageError> {
        let known: Vec<_> = self.table().known.values().copied().collect();
        self.unneeded(known.into_iter())
    }

    /// Removes them, once it is certain that nobody needs them.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn remove_strangers(&self, strangers: Vec<PathBuf>) -> Result<(), StorageError> {
        for path in strangers {
            self.fs
                .remove(&path)
                .map_err(StorageError::io("remove", &path))?;
        }
        self.sync_directory()
    }

    /// The payload of a block, after both of its checks.
    ///
    /// # Errors
    /// [`StorageError::Retired`] if its file is needed no more, [`StorageError::Damaged`] if the bytes
    /// are not what was written.
    pub fn read(&self, at: RecordAt) -> Result<Bytes, StorageError> {
        let retired = StorageError::Retired { file: at.file };
        let FileId::Segment(number) = at.file else {
            return Err(retired);
        };
        self.opened(number)?.ok_or(retired)?.read(at)
    }

    /// Forgets and removes files that no durable snapshot needs. What cannot be removed is removed by the
    /// next start.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn remove(&self, numbers: &[u64]) -> Result<(), StorageError> {
        if numbers.is_empty() {
            return Ok(());
        }
        for number in numbers {
            let segment = {
                let mut table = self.table();
                table.open.retain(|(other, _)| other != number);
                table.known.remove(number)
            };
            if let Some(path) = segment.map(|segment| self.path(&segment)) {
                self.fs
                    .remove(&path)
                    .map_err(StorageError::io("remove", &path))?;
            }
        }
        self.sync_directory()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.table().known.len()
    }

    pub(super) fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    /// Where a segment is.
    pub fn path(&self, segment: &Segment) -> PathBuf {
        self.directory.join(name_of(segment))
    }

    /// A whole file is there, and its name is durable.
    pub(super) fn add(&self, segment: Segment) {
        self.table().known.insert(segment.number, segment);
    }

    pub(super) fn sync_directory(&self) -> Result<(), StorageError> {
        self.fs
            .sync_dir(&self.directory)
            .map_err(StorageError::io("sync", &self.directory))
    }

    fn opened(&self, number: u64) -> Result<Option<Arc<OpenSegment>>, StorageError> {
        let segment = {
            let mut table = self.table();
            if let Some(open) = table.touch(number) {
                return Ok(Some(open));
            }
            table.known.get(&number).copied()
        };
        let Some(segment) = segment else {
            return Ok(None);
        };
        let open = Arc::new(self.open(&segment)?);
        let mut table = self.table();
        if table.open.len() >= OPEN_MAX {
            table.open.pop_front();
        }
        table.open.push_back((number, Arc::clone(&open)));
        Ok(Some(open))
    }

    fn open(&self, segment: &Segment) -> Result<OpenSegment, StorageError> {
        let path = self.path(segment);
        let file = match self.fs.open(&path, OpenMode::ReadOnly) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StorageError::missing(path));
            }
            opened => opened.map_err(StorageError::io("open", &path))?,
        };
        let mut bytes = [0; HEAD_BYTES];
        file.read_at(&mut bytes, 0)
            .map_err(StorageError::io("read", &path))?;
        let damaged = |damage| Err(StorageError::damaged(&path, 0..HEAD_BYTES as u64, damage));
        let Some((format, head)) = parse_head(&bytes) else {
            if self.is_lenient {
                let checksums = Checksums::new(stated_generation(&bytes));
                return Ok(OpenSegment {
                    path,
                    checksums,
                    file,
                });
            }
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
        let Head {
            number, log, base, ..
        } = head;
        if (number, log, base) != (segment.number, segment.log, segment.base) {
            return damaged(Damage::Misnamed { found: number });
        }
        let checksums = Checksums::new(head.generation);
        Ok(OpenSegment {
            path,
            checksums,
            file,
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn touch(&mut self, number: u64) -> Option<Arc<OpenSegment>> {
        let at = self.open.iter().position(|(other, _)| *other == number)?;
        let found = self.open.remove(at)?;
        let open = Arc::clone(&found.1);
        self.open.push_back(found);
        Some(open)
    }
}

impl OpenSegment {
    fn read(&self, at: RecordAt) -> Result<Bytes, StorageError> {
        let damaged = || StorageError::damaged(&self.path, at.bytes(), Damage::Record);
        let payload = usize::try_from(at.length).map_err(|_| damaged())?;
        let bytes = self
            .file
            .read(BLOCK_HEADER_BYTES + payload, at.position)
            .map_err(StorageError::io("read", &self.path))?;
        parse_block(&bytes.into(), &self.checksums, at.position).ok_or_else(damaged)
    }

    /// Checks the footer: a file that was cut short has none.
    fn footer(&self) -> Result<(), StorageError> {
        let read = |bytes: &mut [u8], position| {
            let read = self.file.read_at(bytes, position);
            read.map_err(StorageError::io("read", &self.path))
        };
        let length = self
            .file
            .length()
            .map_err(StorageError::io("read", &self.path))?;
        let mut end = [0; FOOTER_END_BYTES];
        read(&mut end, length.saturating_sub(FOOTER_END_BYTES as u64))?;
        let rows = footer_rows(&end).unwrap_or_default();
        let bytes = rows.saturating_mul(FOOTER_ROW_BYTES) + FOOTER_END_BYTES;
        let start = length.checked_sub(bytes as u64);
        let mut footer = vec![0; if start.is_some() { bytes } else { 0 }];
        read(&mut footer, start.unwrap_or_default())?;
        if parse_footer(&footer, &self.checksums).is_some() {
            return Ok(());
        }
        let damage = Damage::Checksum {
            what: "footer of the file",
        };
        let from = start.unwrap_or_default();
        Err(StorageError::damaged(&self.path, from..length, damage))
    }
}

/// The number in the name of a segment file.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let (_, number) = name.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    number.parse().ok()
}

fn name_of(segment: &Segment) -> String {
    let Segment {
        number, log, base, ..
    } = segment;
    format!("{log}-{base:020}.{number}{SUFFIX}")
}
