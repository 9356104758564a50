//! Reading a shard's entries again while the journal goes on being written.
//!
//! What recovery does with a journal that nobody writes to, this does with the entries before one that is
//! committed: a checkpoint builds its snapshot from them. They are read a window at a time, in order, with
//! all their checks; nothing behind the last one that is wanted is looked at. Of a large one only the head is
//! read, which has a check of its own: what lies behind it are bodies.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Damage, StorageError};
use super::files::{FileId, JournalFile, RECORDS_START, RecordAt};
use super::record::{self, HEADER_BYTES, Header};
use super::recover::Recovered;

/// Read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Read at once behind a record of which only the head was wanted: the next one is likely to be like it.
const HEAD_WINDOW_BYTES: usize = 8 << 10;

/// The files in which some entries of a shard stand, oldest first. None of them is recycled while this is
/// held.
#[derive(Debug)]
pub struct Replay {
    pub(super) files: Vec<Arc<JournalFile>>,
    pub(super) shard: u32,
    pub(super) indexes: RangeInclusive<u64>,
}

impl Replay {
    /// Hands all the entries to `sink`, in order, large ones with no more than their heads. Blocks.
    ///
    /// # Errors
    /// One of them is not there or fails its checks, or `sink` fails.
    pub fn run<E: From<StorageError>>(
        &self,
        sink: &mut dyn FnMut(Recovered) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut next, last) = (*self.indexes.start(), *self.indexes.end());
        let mut missing = StorageError::Retired {
            file: FileId::Journal(0),
        };
        for file in &self.files {
            let mut window = Window::of(file);
            let (mut position, mut group) = (RECORDS_START, 0);
            while next <= last
                && let Some(header) = window.header(position)?
                && header.group >= group
            {
                group = header.group;
                if header.kind.is_indexed() && header.shard == self.shard && header.index >= next {
                    self.expect(file, (next, header.index), position)?;
                    sink(window.entry(&header, position)?)?;
                    next = next.saturating_add(1);
                }
                position = position.saturating_add(header.record_bytes());
            }
            missing = StorageError::damaged(&file.path, position..file.bytes, Damage::Record);
        }
        if next > last {
            Ok(())
        } else {
            Err(missing.into())
        }
    }

    fn expect(
        &self,
        file: &JournalFile,
        (expected, found): (u64, u64),
        position: u64,
    ) -> Result<(), StorageError> {
        if expected == found {
            return Ok(());
        }
        let shard = self.shard;
        let damage = Damage::Gap {
            shard,
            expected,
            found,
        };
        Err(StorageError::damaged(
            &file.path,
            position..position,
            damage,
        ))
    }
}

/// A part of a file in memory.
struct Window<'a> {
    file: &'a JournalFile,
    bytes: Bytes,
    /// Where they stand in the file.
    start: u64,
    /// The next read is of so many, or as many as are wanted.
    most: usize,
}

impl<'a> Window<'a> {
    fn of(file: &'a JournalFile) -> Self {
        Self {
            file,
            bytes: Bytes::new(),
            start: 0,
            most: HEAD_WINDOW_BYTES,
        }
    }

    /// The header of a record; `None` if none stands there.
    fn header(&mut self, position: u64) -> Result<Option<Header>, StorageError> {
        let bytes = self.at(position, HEADER_BYTES)?;
        Ok(record::parse(&bytes, &self.file.checksums, position))
    }

    /// A record of which this is the header; its payload, or the head of that, shares the window's memory.
    fn entry(&mut self, header: &Header, position: u64) -> Result<Recovered, StorageError> {
        let has_head = header.head_bytes > 0;
        let (wanted, window) = if has_head {
            (u32::from(header.head_bytes), HEAD_WINDOW_BYTES)
        } else {
            (header.payload_bytes, WINDOW_BYTES)
        };
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let record = self.at(position, HEADER_BYTES.saturating_add(wanted))?;
        self.most = window;
        let checksums = &self.file.checksums;
        let payload = if has_head {
            record::head(header, &record, checksums)
        } else {
            record::payload(header, &record, checksums)
        };
        let end = position.saturating_add(header.record_bytes());
        let damaged = || StorageError::damaged(&self.file.path, position..end, Damage::Record);
        let payload = payload.ok_or_else(damaged)?;
        Ok(Recovered {
            kind: header.kind,
            shard: header.shard,
            index: header.index,
            term: header.term,
            payload: record.slice_ref(payload),
            at: RecordAt {
                file: FileId::Journal(self.file.number),
                position,
                length: header.payload_bytes,
            },
        })
    }

    /// So many bytes from there on, fewer at the file's end.
    fn at(&mut self, position: u64, length: usize) -> Result<Bytes, StorageError> {
        if self.held(position).len() < length {
            self.fill(position, length)?;
        }
        let mut held = self.held(position);
        held.truncate(length);
        Ok(held)
    }

    fn held(&self, position: u64) -> Bytes {
        let from = position.checked_sub(self.start);
        let from = from.and_then(|from| usize::try_from(from).ok());
        let from = from.filter(|from| *from <= self.bytes.len());
        from.map(|from| self.bytes.slice(from..))
            .unwrap_or_default()
    }

    fn fill(&mut self, position: u64, length: usize) -> Result<(), StorageError> {
        // Entries that are done with have let go of their memory, as a rule.
        let bytes = std::mem::take(&mut self.bytes).try_into_mut();
        let mut bytes = bytes.unwrap_or_default();
        let rest = usize::try_from(self.file.bytes.saturating_sub(position));
        let most = length.max(self.most).min(rest.unwrap_or(usize::MAX));
        bytes.resize(most, 0);
        let read = self
            .file
            .file
            .read_at(&mut bytes, position)
            .map_err(StorageError::io("read", &self.file.path))?;
        bytes.truncate(read);
        (self.bytes, self.start) = (bytes.freeze(), position);
        Ok(())
    }
}
