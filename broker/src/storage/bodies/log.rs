//! The pieces of one log, in order of offset.

use std::collections::VecDeque;
use std::ops::Range;

use siding_protocol::limits::{EXTENT_BYTES_MAX, EXTENT_MESSAGES_MAX, RUN_MESSAGES_MAX};
use siding_protocol::run;
use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use super::Placed;

/// Readers of one log that each go on where they stopped.
const CURSORS_MAX: usize = 8;

/// Consecutive messages whose bytes lie together in one record.
///
/// Two pieces may name the same messages: what is discarded inside a piece splits it into two that
/// keep different ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) first: Offset,
    /// 0: its block says it, part by part.
    pub(super) published_at: Timestamp,
    /// First of its tickets in the tail.
    pub(super) ticket: u64,
    /// How many tickets it had; 0: it never was in the tail.
    pub(super) chunks: u32,
    /// The row of its record.
    pub(super) record: u32,
    /// Where in the record's payload, in bytes.
    pub(super) start: u32,
    pub(super) bytes: u32,
    pub(super) count: u32,
    /// Messages discarded at the front.
    front: u16,
    /// Messages discarded at the back.
    back: u16,
}

// There is one for each extent of a backlog.
const _: () = assert!(size_of::<Piece>() <= 48);

impl Piece {
    pub(super) fn new(placed: &Placed, record: u32) -> Self {
        assert!(
            (1..=RUN_MESSAGES_MAX).contains(&placed.count),
            "a piece is a part of a run"
        );
        Self {
            first: placed.first,
            published_at: placed.published_at,
            ticket: 0,
            chunks: 0,
            record,
            start: placed.start,
            bytes: placed.bytes,
            count: placed.count,
            front: 0,
            back: 0,
        }
    }

    /// The messages that are kept.
    pub(super) fn kept(&self) -> OffsetRange {
        let end = self.first + u64::from(self.count);
        self.first + u64::from(self.front)..end - u64::from(self.back)
    }

    /// Keeps these only: a part of what is kept now. Nothing: it is a gap from now on.
    pub(super) fn keep(&mut self, kept: &OffsetRange) {
        let end = self.first + u64::from(self.count);
        if kept.is_empty() {
            (self.first, self.count, self.front, self.back) = (kept.start, 0, 0, 0);
        } else {
            self.front = trimmed(kept.start - self.first);
            self.back = trimmed(end - kept.end);
        }
    }

    /// Messages discarded at its front and at its back.
    pub(super) fn discarded(&self) -> (u32, u32) {
        (u32::from(self.front), u32::from(self.back))
    }

    pub(super) fn tickets(&self) -> Range<u64> {
        self.ticket..self.ticket + u64::from(self.chunks)
    }

    fn joins(&self, next: &Self) -> bool {
        let (count, bytes) = (
            self.count + next.count,
            self.bytes.saturating_add(next.bytes),
        );
        self.discarded() == (0, 0)
            && next.discarded() == (0, 0)
            && self.record == next.record
            && self.published_at == next.published_at
            && self.first + u64::from(self.count) == next.first
            && self.start + self.bytes == next.start
            && self.tickets().end == next.ticket
            && (self.chunks == 0) == (next.chunks == 0)
            && count <= EXTENT_MESSAGES_MAX
            && bytes <= EXTENT_BYTES_MAX
    }
}

/// Fits: something is kept, so less than a whole run was discarded.
fn trimmed(messages: u64) -> u16 {
    u16::try_from(messages).expect("less than a run")
}

/// A run in memory.
pub(super) struct Run<'a> {
    pub(super) first: Offset,
    pub(super) count: u32,
    pub(super) bytes: &'a [u8],
}

/// How far somebody has read through a run: so many messages are so many bytes. Offsets are never
/// given to other messages, so it stays true for ever.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    first: Offset,
    messages: u32,
    position: usize,
}

#[derive(Debug, Default)]
pub(super) struct LogPieces {
    /// By offset; what they keep rises and is apart.
    pieces: VecDeque<Piece>,
    /// How many of them keep nothing any more.
    gaps: usize,
    cursors: VecDeque<Cursor>,
}

impl LogPieces {
    /// Adds a piece at the end; false if it became part of the last one.
    pub(super) fn push(&mut self, piece: Piece) -> bool {
        if let Some(last) = self.pieces.back_mut() {
            assert!(last.kept().end <= piece.kept().start, "offsets rise");
            if last.joins(&piece) {
                last.count += piece.count;
                last.bytes += piece.bytes;
                last.chunks += piece.chunks;
                return false;
            }
        }
        self.pieces.push_back(piece);
        true
    }

    /// Lets go of what lies in `range`: `dropped` sees each piece that keeps nothing any more,
    /// `split` each that became two.
    pub(super) fn discard(&mut self, range: &OffsetRange, mut changed: impl FnMut(Change<'_>)) {
        let mut index = self.find(range.start);
        while let Some(piece) = self.pieces.get_mut(index) {
            let kept = piece.kept();
            if kept.start >= range.end {
                break;
            }
            let left = kept.start..range.start.clamp(kept.start, kept.end);
            let right = range.end.clamp(kept.start, kept.end)..kept.end;
            if kept.is_empty() {
                // A gap already.
            } else if left.is_empty() || right.is_empty() {
                piece.keep(if left.is_empty() { &right } else { &left });
                if piece.kept().is_empty() {
                    self.gaps += 1;
                    changed(Change::Dropped(piece));
                }
            } else {
                let mut second = *piece;
                piece.keep(&left);
                second.keep(&right);
                changed(Change::Split(&second));
                self.pieces.insert(index + 1, second);
                break;
            }
            index += 1;
        }
        self.sweep();
    }

    /// Takes gaps away: at both ends at once, elsewhere when they are the greater part.
    fn sweep(&mut self) {
        let is_gap = |piece: Option<&Piece>| piece.is_some_and(|piece| piece.count == 0);
        while is_gap(self.pieces.front()) {
            self.pieces.pop_front();
            self.gaps -= 1;
        }
        while is_gap(self.pieces.back()) {
            self.pieces.pop_back();
            self.gaps -= 1;
        }
        if self.gaps > self.pieces.len() / 2 {
            self.pieces.retain(|piece| piece.count > 0);
            self.gaps = 0;
        }
    }

    /// Where to look for this offset: all pieces before keep lower ones only.
    pub(super) fn find(&self, offset: Offset) -> usize {
        self.pieces
            .partition_point(|piece| piece.kept().end <= offset)
    }

    /// The piece there, which may keep nothing.
    pub(super) fn get(&self, index: usize) -> Option<Piece> {
        self.pieces.get(index).copied()
    }

    /// Pieces from there on that keep something.
    pub(super) fn iter_from(&self, index: usize) -> impl Iterator<Item = &Piece> {
        let from = self.pieces.range(index.min(self.pieces.len())..);
        from.filter(|piece| piece.count > 0)
    }

    /// Puts a piece in the place of the one there.
    pub(super) fn put(&mut self, index: usize, piece: Piece) {
        if let Some(place) = self.pieces.get_mut(index) {
            *place = piece;
        }
    }

    /// Takes away places that were left out.
    pub(super) fn close_up(&mut self, places: Range<usize>) {
        self.pieces.drain(places);
    }

    /// A piece that keeps nothing is left out.
    pub(super) fn drop_gap(&mut self) {
        self.gaps -= 1;
    }

    /// Whether the piece before `end` lies in this record too and ends where `kept` begins: then it keeps
    /// that as well. A gap lies nowhere: the row it names may be another record's by now.
    pub(super) fn widen(&mut self, end: usize, (record, kept): (u32, &OffsetRange)) -> bool {
        let last = end.checked_sub(1).and_then(|it| self.pieces.get_mut(it));
        let last = last.filter(|it| it.count > 0);
        let last = last.filter(|it| it.record == record && it.kept().end == kept.start);
        let Some(last) = last else {
            return false;
        };
        let wider = last.kept().start..kept.end;
        last.keep(&wider);
        true
    }

    /// When a kept message was published, if that is known without reading it.
    pub(super) fn published_at(&self, offset: Offset) -> Option<Timestamp> {
        let piece = self.get(self.find(offset))?;
        let is_known = piece.kept().start <= offset && piece.published_at > Timestamp(0);
        is_known.then_some(piece.published_at)
    }

    /// How many keep something.
    pub(super) fn live(&self) -> usize {
        self.pieces.len() - self.gaps
    }

    /// Where in a run the bytes of `wanted` lie; `None` if it holds none of them.
    pub(super) fn cut(
        &mut self,
        run: &Run<'_>,
        wanted: &OffsetRange,
    ) -> Option<(OffsetRange, Range<usize>)> {
        let end = run.first + u64::from(run.count);
        let offsets = wanted.start.max(run.first)..wanted.end.min(end);
        if offsets.is_empty() {
            return None;
        }
        let messages = |offset: Offset| u32::try_from(offset - run.first).ok();
        let start = self.position(run, messages(offsets.start)?)?;
        let stop = self.position(run, messages(offsets.end)?)?;
        Some((offsets, start..stop))
    }

    /// The byte after so many messages of a run, from the nearest cursor before it; `None` only if
    /// the run holds fewer, which the scan at its publish excludes.
    fn position(&mut self, run: &Run<'_>, messages: u32) -> Option<usize> {
        if messages == 0 {
            return Some(0);
        }
        if messages == run.count {
            return Some(run.bytes.len());
        }
        let usable = |(_, cursor): &(usize, &Cursor)| {
            cursor.first == run.first && cursor.messages <= messages
        };
        let cursors = self.cursors.iter().enumerate().filter(usable);
        let nearest = cursors
            .max_by_key(|(_, cursor)| cursor.messages)
            .map(|(index, _)| index);
        let nearest = nearest.and_then(|index| self.cursors.remove(index));
        let (skipped, from) = nearest.map_or((0, 0), |cursor| (cursor.messages, cursor.position));
        let position = from + run::skip(run.bytes.get(from..)?, messages - skipped)?;
        if self.cursors.len() == CURSORS_MAX {
            self.cursors.pop_front();
        }
        self.cursors.push_back(Cursor {
            first: run.first,
            messages,
            position,
        });
        Some(position)
    }
}

#[cfg(test)]
impl LogPieces {
    /// First offset of the run and messages read of it.
    pub(super) fn cursors(&self) -> Vec<(Offset, u32)> {
        self.cursors
            .iter()
            .map(|cursor| (cursor.first, cursor.messages))
            .collect()
    }
}

/// What a discard did to a piece.
pub(super) enum Change<'a> {
    /// It keeps nothing any more.
    Dropped(&'a Piece),
    /// It became two; this is the new one.
    Split(&'a Piece),
}
