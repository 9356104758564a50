//! The one writer of a journal.
//!
//! Rules that recovery stands on:
//! 1. Group g + 1 is not written before the sync of group g returned.
//! 2. What is written un-synced carries the number of the group that is still open; the next sync
//!    closes it, and must then be one of the whole file.
//! 3. A file is left only when all of it is synced: a group is cut at a file's end.
//! 4. Every record states how far its file was synced when it was written.
//! 5. The first failed write or sync is final. Nobody knows what reached the disk, and a second
//!    sync would succeed falsely.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
pub use siding_protocol::types::Level;

use super::error::StorageError;
use super::files::{FileId, JournalFile, JournalOptions, RECORDS_START, RecordAt};
use super::fs::PAGE_BYTES;
use super::reader::{Files, Reader, Spans};
use super::record::{self, Header, Kind, WORD};
use super::reserve::Reserve;
use super::spares::{SpareGauge, Spares};
use crate::planted::{self, Bug};

/// Payload slices shorter than this are copied next to their header: one slice less for the kernel
/// costs more than copying so few bytes.
const GATHER_BYTES: usize = 4096;

/// Behind a group, zeros up to the page's end: a page that is written in part only is read from the disk
/// first, if it is not in the system's cache. The next group goes over them.
static PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// With fewer bytes behind the head a record is read as a whole.
const OTHERS_BYTES_MIN: u64 = 16 << 10;

/// One record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// What it means.
    pub kind: Kind,
    /// The shard it belongs to; 0 where a kind has none.
    pub shard: u32,
    /// Position in the shard, one above that of the entry before; 0 where a kind has none.
    pub index: u64,
    /// The term it was proposed in; 0 where a kind has none.
    pub term: u64,
    /// The payload, in parts that are written one behind the other. The first of several is its head.
    pub payload: Vec<Bytes>,
}

impl Append {
    fn payload_bytes(&self) -> u64 {
        self.payload.iter().map(|part| to_u64(part.len())).sum()
    }

    /// The head, where reading it without the others is worth a checksum; else nothing.
    fn head(&self) -> &[u8] {
        let head: &[u8] = self.payload.first().map_or(&[], AsRef::as_ref);
        let others = self.payload_bytes() - to_u64(head.len());
        if others >= OTHERS_BYTES_MIN && u16::try_from(head.len()).is_ok() {
            head
        } else {
            &[]
        }
    }
}

/// Appends records to a journal. Owned by one thread at a time; every call blocks.
#[derive(Debug)]
pub struct Writer {
    node: u64,
    record_bytes_max: u64,
    files: Files,
    spares: Spares,
    /// Taken from the spares for the group at hand, not yet begun.
    next: VecDeque<Arc<JournalFile>>,
    file: Arc<JournalFile>,
    spans: Spans,
    /// Where the next record starts.
    end: u64,
    /// Everything in the file before this is synced.
    synced: u64,
    /// Where the records of the file before this one end; 0 if there is none.
    before: u64,
    /// The open group.
    group: u64,
    /// The durable mark of the last record written.
    marked: u64,
    poisoned: bool,
    /// Headers, small payloads and padding of the group at hand.
    scratch: Vec<u8>,
    /// How much of the scratch buffer stands in `pieces`.
    gathered: usize,
    pieces: Vec<Piece>,
}

/// A run of bytes to write, in order.
#[derive(Clone, Debug)]
enum Piece {
    Scratch(Range<usize>),
    Payload { record: usize, part: usize },
}

/// Where recovery found the journal's end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) file: Arc<JournalFile>,
    pub(super) spans: Spans,
    pub(super) position: u64,
    pub(super) before: u64,
    /// The number of the next group: above all that were seen.
    pub(super) group: u64,
}

impl Writer {
    /// A writer that continues at `end`, before which everything is synced.
    pub(super) fn resume(options: &JournalOptions, files: Files, spares: Spares, end: End) -> Self {
        files.open(Arc::clone(&end.file));
        Self {
            node: options.node,
            record_bytes_max: options.record_bytes_max(),
            files,
            spares,
            next: VecDeque::new(),
            file: end.file,
            spans: end.spans,
            end: end.position,
            synced: end.position,
            before: end.before,
            group: end.group,
            marked: 0,
            poisoned: false,
            scratch: Vec::new(),
            gathered: 0,
            pieces: Vec::new(),
        }
    }

    /// Appends a group of records in order and adds the place of each to `places`. With
    /// [`Level::Synced`] they, and everything before them, are durable on return; an empty group
    /// then syncs what is open.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`] and [`StorageError::NoSpare`]: nothing was written, nothing is
    /// broken. Every other error is final: the writer answers [`StorageError::Poisoned`] from then
    /// on, and which of the records reached the disk only recovery can tell.
    pub fn append(
        &mut self,
        group: &[Append],
        level: Level,
        places: &mut Vec<RecordAt>,
    ) -> Result<(), StorageError> {
        if self.poisoned {
            return Err(StorageError::Poisoned);
        }
        self.prepare(group)?;
        let appended = self.append_prepared(group, level, places);
        self.poisoned = appended.is_err();
        appended
    }

    /// Makes everything appended durable.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.append(&[], Level::Synced, &mut Vec::new())
    }

    /// Writes one record, un-synced, that says how far the journal is synced, unless the last one
    /// written says so already. For when the journal falls idle: it shrinks what recovery must
    /// take for a torn tail.
    pub fn mark(&mut self) -> Result<(), StorageError> {
        if self.marked == self.synced {
            return if self.poisoned {
                Err(StorageError::Poisoned)
            } else {
                Ok(())
            };
        }
        self.append(&[mark()], Level::Written, &mut Vec::new())
    }

    /// Reads records of this journal.
    pub fn reader(&self) -> Reader {
        Reader::new(self.files.clone())
    }

    /// The table of this journal's files.
    pub fn files(&self) -> Files {
        self.files.clone()
    }

    /// How the making of spare files goes.
    pub fn spare_gauge(&self) -> Arc<SpareGauge> {
        self.spares.gauge()
    }

    /// The room that is kept for checkpoints.
    pub fn reserve(&self) -> Reserve {
        self.spares.reserve()
    }

    /// Largest payload of one record, in bytes.
    pub fn record_bytes_max(&self) -> u64 {
        self.record_bytes_max
    }

    /// Checks the group's sizes and takes every file it will need, before anything is written.
    fn prepare(&mut self, group: &[Append]) -> Result<(), StorageError> {
        let mut files = 0;
        let (mut end, mut limit) = (self.end, self.file.bytes);
        for append in group {
            let bytes = append.payload_bytes();
            if bytes > self.record_bytes_max {
                return Err(StorageError::TooLarge {
                    bytes,
                    bytes_max: self.record_bytes_max,
                });
            }
            if end + record::record_bytes(bytes) > limit {
                files += 1;
                while self.next.len() < files {
                    self.next.push_back(self.spares.take()?);
                }
                limit = self.next.get(files - 1).map_or(limit, |next| next.bytes);
                end = RECORDS_START;
            }
            end += record::record_bytes(bytes);
        }
        Ok(())
    }

    fn append_prepared(
        &mut self,
        mut group: &[Append],
        level: Level,
        places: &mut Vec<RecordAt>,
    ) -> Result<(), StorageError> {
        loop {
            let fitting = self.encode(group, places);
            let (now, later) = group.split_at(fitting);
            self.write(now, level)?;
            if later.is_empty() {
                return Ok(());
            }
            self.next_file()?;
            group = later;
        }
    }

    /// Lays out as many records as the file has room for: headers, small parts and padding into
    /// the scratch buffer, large parts by reference. Answers how many.
    fn encode(&mut self, group: &[Append], places: &mut Vec<RecordAt>) -> usize {
        self.scratch.clear();
        self.gathered = 0;
        self.pieces.clear();
        let mut at = self.end;
        for (number, append) in group.iter().enumerate() {
            let (payload_bytes, head) = (append.payload_bytes(), append.head());
            let checksums = &self.file.checksums;
            if at + record::record_bytes(payload_bytes) > self.file.bytes {
                return number;
            }
            let header = Header {
                kind: append.kind,
                shard: append.shard,
                index: append.index,
                term: append.term,
                node: self.node,
                group: self.group,
                synced: if planted::has(Bug::MarkTooHigh) {
                    at
                } else {
                    self.synced
                },
                before: self.before,
                payload_bytes: u32::try_from(payload_bytes).expect("at most 20 MiB"),
                payload_crc: checksums.of(append.payload.iter().map(AsRef::as_ref)),
                head_bytes: u16::try_from(head.len()).unwrap_or_default(),
                head_crc: if head.is_empty() {
                    0
                } else {
                    checksums.of([head])
                },
            };
            self.scratch
                .extend_from_slice(&record::encode(&header, checksums, at));
            for (part, bytes) in append.payload.iter().enumerate() {
                if bytes.len() < GATHER_BYTES {
                    self.scratch.extend_from_slice(bytes);
                } else {
                    self.end_scratch_piece();
                    self.pieces.push(Piece::Payload {
                        record: number,
                        part,
                    });
                }
            }
            let padding = usize::try_from(payload_bytes.wrapping_neg() % WORD).unwrap_or(0);
            self.scratch
                .extend_from_slice([0; 8].get(..padding).unwrap_or_default());
            if append.kind.is_indexed() {
                self.spans.note(append.shard, append.index);
            }
            places.push(RecordAt {
                file: FileId::Journal(self.file.number),
                position: at,
                length: header.payload_bytes,
            });
            at += header.record_bytes();
        }
        group.len()
    }

    /// What stands in the scratch buffer since the last piece becomes one.
    fn end_scratch_piece(&mut self) {
        if self.gathered < self.scratch.len() {
            self.pieces
                .push(Piece::Scratch(self.gathered..self.scratch.len()));
            self.gathered = self.scratch.len();
        }
    }

    /// Writes what was laid out, and syncs if the level asks for it.
    fn write(&mut self, group: &[Append], level: Level) -> Result<(), StorageError> {
        self.end_scratch_piece();
        let mut slices = Vec::with_capacity(self.pieces.len() + 1);
        for piece in &self.pieces {
            let bytes = match piece {
                Piece::Scratch(range) => self.scratch.get(range.clone()),
                Piece::Payload { record, part } => group
                    .get(*record)
                    .and_then(|append| append.payload.get(*part))
                    .map(AsRef::as_ref),
            };
            slices.push(IoSlice::new(
                bytes.expect("pieces lie in what was laid out"),
            ));
        }
        let is_open = self.synced < self.end;
        if slices.is_empty() {
            return if is_open && level == Level::Synced {
                self.sync_file()
            } else {
                Ok(())
            };
        }
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let padding = (self.end + to_u64(length)).wrapping_neg() % to_u64(PAGE_BYTES);
        let padding = usize::try_from(padding).unwrap_or_default();
        slices.push(IoSlice::new(PAGE.get(..padding).unwrap_or_default()));
        // The flag covers one call only: not what is open, and nothing if it takes several calls.
        let dsync = level == Level::Synced && (!is_open || planted::has(Bug::DsyncTakenForAll));
        let dsync = dsync && !planted::has(Bug::ConfirmedBeforeSync);
        let written = self
            .file
            .file
            .write_at(&slices, self.end, dsync)
            .map_err(StorageError::io("write", &self.file.path))?;
        self.end += to_u64(length);
        self.marked = self.synced;
        match level {
            Level::Written => {
                self.group += u64::from(planted::has(Bug::GroupBeforeItsSync));
                Ok(())
            }
            Level::Synced if written.synced => {
                self.close_group();
                Ok(())
            }
            Level::Synced => self.sync_file(),
        }
    }

    fn sync_file(&mut self) -> Result<(), StorageError> {
        let file = &self.file.file;
        let mut synced = Ok(());
        if !planted::has(Bug::ConfirmedBeforeSync) {
            synced = file.sync_data();
        }
        if planted::has(Bug::FailedSyncRetried) && synced.is_err() {
            synced = file.sync_data();
        }
        synced.map_err(StorageError::io("sync", &self.file.path))?;
        self.close_group();
        Ok(())
    }

    fn close_group(&mut self) {
        self.synced = self.end;
        self.group += 1;
    }

    /// Leaves a full file, all of it synced, for the next one.
    fn next_file(&mut self) -> Result<(), StorageError> {
        if self.synced < self.end && !planted::has(Bug::FileLeftUnsynced) {
            self.sync_file()?;
        }
        let next = self
            .next
            .pop_front()
            .expect("prepared before the group was written");
        self.files
            .close(self.file.number, std::mem::take(&mut self.spans));
        self.files.open(Arc::clone(&next));
        self.before = self.end;
        self.file = next;
        self.end = RECORDS_START;
        self.synced = RECORDS_START;
        self.marked = 0;
        Ok(())
    }
}

/// A record that says nothing but how far the journal is synced.
pub(super) fn mark() -> Append {
    Append {
        kind: Kind::Mark,
        shard: 0,
        index: 0,
        term: 0,
        payload: Vec::new(),
    }
}

pub(super) fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
