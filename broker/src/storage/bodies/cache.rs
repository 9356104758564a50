//! Payloads of records read back from the journal, bounded in bytes: the oldest go first.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use super::RecordAt;

/// A slice at least this part of its payload shares its memory; a smaller one is copied, or a few
/// small messages would pin a whole record each.
const SHARED_PART: usize = 4;

#[derive(Debug)]
pub(super) struct ReadCache {
    payloads: BTreeMap<RecordAt, Bytes>,
    /// In order of filling; each payload stands here once.
    order: VecDeque<RecordAt>,
    bytes: u64,
    budget: u64,
}

impl ReadCache {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            payloads: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            budget,
        }
    }

    /// Takes a payload in and drops the oldest over the budget, but never the one that has just
    /// been read: somebody waits for it.
    pub(super) fn fill(&mut self, record: RecordAt, payload: Bytes) {
        self.remove(record);
        self.bytes += payload.len() as u64;
        self.payloads.insert(record, payload);
        while self.bytes > self.budget
            && let Some(oldest) = self.order.front().copied()
        {
            self.remove(oldest);
        }
        self.order.push_back(record);
    }

    pub(super) fn holds(&self, record: RecordAt) -> bool {
        self.payloads.contains_key(&record)
    }

    pub(super) fn get(&self, record: RecordAt) -> Option<&Bytes> {
        self.payloads.get(&record)
    }

    pub(super) fn remove(&mut self, record: RecordAt) {
        if let Some(payload) = self.payloads.remove(&record) {
            self.bytes -= payload.len() as u64;
            // Dozens at most: the budget over the size of a record.
            self.order.retain(|other| *other != record);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A part of a payload to hand on.
pub(super) fn part(payload: &Bytes, range: Range<usize>) -> Bytes {
    if range.len() >= payload.len() / SHARED_PART {
        return payload.slice(range);
    }
    payload
        .get(range)
        .map(Bytes::copy_from_slice)
        .unwrap_or_default()
}
