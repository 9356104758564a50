//! The bodies of a workload: which are live, and where storage says that they lie.
//!
//! Every entry is one message of one log. Which of them are live follows from the index of the last
//! one, so that a replay comes to the same: one in three stays when the next one comes, until all of
//! them go at every twelfth.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use siding_broker::storage::bodies::{Budgets, Lookup, Placed};
use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::mover::move_bodies;
use siding_broker::storage::{Bodies, BodyReader, Reader, RecordAt, Segments, Snapshot};
use siding_protocol::types::Timestamp;

use crate::journal::body;

const LOG: u64 = 1;
/// One entry in so many stays.
const STAYS: u64 = 3;
/// At one entry in so many, all go that are further back than half of it.
const CLEARED: u64 = 12;
/// Nothing is held in memory, so that everything moves and is read.
const MEMORY: Budgets = Budgets {
    tail_bytes: 0,
    read_bytes: 0,
};

/// What storage knows of bodies.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) bodies: Bodies,
    pub(super) segments: Segments,
    next_segment: u64,
    /// Entries up to this one were gone before the workload.
    floor: u64,
}

impl Shelf {
    /// As a start does it: from the newest snapshot, or empty. What no snapshot names is removed.
    pub(super) fn open(fs: &MemoryFs, snapshot: Option<&Snapshot>, floor: u64) -> Result<Self> {
        let bodies = match snapshot {
            Some(snapshot) => {
                let section = snapshot.section("bodies").context("a section of bodies")?;
                Bodies::import(section, MEMORY)?
            }
            None => Bodies::new(MEMORY),
        };
        let segments = Segments::new(Arc::new(fs.clone()), PathBuf::from("/s/segments"));
        segments.adopt(bodies.segments())?;
        let last = bodies.segments().map(|segment| segment.number).max();
        Ok(Self {
            bodies,
            segments,
            next_segment: last.map_or(1, |last| last + 1),
            floor,
        })
    }

    /// An entry is there: its body is live, and others are not any more.
    pub(super) fn apply(&mut self, index: u64, at: RecordAt) {
        if index <= self.floor {
            return;
        }
        if at.length > 0 {
            let placed = Placed {
                log: LOG,
                first: index,
                count: 1,
                published_at: Timestamp(index),
                record: at,
                start: 0,
                bytes: at.length,
            };
            self.bodies.place(placed, None);
        }
        if !(index - 1).is_multiple_of(STAYS) {
            self.bodies.discard(LOG, &(index - 1..index));
        }
        self.bodies.discard(LOG, &(0..cleared(index)));
    }

    /// Moves the live bodies of full journal files to segments.
    pub(super) fn move_bodies(&mut self, full: &[u64], reader: &Reader) -> Result<()> {
        let reader = BodyReader::new(reader.clone(), self.segments.clone());
        let full: Vec<_> = full.iter().map(|number| (*number, u64::MAX)).collect();
        let moves = self.bodies.plan(&full).moves(None, u64::MAX);
        let mut read = |at| reader.read(at);
        let outcome = move_bodies(&self.segments, &moves, self.next_segment, &mut read)?;
        let unreadable = outcome.unreadable;
        ensure!(unreadable.is_empty(), "not moved: {unreadable:?}");
        self.next_segment += moves.len() as u64;
        for part in &outcome.moved {
            self.bodies.relocate(part);
        }
        Ok(())
    }

    /// Every live body of the entries up to `last` reads as it was written.
    pub(super) fn check(&mut self, reader: Reader, lengths: &[usize]) -> Result<()> {
        let reader = BodyReader::new(reader, self.segments.clone());
        let last = lengths.len() as u64;
        let first = cleared(last).max(self.floor + 1);
        let mut from = first;
        for index in first..=last {
            let length = lengths.get(usize::try_from(index)? - 1).copied();
            let length = length.unwrap_or_default();
            if length == 0 || (index != last && !index.is_multiple_of(STAYS)) {
                continue;
            }
            let mut slices = Vec::new();
            // What comes before is gone: the next one found is this one.
            while let Lookup::Missing { reads, .. } =
                self.bodies.lookup(LOG, &(from..index + 1), &mut slices)
            {
                slices.clear();
                let at = *reads.first().context("a record to read")?;
                let payload = reader.read(at);
                let payload = payload.with_context(|| format!("the body of entry {index}"))?;
                self.bodies.fill(at, payload);
            }
            let whole = match slices.as_slice() {
                [slice] => slice.first == index && slice.bytes == body(index, length),
                _ => false,
            };
            ensure!(
                whole,
                "the body of entry {index} is {} slices",
                slices.len()
            );
            from = index + 1;
        }
        let rest = self.bodies.lookup(LOG, &(from..u64::MAX), &mut Vec::new());
        ensure!(rest == Lookup::Found, "bodies that nobody needs");
        Ok(())
    }
}

/// Below this offset all is gone once the entry `last` is there.
fn cleared(last: u64) -> u64 {
    (last / CLEARED * CLEARED).saturating_sub(CLEARED / 2)
}
