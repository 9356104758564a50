//! Memory to read into: chunks that are used again once nobody holds what was read.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use siding_protocol::frame::{FrameError, missing, split};
use siding_protocol::limits::FRAME_BYTES_MAX;

/// A chunk of a quiet connection.
const QUIET_BYTES: usize = 16 << 10;
/// A chunk of a busy one: several frames fit, so little is copied from one chunk to the next.
const BUSY_BYTES: usize = 1 << 20;
/// Read no less than this at a time.
const ROOM_BYTES: usize = 4 << 10;
/// Chunks kept for when what was read from them is dropped.
const SPARES_MAX: usize = 4;

/// What has been read and not taken yet, and chunks to come. Fresh memory for every read would cost
/// more than everything else a client does.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    current: BytesMut,
    spares: VecDeque<BytesMut>,
    busy: bool,
}

impl Chunks {
    /// Where to read into: at least 4 KiB of room, or all that the begun frame misses.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        let wanted = missing(&self.current).max(ROOM_BYTES);
        if self.current.capacity() - self.current.len() < wanted
            && !self.current.try_reclaim(wanted)
        {
            self.next_chunk(wanted);
        }
        &mut self.current
    }

    /// Takes the payload of the next whole frame, sharing the chunk's memory.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        split(&mut self.current, FRAME_BYTES_MAX)
    }

    /// Moves what is left to a chunk with room.
    fn next_chunk(&mut self, wanted: usize) {
        // The first chunk is quiet; whoever fills one is busy.
        let least = if self.busy { BUSY_BYTES } else { QUIET_BYTES };
        self.busy |= self.current.capacity() > 0;
        let left = self.current.len();
        // Twice what is left, so that a long frame is not copied at every step.
        let bytes = (left.saturating_mul(2)).max(left + wanted).max(least);
        let spare = self
            .spares
            .iter_mut()
            .position(|spare| spare.try_reclaim(bytes));
        let spare = spare.and_then(|at| self.spares.remove(at));
        let mut next = spare.unwrap_or_else(|| BytesMut::with_capacity(bytes));
        next.extend_from_slice(&self.current);
        let mut full = std::mem::replace(&mut self.current, next);
        full.clear();
        self.spares.push_back(full);
        if self.spares.len() > SPARES_MAX {
            self.spares.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn read(chunks: &mut Chunks, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = chunks.room();
            let count = rest.len().min(room.capacity() - room.len());
            assert!(count > 0, "there is always room");
            room.put_slice(&rest[..count]);
            rest = &rest[count..];
        }
    }

    fn frame(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).expect("short");
        [&length.to_be_bytes()[..], &vec![7; bytes]].concat()
    }

    #[test]
    fn frames_longer_than_a_chunk_and_cut_anywhere_come_out_whole() {
        let mut chunks = Chunks::default();
        for bytes in [10, QUIET_BYTES, 3, 3 * BUSY_BYTES, 0, 100_000] {
            read(&mut chunks, &frame(bytes));
            let payload = chunks.next_frame().expect("short").expect("whole");
            assert_eq!(payload.len(), bytes);
            assert_eq!(chunks.next_frame(), Ok(None));
        }
    }

    #[test]
    fn memory_is_used_again_once_what_was_read_is_dropped() {
        let mut chunks = Chunks::default();
        let mut seen = std::collections::BTreeSet::new();
        let mut held = VecDeque::new();
        for _ in 0..1_000 {
            read(&mut chunks, &frame(100_000));
            let payload = chunks.next_frame().expect("short").expect("whole");
            seen.insert(payload.as_ptr() as usize / BUSY_BYTES);
            held.push_back(payload);
            if held.len() > 8 {
                held.pop_front();
            }
        }
        assert!(seen.len() < 20, "100 MB came through {} MiB", seen.len());
    }
}
