//! The memory that a connection reads into: chunks that are used again, small while it is idle.
//!
//! Frames are slices of a chunk, so a chunk is free when all that was cut from it is gone. Fresh
//! memory for every read would cost a page fault for every page: three times the CPU of a publish.

use std::collections::VecDeque;

use bytes::BytesMut;
use siding_protocol::frame;

/// Size of the chunk of an idle connection, bytes.
const IDLE_BYTES: usize = 4 << 10;
/// Size of the chunks of a busy one.
const BUSY_BYTES: usize = 1 << 20;
/// Chunks kept to be used again.
const KEPT_MAX: usize = 8;
/// Reads that do not even half fill a small chunk, one after the other, that end being busy.
const CALM_READS: u32 = 256;

/// The chunks of one connection.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    current: BytesMut,
    used: VecDeque<BytesMut>,
    is_busy: bool,
    calm_reads: u32,
}

impl Chunks {
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

    fn calm_down(&mut self) {
        if self.is_busy {
            self.is_busy = false;
            self.used.clear();
            let rest = std::mem::take(&mut self.current);
            self.current = BytesMut::with_capacity(IDLE_BYTES.max(rest.len()));
            self.current.extend_from_slice(&rest);
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
        let free = self
            .used
            .iter_mut()
            .position(|chunk| chunk.try_reclaim(needed));
        let next = free.and_then(|free| self.used.remove(free));
        let mut next = next.unwrap_or_else(|| BytesMut::with_capacity(needed));
        next.extend_from_slice(&self.current);
        let mut used = std::mem::replace(&mut self.current, next);
        if self.is_busy && self.used.len() < KEPT_MAX {
            used.clear();
            self.used.push_back(used);
        }
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
        let mut chunks = Chunks::default();
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
        assert!(chunks.used.is_empty() && chunks.room().capacity() <= IDLE_BYTES);
    }

    #[test]
    fn room_follows_what_came_not_what_was_declared() {
        let mut chunks = Chunks::default();
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
}
