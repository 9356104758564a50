//! Writes and syncs that fail, and disks that are full.

use std::io::ErrorKind;

use siding_broker::storage::memory_fs::{MemoryFs, Operation};
use siding_broker::storage::{Level, StorageError};

use siding_tests::journal::{Rig, recover_from};

#[test]
fn the_first_failed_write_or_sync_is_final_and_costs_nothing_confirmed() {
    for (operation, level) in [
        (Operation::Write, Level::Synced),
        (Operation::Write, Level::Written),
        (Operation::Sync, Level::Synced),
    ] {
        let mut rig = Rig::new(MemoryFs::new(1));
        rig.append(&[100], Level::Synced).unwrap();
        rig.append(&[200], Level::Written).unwrap();
        rig.fs.fail(operation, 1, ErrorKind::Other);
        assert!(matches!(
            rig.append(&[300], level),
            Err(StorageError::Io { .. })
        ));
        let syncs = rig.fs.count(Operation::Sync);
        for _ in 0..3 {
            assert!(matches!(
                rig.append(&[1], Level::Synced),
                Err(StorageError::Poisoned)
            ));
            assert!(matches!(rig.writer.sync(), Err(StorageError::Poisoned)));
            assert!(matches!(rig.writer.mark(), Err(StorageError::Poisoned)));
        }
        assert_eq!(
            rig.fs.count(Operation::Sync),
            syncs,
            "a failed sync is never repeated"
        );
        // The same machine starts again: what memory holds and the disk does not is not believed.
        let after = rig.recover(&rig.fs.kill());
        assert!(after.lengths.starts_with(&rig.lengths[..1]));
        after.recover(&after.fs.crash(&mut |_, _| 0));
        for _ in 0..8 {
            rig.recover_twice(&rig.fs.crash(&mut |_, newest| newest));
            rig.recover_twice(&rig.fs.crash(&mut |_, _| 0));
        }
    }
}

#[test]
fn after_a_failed_sync_recovery_believes_the_disk_or_writes_again() {
    for keeps_cache in [false, true] {
        let mut rig = Rig::new(MemoryFs::new(1));
        rig.append(&[100], Level::Synced).unwrap();
        rig.append(&[5000], Level::Written).unwrap();
        rig.fs.fail(Operation::Sync, 1, ErrorKind::Other);
        rig.append(&[300], Level::Synced).unwrap_err();
        rig.fs.set_keeps_cache(keeps_cache);
        let again = rig.fs.kill();
        let after = rig.recover(&again);
        // Where the cache can be dropped, what never reached the disk is not even seen.
        assert_eq!(after.lengths.len(), if keeps_cache { 3 } else { 1 });
        after.recover_twice(&again.crash(&mut |_, _| 0));
    }
}

#[test]
fn a_new_file_whose_first_sync_failed_still_says_where_the_one_before_ends() {
    let mut rig = Rig::new(MemoryFs::new(1));
    while rig.places.last().is_none_or(|last| last.file.number() < 2) {
        rig.append(&[9000], Level::Written).unwrap();
    }
    // All of the first file was synced when it was left; nothing of the second one ever is.
    let synced = rig.places.iter().filter(|at| at.file.number() == 1).count();
    rig.fs.fail(Operation::Sync, 1, ErrorKind::Other);
    rig.writer.sync().unwrap_err();
    let mut after = rig.recover(&rig.fs.kill());
    assert_eq!(after.lengths.len(), synced);
    for _ in 0..2 {
        after = after.recover(&after.fs.crash(&mut |_, _| 0));
        after.append(&[9000], Level::Synced).unwrap();
    }
    assert_eq!(after.lengths.len(), synced + 2);
}

#[test]
fn a_group_that_took_several_writes_is_synced_as_a_whole() {
    let mut rig = Rig::new(MemoryFs::new(1));
    rig.fs.set_call_bytes(Some(1000));
    rig.append(&[5000, 10], Level::Synced).unwrap();
    let after = rig.recover(&rig.fs.crash(&mut |_, _| 0));
    assert_eq!(after.lengths, rig.lengths);
}

#[test]
fn recovery_that_fails_anywhere_can_be_repeated() {
    let operations = [
        Operation::Open,
        Operation::Read,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::SyncDir,
    ];
    let mut random = fastrand::Rng::with_seed(4);
    for case in 0..12 {
        let mut rig = Rig::new(MemoryFs::new(case));
        if case % 2 == 0 {
            rig.recycle();
        }
        rig.append(&[900, 30], Level::Synced).unwrap();
        rig.append(&[random.usize(..9000), 10, 2000], Level::Written)
            .unwrap();
        let disk = rig
            .fs
            .crash(&mut |_, newest| if random.bool() { newest } else { 0 });
        for operation in operations {
            for nth in 1.. {
                let broken = disk.kill();
                broken.fail(operation, nth, ErrorKind::Other);
                if recover_from(&broken, rig.passed).is_ok() && broken.count(operation) < nth {
                    break;
                }
                rig.recover(&broken.kill());
                rig.recover_twice(&broken.crash(&mut |_, newest| random.usize(..=newest)));
            }
        }
    }
}

#[test]
fn making_or_recycling_a_file_can_be_cut_short_at_any_step() {
    let operations = [
        Operation::Open,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::SyncDir,
    ];
    let mut random = fastrand::Rng::with_seed(6);
    for recycled in [false, true] {
        for operation in operations {
            for nth in 1..5 {
                let mut rig = Rig::new(MemoryFs::new(1));
                if recycled {
                    rig.recycle();
                }
                while rig.append(&[5000], Level::Synced).is_ok() {
                    let file = rig.places[rig.places.len() - 1].file.number();
                    let room = rig
                        .places
                        .iter()
                        .filter(|at| at.file.number() == file)
                        .count()
                        < 12;
                    if !room {
                        rig.fs.fail(operation, nth, ErrorKind::Other);
                    }
                    if rig.lengths.len() > 100 {
                        break;
                    }
                }
                for _ in 0..4 {
                    let disk = rig.fs.crash(&mut |_, newest| random.usize(..=newest));
                    rig.recover_twice(&disk);
                }
                // Only killed: the name of a new file may be seen, and still not be durable.
                let mut killed = rig.recover(&rig.fs.kill());
                for _ in 0..14 {
                    let file = killed.places.last().map(|last| last.file.number());
                    killed.append(&[5000], Level::Synced).unwrap();
                    if killed.places.last().map(|last| last.file.number()) != file {
                        killed.recover(&killed.fs.crash(&mut |_, _| 0));
                    }
                }
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_before_anything_is_written_and_service_resumes_with_room() {
    let mut rig = Rig::new(MemoryFs::new(1));
    rig.fs
        .set_capacity(Some(2 * siding_tests::journal::FILE_BYTES));
    let mut refusals = 0;
    for _ in 0..100 {
        let (lengths, writes) = (rig.lengths.clone(), rig.places.len());
        match rig.append(&[7000, 5000], Level::Synced) {
            Ok(()) => {}
            Err(StorageError::NoSpare(_)) => {
                assert!(rig.writer.spare_gauge().is_failing());
                // Not written, so these indexes are still to be given.
                assert_eq!(rig.places.len(), writes);
                rig.lengths = lengths;
                refusals += 1;
                rig.recover_twice(&{
                    let disk = rig.fs.crash(&mut |_, _| 0);
                    disk.set_capacity(None);
                    disk
                });
                rig.retire();
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refusals > 3, "{refusals}");
    assert!(rig.lengths.len() > 150);
    rig.recover(&rig.fs.crash(&mut |_, _| 0));
}

#[test]
fn a_record_over_the_limit_is_refused_and_breaks_nothing() {
    let mut rig = Rig::new(MemoryFs::new(1));
    let most = usize::try_from(rig.writer.record_bytes_max()).unwrap();
    assert_eq!(most, 16 << 10);
    assert!(matches!(
        rig.append(&[10, most + 1], Level::Synced),
        Err(StorageError::TooLarge {
            bytes: 16_385,
            bytes_max: 16_384
        })
    ));
    rig.lengths.clear();
    rig.append(&[most, most, most, most, most], Level::Synced)
        .unwrap();
    rig.recover_twice(&rig.fs.crash(&mut |_, _| 0));
}
