//! One log: offsets, extents and what they are charged with. Bodies are elsewhere.

use std::collections::VecDeque;

use siding_protocol::limits::{EXTENT_BYTES_MAX, EXTENT_MESSAGES_MAX};
use siding_protocol::settings::{Order, QueueSettings, TopicSettings};
use siding_protocol::types::{Level, Offset, OffsetRange, Timestamp};

use super::command::Piece;
use super::dedup::Dedup;
use super::effect::{Effect, Effects};
use super::kept::Kept;
use super::planted::Planted;
use super::runs::RangeSet;
use super::seed::Seed;

/// What a log is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keeps what its one subscription has settled no longer than it says, usually not at all.
    Queue(QueueSettings),
    /// Keeps what retention allows.
    Topic(TopicSettings),
}

/// Consecutive stored messages of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset of the first message.
    pub first: Offset,
    /// Messages stored.
    pub count: u32,
    /// Queue: messages that have not left by any exit.
    pub live: u32,
    /// Queue: of these, dead letters.
    pub dead: u32,
    /// Stored bytes.
    pub bytes: u32,
    /// When the first was published.
    pub first_at: Timestamp,
    /// When the last was published.
    pub last_at: Timestamp,
}

impl Extent {
    /// The offset behind its last message.
    pub fn end(&self) -> Offset {
        self.first + u64::from(self.count)
    }

    /// Its offsets.
    pub fn range(&self) -> OffsetRange {
        self.first..self.end()
    }

    /// Bytes of `messages` of it, rounded up: the same for everybody who asks.
    pub fn bytes_of(&self, messages: u64) -> u64 {
        (u64::from(self.bytes) * messages).div_ceil(u64::from(self.count.max(1)))
    }

    /// Count and bytes with a piece more, if it has room for it.
    pub(super) fn grown(&self, piece: Piece) -> Option<(u32, u32)> {
        let count = self.count + piece.count;
        let bytes = self.bytes.saturating_add(piece.bytes);
        (count <= EXTENT_MESSAGES_MAX && bytes <= EXTENT_BYTES_MAX).then_some((count, bytes))
    }

    pub(super) fn charged_messages(&self) -> u64 {
        u64::from(self.live - self.dead)
    }

    pub(super) fn charged_bytes(&self) -> u64 {
        self.bytes_of(self.charged_messages())
    }
}

/// How messages of a queue leave what is charged, or come back to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Left for good from ready, delayed or leased.
    Gone(OffsetRange),
    /// Left for good from the dead letters.
    DeadGone(OffsetRange),
    /// Became dead letters.
    Died(OffsetRange),
    /// Dead letters came back.
    Revived(OffsetRange),
}

/// A named append-only log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Never reused.
    pub id: u64,
    /// Of the queue or topic.
    pub name: String,
    /// With its settings.
    pub kind: Kind,
    /// What its hashes are keyed with.
    pub seed: Seed,
    /// The dedup ids of what was published lately.
    pub dedup: Dedup,
    pub(super) planted: Planted,
    /// Topic: lowest offset that retention keeps.
    pub start: Offset,
    /// Next offset.
    pub end: Offset,
    /// Queue: what is charged against its limits. Topic: what retention counts.
    pub messages: u64,
    /// As `messages`, in bytes.
    pub bytes: u64,
    /// All bytes ever stored.
    pub stored_bytes: u64,
    /// Rising. In a topic, those below `start` are held by a subscription.
    pub extents: VecDeque<Extent>,
    /// Queue: those that everything has left, while it keeps them.
    pub kept: Kept,
    /// What a salvage could not keep, for whoever comes to it later.
    pub lost: RangeSet,
    /// Its subscriptions, rising by id.
    pub subscriptions: Vec<u64>,
    emptied: usize,
}

/// A compaction of the extents pays when so many of them, and half of all, are empty.
const EMPTIED_MIN: usize = 64;

impl Log {
    /// A new, empty log.
    pub fn new(id: u64, name: String, kind: Kind, seed: Seed) -> Self {
        Self {
            id,
            name,
            kind,
            seed,
            dedup: Dedup::default(),
            planted: Planted::default(),
            start: 0,
            end: 0,
            messages: 0,
            bytes: 0,
            stored_bytes: 0,
            extents: VecDeque::new(),
            kept: Kept::default(),
            lost: RangeSet::default(),
            subscriptions: Vec::new(),
            emptied: 0,
        }
    }

    /// What a confirm means where the publish does not say.
    pub fn level(&self) -> Level {
        match &self.kind {
            Kind::Queue(settings) => settings.level(),
            Kind::Topic(settings) => settings.level(),
        }
    }

    /// What the lanes of its keys are hashed with, if any reader orders by them or may do so one day.
    pub fn keyed(&self) -> Option<Seed> {
        let by_key = match &self.kind {
            Kind::Queue(settings) => settings.delivery.order() == Order::Key,
            Kind::Topic(_) => true,
        };
        by_key.then_some(self.seed)
    }

    /// Stores one piece at the end; returns its first offset.
    pub fn append(&mut self, piece: Piece, now: Timestamp) -> Offset {
        let first = self.end;
        let reopened = self.reopen(piece, now);
        self.end += u64::from(piece.count);
        self.messages += u64::from(piece.count);
        self.stored_bytes += u64::from(piece.bytes);
        if !self.extend_last(piece, reopened, now) {
            self.bytes += u64::from(piece.bytes);
            self.extents.push_back(Extent {
                first,
                count: piece.count,
                live: piece.count,
                dead: 0,
                bytes: piece.bytes,
                first_at: now,
                last_at: now,
            });
        }
        first
    }

    fn extend_last(&mut self, piece: Piece, reopened: bool, now: Timestamp) -> bool {
        let end = self.end - u64::from(piece.count);
        let Some(last) = self.extents.back_mut().filter(|last| last.end() == end) else {
            return false;
        };
        // What has emptied, or retention has passed, is not added to.
        let is_closed = (last.live == 0 && !reopened) || last.first < self.start;
        let Some((count, bytes)) = last.grown(piece).filter(|_| !is_closed) else {
            return false;
        };
        self.bytes -= last.charged_bytes();
        (last.count, last.bytes) = (count, bytes);
        last.live += piece.count;
        last.last_at = now;
        self.bytes += last.charged_bytes();
        true
    }

    /// The last extent takes messages again after it has emptied.
    pub(super) fn open_again(&mut self, extent: Extent) {
        if self
            .extents
            .pop_back_if(|last| last.first == extent.first)
            .is_some()
        {
            self.emptied = self.emptied.saturating_sub(1);
        }
        self.extents.push_back(extent);
    }

    /// Queue: these are its extents, all of them live, and what is charged follows.
    pub(super) fn hold(&mut self, extents: impl Iterator<Item = Extent>) {
        self.extents = extents.collect();
        self.emptied = 0;
        self.messages = self.extents.iter().map(Extent::charged_messages).sum();
        self.bytes = self.extents.iter().map(Extent::charged_bytes).sum();
    }

    /// Index of the first extent that ends behind `offset`.
    pub(super) fn extent_at(&self, offset: Offset) -> usize {
        match self.extents.front() {
            Some(front) if front.end() > offset => 0,
            _ => self
                .extents
                .partition_point(|extent| extent.end() <= offset),
        }
    }

    /// Bytes of `range`, by the average of each extent.
    pub fn bytes_of(&self, range: &OffsetRange) -> u64 {
        let extents = self.extents.iter().skip(self.extent_at(range.start));
        let parts = extents
            .take_while(|extent| extent.first < range.end)
            .map(|extent| {
                let start = extent.first.max(range.start);
                extent.bytes_of(extent.end().min(range.end).saturating_sub(start))
            });
        parts.sum()
    }

    /// `range` cut at extents, each part with the bytes of one message of it, at least 1.
    pub fn averages(&self, range: &OffsetRange) -> impl Iterator<Item = (OffsetRange, u64)> {
        let range = range.clone();
        let extents = self.extents.iter().skip(self.extent_at(range.start));
        let extents = extents.take_while(move |extent| extent.first < range.end);
        extents.map(move |extent| {
            let part = extent.first.max(range.start)..extent.end().min(range.end);
            (part, extent.bytes_of(1).max(1))
        })
    }

    /// The longest beginning of `range` that holds at most `messages` and `bytes`, and one message
    /// in any case.
    pub fn beginning(&self, range: &OffsetRange, messages: u64, bytes: u64) -> OffsetRange {
        let wanted = range.start..range.end.min(range.start + messages.max(1));
        let (mut at, mut left) = (wanted.start, bytes);
        for extent in self.extents.iter().skip(self.extent_at(wanted.start)) {
            if extent.first >= wanted.end {
                break;
            }
            let part = extent.end().min(wanted.end).saturating_sub(at);
            let cost = extent.bytes_of(part);
            if cost > left {
                let average = extent.bytes_of(1).max(1);
                at += left / average;
                return wanted.start..at.max(wanted.start + 1);
            }
            left -= cost;
            at += part;
        }
        wanted
    }

    /// Queue: moves `change`'s messages out of, or back into, what is charged. Bodies that nobody
    /// can ask for any more are discarded, or kept for a while.
    pub fn charge(&mut self, change: &Change, now: Timestamp, effects: &mut Effects) {
        let keeps = self.retain_settled_ms() > 0;
        let (range, live, dead) = match change {
            Change::Gone(range) => (range, -1, 0),
            Change::DeadGone(range) => (range, -1, -1),
            Change::Died(range) => (range, 0, 1),
            Change::Revived(range) => (range, 0, -1),
        };
        let first = self.extent_at(range.start);
        for extent in self.extents.range_mut(first..) {
            if extent.first >= range.end {
                break;
            }
            let start = extent.first.max(range.start);
            let part = extent.end().min(range.end).saturating_sub(start);
            let part = i64::try_from(part).expect("an extent holds at most 1,024 messages");
            self.messages -= extent.charged_messages();
            self.bytes -= extent.charged_bytes();
            extent.live = add(extent.live, live * part);
            extent.dead = add(extent.dead, dead * part);
            self.messages += extent.charged_messages();
            self.bytes += extent.charged_bytes();
            if extent.live == 0 && live != 0 {
                self.emptied += 1;
                if keeps {
                    self.kept.add(now, *extent);
                    continue;
                }
                let range = extent.first..extent.end();
                effects.push(Effect::Discard {
                    log: self.id,
                    range,
                });
            }
        }
        self.drop_emptied();
    }

    fn drop_emptied(&mut self) {
        while self.extents.front().is_some_and(|extent| extent.live == 0) {
            self.extents.pop_front();
            self.emptied = self.emptied.saturating_sub(1);
        }
        if self.emptied >= EMPTIED_MIN && self.emptied * 2 >= self.extents.len() {
            self.extents.retain(|extent| extent.live > 0);
            self.emptied = 0;
        }
    }

    /// Extents a snapshot must hold: the empty ones say nothing.
    pub fn live_extents(&self) -> impl Iterator<Item = &Extent> {
        self.extents.iter().filter(|extent| extent.live > 0)
    }
}

fn add(count: u32, change: i64) -> u32 {
    u32::try_from(i64::from(count) + change).expect("an extent's books balance")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Log {
        let settings = QueueSettings::parse(None).expect("defaults are valid");
        let kind = Kind::Queue(settings);
        Log::new(1, "jobs".into(), kind, Seed::default())
    }

    #[test]
    fn an_extent_holds_at_most_64_kib_or_1024_messages_or_one_larger_message() {
        let mut log = queue();
        for _ in 0..3 {
            log.append(
                Piece {
                    count: 256,
                    bytes: 27_000,
                },
                Timestamp(1),
            );
        }
        log.append(
            Piece {
                count: 1,
                bytes: 1 << 20,
            },
            Timestamp(1),
        );
        log.append(
            Piece {
                count: 1,
                bytes: 10,
            },
            Timestamp(1),
        );
        let counts: Vec<_> = log.extents.iter().map(|extent| extent.count).collect();
        assert_eq!(counts, [512, 256, 1, 1]);
        assert_eq!(size_of::<Extent>(), 40);
    }

    #[test]
    fn what_is_charged_is_zero_when_drained() {
        let mut log = queue();
        let mut effects = Effects::default();
        log.append(
            Piece {
                count: 7,
                bytes: 100,
            },
            Timestamp(1),
        );
        log.charge(&Change::Gone(2..4), Timestamp(2), &mut effects);
        assert_eq!((log.messages, log.bytes), (5, 72));
        log.charge(&Change::Died(0..2), Timestamp(2), &mut effects);
        assert_eq!((log.messages, log.bytes), (3, 43));
        assert!(effects.is_empty());
        log.charge(&Change::DeadGone(0..2), Timestamp(2), &mut effects);
        log.charge(&Change::Gone(4..7), Timestamp(2), &mut effects);
        assert_eq!((log.messages, log.bytes, log.extents.len()), (0, 0, 0));
        let discarded: Vec<_> = effects.drain().collect();
        assert_eq!(
            discarded,
            [Effect::Discard {
                log: 1,
                range: 0..7
            }]
        );
    }

    #[test]
    fn a_beginning_keeps_to_messages_and_bytes_but_has_one_message() {
        let mut log = queue();
        log.append(
            Piece {
                count: 10,
                bytes: 1_000,
            },
            Timestamp(1),
        );
        assert_eq!(log.beginning(&(0..10), 3, 1_000), 0..3);
        assert_eq!(log.beginning(&(2..10), 100, 450), 2..6);
        assert_eq!(log.beginning(&(2..10), 100, 1), 2..3);
        assert_eq!(log.bytes_of(&(2..6)), 400);
    }
}
