//! Bodies against a naive map in which every message is its own vector.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;
use siding_protocol::run::{MessageFields, RunBuilder, RunLimits, messages};

use self::moving::Seen;
use self::volume::volume;
use super::*;
use crate::storage::Segments;
use crate::storage::memory_fs::MemoryFs;

mod moving;
#[path = "../../../../tests/harness/volume.rs"]
#[expect(unreachable_pub, reason = "it is a part of the tests' harness, too")]
mod volume;

/// Seeds of the full volume.
const SEEDS: u64 = 2_000;
const LOGS: u64 = 3;
const FILE_BYTES: u64 = 1 << 16;

/// What bodies must say, the slow way.
#[derive(Default)]
struct Naive {
    /// Messages kept: body, publish time, record.
    messages: BTreeMap<(u64, Offset), (Vec<u8>, u64, RecordAt)>,
    next: BTreeMap<u64, Offset>,
    /// The journal: payloads of all records.
    journal: BTreeMap<RecordAt, Bytes>,
}

struct Pair {
    rng: Rng,
    segments: Segments,
    next_segment: u64,
    seen: Seen,
    bodies: Bodies,
    budgets: Budgets,
    naive: Naive,
    record: RecordAt,
    now: u64,
}

fn run_of(bodies: &[Vec<u8>]) -> Bytes {
    let mut builder = RunBuilder::new(RunLimits::default());
    for body in bodies {
        let fields = MessageFields {
            body,
            ..MessageFields::default()
        };
        builder.push(&fields).expect("fits");
    }
    builder.take().0
}

impl Pair {
    fn new(seed: u64, budgets: Budgets) -> Self {
        let segments = Segments::new(Arc::new(MemoryFs::new(seed)), "/segments".into());
        segments.adopt(std::iter::empty()).expect("a directory");
        Self {
            rng: Rng::with_seed(seed),
            segments,
            next_segment: 1,
            seen: Seen::default(),
            bodies: Bodies::new(budgets),
            budgets,
            naive: Naive::default(),
            record: RecordAt {
                file: FileId::Journal(1),
                position: 4096,
                length: 0,
            },
            now: 1_000,
        }
    }

    /// The journal file that is written to.
    fn file(&self) -> u64 {
        self.record.file.number()
    }

    fn body(&mut self) -> Vec<u8> {
        let most = *self.rng.choice(&[8, 200, 3_000]).unwrap();
        let length = self.rng.usize(..most);
        std::iter::repeat_with(|| self.rng.u8(..))
            .take(length)
            .collect()
    }

    /// One record: a head, then runs of a few logs back to back.
    fn place_entry(&mut self) {
        let mut payload = vec![0xEE; self.rng.usize(4..40)];
        let mut placed = Vec::new();
        for _ in 0..self.rng.usize(1..6) {
            let (log, count) = (self.rng.u64(..LOGS), self.rng.usize(1..20));
            let bodies: Vec<_> = std::iter::repeat_with(|| self.body()).take(count).collect();
            let run = run_of(&bodies);
            placed.push((log, bodies, payload.len(), run.clone()));
            payload.extend_from_slice(&run);
        }
        self.record.position += 1 << 14;
        if self.record.position > FILE_BYTES {
            (self.record.file, self.record.position) = (FileId::Journal(self.file() + 1), 4096);
        }
        self.record.length = u32::try_from(payload.len()).unwrap();
        let record = self.record;
        self.naive.journal.insert(record, Bytes::from(payload));
        self.now += self.rng.u64(..3);
        let is_replay = self.rng.u8(..5) == 0;
        for (log, bodies, start, run) in placed {
            let next = self.naive.next.entry(log).or_default();
            let placed = Placed {
                log,
                first: *next,
                count: u32::try_from(bodies.len()).unwrap(),
                published_at: Timestamp(self.now),
                record,
                start: u32::try_from(start).unwrap(),
                bytes: u32::try_from(run.len()).unwrap(),
            };
            for body in bodies {
                self.naive
                    .messages
                    .insert((log, *next), (body, self.now, record));
                *next += 1;
            }
            self.bodies.place(placed, (!is_replay).then_some(run));
            // Retention discards what the same entry has placed.
            if self.rng.u8(..6) == 0 {
                self.bodies.discard(log, &(0..*next));
                self.naive.messages.retain(|(l, _), _| *l != log);
            }
        }
    }

    fn range(&mut self, log: u64) -> OffsetRange {
        let end = self.naive.next.get(&log).copied().unwrap_or_default() + 3;
        let start = self.rng.u64(..end);
        let length = *self.rng.choice(&[1, 5, 40, 300]).unwrap();
        start..(start + self.rng.u64(1..=length)).min(end)
    }

    fn discard(&mut self) {
        let log = self.rng.u64(..LOGS);
        let range = self.range(log);
        self.bodies.discard(log, &range);
        self.naive
            .messages
            .retain(|(l, offset), _| *l != log || !range.contains(offset));
    }

    fn forget(&mut self) {
        let log = self.rng.u64(..LOGS);
        self.bodies.forget(log);
        self.naive.messages.retain(|(l, _), _| *l != log);
    }

    fn export_import(&mut self) {
        let mut bytes = Vec::new();
        self.bodies.export(&mut bytes);
        self.bodies = Bodies::import(&bytes, self.budgets).expect("what was exported");
        let mut again = Vec::new();
        self.bodies.export(&mut again);
        assert_eq!(again, bytes, "an import exports the same");
    }

    /// Looks up, reading what is missing, and compares every message.
    fn lookup(&mut self) {
        let log = self.rng.u64(..LOGS);
        let range = self.range(log);
        let mut slices = Vec::new();
        let (mut from, mut reads_done) = (range.start, 0);
        while let Lookup::Missing { at, reads } =
            self.bodies.lookup(log, &(from..range.end), &mut slices)
        {
            assert!(at >= from && at < range.end && reads.len() <= READ_AHEAD_RECORDS_MAX);
            assert_eq!(reads.iter().collect::<BTreeSet<_>>().len(), reads.len());
            let holder = self
                .naive
                .messages
                .get(&(log, at))
                .map(|(_, _, record)| *record);
            assert_eq!(
                holder,
                reads.first().copied(),
                "the first read is the one needed"
            );
            let ahead = self.rng.usize(1..=reads.len());
            // Those read ahead come first here: the one that is needed must not be evicted.
            for record in reads[..ahead].iter().rev() {
                for _ in 0..self.rng.u8(1..3) {
                    let payload = self.naive.journal[record].clone();
                    self.bodies.fill(*record, payload);
                }
                self.check_budgets();
            }
            (from, reads_done) = (at, reads_done + 1);
            assert!(reads_done < 1_000, "look-ups come to an end");
        }
        let mut found = Vec::new();
        for slice in slices {
            let views: Vec<_> = messages(&slice.bytes).collect();
            assert_eq!(views.len(), slice.count as usize, "whole messages");
            for (offset, view) in (slice.first..).zip(views) {
                found.push((offset, view.body().to_vec(), slice.published_at.0));
            }
        }
        let kept = self
            .naive
            .messages
            .range((log, range.start)..(log, range.end));
        let kept = kept.map(|((_, offset), (body, at, _))| (*offset, body.clone(), *at));
        assert_eq!(found, kept.collect::<Vec<_>>());
    }

    fn check_budgets(&self) {
        assert!(self.bodies.tail_bytes_used() <= self.budgets.tail_bytes);
        let most = self
            .naive
            .journal
            .values()
            .map(Bytes::len)
            .max()
            .unwrap_or_default() as u64;
        assert!(self.bodies.read_bytes_used() <= self.budgets.read_bytes.max(most));
    }

    fn check_files(&self) {
        let live: BTreeSet<_> = self
            .naive
            .messages
            .values()
            .map(|(_, _, at)| at.file)
            .collect();
        assert_eq!(self.bodies.live_files().collect::<BTreeSet<_>>(), live);
        assert!(self.bodies.pieces() <= self.naive.messages.len());
        if self.naive.messages.is_empty() {
            assert_eq!(self.bodies.tail_bytes_used(), 0);
            assert_eq!(self.bodies.read_bytes_used(), 0);
        }
    }

    fn step(&mut self) {
        match self.rng.u8(..100) {
            0..30 => self.place_entry(),
            30..55 => self.discard(),
            55..57 => self.forget(),
            57..60 => self.export_import(),
            60..68 => self.move_bodies(),
            _ => self.lookup(),
        }
        self.check_budgets();
        self.check_files();
    }
}

#[test]
fn every_look_up_gives_the_bytes_that_were_placed_whatever_happened_between() {
    let mut seen = Vec::new();
    for (index, seed) in (0..volume(SEEDS)).enumerate() {
        let budgets = Budgets {
            tail_bytes: [0, 5_000, 60_000, 1 << 30][index % 4],
            read_bytes: [0, 40_000, 1 << 30][index % 3],
        };
        println!("seed {seed}, {budgets:?}");
        let mut pair = Pair::new(seed, budgets);
        for _ in 0..150 {
            pair.step();
        }
        seen.push(pair.seen);
    }
    moving::must_have_met(&seen);
}

/// Ten messages of one entry in log 1, with their run.
fn one_piece(first: Offset, count: usize, bytes: usize) -> (Placed, Bytes) {
    let run = run_of(&vec![vec![7; bytes]; count]);
    let length = u32::try_from(run.len()).unwrap();
    let placed = Placed {
        log: 1,
        first,
        count: u32::try_from(count).unwrap(),
        published_at: Timestamp(5),
        record: RecordAt {
            file: FileId::Journal(1),
            position: 4096 + first,
            length,
        },
        start: 0,
        bytes: length,
    };
    (placed, run)
}

#[test]
fn over_its_budget_the_tail_drops_the_oldest_pieces_of_whatever_log() {
    let (first, run) = one_piece(0, 10, 90);
    let mut bodies = Bodies::new(Budgets {
        tail_bytes: 3 * run.len() as u64,
        read_bytes: 0,
    });
    for log in 1..=4 {
        let placed = Placed { log, ..first };
        bodies.place(placed, Some(run.clone()));
    }
    assert_eq!(bodies.tail_bytes_used(), 3 * run.len() as u64);
    for log in 1..=4 {
        let lookup = bodies.lookup(log, &(0..10), &mut Vec::new());
        assert_eq!(lookup == Lookup::Found, log > 1, "log {log}");
    }
    bodies.discard(2, &(0..10));
    assert_eq!(bodies.tail_bytes_used(), 2 * run.len() as u64);
}

#[test]
fn one_body_left_of_each_chunk_does_not_keep_more_chunks_in_memory_than_the_budget() {
    let (_, run) = one_piece(0, 10, 90);
    let chunks = 1_000;
    let mut bodies = Bodies::new(Budgets {
        tail_bytes: 20 * run.len() as u64,
        read_bytes: 0,
    });
    let mut weak = Vec::new();
    for chunk in 0..chunks {
        // Ten runs are slices of one chunk; nine are settled at once.
        let chunk_bytes = Bytes::from(run.repeat(10));
        for part in 0..10 {
            let (placed, _) = one_piece((chunk * 10 + part) * 10, 10, 90);
            let at = usize::try_from(part).unwrap() * run.len();
            bodies.place(placed, Some(chunk_bytes.slice(at..at + run.len())));
            if part > 0 {
                bodies.discard(1, &(placed.first..placed.first + 10));
            }
        }
        weak.push(chunk_bytes);
    }
    let held = weak.iter().filter(|chunk| !chunk.is_unique()).count();
    assert!((1..=3).contains(&held), "{held} chunks held");
}

#[test]
fn small_publishes_of_one_entry_become_one_piece() {
    let mut bodies = Bodies::new(Budgets::default());
    let run = run_of(&[vec![1; 50]]);
    let bytes = u32::try_from(run.len()).unwrap();
    for message in 0..2_048_u32 {
        let record = RecordAt {
            file: FileId::Journal(1),
            position: 4096,
            length: 2_048 * bytes,
        };
        let placed = Placed {
            log: 1,
            first: message.into(),
            count: 1,
            published_at: Timestamp(5),
            record,
            start: message * bytes,
            bytes,
        };
        bodies.place(placed, Some(run.clone()));
    }
    assert_eq!(bodies.pieces(), 2, "an extent has at most 1,024 messages");
    let published = |log, offset| bodies.published_at(log, offset);
    assert_eq!(published(1, 2_047), Some(Timestamp(5)));
    assert_eq!((published(1, 2_048), published(2, 0)), (None, None));
    // Discarded one by one and out of order they are gone all the same.
    for message in (0..2_048).step_by(2).chain((1..2_048).step_by(2)) {
        bodies.discard(1, &(message..message + 1));
    }
    assert_eq!((bodies.pieces(), bodies.tail_bytes_used()), (0, 0));
    assert!(bodies.live_files().all(|file| file != FileId::Journal(1)));
}

#[test]
fn reading_on_through_a_piece_starts_where_the_last_look_up_stopped() {
    let (placed, run) = one_piece(100, 1_000, 20);
    let mut bodies = Bodies::new(Budgets::default());
    bodies.place(placed, Some(run));
    // Two readers of one topic do not disturb each other.
    let mut readers = [100, 600];
    for _ in 0..20 {
        for next in &mut readers {
            let mut slices = Vec::new();
            bodies.lookup(1, &(*next..*next + 10), &mut slices);
            *next += 10;
            let cursors = bodies.logs[&1].cursors();
            assert!(cursors.contains(&(100, u32::try_from(*next - 100).unwrap())));
            assert!(cursors.len() <= 2);
        }
    }
}

#[test]
fn small_slices_of_a_payload_are_copied_and_large_ones_share_it() {
    let (placed, run) = one_piece(0, 100, 100);
    let mut bodies = Bodies::new(Budgets::default());
    bodies.place(placed, None);
    bodies.fill(placed.record, run.clone());
    let mut slices = Vec::new();
    bodies.lookup(1, &(0..1), &mut slices);
    bodies.lookup(1, &(0..50), &mut slices);
    let within = |slice: &Slice| run.as_ptr_range().contains(&slice.bytes.as_ptr());
    assert!(!within(&slices[0]) && within(&slices[1]));
}

#[test]
fn the_index_of_twenty_thousand_pieces_is_small() {
    let mut bodies = Bodies::new(Budgets::default());
    for piece in 0..20_000_u32 {
        let placed = Placed {
            log: u64::from(piece % 7),
            first: u64::from(piece / 7) * 600,
            count: 600,
            published_at: Timestamp(1_700_000_000_000 + u64::from(piece) * 3),
            record: RecordAt {
                file: FileId::Journal(1 + u64::from(piece / 1_000)),
                position: 4096 + u64::from(piece % 1_000 / 8) * 500_000,
                length: 490_000,
            },
            start: 100 + piece % 8 * 61_000,
            bytes: 61_000,
        };
        bodies.place(placed, None);
    }
    let mut bytes = Vec::new();
    bodies.export(&mut bytes);
    assert!(bytes.len() < 20_000 * 24, "{} bytes", bytes.len());
    let again = Bodies::import(&bytes, Budgets::default()).expect("what was exported");
    assert_eq!(again.pieces(), 20_000);
}

#[test]
fn damaged_index_bytes_are_refused_or_make_a_consistent_index() {
    let mut pair = Pair::new(1, Budgets::default());
    for _ in 0..12 {
        pair.place_entry();
        pair.discard();
    }
    let mut bytes = Vec::new();
    pair.bodies.export(&mut bytes);
    assert!(matches!(
        Bodies::import(&[], pair.budgets),
        Err(IndexError::Format { found: 0 })
    ));
    // The snapshot's checksum finds damage; here it must only do no harm.
    let import = |bytes: &[u8]| {
        let mut bodies = Bodies::import(bytes, Budgets::default())?;
        for log in 0..LOGS {
            bodies.lookup(log, &(0..Offset::MAX), &mut Vec::new());
            bodies.forget(log);
        }
        Ok::<_, IndexError>(())
    };
    let mut refused = 0;
    for index in 0..bytes.len() {
        refused += u32::from(import(&bytes[..index]).is_err());
        for _ in 0..8 {
            let mut damaged = bytes.clone();
            damaged[index] = pair.rng.u8(..);
            refused += u32::from(import(&damaged).is_err());
        }
    }
    assert!(refused > 0, "most of it is found");
}
