//! Bodies that move to segments, and what becomes of segments.

use std::path::Path;

use super::*;
use crate::storage::fs::Fs;
use crate::storage::mover::move_bodies;
use crate::storage::{Damage, RecordAt, StorageError};

/// What moves have met: it is not enough that nothing was wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    reads: usize,
    blocks: usize,
    /// Blocks with messages of several milliseconds.
    mixed: usize,
    unreadable: usize,
    emptied: usize,
}

pub(super) fn must_have_met(seen: &[Seen]) {
    let sum = |count: fn(&Seen) -> usize| seen.iter().map(count).sum::<usize>();
    assert!(
        sum(|it| it.blocks) > 200 && sum(|it| it.mixed) > 100,
        "{seen:?}"
    );
    assert!(
        sum(|it| it.emptied) > 50 && sum(|it| it.unreadable) > 3,
        "{seen:?}"
    );
}

impl Pair {
    /// Moves what lies in full files, unless it is in memory, and in sparse segments.
    pub(super) fn move_bodies(&mut self) {
        // So large that little of them is needed.
        let full: Vec<_> = (1..self.file()).map(|file| (file, u64::MAX)).collect();
        let plan = self.bodies.plan(&full);
        let moves = plan.moves(self.bodies.fresh_from(), u64::MAX);
        let journal = &self.naive.journal;
        let reads = &mut self.seen.reads;
        let outcome = move_bodies(&self.segments, &moves, self.next_segment, &mut |record| {
            *reads += 1;
            // One in many is damaged.
            match *reads % 10 {
                9 => Err(StorageError::Retired { file: record.file }),
                _ => Ok(journal[&record].clone()),
            }
        });
        let outcome = outcome.expect("the disk has room");
        let whereto = outcome.moved;
        let blocks = whereto.iter().flat_map(|part| part.blocks.values());
        let blocks = blocks.flatten();
        self.seen.mixed += blocks.clone().filter(|it| it.published_at.0 == 0).count();
        self.seen.blocks += blocks.count();
        self.seen.unreadable += outcome.unreadable.len();
        self.next_segment += moves.len() as u64;
        for (log, blocks) in whereto.iter().flat_map(|part| &part.blocks) {
            for block in blocks {
                let payload = self.segments.read(block.record).expect("a block");
                self.naive.journal.insert(block.record, payload);
                let end = block.first + u64::from(block.count);
                let inside = self
                    .naive
                    .messages
                    .range_mut((*log, block.first)..(*log, end));
                inside.for_each(|(_, (_, _, at))| *at = block.record);
            }
        }
        for part in &whereto {
            self.bodies.relocate(part);
        }
        let empty = self.bodies.take_empty_segments();
        self.seen.emptied += empty.len();
        self.segments.remove(&empty).expect("the disk lets go");
        assert_eq!(self.segments.count(), self.bodies.segments().count());
    }
}

/// A log of so many records of 64 KiB, one piece each, all in journal file 1.
struct Backlog {
    bodies: Bodies,
    segments: Segments,
    records: BTreeMap<RecordAt, Bytes>,
    next: u64,
}

impl Backlog {
    fn new(pieces: u64) -> Self {
        let segments = Segments::new(Arc::new(MemoryFs::new(1)), "/segments".into());
        segments.adopt(std::iter::empty()).expect("a directory");
        let budgets = Budgets {
            tail_bytes: 0,
            read_bytes: 1 << 30,
        };
        let mut backlog = Self {
            bodies: Bodies::new(budgets),
            segments,
            records: BTreeMap::new(),
            next: 1,
        };
        for piece in 0..pieces {
            backlog.add(piece);
        }
        backlog
    }

    /// A record with one more piece.
    fn add(&mut self, piece: u64) -> Placed {
        let (mut placed, run) = one_piece(piece * 10, 10, 6_000);
        placed.record.position = 4096 + piece * 100_000;
        self.bodies.place(placed, None);
        self.records.insert(placed.record, run);
        placed
    }

    /// Moves what there is to be moved; says how many pieces that was.
    fn shift(&mut self) -> usize {
        self.shift_out_of(1)
    }

    /// As [`Self::shift`], out of this file.
    fn shift_out_of(&mut self, file: u64) -> usize {
        let plan = self.bodies.plan(&[(file, u64::MAX)]);
        let moves = plan.moves(None, u64::MAX);
        let (records, segments) = (&self.records, &self.segments);
        let outcome = move_bodies(segments, &moves, self.next, &mut |at| match at.file {
            FileId::Journal(_) => Ok(records[&at].clone()),
            FileId::Segment(_) => segments.read(at),
        });
        self.next += moves.len() as u64;
        for part in outcome.expect("the disk has room").moved {
            self.bodies.relocate(&part);
        }
        let empty = self.bodies.take_empty_segments();
        self.segments.remove(&empty).expect("the disk lets go");
        moves.len()
    }

    /// What there is to be moved, if little of file 1 is needed.
    fn moves(&self, room_bytes: u64) -> Vec<Move> {
        let plan = self.bodies.plan(&[(1, u64::MAX)]);
        plan.moves(None, room_bytes)
    }

    fn numbers(&self) -> Vec<u64> {
        self.bodies
            .segments()
            .map(|segment| segment.number)
            .collect()
    }

    /// Every message that is kept, read from wherever it lies.
    fn offsets(&mut self) -> Vec<Offset> {
        let (mut from, mut slices) = (0, Vec::new());
        while let Lookup::Missing { at, reads } = self.bodies.lookup(1, &(from..1_000), &mut slices)
        {
            let payload = match reads[0].file {
                FileId::Journal(_) => self.records[&reads[0]].clone(),
                FileId::Segment(_) => self.segments.read(reads[0]).expect("a block"),
            };
            self.bodies.fill(reads[0], payload);
            from = at;
        }
        let each = slices.iter().flat_map(|it| {
            let bodies = messages(&it.bytes).map(|view| view.body().len());
            assert!(bodies.eq(std::iter::repeat_n(6_000, it.count as usize)));
            it.first..it.first + u64::from(it.count)
        });
        each.collect()
    }
}

#[test]
fn a_segment_of_which_less_than_a_quarter_is_needed_is_written_anew() {
    let mut backlog = Backlog::new(20);
    assert_eq!(backlog.shift(), 20);
    assert_eq!(backlog.numbers(), [1]);
    assert!(backlog.bodies.live_files().eq([FileId::Segment(1)]));
    backlog.bodies.discard(1, &(0..35));
    backlog.bodies.discard(1, &(44..150));
    // Seven of twenty blocks are left.
    assert_eq!((backlog.shift(), backlog.numbers()), (0, vec![1]));
    backlog.bodies.discard(1, &(160..190));
    assert_eq!(backlog.shift(), 4, "blocks, one of them kept in its middle");
    assert_eq!(backlog.bodies.segments().count(), 1);
    assert!(backlog.numbers()[0] > 1, "another one");
    assert_eq!(backlog.segments.count(), 1);
    let kept = (35..44).chain(150..160).chain(190..200);
    assert_eq!(backlog.offsets(), kept.collect::<Vec<_>>());
    assert_eq!(backlog.shift(), 0, "what was written anew is not sparse");
}

#[test]
fn what_has_moved_is_found_behind_a_gap_whose_record_another_one_has_followed() {
    let mut backlog = Backlog::new(1);
    assert_eq!(backlog.shift(), 1);
    backlog.add(1);
    let shared = backlog.add(2);
    // The record stays where it is known, so the block gets the place of the one that goes.
    backlog.bodies.place(Placed { log: 2, ..shared }, None);
    backlog.bodies.discard(1, &(10..20));
    assert_eq!(backlog.shift(), 2);
    let kept = (0..10).chain(20..30);
    assert_eq!(backlog.offsets(), kept.collect::<Vec<_>>());
}

#[test]
fn a_segment_goes_when_its_last_message_has_gone_and_is_read_until_then() {
    let mut backlog = Backlog::new(20);
    backlog.shift();
    assert_eq!(backlog.offsets(), (0..200).collect::<Vec<_>>());
    backlog.bodies.discard(1, &(0..199));
    backlog.shift();
    assert_eq!(backlog.offsets(), [199]);
    backlog.bodies.discard(1, &(199..200));
    backlog.shift();
    assert_eq!(
        (
            backlog.segments.count(),
            backlog.bodies.live_files().count()
        ),
        (0, 0)
    );
}

#[test]
fn an_index_that_names_a_segment_it_does_not_list_is_refused() {
    let mut backlog = Backlog::new(2);
    backlog.shift();
    let mut bytes = Vec::new();
    backlog.bodies.export(&mut bytes);
    Bodies::import(&bytes, Budgets::default()).expect("what was exported");
    backlog.bodies.segments.clear();
    bytes.clear();
    backlog.bodies.export(&mut bytes);
    let damaged = Bodies::import(&bytes, Budgets::default()).err();
    assert_eq!(damaged, Some(IndexError::Damaged(IndexDamage::Records)));
}

#[test]
fn segments_that_are_cut_short_or_gone_are_damage_and_strangers_are_removed() {
    let fs = MemoryFs::new(1);
    let mut backlog = Backlog::new(3);
    backlog.segments = Segments::new(Arc::new(fs.clone()), "/segments".into());
    backlog
        .segments
        .adopt(std::iter::empty())
        .expect("a directory");
    backlog.shift();
    let needed: Vec<_> = backlog.bodies.segments().collect();
    let again = || Segments::new(Arc::new(fs.clone()), "/segments".into());
    again().adopt(needed.iter().copied()).expect("all there");
    let path = backlog.segments.path(&needed[0]);
    let bytes = fs.contents(&path).expect("a file");
    fs.damage(&path, bytes.len() as u64 - 1, &[0]);
    let torn = again().adopt(needed.iter().copied()).err();
    assert!(
        matches!(torn, Some(StorageError::Damaged { .. })),
        "{torn:?}"
    );
    assert!(fs.contents(&path).is_some(), "nothing was changed");
    let gone = Segment {
        number: 9,
        ..needed[0]
    };
    let gone = again().adopt([gone].into_iter()).err();
    assert!(
        matches!(
            gone,
            Some(StorageError::Damaged {
                damage: Damage::Missing,
                ..
            })
        ),
        "{gone:?}"
    );
    let unneeded = again();
    let strangers = unneeded.strangers().expect("a list");
    assert!(fs.contents(&path).is_some(), "not before it is certain");
    let removed = unneeded.remove_strangers(strangers);
    removed.expect("none is needed");
    assert!(fs.contents(&path).is_none(), "nobody needs it");
}

#[test]
fn a_move_that_fails_for_want_of_room_moves_nothing_and_leaves_nothing() {
    let fs = MemoryFs::new(1);
    let mut backlog = Backlog::new(20);
    backlog.segments = Segments::new(Arc::new(fs.clone()), "/segments".into());
    backlog
        .segments
        .adopt(std::iter::empty())
        .expect("a directory");
    fs.set_capacity(Some(500_000));
    let moves = backlog.moves(u64::MAX);
    let records = backlog.records.clone();
    let failed = move_bodies(&backlog.segments, &moves, 1, &mut |at| {
        Ok(records[&at].clone())
    });
    assert!(matches!(failed, Err(StorageError::Io { .. })), "{failed:?}");
    let left = fs.list(Path::new("/segments")).expect("a directory");
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(backlog.offsets(), (0..200).collect::<Vec<_>>());
    fs.set_capacity(None);
    assert_eq!(backlog.shift(), 20);
}

/// Whether journal file 1, if it is full with 2 MiB, is emptied.
fn is_emptied(backlog: &Backlog) -> bool {
    !backlog.bodies.plan(&[(1, 2 << 20)]).is_empty()
}

#[test]
fn a_journal_file_stays_as_long_as_a_quarter_of_it_is_needed() {
    let mut backlog = Backlog::new(20);
    assert!(!is_emptied(&backlog), "1.2 MB of 2 MiB are needed");
    assert_eq!(backlog.bodies.plan(&[]).pieces(), 0, "it is not full");
    backlog.bodies.discard(1, &(0..110));
    assert!(!is_emptied(&backlog), "540 kB");
    backlog.bodies.discard(1, &(110..120));
    assert!(is_emptied(&backlog), "480 kB");
}

#[test]
fn what_is_needed_counts_by_the_message_and_not_by_the_record() {
    let mut backlog = Backlog::new(20);
    for piece in 0..20 {
        backlog
            .bodies
            .discard(1, &(piece * 10 + 1..piece * 10 + 10));
    }
    assert!(is_emptied(&backlog), "one message is left of each record");
}

#[test]
fn a_journal_file_of_small_pieces_is_emptied_so_that_its_index_shrinks() {
    let mut backlog = Backlog::new(0);
    for piece in 0..100 {
        let (mut placed, _) = one_piece(piece * 10, 10, 1_000);
        placed.record.position = 4096 + piece * 20_000;
        backlog.bodies.place(placed, None);
    }
    assert!(is_emptied(&backlog), "100 pieces, and 16 blocks hold them");
}

#[test]
fn a_journal_file_in_which_the_bodies_of_a_log_lie_far_apart_is_emptied() {
    let mut backlog = Backlog::new(0);
    let record_of = |logs: u64| {
        let mut backlog = Backlog::new(0);
        for piece in 0..20 {
            for log in 0..logs {
                let (mut placed, _) = one_piece(piece * 10, 10, 6_000);
                placed.log = log;
                placed.start = u32::try_from(log).expect("few") * placed.bytes;
                placed.record.position = 4096 + piece * 2_000_000;
                placed.record.length = placed.bytes * u32::try_from(logs).expect("few");
                backlog.bodies.place(placed, None);
            }
        }
        backlog
    };
    backlog.bodies = record_of(4).bodies;
    assert!(!is_emptied(&backlog), "each record is read four times");
    backlog.bodies = record_of(5).bodies;
    assert!(is_emptied(&backlog), "and five times is too often");
}

#[test]
fn kept_journal_files_count_as_empty_once_nothing_in_them_is_needed() {
    let mut backlog = Backlog::new(2);
    backlog.bodies.note_kept([(1, 500), (7, 300)].into());
    assert_eq!(backlog.bodies.empty_bytes(), 300, "nothing lies in 7");
    backlog.bodies.discard(1, &(0..20));
    assert_eq!(backlog.bodies.empty_bytes(), 800);
    backlog.bodies.take_empty_segments();
    assert_eq!(backlog.bodies.empty_bytes(), 0, "a snapshot is under way");
}

#[test]
fn what_moves_out_of_a_segment_and_an_older_journal_file_at_once_is_found() {
    let mut backlog = Backlog::new(10);
    for piece in 10..20 {
        let (mut placed, run) = one_piece(piece * 10, 10, 6_000);
        placed.record.file = FileId::Journal(2);
        placed.record.position = 4096 + piece * 100_000;
        backlog.bodies.place(placed, None);
        backlog.records.insert(placed.record, run);
    }
    assert_eq!(backlog.shift_out_of(2), 10);
    backlog.bodies.discard(1, &(100..180));
    assert_eq!(backlog.shift_out_of(1), 12, "the segment is sparse by now");
    let kept = (0..100).chain(180..200);
    assert_eq!(backlog.offsets(), kept.collect::<Vec<_>>());
    assert_eq!(backlog.segments.count(), 2);
}

#[test]
fn no_more_is_moved_than_there_is_room_for_and_the_oldest_files_first() {
    let (one, bytes) = (Backlog::new(20), 1_200_000);
    let moved = |room| -> u32 {
        let moves = one.moves(room);
        moves.iter().map(|it| it.bytes).sum()
    };
    let all = moved(u64::MAX);
    assert!(all > bytes, "{all}");
    assert_eq!(moved(u64::from(all)), all);
    assert_eq!(moved(u64::from(all) - 1), 0, "a file in part frees nothing");
}
