//! Moving bodies from the journal to segments. Blocks whoever calls: it runs on a thread of its own.
//!
//! ```text
//! moves, by record ─► read each record once ─► gather by log ─► blocks of an extent ─► segment of the log
//! ```
//!
//! What cannot be read stays where it is. What a failure or a crash leaves half made is named by no
//! snapshot, and removed by the next start.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::PathBuf;

use bytes::Bytes;
use siding_protocol::limits::{EXTENT_BYTES_MAX, EXTENT_MESSAGES_MAX};
use siding_protocol::run;
use siding_protocol::types::{Offset, Timestamp};

use super::bodies::{Block, Move, Moved};
use super::error::StorageError;
use super::files::{FileId, RecordAt};
use super::fs::OpenMode;
use super::making::Growing;
use super::record::Checksums;
use super::segment::{self, BlockAt, Head, Part};
use super::segments::{Segment, Segments};
use crate::planted::{self, Bug};

/// So many bytes are gathered before they are written, log by log.
const GATHERED_BYTES_MAX: usize = 8 << 20;
/// A file that has grown so far is closed, and its log goes on in another one.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// So many files are written at once; to open one more, all are closed.
const OPEN_MAX: usize = 64;
/// Places of so many runs or more are told at once: whoever takes them in does nothing else meanwhile.
const TOLD_PARTS: usize = 2_000;
/// A part at least so large a share of what was read shares its memory; a smaller one is copied.
const SHARED_PART: usize = 4;

/// What became of the moves.
#[derive(Debug)]
pub struct Outcome {
    /// Where bodies lie now, to be taken in one after the other. All of it is durable.
    pub moved: Vec<Moved>,
    /// Records that could not be read; what lies in them was not moved.
    pub unreadable: Vec<StorageError>,
}

/// Moves bodies, which `read` reads, into segments numbered from `next` on.
///
/// # Errors
/// A write or sync failed, most likely because the disk is full: nothing has moved.
pub fn move_bodies(
    segments: &Segments,
    moves: &[Move],
    next: u64,
    read: &mut dyn FnMut(RecordAt) -> Result<Bytes, StorageError>,
) -> Result<Outcome, StorageError> {
    let mut work = Mover {
        segments,
        next,
        gathered: BTreeMap::new(),
        gathered_bytes: 0,
        open: BTreeMap::new(),
        made: Vec::new(),
        moved: Moved::default(),
        moved_parts: 0,
        told: Vec::new(),
    };
    let mut unreadable = Vec::new();
    let done = work
        .gather_all(moves, read, &mut unreadable)
        .and_then(|()| work.finish());
    if let Err(error) = done {
        work.abandon();
        return Err(error);
    }
    work.told.push(work.moved);
    Ok(Outcome {
        moved: work.told,
        unreadable,
    })
}

struct Mover<'a> {
    segments: &'a Segments,
    next: u64,
    /// By log: consecutive or not, rising.
    gathered: BTreeMap<u64, Vec<(Offset, Part)>>,
    gathered_bytes: usize,
    open: BTreeMap<u64, Writing>,
    /// Files that are there, whole or not.
    made: Vec<PathBuf>,
    moved: Moved,
    /// Runs in the blocks of `moved`.
    moved_parts: usize,
    /// Blocks that were moved before those.
    told: Vec<Moved>,
}

/// A segment file that is being written.
struct Writing {
    head: Head,
    file: Growing,
    checksums: Checksums,
    blocks: Vec<BlockAt>,
}

impl Mover<'_> {
    /// Reads each record once, and gathers what is to be moved.
    fn gather_all(
        &mut self,
        moves: &[Move],
        read: &mut dyn FnMut(RecordAt) -> Result<Bytes, StorageError>,
        unreadable: &mut Vec<StorageError>,
    ) -> Result<(), StorageError> {
        let mut last: Option<(RecordAt, Option<Bytes>)> = None;
        let mut kind = None;
        for wanted in moves {
            let is_journal = wanted.record.file.in_journal().is_some();
            if kind.replace(is_journal).is_some_and(|it| it != is_journal) {
                // Of one log, what lies in the journal may be older than what lies in segments: offsets rise
                // in a file, and in what is told at once.
                self.write()?;
                self.seal_all()?;
                self.tell();
            }
            let payload = match &last {
                Some((at, payload)) if *at == wanted.record => payload.clone(),
                _ => {
                    let payload = read(wanted.record);
                    let payload = payload.map_err(|error| unreadable.push(error)).ok();
                    last = Some((wanted.record, payload.clone()));
                    payload
                }
            };
            if let Some(payload) = payload {
                self.gather(wanted, &payload)?;
            }
        }
        Ok(())
    }

    fn gather(&mut self, wanted: &Move, payload: &Bytes) -> Result<(), StorageError> {
        let gathered = self.gathered.entry(wanted.log).or_default();
        for (first, part) in kept_parts(wanted, payload) {
            self.gathered_bytes += part.bytes.len();
            gathered.push((first, part));
        }
        if self.gathered_bytes >= GATHERED_BYTES_MAX {
            self.write()?;
        }
        Ok(())
    }

    /// Writes what is gathered, one log after the other.
    fn write(&mut self) -> Result<(), StorageError> {
        for (log, parts) in std::mem::take(&mut self.gathered) {
            let mut rest = parts.as_slice();
            while let Some((first, _)) = rest.first() {
                let (block, others) = rest.split_at(block_of(rest));
                let parts: Vec<Part> = block.iter().map(|(_, part)| part.clone()).collect();
                self.write_block(log, *first, &parts)?;
                rest = others;
            }
        }
        self.gathered_bytes = 0;
        Ok(())
    }

    fn write_block(&mut self, log: u64, first: Offset, parts: &[Part]) -> Result<(), StorageError> {
        let mut writing = self.writing(log, first)?;
        let at = writing.write(self.segments, (first, parts))?;
        let one_time = parts.windows(2).all(|pair| match pair {
            [one, other] => one.published_at == other.published_at,
            _ => true,
        });
        let published_at = parts.first().filter(|_| one_time);
        self.moved.blocks.entry(log).or_default().push(Block {
            first,
            count: at.count,
            published_at: published_at.map_or(Timestamp(0), |part| part.published_at),
            record: RecordAt {
                file: FileId::Segment(writing.head.number),
                position: at.position,
                length: at.bytes,
            },
        });
        self.moved_parts += parts.len();
        if self.moved_parts >= TOLD_PARTS {
            self.tell();
        }
        if writing.file.end() >= SEGMENT_BYTES_MAX {
            return self.seal(writing);
        }
        self.open.insert(log, writing);
        Ok(())
    }

    /// What was moved by now is taken in at once. The segments come with the last part.
    fn tell(&mut self) {
        self.moved_parts = 0;
        let blocks = std::mem::take(&mut self.moved.blocks);
        let segments = Vec::new();
        self.told.push(Moved { blocks, segments });
    }

    /// The file that a log's blocks go to.
    fn writing(&mut self, log: u64, first: Offset) -> Result<Writing, StorageError> {
        if let Some(writing) = self.open.remove(&log) {
            return Ok(writing);
        }
        if self.open.len() >= OPEN_MAX {
            self.seal_all()?;
        }
        let number = self.next;
        self.next += 1;
        let segment = Segment {
            number,
            log,
            base: first,
            bytes: 0,
        };
        let (fs, path) = (self.segments.fs(), self.segments.path(&segment));
        let file = fs
            .open(&path, OpenMode::CreateNew)
            .map_err(StorageError::io("create", &path))?;
        self.made.push(path.clone());
        let generation = fs
            .random()
            .map_err(StorageError::io("draw a generation for", &path))?;
        let head = Head {
            number,
            log,
            base: first,
            generation,
        };
        let bytes = segment::encode_head(&head);
        let mut file = Growing::new(file, !planted::has(Bug::SegmentUnsynced));
        file.append(&[IoSlice::new(&bytes)])
            .map_err(StorageError::io("write", &path))?;
        Ok(Writing {
            head,
            file,
            checksums: Checksums::new(generation),
            blocks: Vec::new(),
        })
    }

    fn seal_all(&mut self) -> Result<(), StorageError> {
        let open = std::mem::take(&mut self.open);
        open.into_values()
            .try_for_each(|writing| self.seal(writing))
    }

    /// Makes a file whole and durable; its name is with all the others.
    fn seal(&mut self, writing: Writing) -> Result<(), StorageError> {
        let segment = writing.segment();
        let path = self.segments.path(&segment);
        let footer = segment::encode_footer(&writing.checksums, &writing.blocks);
        let mut file = writing.file;
        file.append(&[IoSlice::new(&footer)])
            .map_err(StorageError::io("write", &path))?;
        file.sync().map_err(StorageError::io("sync", &path))?;
        self.moved.segments.push(segment);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        self.write()?;
        self.seal_all()?;
        if !planted::has(Bug::SegmentNameUnsynced) {
            self.segments.sync_directory()?;
        }
        for segment in &self.moved.segments {
            self.segments.add(*segment);
        }
        Ok(())
    }

    /// Leaves nothing behind: what failed for want of room must not take more of it.
    fn abandon(&self) {
        for path in &self.made {
            // What stays is removed by the next start.
            self.segments.fs().remove(path).ok();
        }
    }
}

impl Writing {
    fn segment(&self) -> Segment {
        let bytes = self.blocks.iter().map(|block| u64::from(block.bytes));
        Segment {
            number: self.head.number,
            log: self.head.log,
            base: self.head.base,
            bytes: bytes.sum(),
        }
    }

    fn write(
        &mut self,
        segments: &Segments,
        (first, parts): (Offset, &[Part]),
    ) -> Result<BlockAt, StorageError> {
        let (head, at) = segment::encode_block(&self.checksums, self.file.end(), (first, parts));
        let runs = parts.iter().map(|part| IoSlice::new(&part.bytes));
        let slices: Vec<_> = std::iter::once(IoSlice::new(&head)).chain(runs).collect();
        self.file
            .append(&slices)
            .map_err(|error| StorageError::io("write", &segments.path(&self.segment()))(error))?;
        self.blocks.push(at);
        Ok(at)
    }
}

/// How many of these make one block: consecutive ones, as many as fit an extent, at least one.
fn block_of(parts: &[(Offset, Part)]) -> usize {
    let (mut count, mut bytes, mut next) = (0, 0, None);
    let fits = |(first, part): &&(Offset, Part)| {
        count += part.count;
        bytes += part.bytes.len();
        let follows = next.is_none_or(|next| next == *first);
        let is_first = next.is_none();
        next = Some(first + u64::from(part.count));
        let is_extent = count <= EXTENT_MESSAGES_MAX && bytes <= EXTENT_BYTES_MAX as usize;
        follows && (is_extent || is_first)
    };
    parts.iter().take_while(fits).count()
}

/// What of a move's run, or of the parts of its block, is kept.
fn kept_parts(wanted: &Move, payload: &Bytes) -> Vec<(Offset, Part)> {
    let parts = match wanted.record.file {
        FileId::Segment(_) => segment::parts(payload).collect(),
        FileId::Journal(_) => {
            let start = wanted.start as usize;
            let run = payload.get(start..start + wanted.bytes as usize);
            vec![Part {
                count: wanted.count,
                published_at: wanted.published_at,
                bytes: run.map(|run| payload.slice_ref(run)).unwrap_or_default(),
            }]
        }
    };
    let mut first = wanted.first;
    let kept = parts.into_iter().filter_map(|part| {
        let offset = first;
        first += u64::from(part.count);
        trim(wanted, offset, &part, payload.len())
    });
    kept.collect()
}

/// What of a part is kept; `None`: nothing.
fn trim(wanted: &Move, first: Offset, part: &Part, read_bytes: usize) -> Option<(Offset, Part)> {
    let end = first + u64::from(part.count);
    let kept = wanted.kept.start.clamp(first, end)..wanted.kept.end.clamp(first, end);
    let count = u32::try_from(kept.end - kept.start).ok()?;
    if count == 0 {
        return None;
    }
    let skipped = u32::try_from(kept.start - first).ok()?;
    let from = run::skip(&part.bytes, skipped)?;
    let to = if kept.end == end {
        part.bytes.len()
    } else {
        from + run::skip(part.bytes.get(from..)?, count)?
    };
    let shares = (to - from) * SHARED_PART >= read_bytes;
    let bytes = part.bytes.slice(from..to);
    Some((
        kept.start,
        Part {
            count,
            published_at: part.published_at,
            bytes: if shares {
                bytes
            } else {
                Bytes::copy_from_slice(&bytes)
            },
        },
    ))
}
