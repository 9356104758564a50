//! Fresh bodies in memory, bounded in bytes: the oldest go first, whatever log they belong to.

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

/// Chunks by ticket. Tickets rise in order of placing, so a piece knows its own by a range, and
/// dropping the oldest touches no piece.
#[derive(Debug)]
pub(super) struct Tail {
    chunks: BTreeMap<u64, Chunk>,
    next: u64,
    bytes: u64,
    budget: u64,
}

impl Tail {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            chunks: BTreeMap::new(),
            next: 0,
            bytes: 0,
            budget,
        }
    }

    /// Takes a chunk in and drops the oldest over the budget; answers the chunk's ticket.
    pub(super) fn push(&mut self, chunk: Chunk) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.bytes += chunk.bytes.len() as u64;
        self.chunks.insert(ticket, chunk);
        while self.bytes > self.budget
            && let Some((_, oldest)) = self.chunks.pop_first()
        {
            self.bytes -= oldest.bytes.len() as u64;
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
            let chunk: Option<&Chunk> = self.chunks.get(&ticket);
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
        let from = self.chunks.range(low..tickets.end).map(|(_, chunk)| chunk);
        from.take_while(|chunk| chunk.first < wanted.end)
    }

    pub(super) fn remove(&mut self, tickets: Range<u64>) {
        for ticket in tickets {
            if let Some(chunk) = self.chunks.remove(&ticket) {
                self.bytes -= chunk.bytes.len() as u64;
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
