//! Where the bodies of stored messages are: in memory while they are fresh, else in the journal, or in a
//! segment if they were moved out of it (`moving.rs`).
//!
//! One [`Bodies`] belongs to one shard. It knows no queue, only log ids and offsets; it never does
//! IO and never waits: what is not in memory is answered as records to read ([`Lookup::Missing`]),
//! which somebody else reads and brings back ([`Bodies::fill`]).
//!
//! ```text
//! log 7:  piece  piece  piece  piece        consecutive messages of one record, ≤ one extent
//!           │      │      │      └─ chunks in the tail: fresh bytes, oldest dropped over budget
//!           └──────┴──────┴─ record: file, position, length; its file is live while it is
//! ```
//!
//! Small publishes of one entry that lie back to back join into one piece, so memory and index are
//! per extent, not per message.

mod cache;
mod index;
mod log;
mod moving;
mod records;
mod tail;
#[cfg(test)]
mod tests;

pub use index::{IndexDamage, IndexError};
pub use moving::{Block, Move, Moved, Plan};

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use self::cache::ReadCache;
use self::log::{Change, LogPieces, Piece, Run};
use self::records::Records;
use self::tail::{Chunk, Tail};
use super::segment;
use super::{FileId, RecordAt, Segment};

/// Most records that one [`Lookup::Missing`] names, the one that is needed first counted.
pub const READ_AHEAD_RECORDS_MAX: usize = 8;
/// Past so many bytes of payload a [`Lookup::Missing`] names no further record.
pub const READ_AHEAD_BYTES: u64 = 4 << 20;
/// No further than so many pieces a [`Lookup::Missing`] looks for records to read ahead.
const READ_AHEAD_PIECES_MAX: usize = 256;

/// How much memory bodies may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Of fresh bodies, in bytes; over it the oldest pieces are served from the journal. 0: none.
    pub tail_bytes: u64,
    /// Of payloads read back, in bytes. The newest one is kept even if it is larger alone.
    pub read_bytes: u64,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            tail_bytes: 256 << 20,
            read_bytes: 32 << 20,
        }
    }
}

/// Consecutive messages of one log whose bytes lie together in one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Which log.
    pub log: u64,
    /// Offset of the first message; above every offset placed in this log before.
    pub first: Offset,
    /// Messages, at least 1.
    pub count: u32,
    /// When they were stored.
    pub published_at: Timestamp,
    /// Which record of the journal holds them.
    pub record: RecordAt,
    /// Where in the record's payload, in bytes.
    pub start: u32,
    /// How long, in bytes.
    pub bytes: u32,
}

/// Consecutive messages with their bytes: a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Offset of the first message.
    pub first: Offset,
    /// Messages, at least 1.
    pub count: u32,
    /// When they were stored.
    pub published_at: Timestamp,
    /// The run.
    pub bytes: Bytes,
}

/// Whether a look-up came to the end of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// All that is kept of the range has been given.
    Found,
    /// The slices before `at` have been given; the message at `at` is not in memory.
    Missing {
        /// Where to go on after the read.
        at: Offset,
        /// The record that holds `at`, then those that are likely to be needed next: first the
        /// rest of the range, then beyond it. None of them is in memory.
        reads: Vec<RecordAt>,
    },
}

/// Where the bodies of one shard are. Owned by its core thread.
#[derive(Debug)]
pub struct Bodies {
    logs: BTreeMap<u64, LogPieces>,
    records: Records,
    tail: Tail,
    cache: ReadCache,
    /// By number: those that the next snapshot names.
    segments: BTreeMap<u64, Segment>,
    /// Those of them in which nothing is needed any more; and their bytes, with those of journal files.
    empty: (Vec<u64>, u64),
    /// Journal files that hold nothing but bodies, and their bytes.
    kept_files: BTreeMap<u64, u64>,
}

impl Bodies {
    /// Knows nothing yet.
    pub fn new(budgets: Budgets) -> Self {
        Self {
            logs: BTreeMap::new(),
            records: Records::default(),
            tail: Tail::new(budgets.tail_bytes),
            cache: ReadCache::new(budgets.read_bytes),
            segments: BTreeMap::new(),
            empty: (Vec::new(), 0),
            kept_files: BTreeMap::new(),
        }
    }

    /// Remembers where messages lie, and holds `bytes` in the tail while the budget lasts.
    ///
    /// On replay `bytes` is `None`: a replayed run is a slice of its whole record, so the few
    /// messages that turn out to be live would pin all that was read, uncounted by the budget. They
    /// are read again when they are wanted, with read-ahead.
    ///
    /// # Panics
    /// If `first` is not above every offset placed in this log, or the messages reach past the
    /// record's payload: the engine and the journal disagree, and going on would deliver wrong
    /// bytes.
    pub fn place(&mut self, placed: Placed, bytes: Option<Bytes>) {
        let end = u64::from(placed.start) + u64::from(placed.bytes);
        assert!(
            end <= u64::from(placed.record.length),
            "a body lies in its record"
        );
        let record = self.records.row(placed.record);
        let mut piece = Piece::new(&placed, record);
        if let Some(bytes) = bytes {
            debug_assert_eq!(bytes.len() as u64, u64::from(placed.bytes), "all its bytes");
            piece.chunks = 1;
            let chunk = Chunk {
                first: placed.first,
                count: placed.count,
                bytes,
            };
            piece.ticket = self.tail.push(chunk, placed.record.file.number());
        }
        if self.logs.entry(placed.log).or_default().push(piece) {
            self.records.hold(record);
        }
    }

    /// These bodies are needed no more. What is discarded already, or was never placed, is ignored.
    pub fn discard(&mut self, log: u64, range: &OffsetRange) {
        let Some(pieces) = self.logs.get_mut(&log) else {
            return;
        };
        let (records, tail, cache) = (&mut self.records, &mut self.tail, &mut self.cache);
        pieces.discard(range, |change| match change {
            Change::Dropped(piece) => release(piece, records, tail, cache),
            Change::Split(piece) => records.hold(piece.record),
        });
        if pieces.live() == 0 {
            self.logs.remove(&log);
        }
        self.note_empty();
    }

    /// The log is deleted.
    pub fn forget(&mut self, log: u64) {
        self.discard(log, &(0..Offset::MAX));
    }

    /// When a message was published, as long as its body is kept.
    pub fn published_at(&self, log: u64, offset: Offset) -> Option<Timestamp> {
        self.logs.get(&log)?.published_at(offset)
    }

    /// Appends to `out`, in order of offset, the runs of the messages of `range` that are kept, cut
    /// where pieces end, up to the first that is not in memory. Messages that were discarded, or
    /// never placed, are left out.
    pub fn lookup(&mut self, log: u64, range: &OffsetRange, out: &mut Vec<Slice>) -> Lookup {
        let Some(pieces) = self.logs.get_mut(&log) else {
            return Lookup::Found;
        };
        let mut index = pieces.find(range.start);
        while let Some(piece) = pieces.get(index) {
            let kept = piece.kept();
            if kept.start >= range.end {
                break;
            }
            let wanted = kept.start.max(range.start)..kept.end.min(range.end);
            if wanted.is_empty() {
                // A gap.
            } else if self.tail.holds(&piece.tickets()) {
                for chunk in self.tail.chunks(piece.tickets(), &wanted) {
                    out.extend(fresh(pieces, &piece, chunk, &wanted));
                }
            } else if let Some(payload) = self.cache.get(self.records.at(piece.record)) {
                match self.records.at(piece.record).file {
                    FileId::Journal(_) => out.extend(read_back(pieces, &piece, payload, &wanted)),
                    FileId::Segment(_) => moved(pieces, &piece, payload, &wanted, out),
                }
            } else {
                let reads = self.missing(log, index);
                return Lookup::Missing {
                    at: wanted.start,
                    reads,
                };
            }
            index += 1;
        }
        Lookup::Found
    }

    /// The records of a log that are not in memory, from the piece at `index` on.
    fn missing(&self, log: u64, index: usize) -> Vec<RecordAt> {
        let mut reads: Vec<RecordAt> = Vec::new();
        let mut bytes = 0;
        let pieces = self.logs.get(&log).into_iter();
        let pieces = pieces.flat_map(|pieces| pieces.iter_from(index));
        for piece in pieces.take(READ_AHEAD_PIECES_MAX) {
            let record = self.records.at(piece.record);
            if reads.last() == Some(&record)
                || self.tail.holds(&piece.tickets())
                || self.cache.holds(record)
            {
                continue;
            }
            if reads.len() == READ_AHEAD_RECORDS_MAX || bytes > READ_AHEAD_BYTES {
                break;
            }
            bytes += u64::from(record.length);
            reads.push(record);
        }
        reads
    }

    /// Brings the payload of a record that was read: the next look-up finds it. Ignored if no live
    /// message needs the record any more.
    pub fn fill(&mut self, record: RecordAt, payload: Bytes) {
        if self.records.is_live(record) {
            self.cache.fill(record, payload);
        }
    }

    /// Whether a live message lies in this record.
    pub fn needs(&self, record: RecordAt) -> bool {
        self.records.is_live(record)
    }

    /// The first offset from `from` on that does not lie in `record`: where to go on when it cannot
    /// be read.
    pub fn after(&self, log: u64, from: Offset, record: RecordAt) -> Offset {
        let Some(pieces) = self.logs.get(&log) else {
            return from;
        };
        let inside = |piece: &&Piece| self.records.at(piece.record) == record;
        let inside = pieces.iter_from(pieces.find(from)).take_while(inside);
        inside.last().map_or(from, |piece| piece.kept().end)
    }

    /// Every record in which a body lies, in order of place.
    pub fn live_records(&self) -> impl Iterator<Item = RecordAt> {
        self.records.iter().map(|(at, _)| at)
    }

    /// By log: the messages that lie in these bytes of a file, or reach into them.
    pub fn lying_in(&self, file: FileId, bytes: &Range<u64>) -> BTreeMap<u64, Vec<OffsetRange>> {
        let mut found = BTreeMap::new();
        for (log, pieces) in &self.logs {
            let inside = pieces.iter_from(0).filter(|piece| {
                let at = self.records.at(piece.record);
                let place = at.bytes();
                at.file == file && place.start < bytes.end && bytes.start < place.end
            });
            let inside: Vec<_> = inside.map(Piece::kept).collect();
            if !inside.is_empty() {
                found.insert(*log, inside);
            }
        }
        found
    }

    /// The files in which a body is still needed, rising.
    pub fn live_files(&self) -> impl Iterator<Item = FileId> {
        self.records.files().map(|(file, _)| file)
    }

    /// Bytes of fresh bodies held now; never over the budget.
    pub fn tail_bytes_used(&self) -> u64 {
        self.tail.bytes()
    }

    /// Bytes of payloads read back and held now; over the budget only by one payload, alone.
    pub fn read_bytes_used(&self) -> u64 {
        self.cache.bytes()
    }

    /// Pieces kept, over all logs.
    pub fn pieces(&self) -> usize {
        self.logs.values().map(LogPieces::live).sum()
    }
}

/// Lets go of all that a piece held.
fn release(piece: &Piece, records: &mut Records, tail: &mut Tail, cache: &mut ReadCache) {
    tail.remove(piece.tickets());
    if let Some(record) = records.release(piece.record) {
        cache.remove(record);
    }
}

/// What of `wanted` lies in a chunk of the tail; shares its memory.
fn fresh(
    pieces: &mut LogPieces,
    piece: &Piece,
    chunk: &Chunk,
    wanted: &OffsetRange,
) -> Option<Slice> {
    let run = Run {
        first: chunk.first,
        count: chunk.count,
        bytes: &chunk.bytes,
    };
    let (offsets, position) = pieces.cut(&run, wanted)?;
    Slice::new(offsets, piece.published_at, chunk.bytes.slice(position))
}

/// What of `wanted` lies in a payload that was read.
fn read_back(
    pieces: &mut LogPieces,
    piece: &Piece,
    payload: &Bytes,
    wanted: &OffsetRange,
) -> Option<Slice> {
    let start = piece.start as usize;
    let run = Run {
        first: piece.first,
        count: piece.count,
        bytes: payload.get(start..start + piece.bytes as usize)?,
    };
    let (offsets, position) = pieces.cut(&run, wanted)?;
    let bytes = cache::part(payload, start + position.start..start + position.end);
    Slice::new(offsets, piece.published_at, bytes)
}

/// What of `wanted` lies in a block that was read.
fn moved(
    pieces: &mut LogPieces,
    piece: &Piece,
    payload: &Bytes,
    wanted: &OffsetRange,
    out: &mut Vec<Slice>,
) {
    let mut first = piece.first;
    for part in segment::parts(payload) {
        let run = Run {
            first,
            count: part.count,
            bytes: &part.bytes,
        };
        first += u64::from(part.count);
        if let Some((offsets, position)) = pieces.cut(&run, wanted) {
            let bytes = cache::part(&part.bytes, position);
            out.extend(Slice::new(offsets, part.published_at, bytes));
        }
    }
}

impl Slice {
    fn new(offsets: OffsetRange, published_at: Timestamp, bytes: Bytes) -> Option<Self> {
        let count = u32::try_from(offsets.end - offsets.start).ok()?;
        Some(Self {
            first: offsets.start,
            count,
            published_at,
            bytes,
        })
    }
}
