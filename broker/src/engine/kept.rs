//! What a queue keeps of messages that have left, for whoever seeks back.
//!
//! An extent that nobody waits for any more is kept as a whole, until the last of its messages has
//! been gone for as long as the queue says; together they have at most `max_bytes`, and those that
//! were done first go first. Extents that lie between kept ones may be gone: a hole.

use std::collections::{BTreeMap, BTreeSet};

use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use super::command::{Piece, Place};
use super::effect::{Effect, Effects};
use super::log::{Extent, Kind, Log};
use super::runs::RangeSet;

/// An emptied extent takes more messages for this part of the time it is kept, so that a queue that
/// is drained message by message does not keep an extent for each of them.
const OPEN_PART: u64 = 8;

/// Extents that everything has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// By when the last of their messages left, then by offset.
    extents: BTreeMap<(Timestamp, Offset), Extent>,
    /// Their first offsets: derived.
    firsts: BTreeSet<Offset>,
    /// Their bytes: derived.
    bytes: u64,
}

impl Kept {
    /// All of them, each with when the last of its messages left; the first to go first.
    pub fn extents(&self) -> impl Iterator<Item = (Timestamp, &Extent)> {
        self.extents.iter().map(|((at, _), extent)| (*at, extent))
    }

    /// What they take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The lowest offset.
    pub fn first(&self) -> Option<Offset> {
        self.firsts.first().copied()
    }

    /// An extent whose last message left then.
    pub fn add(&mut self, left_at: Timestamp, extent: Extent) {
        self.bytes += u64::from(extent.bytes);
        self.firsts.insert(extent.first);
        self.extents.insert((left_at, extent.first), extent);
    }

    fn take(&mut self, at: (Timestamp, Offset)) {
        if let Some(extent) = self.extents.remove(&at) {
            self.bytes -= u64::from(extent.bytes);
            self.firsts.remove(&extent.first);
        }
    }

    fn oldest(&self) -> Option<((Timestamp, Offset), OffsetRange)> {
        let (at, extent) = self.extents.first_key_value()?;
        Some((*at, extent.range()))
    }

    /// The extent that emptied last, if `piece` goes on with it.
    fn reopen(
        &mut self,
        piece: Piece,
        end: Offset,
        open_until: impl Fn(&Extent) -> Timestamp,
        now: Timestamp,
    ) -> Option<Extent> {
        let (at, extent) = self.extents.last_key_value()?;
        let goes_on = extent.end() == end && extent.grown(piece).is_some();
        if !goes_on || open_until(extent) < now {
            return None;
        }
        let (at, extent) = (*at, *extent);
        self.take(at);
        Some(extent)
    }
}

impl Log {
    /// ms that a queue keeps what has left; 0: not at all.
    pub fn retain_settled_ms(&self) -> u64 {
        match &self.kind {
            Kind::Queue(settings) => settings.retain_settled_ms,
            Kind::Topic(_) => 0,
        }
    }

    /// The lowest offset that can be read, or sought back.
    pub fn first_kept(&self) -> Offset {
        let live = self.live_extents().next().map(|extent| extent.first);
        let first = live.into_iter().chain(self.kept.first()).min();
        match self.kind {
            Kind::Queue(_) => first.unwrap_or(self.end),
            Kind::Topic(_) => self.start,
        }
    }

    /// When the first of what has left has been kept long enough.
    pub(super) fn kept_until(&self) -> Option<Timestamp> {
        let ((left_at, _), _) = self.kept.oldest()?;
        Some(left_at.plus_ms(self.retain_settled_ms()))
    }

    /// Whether what has left takes more than it may.
    pub(super) fn keeps_too_much(&self) -> bool {
        match &self.kind {
            Kind::Queue(settings) => self.kept.bytes > settings.max_bytes,
            Kind::Topic(_) => false,
        }
    }

    /// Lets go what has been kept long enough by `due`, and what is too much.
    pub(super) fn let_go(&mut self, due: Timestamp, effects: &mut Effects) {
        while let Some((at, range)) = self.kept.oldest() {
            let is_old = at.0.plus_ms(self.retain_settled_ms()) <= due;
            if !is_old && !self.keeps_too_much() {
                return;
            }
            self.kept.take(at);
            let log = self.id;
            effects.push(Effect::Discard { log, range });
        }
    }

    /// Before a piece is stored: whether the last extent, which emptied lately, takes it.
    pub(super) fn reopen(&mut self, piece: Piece, now: Timestamp) -> bool {
        let open_ms = self.retain_settled_ms() / OPEN_PART;
        let open_until = |extent: &Extent| extent.first_at.plus_ms(open_ms);
        let Some(extent) = self.kept.reopen(piece, self.end, open_until, now) else {
            return false;
        };
        self.open_again(extent);
        true
    }

    /// Queue: everything that is kept from a place on is live again, and everything before it has
    /// left. Says where that is, and what there is: there may be holes.
    pub(super) fn rewind(&mut self, place: Place, now: Timestamp) -> (Offset, RangeSet) {
        let kept = std::mem::take(&mut self.kept).extents.into_iter();
        let kept = kept.map(|((left_at, _), extent)| (extent, left_at));
        let live = self.live_extents().map(|extent| (*extent, now));
        let mut all: Vec<_> = live.chain(kept).collect();
        all.sort_unstable_by_key(|(extent, _)| extent.first);
        self.extents = all.iter().map(|(extent, _)| *extent).collect();
        let lowest = all.first().map_or(self.end, |(extent, _)| extent.first);
        let place = self.offset_of(place).max(lowest);
        for (extent, left_at) in all.extract_if(.., |(extent, _)| extent.end() <= place) {
            let (live, dead) = (0, 0);
            self.kept.add(
                left_at,
                Extent {
                    live,
                    dead,
                    ..extent
                },
            );
        }
        let replayed = |extent: &Extent| extent.first.max(place)..extent.end();
        let there_is = all.iter().map(|(extent, _)| replayed(extent)).collect();
        self.hold(all.iter().map(|(extent, _)| {
            let (gone, dead) = (replayed(extent).start - extent.first, 0);
            let gone = u32::try_from(gone).expect("an extent holds at most 1,024 messages");
            let live = extent.count - gone;
            Extent {
                live,
                dead,
                ..*extent
            }
        }));
        (place, there_is)
    }
}
