//! Looking through the bytes of one journal file: pure, and safe whatever the bytes are.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use std::ops::Range;

use super::files::RECORDS_START;
use super::record::{self, Checksums, Header, WORD};

/// Pages of zeros are passed over in one comparison.
const ZEROS: [u8; 4096] = [0; 4096];

/// A whole record and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) header: Header,
    pub(super) position: u64,
    pub(super) payload: &'a [u8],
}

/// Walks through a file's records from the first one on.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    checksums: &'a Checksums,
    /// Where the next record starts: behind the last whole one.
    pub(super) position: u64,
    /// The header of the last whole record.
    pub(super) last: Option<Header>,
}

impl<'a> Walk<'a> {
    /// Starts at the first record of a file, given all of its bytes.
    pub(super) fn new(bytes: &'a [u8], checksums: &'a Checksums) -> Self {
        Self {
            bytes,
            checksums,
            position: RECORDS_START,
            last: None,
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Found<'a>;

    /// The next whole record; `None` where none stands. That is the end, the torn tail or damage:
    /// only the rest of the file tells which.
    fn next(&mut self) -> Option<Found<'a>> {
        let position = self.position;
        let rest = self.bytes.get(usize::try_from(position).ok()?..)?;
        let header = record::parse(rest, self.checksums, position)?;
        // A group below the last one is what an earlier tail left behind when it was cut.
        if self.last.is_some_and(|last| header.group < last.group) {
            return None;
        }
        let payload = record::payload(&header, rest, self.checksums)?;
        self.position = position.checked_add(header.record_bytes())?;
        self.last = Some(header);
        Some(Found {
            header,
            position,
            payload,
        })
    }
}

/// What stands behind the place where a walk ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// A record that proves that the place where the walk ended had been synced: its position and
    /// its group.
    pub(super) proof: Option<(u64, u64)>,
    /// Headers of this generation, from that place on.
    pub(super) records: u64,
    /// Where the furthest of their records ends, as far as the file reaches.
    pub(super) end: u64,
    /// The highest group among them.
    pub(super) group: u64,
    /// Where they say the file before ends.
    pub(super) before: Option<u64>,
}

/// Looks at every word from where a walk ended. A header alone is taken for a witness: it was
/// written by this journal, after the sync that it states.
pub(super) fn look_behind(walk: &Walk<'_>) -> Behind {
    let mut behind = Behind {
        end: walk.position,
        ..Behind::default()
    };
    let file_bytes = u64::try_from(walk.bytes.len()).unwrap_or(u64::MAX);
    for (position, bytes) in candidates(walk.bytes, walk.position) {
        let Some(header) = record::parse(bytes, walk.checksums, position) else {
            continue;
        };
        let is_leftover = walk.last.is_some_and(|last| header.group < last.group);
        if is_leftover {
            continue;
        }
        // The open group at the time of the last whole record was its own, or the one after it.
        let is_later = walk
            .last
            .is_some_and(|last| header.group > last.group.saturating_add(1));
        if behind.proof.is_none() && (header.synced > walk.position || is_later) {
            behind.proof = Some((position, header.group));
        }
        behind.records = behind.records.saturating_add(1);
        let end = position
            .saturating_add(header.record_bytes())
            .min(file_bytes);
        behind.end = behind.end.max(end);
        behind.group = behind.group.max(header.group);
        behind.before = Some(header.before);
    }
    behind
}

/// From where a walk ended to the next whole record, or to `end` where none is left: what is damaged.
pub(super) fn damaged_bytes(walk: &Walk<'_>, end: u64) -> Range<u64> {
    let whole = candidates(walk.bytes, walk.position).find_map(|(position, bytes)| {
        let header = record::parse(bytes, walk.checksums, position)?;
        let is_leftover = walk.last.is_some_and(|last| header.group < last.group);
        let is_whole = record::payload(&header, bytes, walk.checksums).is_some();
        (!is_leftover && is_whole).then_some(position)
    });
    walk.position..whole.unwrap_or(end).max(walk.position)
}

/// Every place of a file from `from` on where a header could start, with the bytes from there.
fn candidates(bytes: &[u8], from: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let page_bytes = u64::try_from(ZEROS.len()).unwrap_or(WORD);
    let mut position = from;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(usize::try_from(position).ok()?..)?;
            let at = position;
            // Version and kind tell most words from a header, long before any checksum.
            let start = rest.first_chunk::<8>()?;
            let is_blank = *start == [0; 8] && at.is_multiple_of(page_bytes);
            let step = if is_blank && rest.starts_with(&ZEROS) {
                page_bytes
            } else {
                WORD
            };
            position = position.checked_add(step)?;
            if record::may_start(start) {
                return Some((at, rest));
            }
        }
    })
}
