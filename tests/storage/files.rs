//! Files rolled over, recycled and made ahead; the journal's door and its thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;
use siding_broker::storage::fs::SystemFs;
use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::{
    Append, Completion, DataDir, FileId, Filling, Group, Journal, JournalOptions, Kind, Level,
    StorageError, Threads, Writer, recover,
};

use siding_tests::journal::{FILE_BYTES, Rig, body, entry};

fn files_on(fs: &MemoryFs) -> Vec<String> {
    use siding_broker::storage::fs::Fs;
    fs.list(Path::new("/j")).unwrap()
}

#[test]
fn files_are_recycled_and_what_they_held_never_comes_back() {
    let mut rig = Rig::new(MemoryFs::new(1));
    for round in 0..60 {
        for length in [9000, 3, 700] {
            rig.append(&[length, 5], Level::Synced).unwrap();
        }
        if round % 3 == 0 {
            rig.retire();
        }
        if round % 7 == 0 {
            rig.recover_twice(&rig.fs.crash(&mut |_, _| 0));
        }
    }
    assert!(rig.places.last().unwrap().file.number() > 9);
    assert!(files_on(&rig.fs).len() < 8, "{:?}", files_on(&rig.fs));
}

#[test]
fn a_file_in_the_middle_may_go_before_an_older_one_that_is_still_needed() {
    let mut rig = Rig::new(MemoryFs::new(1));
    while rig.places.last().is_none_or(|last| last.file.number() < 5) {
        rig.append(&[9000], Level::Synced).unwrap();
    }
    let needed = rig.places[0];
    rig.passed = rig.confirmed as u64;
    let files = rig.writer.files();
    assert_eq!(files.recyclable(&|_| rig.passed), [1, 2, 3, 4]);
    assert_eq!(files.recyclable(&|_| 0), [0; 0]);
    for number in [2, 3] {
        files.retire(number).unwrap();
    }
    for _ in 0..20 {
        rig.append(&[9000], Level::Synced).unwrap();
    }
    let after = rig.recover(&rig.fs.crash(&mut |_, _| 0));
    assert_eq!(after.writer.reader().read(needed).unwrap(), body(1, 9000));
    assert!(matches!(
        files.retire(2),
        Err(StorageError::Retired {
            file: FileId::Journal(2)
        })
    ));
    let in_use = files.kept().pop().unwrap().0;
    files.retire(in_use).unwrap_err();
}

#[test]
fn a_full_file_ends_its_group_and_the_last_byte_of_a_file_can_be_used() {
    // From the first record of a file to its end: one record that ends exactly there.
    for spare in [0, 8, 56, 64, 72] {
        let mut rig = Rig::new(MemoryFs::new(1));
        let mut room = FILE_BYTES - 4096 - 64 - spare;
        while room > 0 {
            let record = room.min(16 << 10);
            let record = if room - record < 64 {
                room.min(record + 64).min(16 << 10)
            } else {
                record
            };
            let record = if room > record && room - record < 64 {
                record - 64
            } else {
                record
            };
            rig.append(&[usize::try_from(record).unwrap() - 64], Level::Synced)
                .unwrap();
            room -= record;
        }
        assert_eq!(rig.places.last().unwrap().file.number(), 1);
        rig.recover_twice(&rig.fs.crash(&mut |_, _| 0));
        rig.append(&[1, 2, 3], Level::Written).unwrap();
        rig.append(&[4], Level::Synced).unwrap();
        assert_eq!(rig.places.last().unwrap().file.number(), 2);
        rig.recover_twice(&rig.fs.crash(&mut |_, _| 0));
    }
}

/// A journal on the real disk, with its thread and files made ahead.
fn real(options: &JournalOptions) -> (Writer, u64) {
    let mut last = 0;
    let (writer, _) = recover(options, &|_| 1, &mut |record| {
        assert_eq!(record.index, last + 1);
        assert_eq!(record.payload, body(record.index, record.payload.len()));
        last = record.index;
    })
    .unwrap();
    (writer, last)
}

fn start(writer: Writer) -> (Journal, Receiver<Completion>) {
    let (done, completions) = sync_channel(64);
    let complete = Box::new(move |completion| done.send(completion).unwrap());
    (
        Journal::start(writer, complete, &Threads::System).unwrap(),
        completions,
    )
}

fn group(first: u64, count: u64, tag: u64) -> Group {
    let mut group = Group::new(Level::Synced, tag);
    group.records = (first..first + count)
        .map(|index| entry(index, 3000))
        .collect();
    group
}

#[test]
fn groups_committed_here_and_submitted_come_back_in_order_and_survive() {
    let directory = tempfile::tempdir().unwrap();
    let data = DataDir::open(Arc::new(SystemFs), directory.path()).unwrap();
    let mut options = data.journal();
    options.file_bytes = FILE_BYTES;
    let (mut next, mut tag) = (1, 0);
    for _ in 0..3 {
        let (writer, last) = real(&options);
        assert_eq!(last + 1, next);
        let (mut journal, completions) = start(writer);
        for _ in 0..10 {
            let committed = journal.commit_here(group(next, 2, tag)).unwrap();
            assert_eq!(committed.group.places.len(), 2);
            next += 2;
            let first = tag;
            for _ in 0..4 {
                journal.submit(group(next, 7, tag)).unwrap();
                (next, tag) = (next + 7, tag + 1);
            }
            for tag in first..tag {
                let completion = completions.recv().unwrap();
                journal.completed();
                assert_eq!(completion.tag, tag);
                let group = completion.result.unwrap().group;
                let read = journal.reader().read(group.places[6]).unwrap();
                assert_eq!(read, body(group.records[6].index, 3000));
            }
            assert_eq!(journal.in_flight(), 0);
            for number in journal.files().recyclable(&|_| 0) {
                journal.files().retire(number).unwrap();
            }
        }
        journal.mark().unwrap();
        drop(journal.close().unwrap());
    }
    let (_, last) = real(&options);
    assert_eq!(last + 1, next);
}

#[test]
fn a_thread_that_cannot_make_files_says_so_and_resumes_when_one_is_retired() {
    let fs = MemoryFs::new(1);
    let mut options = siding_tests::journal::options(&fs);
    options.filling = Filling::Ahead;
    options.spares = 2;
    fs.set_capacity(Some(4 * FILE_BYTES));
    let (mut writer, _) = recover(&options, &|_| 1, &mut |_| {}).unwrap();
    let (mut index, mut refusals) = (0, 0);
    while index < 300 {
        match writer.append(&[entry(index + 1, 9000)], Level::Synced, &mut Vec::new()) {
            Ok(()) => index += 1,
            Err(StorageError::NoSpare(_)) => {
                refusals += 1;
                assert!(writer.spare_gauge().is_failing());
                let files = writer.files();
                let oldest = files.recyclable(&|_| index)[0];
                files.retire(oldest).unwrap();
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refusals > 0);
    drop(writer);
    let mut last = 0;
    let found = recover(&options, &|_| index, &mut |record| last = record.index);
    assert_eq!((found.unwrap().1.last[&0], last), (300, 300));
}

#[test]
fn nothing_is_committed_here_while_submitted_groups_are_on_their_way() {
    let rig = Rig::new(MemoryFs::new(1));
    let (mut journal, completions) = start(rig.writer);
    journal.submit(group(1, 1, 1)).unwrap();
    journal.submit(group(2, 1, 2)).unwrap();
    for tag in 1..=2 {
        // Even a completion that has arrived must be taken in first, or the order is lost.
        assert_eq!(completions.recv().unwrap().tag, tag);
        let refused = journal.commit_here(group(3, 1, 3));
        assert!(matches!(refused, Err(StorageError::InFlight { .. })));
        journal.mark().unwrap();
        journal.completed();
    }
    journal.commit_here(group(3, 1, 3)).unwrap();
    journal.close().unwrap();
}

#[test]
fn shards_share_a_journal_and_each_has_its_own_positions() {
    let fs = MemoryFs::new(1);
    let options = siding_tests::journal::options(&fs);
    let (mut writer, _) = recover(&options, &|_| 1, &mut |_| {}).unwrap();
    for index in 1..=30 {
        let both = [0, 7].map(|shard| Append {
            shard,
            ..entry(index, 2000)
        });
        writer
            .append(&both, Level::Synced, &mut Vec::new())
            .unwrap();
    }
    let passed = |shard: u32| if shard == 7 { 12 } else { 29 };
    let files = writer.files();
    assert_eq!(files.recyclable(&|_| 29), [1, 2]);
    assert_eq!(files.recyclable(&passed), [0; 0]);
    let mut found = Vec::new();
    let wanted = |shard| passed(shard) + 1;
    let (_, report) = recover(&options, &wanted, &mut |record| {
        found.push((record.shard, record.index));
    })
    .unwrap();
    let expected = (13..=30).flat_map(|index| [(7, index), (0, index)]);
    found.sort_unstable_by_key(|&(shard, index)| (index, shard != 7));
    let expected: Vec<_> = expected
        .filter(|&(shard, index)| shard == 7 || index == 30)
        .collect();
    assert_eq!(found, expected);
    assert_eq!(report.last, [(0, 30), (7, 30)].into());
}

#[test]
fn a_failed_sync_on_the_thread_reaches_every_group_behind_it() {
    use siding_broker::storage::memory_fs::Operation;
    let rig = Rig::new(MemoryFs::new(1));
    let fs = rig.fs.clone();
    let (mut journal, completions) = start(rig.writer);
    fs.fail(Operation::Write, 2, std::io::ErrorKind::Other);
    for tag in 1..=3 {
        journal.submit(group(tag, 1, tag)).unwrap();
    }
    assert!(completions.recv().unwrap().result.is_ok());
    assert!(matches!(
        completions.recv().unwrap().result,
        Err(StorageError::Io { .. })
    ));
    assert!(matches!(
        completions.recv().unwrap().result,
        Err(StorageError::Poisoned)
    ));
    assert!(matches!(journal.close(), Err(StorageError::Poisoned)));
}

#[test]
fn a_mark_is_written_once_and_a_clean_end_leaves_nothing_unsynced() {
    let mut rig = Rig::new(MemoryFs::new(1));
    rig.append(&[10], Level::Synced).unwrap();
    rig.writer.mark().unwrap();
    let unsynced = rig.fs.unsynced().len();
    rig.writer.mark().unwrap();
    assert_eq!(rig.fs.unsynced().len(), unsynced);
    let fs = rig.fs.clone();
    let (mut journal, _completions) = start(rig.writer);
    let mut lazy = Group::new(Level::Written, 0);
    lazy.records.push(Append {
        kind: Kind::Entry,
        shard: 0,
        index: 2,
        term: 1,
        payload: vec![Bytes::from(body(2, 70))],
    });
    journal.commit_here(lazy).unwrap();
    assert!(!fs.unsynced().is_empty());
    journal.close().unwrap();
    assert!(fs.unsynced().is_empty());
}
