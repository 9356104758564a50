//! Fresh bodies in memory, bounded in bytes: the oldest go first, whatever log they belong to.
//!
//! The budget counts all that came since the oldest one held, not only what is still needed of it:
//! bodies are slices of larger chunks, so one message left of each chunk keeps all of them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use siding_protocol::types::{Offset, OffsetRange};

/// The bytes of one publish, or of what of it lies in one piece.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) first: Offset,
    pub(super) count: u32,
    pub(super) bytes: Bytes,
}

#[derive(Debug)]
struct Held {
    chunk: Chunk,
    /// Bytes that came before it.
    before: u64,
    /// The journal file in which it lies too.
    file: u64,
}

/// Chunks by ticket. Tickets rise in order of placing, so a piece knows its own by a range, and
/// dropping the oldest touches no piece.
#[derive(Debug)]
pub(super) struct Tail {
    chunks: BTreeMap<u64, Held>,
    next: u64,
    bytes: u64,
    /// Bytes that ever came.
    came: u64,
    budget: u64,
}

impl Tail {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            chunks: BTreeMap::new(),
            next: 0,
            bytes: 0,
            came: 0,
            budget,
        }
    }

    /// Takes a chunk in and drops those that came longer ago than the budget reaches; answers the
    /// chunk's ticket.
    pub(super) fn push(&mut self, chunk: Chunk, file: u64) -> u64 {
        let ticket = self.next;
        self.next += 1;
        let (before, bytes) = (self.came, chunk.bytes.len() as u64);
        self.came += bytes;
        self.bytes += bytes;
        let held = Held {
            chunk,
            before,
            file,
        };
        self.chunks.insert(ticket, held);
        while let Some(oldest) = self.chunks.first_entry()
            && self.came - oldest.get().before > self.budget
        {
            self.bytes -= oldest.remove().chunk.bytes.len() as u64;
        }
        ticket
    }

    /// Whether all chunks of these tickets are still here. They go oldest first, so the first
    /// speaks for all.
    pub(super) fn holds(&self, tickets: &Range<u64>) -> bool {
        !tickets.is_empty() && self.chunks.contains_key(&tickets.start)
    }

    /// The chunks that hold some of `wanted`, among these tickets, all of which are here.
    pub(super) fn chunks(
        &self,
        tickets: Range<u64>,
        wanted: &OffsetRange,
    ) -> impl Iterator<Item = &Chunk> {
        let ends_before = |ticket| {
            let chunk = self.chunks.get(&ticket).map(|held| &held.chunk);
            chunk.is_some_and(|chunk| chunk.first + u64::from(chunk.count) <= wanted.start)
        };
        // A piece of many small publishes has many chunks, and a small credit wants few of them.
        let Range {
            start: mut low,
            end: mut high,
        } = tickets;
        while low < high {
            let middle = low + (high - low) / 2;
            if ends_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let from = self
            .chunks
            .range(low..tickets.end)
            .map(|(_, held)| &held.chunk);
        from.take_while(|chunk| chunk.first < wanted.end)
    }

    pub(super) fn remove(&mut self, tickets: Range<u64>) {
        for ticket in tickets {
            if let Some(held) = self.chunks.remove(&ticket) {
                self.bytes -= held.chunk.bytes.len() as u64;
            }
        }
    }

    /// The journal file of the oldest chunk that is here; later ones lie there or in later files.
    pub(super) fn oldest_file(&self) -> Option<u64> {
        let oldest = self.chunks.first_key_value();
        oldest.map(|(_, held)| held.file)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
