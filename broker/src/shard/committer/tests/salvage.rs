//! Damaged, refused, looked at, salvaged, opened: everything else is there, and the counts agree.

use std::sync::Arc as Shared;

use super::damage::{damage, publish_and_move, refusal, start, stocked};
use super::*;
use crate::shard::salvage::{self, SalvageError};
use crate::storage::BodyReader;
use crate::storage::bodies::Lookup;

const DATA: &str = "/data";

fn look(fs: &MemoryFs) -> Result<salvage::Salvage, SalvageError> {
    salvage::look(Shared::new(fs.clone()), Path::new(DATA))
}

/// Kept and lost messages of `jobs`, by the dry run; then they are lost.
fn salvage(fs: &MemoryFs) -> (u64, u64) {
    refusal(fs);
    let before = fs.kill();
    let found = look(fs).expect("it can be salvaged");
    assert!(found.is_damaged());
    let report = found.report();
    drop(found);
    refusal(fs);
    assert_eq!(list(fs), list(&before), "a dry run changes nothing");
    let again = look(fs).expect("as before");
    assert_eq!(again.report(), report);
    again.accept().expect("salvaged");
    let jobs = report.names.iter().find(|it| it.name == "jobs");
    let jobs = jobs.unwrap_or_else(|| panic!("{report}"));
    (jobs.kept, jobs.lost)
}

fn list(fs: &MemoryFs) -> Vec<String> {
    let directories = ["", "journal", "shard-0", "shard-0/segments", "salvaged-1"];
    let names = directories.iter().flat_map(|below| {
        let directory = Path::new(DATA).join(below);
        fs.list(&directory).unwrap_or_default()
    });
    names.collect()
}

/// First bytes of the bodies of `jobs`, read back; its books; what it tells as gaps.
fn opened(fs: &MemoryFs) -> (Vec<u8>, siding_protocol::event::Books, Vec<OffsetRange>) {
    let recovery = start(fs).expect("it opens");
    let state = recovery.core.state();
    let log = state.names["jobs"];
    let end = state.logs[&log].end;
    let jobs = state.subscriptions.values().find(|it| it.log == log);
    let jobs = jobs.expect("a queue has one");
    let (books, gaps) = (jobs.books(end), jobs.gaps.ranges().collect());
    assert!(state.books_balance(), "{books:?}");
    let reader = BodyReader::new(recovery.writer.reader(), recovery.segments);
    let (mut bodies, mut from, mut slices) = (recovery.bodies, 0, Vec::new());
    while let Lookup::Missing { at, reads } = bodies.lookup(log, &(from..u64::MAX), &mut slices) {
        bodies.fill(
            reads[0],
            reader.read(reads[0]).expect("what is named is there"),
        );
        from = at;
    }
    let messages = slices
        .iter()
        .flat_map(|it| siding_protocol::run::messages(&it.bytes));
    let firsts = messages.map(|it| it.body()[0]).collect();
    (firsts, books, gaps)
}

#[test]
fn a_damaged_body_of_what_the_snapshot_holds_costs_that_message_and_no_other() {
    run(async {
        let Stage { fs, committer, .. } = stocked(b"abcde").await;
        committer.finish().await.expect("a clean stop");
        damage(&fs, "/data/journal", b'c');
        assert_eq!(salvage(&fs), (4, 1));
        let (bodies, books, gaps) = opened(&fs);
        assert_eq!(bodies, b"abde");
        assert_eq!((books.end, books.ready, books.salvage_lost), (5, 4, 1));
        assert_eq!(gaps, vec![2..3]);
        let aside = fs.list(Path::new("/data/salvaged-1")).expect("a directory");
        assert!(
            aside.iter().any(|name| name.starts_with("snapshot-")),
            "{aside:?}"
        );
        assert!(
            aside.iter().any(|name| name.ends_with(".journal")),
            "{aside:?}"
        );
    });
}

#[test]
fn what_lies_behind_a_damaged_entry_is_undone_and_its_offsets_are_not_given_again() {
    run(async {
        // No snapshot: every entry is to be replayed.
        let stage = stocked(b"abcdef").await;
        let fs = stage.fs.crash(&mut |_, newest| newest);
        damage(&fs, "/data/journal", b'c');
        assert_eq!(salvage(&fs), (2, 3));
        let (bodies, books, gaps) = opened(&fs);
        assert_eq!(bodies, b"ab");
        assert_eq!((books.end, books.ready, books.salvage_lost), (5, 2, 3));
        assert_eq!(gaps, vec![2..5]);
        let recovery = start(&fs).expect("it opens again and again");
        let mut stage = Stage::recovered(fs, recovery);
        assert!(stage.committer.core.term() > 2, "no grant is given again");
        stage.inbox.push(Input::Opened {
            session: 1,
            holder: "me".into(),
            marks_started: false,
        });
        stage.ask(3, publish(9, &[b'g'; 400]));
        stage.answer().await.expect("it goes on");
        let fs = stage.fs.crash(&mut |_, newest| newest);
        let (bodies, books, _) = opened(&fs);
        assert_eq!((&*bodies, books.end), (&b"abg"[..], 6));
    });
}

#[test]
fn a_damaged_block_head_or_footer_of_a_segment_costs_what_lies_there_and_no_more() {
    run(async {
        let whole = publish_and_move().await;
        let directory = Path::new("/data/shard-0/segments");
        let name = fs_first(&whole, directory);
        let path = directory.join(name);
        let length = whole.contents(&path).expect("a segment").len();
        for (place, lost) in [(20, 0), (length - 3, 0), (3_000, 1)] {
            let fs = whole.kill();
            let was = fs.contents(&path).expect("a segment")[place];
            fs.damage(&path, place as u64, &[was ^ 4]);
            if lost == 0 {
                assert_eq!(salvage(&fs), (61, 0), "byte {place}");
            } else {
                // A block is read, and told, when it is wanted.
                start(&fs).map(drop).expect("a block is not looked at");
                let found = look(&fs).expect("it can be salvaged");
                let report = found.report();
                assert!(report.lost() > 0 && report.lost() <= 16, "{report}");
                found.accept().expect("salvaged");
            }
            let (bodies, books, gaps) = opened(&fs);
            assert_eq!(books.ready + books.salvage_lost, 61);
            assert_eq!(bodies.len() as u64, books.ready);
            assert_eq!(books.salvage_lost > 0, lost > 0);
            assert_eq!(gaps.is_empty(), lost == 0);
        }
    });
}

fn fs_first(fs: &MemoryFs, directory: &Path) -> String {
    let names = fs.list(directory).expect("a directory");
    names.into_iter().next().expect("bodies were moved")
}

#[test]
fn a_damaged_snapshot_costs_nothing_while_the_journal_has_all_and_is_refused_when_it_has_not() {
    run(async {
        let Stage { fs, committer, .. } = stocked(b"abcde").await;
        committer.finish().await.expect("a clean stop");
        let directory = Path::new("/data/shard-0");
        let mut names = fs.list(directory).expect("names").into_iter();
        let name = names.rfind(|name| name.starts_with("snapshot-"));
        let path = directory.join(name.expect("a snapshot"));
        fs.damage(&path, 60, &[0xEE]);
        assert_eq!(salvage(&fs), (5, 0));
        assert_eq!(opened(&fs).0, b"abcde");

        let fs = publish_and_move().await;
        let mut names = fs.list(directory).expect("names").into_iter();
        let name = names.rfind(|name| name.starts_with("snapshot-"));
        fs.damage(&directory.join(name.expect("a snapshot")), 60, &[0xEE]);
        let first = Path::new("/data/journal/00000000000000000001.journal");
        fs.remove(first).expect("given back by the cut");
        refusal(&fs);
        let refused = look(&fs)
            .map(drop)
            .expect_err("nobody knows whose these are");
        assert!(matches!(refused, SalvageError::NoState { .. }), "{refused}");
        assert!(refused.to_string().contains("restore a copy"), "{refused}");
    });
}

#[test]
fn a_salvage_interrupted_anywhere_is_finished_or_begun_again_and_nothing_opens_between() {
    run(async {
        let Stage { fs, committer, .. } = stocked(b"abcde").await;
        committer.finish().await.expect("a clean stop");
        damage(&fs, "/data/journal", b'c');
        let (mut nth, mut finished) = (1, 0);
        loop {
            let disk = fs.kill();
            disk.fail(Operation::Rename, nth, ErrorKind::Other);
            let done = look(&disk).expect("it can be salvaged").accept();
            let mut rng = fastrand::Rng::with_seed(nth);
            let disk = disk.crash(&mut |_, choices| rng.usize(..=choices));
            let is_done = done.is_ok();
            if start(&disk).is_err() {
                let was_pending = salvage::finish(&disk, Path::new(DATA)).expect("the disk works");
                finished += u64::from(was_pending);
                if !was_pending {
                    look(&disk).expect("as before").accept().expect("salvaged");
                }
            }
            assert_eq!(opened(&disk).0, b"abde", "failure {nth}");
            if is_done {
                break;
            }
            nth += 1;
        }
        assert!(nth > 4 && finished > 2, "{nth} places, {finished} finished");
    });
}

#[test]
fn a_journal_that_is_gone_costs_what_lay_in_it_and_keeps_what_lies_in_segments() {
    run(async {
        let fs = publish_and_move().await;
        let journal = Path::new("/data/journal");
        for name in fs.list(journal).expect("files") {
            fs.remove(&journal.join(name)).expect("removed");
        }
        let (kept, lost) = salvage(&fs);
        assert!(kept > 0 && lost > 0, "{kept} kept, {lost} lost");
        assert_eq!(kept + lost, 61);
        let (bodies, books, _) = opened(&fs);
        assert_eq!((bodies.len() as u64, books.salvage_lost), (kept, lost));
    });
}

#[test]
fn any_flipped_byte_of_any_file_costs_at_most_what_lies_there_and_the_counts_agree() {
    run(async {
        let whole = publish_and_move().await;
        // Given back by the cut; else every snapshot could be made anew.
        let first = Path::new("/data/journal/00000000000000000001.journal");
        whole.remove(first).expect("there");
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut refused, mut fenced, mut lost, mut hopeless) = (0, 0, 0, 0);
        for _ in 0..400 {
            let (path, place) = anywhere(&whole, &mut rng);
            let flipped = whole.contents(&path).expect("a file")[place] ^ (1 << rng.u32(..8));
            let damaged = || {
                let fs = whole.kill();
                fs.damage(&path, place as u64, &[flipped]);
                fs
            };
            let opens = start(&damaged()).is_ok();
            let fs = damaged();
            let found = match look(&fs) {
                Ok(found) => found,
                Err(SalvageError::NoState { .. }) => {
                    assert!(path.to_string_lossy().contains("snapshot-"), "{path:?}");
                    hopeless += 1;
                    continue;
                }
                Err(other) => panic!("{path:?} {place}: {other}"),
            };
            if !found.is_damaged() {
                assert!(opens, "{path:?} {place}: refused, and nothing is damaged");
                continue;
            }
            let costs = found.report().lost();
            found.accept().expect("salvaged");
            let (bodies, books, gaps) = opened(&fs);
            assert_eq!(books.ready + books.salvage_lost, 61, "{path:?} {place}");
            assert_eq!(
                (bodies.len() as u64, costs),
                (books.ready, books.salvage_lost)
            );
            assert_eq!(
                gaps.iter().map(|gap| gap.end - gap.start).sum::<u64>(),
                costs
            );
            assert!(bodies.iter().all(|byte| *byte == 7));
            refused += u64::from(!opens);
            fenced += u64::from(opens);
            lost += costs;
        }
        assert!(
            refused > 10 && fenced > 20 && lost > 20,
            "{refused} {fenced} {lost}"
        );
        assert!(hopeless > 0, "a snapshot was hit, too");
    });
}

/// A file of the data, each kind as likely, and a byte of it; of the journal one near its records.
fn anywhere(fs: &MemoryFs, rng: &mut fastrand::Rng) -> (std::path::PathBuf, usize) {
    let directory = ["journal", "shard-0", "shard-0/segments"][rng.usize(..3)];
    let directory = Path::new(DATA).join(directory);
    let names = fs.list(&directory).expect("a directory");
    let path = directory.join(&names[rng.usize(..names.len())]);
    let length = fs.contents(&path).map_or(0, |bytes| bytes.len());
    if length == 0 {
        return anywhere(fs, rng);
    }
    (path, rng.usize(..length))
}
