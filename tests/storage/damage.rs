//! Damage is refused and named; it is never taken for a torn tail, nor for absence.

use std::path::Path;

use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::{Damage, FileId, Level, RecordAt, StorageError};

use siding_tests::journal::{Rig, body, path, recover_from};
use siding_tests::volume::volume;

/// Flips one bit of the disk.
fn flip(fs: &MemoryFs, path: &Path, offset: u64, bit: u8) {
    let byte = fs.contents(path).unwrap()[usize::try_from(offset).unwrap()];
    fs.damage(path, offset, &[byte ^ 1 << bit]);
}

/// Recovery refuses this disk and names this place.
fn refused(fs: &MemoryFs, at: RecordAt) -> Damage {
    match recover_from(fs, 0) {
        Err(StorageError::Damaged {
            path: found,
            bytes,
            damage,
        }) => {
            assert_eq!((found, bytes.start), (path(at.file.number()), at.position));
            assert!(!matches!(damage, Damage::BeforeDurable { .. }) || at.bytes().end <= bytes.end);
            damage
        }
        other => panic!("accepted: {other:?}"),
    }
}

#[test]
fn any_bit_of_a_record_with_a_later_group_behind_it_is_damage() {
    let mut rig = Rig::new(MemoryFs::new(1));
    for length in [40, 50, 0, 60] {
        rig.append(&[length], Level::Synced).unwrap();
    }
    for &at in &rig.places[..3] {
        for byte in 0..64 + u64::from(at.length) {
            for bit in [0, 5, 7] {
                let disk = rig.fs.crash(&mut |_, _| 0);
                flip(&disk, &path(at.file.number()), at.position + byte, bit);
                assert!(matches!(refused(&disk, at), Damage::BeforeDurable { .. }));
            }
        }
    }
}

#[test]
fn damage_to_the_last_group_is_known_by_the_mark_behind_it() {
    let mut rig = Rig::new(MemoryFs::new(1));
    rig.append(&[40], Level::Synced).unwrap();
    rig.append(&[50, 60], Level::Synced).unwrap();
    rig.writer.mark().unwrap();
    rig.writer.sync().unwrap();
    let disk = rig.fs.crash(&mut |_, _| 0);
    flip(
        &disk,
        &path(rig.places[1].file.number()),
        rig.places[1].position + 70,
        1,
    );
    assert!(matches!(
        refused(&disk, rig.places[1]),
        Damage::BeforeDurable { .. }
    ));
}

#[test]
fn damage_in_a_file_that_another_follows_is_refused() {
    let mut rig = Rig::new(MemoryFs::new(1));
    while rig.places.last().is_none_or(|last| last.file.number() < 3) {
        rig.append(&[9000], Level::Synced).unwrap();
    }
    for file in 1..3 {
        let last = *rig
            .places
            .iter()
            .rfind(|at| at.file.number() == file)
            .unwrap();
        let disk = rig.fs.crash(&mut |_, _| 0);
        flip(&disk, &path(file), last.position + 100, 3);
        assert!(
            matches!(refused(&disk, last), Damage::ShortFile { .. }),
            "its last group"
        );
        let disk = rig.fs.crash(&mut |_, _| 0);
        let start = RecordAt {
            position: 4096,
            ..last
        };
        flip(&disk, &path(file), 4096, 3);
        assert!(
            matches!(refused(&disk, start), Damage::ShortFile { .. }),
            "its first record"
        );
    }
    for file in 1..=3 {
        let disk = rig.fs.crash(&mut |_, _| 0);
        flip(&disk, &path(file), 17, 0);
        let head = RecordAt {
            file: FileId::Journal(file),
            position: 0,
            length: 0,
        };
        assert!(
            matches!(refused(&disk, head), Damage::Checksum { .. }),
            "its header"
        );
    }
}

#[test]
fn a_missing_file_is_damage_unless_the_snapshot_has_passed_it() {
    use siding_broker::storage::fs::Fs;
    let mut rig = Rig::new(MemoryFs::new(1));
    while rig.places.last().is_none_or(|last| last.file.number() < 4) {
        rig.append(&[9000], Level::Synced).unwrap();
    }
    rig.fs.remove(&path(2)).unwrap();
    rig.fs.sync_dir(Path::new("/j")).unwrap();
    let first = rig
        .places
        .iter()
        .position(|at| at.file.number() == 3)
        .unwrap();
    let (expected, found) = (
        rig.places.iter().filter(|at| at.file.number() == 1).count() + 1,
        first + 1,
    );
    let gap = refused(&rig.fs.kill(), rig.places[first]);
    let (expected, found) = (expected as u64, found as u64);
    assert_eq!(
        gap,
        Damage::Gap {
            shard: 0,
            expected,
            found
        }
    );
    let after = recover_from(&rig.fs.kill(), found - 1).unwrap();
    assert_eq!(after.records[0].index, found);
}

#[test]
fn a_read_never_answers_with_damaged_bytes() {
    let mut rig = Rig::new(MemoryFs::new(1));
    rig.append(&[100, 5000], Level::Synced).unwrap();
    let reader = rig.writer.reader();
    for &at in &rig.places {
        assert_eq!(reader.read(at).unwrap().len(), at.length as usize);
        for byte in [0, 4, 63, 64, 63 + u64::from(at.length)] {
            flip(&rig.fs, &path(at.file.number()), at.position + byte, 6);
            let error = reader.read(at).unwrap_err();
            assert!(matches!(
                error,
                StorageError::Damaged {
                    damage: Damage::Record,
                    ..
                }
            ));
            flip(&rig.fs, &path(at.file.number()), at.position + byte, 6);
        }
        let misplaced = RecordAt {
            position: at.position + 8,
            ..at
        };
        reader.read(misplaced).unwrap_err();
    }
}

#[test]
fn no_single_damaged_sector_of_synced_groups_goes_unseen_or_loses_more_than_the_last() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut rig = Rig::new(MemoryFs::new(1));
    for length in [700, 20, 3000, 90, 1100] {
        rig.append(&[length, 30], Level::Synced).unwrap();
    }
    let file = path(rig.places[0].file.number());
    let end = rig.places[9].position + 64 + 30;
    let last_group = rig.places[8].position;
    for sector in 0..end.div_ceil(512) {
        if (96..4096).contains(&(sector * 512)) {
            continue; // nothing stands between a file's header and its first record
        }
        for kind in 0..3 {
            let disk = rig.fs.crash(&mut |_, _| 0);
            let bytes: Vec<u8> = match kind {
                0 => vec![0; 512],
                1 => (0..512).map(|_| random.u8(..)).collect(),
                _ => disk.contents(&file).unwrap()[4608..5120].to_vec(),
            };
            disk.damage(&file, sector * 512, &bytes);
            if disk.contents(&file) == rig.fs.contents(&file) {
                continue;
            }
            match recover_from(&disk, 0) {
                Err(StorageError::Damaged { .. }) => {}
                Ok(found) => {
                    assert!(
                        sector * 512 + 512 > last_group,
                        "sector {sector}, kind {kind}"
                    );
                    assert!(found.records.len() >= 8);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn recovery_survives_any_bytes_and_never_answers_with_what_nobody_wrote() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut rig = Rig::new(MemoryFs::new(1));
    rig.recycle();
    for length in [700, 20, 3000, 90, 0, 1100, 64] {
        rig.append(&[length, 30], Level::Synced).unwrap();
    }
    let at = rig.places[rig.places.len() - 14];
    let whole = rig.fs.contents(&path(at.file.number())).unwrap();
    for _ in 0..1500 {
        let disk = rig.fs.crash(&mut |_, _| 0);
        for _ in 0..random.usize(1..4) {
            let from = random.usize(at.position as usize..whole.len() - 4096);
            let to = random.usize(at.position as usize..at.position as usize + 8000);
            let bytes = &whole[from..from + (1 << random.u32(..12))];
            // Now noise, now bytes of the same file in another place.
            let noise: Vec<u8> = bytes.iter().map(|_| random.u8(..)).collect();
            let bytes = if random.bool() { bytes } else { &noise };
            disk.damage(&path(at.file.number()), to as u64, bytes);
        }
        match recover_from(&disk, rig.passed) {
            Ok(found) => {
                for (record, index) in found.records.iter().zip(rig.passed + 1..) {
                    assert_eq!(record.index, index);
                    assert_eq!(record.payload, body(index, rig.lengths[index as usize - 1]));
                }
            }
            Err(StorageError::Damaged { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn no_bit_of_a_full_store_flips_unseen_and_nothing_wrong_is_served() {
    use siding_tests::damage_sweep::{Store, sweep};
    let percent = Store::new().unwrap().live_percent();
    assert!(percent >= 90, "{percent} % of the store are live records");
    // A step that shares nothing with 8 takes every place in a byte; `damage-sweep` flips them all.
    let step = (300 / volume(100).min(100)) | 1;
    let swept = sweep(usize::try_from(step).unwrap(), 2).unwrap();
    eprintln!("{swept}");
    assert!(swept.is_clean(), "{swept}");
    assert!(swept.live > 480_000 / step, "{swept}");
}
