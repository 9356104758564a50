//! Bodies on their way from the journal to segments: which are to be moved, and where they went.
//!
//! What is in memory still is not moved: most of it is settled before it would have to be read. Files are
//! emptied oldest first, so of one log what lies in segments is older than what lies in the journal. A segment
//! of which little is needed any more is emptied like a journal file.

use std::collections::{BTreeMap, BTreeSet};

use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use super::log::{LogPieces, Piece};
use super::records::Records;
use super::{Bodies, Placed, release};
use crate::storage::{FileId, RecordAt, Segment};

/// Past so many pieces no further file is emptied by the same checkpoint: the core thread looks at each.
const MOVED_PIECES_MAX: u64 = 50_000;
/// A segment of which less than this part is needed is emptied.
const SPARSE_PART: u64 = 4;

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
    /// What is to be moved out of these full journal files and out of sparse segments, in an order in which
    /// each record is read once and the offsets of each log rise. Files in which something is in memory wait,
    /// and those behind them. What is moved takes at most `room_bytes`.
    pub fn moves(&self, full: &[u64], room_bytes: u64) -> Vec<Move> {
        let mut room_bytes = room_bytes;
        let mut moves = Vec::new();
        for segment in self.sparse_segments() {
            let used = self.records.used(FileId::Segment(segment.number));
            if let Some(left) = room_bytes.checked_sub(used.bytes) {
                room_bytes = left;
                self.moves_of_segment(&segment, &mut moves);
            }
        }
        moves.sort_by_key(|it| (it.log, it.kept.start));
        let mut from_journal = self.moves_of_journal(full, room_bytes);
        from_journal.sort_by_key(|it| (it.record, it.log, it.kept.start));
        moves.append(&mut from_journal);
        moves
    }

    /// What is to be moved out of all journal files and of these segments, in that order for each log.
    pub fn moves_out_of(&self, segments: &BTreeSet<u64>) -> Vec<Move> {
        let mut moves = Vec::new();
        for segment in self
            .segments
            .values()
            .filter(|it| segments.contains(&it.number))
        {
            self.moves_of_segment(segment, &mut moves);
        }
        moves.sort_by_key(|it| (it.log, it.kept.start));
        let mut from_journal = Vec::new();
        for (log, pieces) in &self.logs {
            let all = pieces.iter_from(0);
            let placed = all.map(|piece| (piece, self.records.at(piece.record)));
            let placed = placed.filter(|(_, at)| matches!(at.file, FileId::Journal(_)));
            from_journal.extend(placed.map(|(piece, at)| move_of(*log, piece, at)));
        }
        from_journal.sort_by_key(|it| (it.record, it.log, it.kept.start));
        moves.append(&mut from_journal);
        moves
    }

    fn sparse_segments(&self) -> Vec<Segment> {
        let segments = self.segments.values().copied();
        let is_sparse = |segment: &Segment| {
            let used = self.records.used(FileId::Segment(segment.number));
            used.pieces > 0 && used.bytes.saturating_mul(SPARSE_PART) < segment.bytes
        };
        segments.filter(is_sparse).collect()
    }

    fn moves_of_segment(&self, segment: &Segment, moves: &mut Vec<Move>) {
        let Some(pieces) = self.logs.get(&segment.log) else {
            return;
        };
        let file = FileId::Segment(segment.number);
        let mut left = self.records.used(file).pieces;
        for piece in pieces.iter_from(pieces.find(segment.base)) {
            if left == 0 {
                return;
            }
            let record = self.records.at(piece.record);
            if record.file == file {
                moves.push(move_of(segment.log, piece, record));
                left -= 1;
            }
        }
    }

    fn moves_of_journal(&self, full: &[u64], room_bytes: u64) -> Vec<Move> {
        let mut chosen = BTreeSet::new();
        let (mut pieces, mut bytes) = (0, 0);
        for number in full {
            let file = FileId::Journal(*number);
            let used = self.records.used(file);
            let too_many = pieces > 0 && pieces + used.pieces > MOVED_PIECES_MAX;
            pieces += used.pieces;
            bytes += used.bytes;
            if too_many || bytes > room_bytes {
                break;
            }
            if used.pieces > 0 {
                chosen.insert(file);
            }
        }
        if chosen.is_empty() {
            return Vec::new();
        }
        let (mut moves, mut in_memory) = (Vec::new(), None);
        for (log, pieces) in &self.logs {
            let in_journal = pieces
                .iter_back()
                .map(|piece| (piece, self.records.at(piece.record)));
            let in_journal = in_journal.take_while(|(_, at)| matches!(at.file, FileId::Journal(_)));
            for (piece, at) in in_journal.filter(|(_, at)| chosen.contains(&at.file)) {
                if self.tail.holds(&piece.tickets()) {
                    in_memory = in_memory.into_iter().chain([at.file]).min();
                } else {
                    moves.push(move_of(*log, piece, at));
                }
            }
        }
        moves.retain(|it| in_memory.is_none_or(|first| it.record.file < first));
        moves
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

    /// Bytes of the segments in which nothing is needed any more.
    pub fn empty_bytes(&self) -> u64 {
        self.empty.1
    }

    /// After pieces were let go.
    pub(super) fn note_empty(&mut self) {
        for number in self.records.take_emptied() {
            // One that is not known yet is judged when all that was moved to it has come.
            if let Some(segment) = self.segments.get(&number) {
                self.empty.0.push(number);
                self.empty.1 += segment.bytes;
            }
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
