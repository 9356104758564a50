//! Bodies on their way from the journal to segments: which are to be moved, and where they went.
//!
//! A journal file that is full, and most of which is needed, stays what it is: writing its bodies a second time
//! would gain nothing. It is emptied when little of it is needed any more, when its pieces are so small that
//! they cost more memory than blocks would, or when the bodies of a log lie so far apart in it that reading
//! them means reading the others'. Segments are emptied when little of them is needed. What is in memory still
//! is not moved: most of it is settled before it would have to be read.

use std::collections::{BTreeMap, BTreeSet};

use siding_protocol::limits::{EXTENT_BYTES_MAX, EXTENT_MESSAGES_MAX};
use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use super::log::{LogPieces, Piece};
use super::records::Records;
use super::{Bodies, Placed, release};
use crate::storage::{FileId, RecordAt, Segment};

/// Past so many pieces no further file is emptied by the same checkpoint: each is held in memory until then.
const MOVED_PIECES_MAX: u64 = 200_000;
/// A file of which less than this part is needed is emptied.
const SPARSE_PART: u64 = 4;
/// A file with so many times the pieces that blocks would make of it is emptied.
const PIECES_PER_BLOCK: u64 = 4;
/// A file is emptied if, log by log, so many times the bytes must be read that are needed.
const READ_PER_NEEDED: u64 = 4;

/// Consecutive messages that are to be moved: what is kept of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which log.
    pub log: u64,
    /// The messages.
    pub kept: OffsetRange,
    /// Offset of the run's first message.
    pub first: Offset,
    /// Messages of the run.
    pub count: u32,
    /// When they were stored; 0: its block says it.
    pub published_at: Timestamp,
    /// Where the run lies.
    pub record: RecordAt,
    /// Where in the payload, in bytes; of a block 0.
    pub start: u32,
    /// How long, in bytes; of a block all of it.
    pub bytes: u32,
}

/// What had better be moved, by file.
#[derive(Debug, Default)]
pub struct Plan {
    /// Bytes to be moved, and what, by log and offset.
    files: BTreeMap<FileId, (u64, Vec<Move>)>,
    pieces: u64,
}

impl Plan {
    /// Whether nothing is to be moved.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// How many moves there are at most.
    pub fn pieces(&self) -> u64 {
        self.pieces
    }

    /// The moves out of files of which nothing is in memory, oldest first, as far as what is moved takes at
    /// most `room_bytes`; in an order in which each record is read once.
    pub fn moves(self, fresh_from: Option<u64>, room_bytes: u64) -> Vec<Move> {
        let (mut moves, mut room_bytes) = (Vec::new(), room_bytes);
        for (file, (bytes, of_file)) in self.files {
            let number = file.in_journal();
            let is_fresh = fresh_from.is_some_and(|fresh| number.is_some_and(|it| it >= fresh));
            if let Some(left) = room_bytes.checked_sub(bytes).filter(|_| !is_fresh) {
                room_bytes = left;
                moves.extend(of_file);
            }
        }
        in_order(moves)
    }
}

/// Segments first, by log and offset, as each block is read for itself; then the journal, record by record.
fn in_order(mut moves: Vec<Move>) -> Vec<Move> {
    moves.sort_by_key(|it| {
        let is_journal = it.record.file.in_journal().is_some();
        (is_journal.then_some(it.record), it.log, it.kept.start)
    });
    moves
}

/// What of a file is needed.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    pieces: u64,
    messages: u64,
    /// Bytes of the messages, about.
    kept: u64,
    /// Bytes of the records that must be read for them, log by log.
    read: u64,
}

impl Tally {
    fn is_sparse(&self, bytes: u64) -> bool {
        self.kept.saturating_mul(SPARSE_PART) < bytes
    }

    /// Whether a journal file of so many bytes is emptied.
    fn moves(&self, bytes: u64) -> bool {
        let by_bytes = self.kept.div_ceil(u64::from(EXTENT_BYTES_MAX));
        let by_count = self.messages.div_ceil(u64::from(EXTENT_MESSAGES_MAX));
        self.is_sparse(bytes)
            || self.pieces > by_bytes.max(by_count) * PIECES_PER_BLOCK
            || self.read > self.kept.saturating_mul(READ_PER_NEEDED)
    }
}

/// Consecutive messages of one log that lie in one block now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Offset of the first message.
    pub first: Offset,
    /// Messages.
    pub count: u32,
    /// When they were stored; 0: it says it itself, part by part.
    pub published_at: Timestamp,
    /// Where it lies.
    pub record: RecordAt,
}

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// By log, rising.
    pub blocks: BTreeMap<u64, Vec<Block>>,
    /// The files they lie in, durable.
    pub segments: Vec<Segment>,
}

impl Block {
    fn end(&self) -> Offset {
        self.first + u64::from(self.count)
    }

    /// A piece that keeps these of its messages.
    fn piece(&self, row: u32, kept: &OffsetRange) -> Piece {
        let placed = Placed {
            log: 0,
            first: self.first,
            count: self.count,
            published_at: self.published_at,
            record: self.record,
            start: 0,
            bytes: self.record.length,
        };
        let mut piece = Piece::new(&placed, row);
        piece.keep(kept);
        piece
    }
}

impl Bodies {
    /// What had better be moved, out of these full journal files, with their bytes, and out of segments; for
    /// the bodies of a snapshot, which knows nothing of what is in memory.
    pub fn plan(&self, full: &[(u64, u64)]) -> Plan {
        let tallies = self.tallies();
        let full: BTreeMap<u64, u64> = full.iter().copied().collect();
        let is_chosen = |file: &FileId, tally: &Tally| match file {
            FileId::Segment(number) => {
                let segment = self.segments.get(number);
                segment.is_some_and(|segment| tally.is_sparse(segment.bytes))
            }
            FileId::Journal(number) => full.get(number).is_some_and(|bytes| tally.moves(*bytes)),
        };
        let mut plan = Plan::default();
        for (file, tally) in tallies
            .iter()
            .filter(|(file, tally)| is_chosen(file, tally))
        {
            if plan.pieces > 0 && plan.pieces + tally.pieces > MOVED_PIECES_MAX {
                break;
            }
            plan.pieces += tally.pieces;
            plan.files.insert(*file, (tally.kept, Vec::new()));
        }
        if plan.pieces > 0 {
            for (log, piece, at) in self.placed() {
                if let Some((_, moves)) = plan.files.get_mut(&at.file) {
                    moves.push(move_of(log, piece, at));
                }
            }
        }
        plan
    }

    /// What is to be moved out of all journal files and of these segments.
    pub fn moves_out_of(&self, segments: &BTreeSet<u64>) -> Vec<Move> {
        let leaves = |file| match file {
            FileId::Segment(number) => segments.contains(&number),
            FileId::Journal(_) => true,
        };
        let moves = self.placed().filter(|(.., at)| leaves(at.file));
        in_order(
            moves
                .map(|(log, piece, at)| move_of(log, piece, at))
                .collect(),
        )
    }

    /// The oldest journal file of which something may be in memory; `None`: nothing is.
    pub fn fresh_from(&self) -> Option<u64> {
        self.tail.oldest_file()
    }

    /// What of each file is needed, segments first.
    fn tallies(&self) -> BTreeMap<FileId, Tally> {
        let mut tallies: BTreeMap<FileId, Tally> = BTreeMap::new();
        let mut before = None;
        for (log, piece, at) in self.placed() {
            let tally = tallies.entry(at.file).or_default();
            let kept = piece.kept();
            let messages = kept.end - kept.start;
            tally.pieces += 1;
            tally.messages += messages;
            tally.kept += u64::from(piece.bytes) * messages / u64::from(piece.count);
            if before.replace((log, at)) != Some((log, at)) {
                tally.read += u64::from(at.length);
            }
        }
        tallies
    }

    /// Every piece that keeps something, with its log and its record.
    fn placed(&self) -> impl Iterator<Item = (u64, &Piece, RecordAt)> {
        let logs = self.logs.iter();
        let pieces = logs.flat_map(|(log, pieces)| pieces.iter_from(0).map(|piece| (*log, piece)));
        pieces.map(|(log, piece)| (log, piece, self.records.at(piece.record)))
    }

    /// What was moved lies elsewhere from now on, as far as it is still needed. What was moved at once may
    /// come in several parts, the last of which has the segments.
    pub fn relocate(&mut self, moved: &Moved) {
        let (records, tail, cache) = (&mut self.records, &mut self.tail, &mut self.cache);
        for (log, blocks) in &moved.blocks {
            if let Some(pieces) = self.logs.get_mut(log) {
                // A part of it may be in memory.
                pieces.relocate(blocks, records, |piece, records| {
                    release(piece, records, tail, cache);
                });
            }
        }
        self.note_empty();
        for segment in &moved.segments {
            self.segments.insert(segment.number, *segment);
            // All of it may have been settled meanwhile.
            if self.records.used(FileId::Segment(segment.number)).pieces == 0 {
                self.empty.0.push(segment.number);
                self.empty.1 += segment.bytes;
            }
        }
    }

    /// Takes out the segments in which nothing is needed any more: the next snapshot does not name them, and
    /// once it is durable they can go.
    pub fn take_empty_segments(&mut self) -> Vec<u64> {
        self.empty.1 = 0;
        let empty = std::mem::take(&mut self.empty.0);
        for number in &empty {
            self.segments.remove(number);
        }
        empty
    }

    /// These are named no more: nothing lies there since [`Bodies::moves_out_of`] was followed.
    pub fn drop_segments(&mut self, numbers: &BTreeSet<u64>) {
        self.segments.retain(|number, _| !numbers.contains(number));
        self.empty = (Vec::new(), 0);
    }

    /// These journal files, with their bytes, hold nothing any more but bodies; those of which none is needed
    /// count as empty from now on.
    pub fn note_kept(&mut self, files: BTreeMap<u64, u64>) {
        let is_needed = |number: &u64| self.records.used(FileId::Journal(*number)).pieces > 0;
        let (needed, empty): (BTreeMap<_, _>, BTreeMap<_, _>) =
            files.into_iter().partition(|(number, _)| is_needed(number));
        self.kept_files = needed;
        let segments = self.empty.0.iter();
        let segments = segments.filter_map(|number| self.segments.get(number));
        let segments: u64 = segments.map(|segment| segment.bytes).sum();
        self.empty.1 = segments + empty.values().sum::<u64>();
    }

    /// Bytes of the files that are kept though nothing in them is needed any more.
    pub fn empty_bytes(&self) -> u64 {
        self.empty.1
    }

    /// After pieces were let go.
    pub(super) fn note_empty(&mut self) {
        for file in self.records.take_emptied() {
            self.empty.1 += match file {
                // One that is not known yet is judged when all that was moved to it has come.
                FileId::Segment(number) => match self.segments.get(&number) {
                    Some(segment) => {
                        self.empty.0.push(number);
                        segment.bytes
                    }
                    None => 0,
                },
                FileId::Journal(number) => self.kept_files.remove(&number).unwrap_or(0),
            };
        }
    }

    /// The segments in which bodies lie.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        self.segments.values().copied()
    }
}

fn move_of(log: u64, piece: &Piece, record: RecordAt) -> Move {
    Move {
        log,
        kept: piece.kept(),
        first: piece.first,
        count: piece.count,
        published_at: piece.published_at,
        record,
        start: piece.start,
        bytes: piece.bytes,
    }
}

impl LogPieces {
    /// What lies in these blocks, rising, is found there from now on; `left` sees each piece that lay
    /// elsewhere.
    fn relocate(
        &mut self,
        blocks: &[Block],
        records: &mut Records,
        mut left: impl FnMut(&Piece, &mut Records),
    ) {
        let Some(first) = blocks.first() else {
            return;
        };
        let mut blocks = blocks.iter().peekable();
        let from = self.find(first.first);
        // The pieces from `from` on are put back one by one, those that widen another one left out.
        let (mut at, mut end) = (from, from);
        while let Some(piece) = self.get(at) {
            let kept = piece.kept();
            while blocks.next_if(|block| block.end() <= kept.start).is_some() {}
            let Some(block) = blocks.peek() else { break };
            at += 1;
            if piece.count == 0 {
                self.drop_gap();
                continue;
            }
            let piece = if block.first <= kept.start && kept.end <= block.end() {
                left(&piece, records);
                let row = records.row(block.record);
                if self.widen(end, (row, &kept)) {
                    continue;
                }
                records.hold(row);
                block.piece(row, &kept)
            } else {
                piece
            };
            self.put(end, piece);
            end += 1;
        }
        self.close_up(end..at);
    }
}
