//! The memory that a connection reads into: chunks that are used again, small while it is idle.
//!
//! Frames are slices of a chunk, so a chunk is free when all that was cut from it is gone. Fresh
//! memory for every read would cost a page fault for every page: three times the CPU of a publish.
//! Large chunks come from a pool that all connections of a core thread share: what was read is kept in
//! memory for a while (the tail of the journal), and comes free in the order in which it was read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::BytesMut;
use siding_protocol::frame;

/// Size of the chunk of an idle connection, bytes.
const IDLE_BYTES: usize = 4 << 10;
/// Size of the chunks of a busy one.
const BUSY_BYTES: usize = 1 << 20;
/// Of the chunks kept to be used again, so many of the oldest are looked at: one that is held for
/// longer than the others must not stand in their way.
const TRIES: usize = 4;
/// Chunks kept beside those that the tail of the journal holds.
const SLACK: usize = 32;
/// Seconds in which nobody takes a chunk, after which none is kept.
const CALM_SECONDS: u32 = 10;
/// Reads that do not even half fill a small chunk, one after the other, that end being busy.
const CALM_READS: u32 = 256;

/// The large chunks that were read full, oldest first; shared by the connections of a core thread.
#[derive(Debug)]
pub(super) struct Pool {
    used: RefCell<VecDeque<BytesMut>>,
    kept_max: usize,
    /// Seconds since the last one was taken.
    calm_seconds: Cell<u32>,
}

impl Pool {
    /// Keeps as many as it takes to hold `tail_bytes`, and a few more.
    pub(super) fn new(tail_bytes: u64) -> Self {
        let tail = usize::try_from(tail_bytes).unwrap_or(usize::MAX) / BUSY_BYTES;
        Self {
            used: RefCell::default(),
            kept_max: tail.saturating_add(SLACK),
            calm_seconds: Cell::new(0),
        }
    }

    /// A second has passed.
    pub(super) fn tick(&self) {
        let calm = self.calm_seconds.get().saturating_add(1);
        self.calm_seconds.set(calm);
        if calm == CALM_SECONDS {
            self.used.take();
        }
    }

    fn take(&self) -> BytesMut {
        self.calm_seconds.set(0);
        let mut used = self.used.borrow_mut();
        let mut oldest = used.iter_mut().take(TRIES);
        let free = oldest.position(|chunk| chunk.try_reclaim(BUSY_BYTES));
        let free = free.and_then(|free| used.remove(free));
        free.unwrap_or_else(|| BytesMut::with_capacity(BUSY_BYTES))
    }

    /// Keeps a chunk until nothing that was cut from it is held any more.
    fn give(&self, mut chunk: BytesMut) {
        let mut used = self.used.borrow_mut();
        if used.len() == self.kept_max {
            used.pop_front();
        }
        chunk.clear();
        used.push_back(chunk);
    }
}

/// The chunks of one connection.
#[derive(Debug)]
pub(super) struct Chunks {
    current: BytesMut,
    /// Whether the current one is of the size that the pool keeps.
    is_large: bool,
    pool: Rc<Pool>,
    is_busy: bool,
    calm_reads: u32,
}

impl Chunks {
    pub(super) fn new(pool: Rc<Pool>) -> Self {
        Self {
            current: BytesMut::new(),
            is_large: false,
            pool,
            is_busy: false,
            calm_reads: 0,
        }
    }

    /// The chunk to read into, with room for what the frame at its front still misses.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        let missing = frame::missing(&self.current).max(1);
        let free = self.current.capacity() - self.current.len();
        // The rest of a large chunk is not worth a read of its own.
        let worth = if self.is_busy { BUSY_BYTES / 8 } else { 1 };
        if free < missing.max(worth) {
            self.next_chunk(missing);
        }
        &mut self.current
    }

    /// What has been read and not taken yet.
    pub(super) fn filled(&mut self) -> &mut BytesMut {
        &mut self.current
    }

    /// `bytes` were read. Answers whether the chunk is full: there is probably more.
    pub(super) fn note_read(&mut self, bytes: usize) -> bool {
        let is_full = self.current.len() == self.current.capacity();
        self.is_busy |= is_full;
        self.calm_reads = if bytes < IDLE_BYTES / 2 {
            self.calm_reads + 1
        } else {
            0
        };
        if self.calm_reads >= CALM_READS {
            self.calm_reads = 0;
            self.calm_down();
        }
        is_full
    }

    /// Gives a large chunk back: a small one does.
    pub(super) fn calm_down(&mut self) {
        if self.is_busy {
            self.is_busy = false;
            let mut small = BytesMut::with_capacity(IDLE_BYTES.max(self.current.len()));
            small.extend_from_slice(&self.current);
            self.change(small, false);
        }
    }

    fn next_chunk(&mut self, missing: usize) {
        let begun = self.current.len();
        let size = if self.is_busy { BUSY_BYTES } else { IDLE_BYTES };
        // A frame larger than a chunk grows by doubling, so copying stays in proportion.
        let needed = if begun + missing > size {
            2 * begun.max(missing)
        } else {
            size
        };
        if self.current.try_reclaim(needed - begun) {
            return;
        }
        let is_large = self.is_busy && needed == BUSY_BYTES;
        let mut next = if is_large {
            self.pool.take()
        } else {
            BytesMut::with_capacity(needed)
        };
        next.extend_from_slice(&self.current);
        self.change(next, is_large);
    }

    fn change(&mut self, next: BytesMut, is_large: bool) {
        let used = std::mem::replace(&mut self.current, next);
        if std::mem::replace(&mut self.is_large, is_large) {
            self.pool.give(used);
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.change(BytesMut::new(), false);
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes};

    use super::*;

    /// Reads until the chunk is full; takes frames of `frame` bytes off it.
    fn fill(chunks: &mut Chunks, frame: usize) -> Vec<Bytes> {
        let room = chunks.room();
        let free = room.capacity() - room.len();
        let mut wire = Vec::new();
        while wire.len() < free {
            wire.put_u32(u32::try_from(frame).expect("small"));
            wire.resize(wire.len() + frame, 0);
        }
        room.extend_from_slice(&wire[..free]);
        chunks.note_read(free);
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = frame::split(chunks.filled(), 17 << 20) {
            frames.push(frame);
        }
        chunks.current.clear();
        frames
    }

    #[test]
    fn an_idle_connection_has_one_small_chunk_and_a_busy_one_reuses_large_ones() {
        let pool = Rc::new(Pool::new(2 << 20));
        let mut chunks = Chunks::new(Rc::clone(&pool));
        assert_eq!(chunks.room().capacity(), IDLE_BYTES);
        drop(fill(&mut chunks, 1000));
        let mut held = VecDeque::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            held.push_back(fill(&mut chunks, 100_000));
            seen.insert(chunks.current.as_ptr() as usize / BUSY_BYTES);
            held.drain(..held.len().saturating_sub(2));
        }
        assert!(chunks.room().capacity() <= BUSY_BYTES && chunks.is_busy);
        assert!(seen.len() <= 8, "{} chunks for 100 reads", seen.len());
        for _ in 0..=CALM_READS {
            chunks.note_read(100);
        }
        assert!(chunks.room().capacity() <= IDLE_BYTES);
        assert!(!pool.used.borrow().is_empty());
        for _ in 0..CALM_SECONDS {
            pool.tick();
        }
        assert!(pool.used.borrow().is_empty());
    }

    #[test]
    fn room_follows_what_came_not_what_was_declared() {
        let mut chunks = Chunks::new(Rc::new(Pool::new(0)));
        let declared = 16_u32 << 20;
        chunks.room().put_u32(declared);
        let mut largest = 0;
        let mut sent = 0_usize;
        while sent < 1 << 20 {
            let room = chunks.room();
            largest = largest.max(room.capacity());
            assert!(
                room.capacity() <= 4 * (sent + (64 << 10)),
                "{sent}: {}",
                room.capacity()
            );
            let free = room.capacity() - room.len();
            room.put_bytes(0, free);
            sent += free;
            // As long as it is one frame, nothing is full for good.
            chunks.is_busy = false;
        }
        assert!(largest >= 1 << 20);
    }

    #[test]
    fn what_the_tail_holds_comes_free_in_order_and_is_read_into_again() {
        let held_max = 40;
        let pool = Rc::new(Pool::new(held_max << 20));
        let mut chunks = Chunks::new(Rc::clone(&pool));
        drop(fill(&mut chunks, 1000));
        let mut held = VecDeque::new();
        let mut seen = std::collections::BTreeSet::new();
        // One is held by somebody who takes his time.
        let slow = fill(&mut chunks, 100_000);
        for _ in 0..1_000 {
            held.push_back(fill(&mut chunks, 100_000));
            seen.insert(chunks.current.as_ptr() as usize / BUSY_BYTES);
            held.drain(
                ..held
                    .len()
                    .saturating_sub(usize::try_from(held_max).expect("small")),
            );
        }
        assert!(seen.len() < 80, "{} chunks for 1000 reads", seen.len());
        assert!(pool.used.borrow().len() <= pool.kept_max);
        drop(slow);
    }
}
