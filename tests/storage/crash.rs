//! What a power cut may leave of a group, and what recovery makes of it.

use siding_broker::storage::Level;
use siding_broker::storage::memory_fs::{MemoryFs, Unsynced};

use siding_tests::journal::{Rig, recover_from};

/// A journal with some confirmed groups; in a fresh file, or in a recycled one.
fn journal(recycled: bool) -> Rig {
    let mut rig = Rig::new(MemoryFs::new(1));
    if recycled {
        rig.recycle();
    }
    rig.append(&[10, 20], Level::Synced).unwrap();
    rig.append(&[300], Level::Synced).unwrap();
    rig
}

fn sectors(rig: &Rig) -> u32 {
    let is_sector = |what: &&Unsynced| matches!(what, Unsynced::Sector { .. });
    u32::try_from(rig.fs.unsynced().iter().filter(is_sector).count()).unwrap()
}

#[test]
fn a_small_group_in_every_subset_of_its_sectors_loses_nothing_confirmed() {
    let groups: [&[usize]; 6] = [
        &[1],
        &[500],
        &[0, 0, 0],
        &[100, 900, 30],
        &[64, 64, 448, 7],
        &[1500, 1200],
    ];
    for recycled in [false, true] {
        for group in groups {
            let mut rig = journal(recycled);
            rig.append(group, Level::Written).unwrap();
            let sectors = sectors(&rig);
            assert!((1..=12).contains(&sectors), "{sectors} sectors");
            for subset in 0..1_u32 << sectors {
                let mut bit = 0;
                let disk = rig.fs.crash(&mut |_, newest| {
                    bit += 1;
                    if subset >> (bit - 1) & 1 == 1 {
                        newest
                    } else {
                        0
                    }
                });
                rig.recover_twice(&disk);
            }
        }
    }
}

#[test]
fn a_large_group_in_a_thousand_sampled_subsets_loses_nothing_confirmed() {
    let mut random = fastrand::Rng::with_seed(2);
    for recycled in [false, true] {
        let mut rig = journal(recycled);
        rig.append(&[3000, 5000, 1, 200, 4096, 9000, 700], Level::Written)
            .unwrap();
        assert!(sectors(&rig) > 8);
        for _ in 0..500 {
            // From nearly nothing to nearly everything.
            let share = random.f64();
            let disk = rig.fs.crash(&mut |_, newest| {
                if random.f64() < share { newest } else { 0 }
            });
            rig.recover_twice(&disk);
        }
    }
}

#[test]
fn a_group_torn_at_every_byte_is_cut_there() {
    let mut rig = journal(true);
    let before = rig.fs.clone();
    let place = rig.places[rig.places.len() - 1];
    let path = format!("/j/{:020}.journal", place.file.number());
    let path = std::path::Path::new(&path);
    let confirmed = before.contents(path).unwrap();
    let start = rig.places.len();
    rig.append(&[100, 60, 333], Level::Written).unwrap();
    let first = usize::try_from(rig.places[start].position).unwrap();
    let last = rig.places[start + 2];
    let end = usize::try_from(last.position).unwrap() + 64 + last.length as usize;
    let written = rig.fs.contents(path).unwrap();
    for torn in first..=end {
        let disk = rig.fs.crash(&mut |_, _| 0);
        let mut bytes = confirmed.clone();
        bytes[first..torn].copy_from_slice(&written[first..torn]);
        disk.damage(path, 0, &bytes);
        let whole = rig.places[start..]
            .iter()
            .filter(|at| at.position as usize + 64 + at.length as usize <= torn)
            .count();
        let after = rig.recover(&disk);
        assert_eq!(after.confirmed, rig.confirmed + whole, "torn at {torn}");
    }
}

#[test]
fn a_killed_process_loses_nothing_written() {
    for recycled in [false, true] {
        let mut rig = journal(recycled);
        rig.append(&[5, 50, 5000], Level::Written).unwrap();
        rig.append(&[6], Level::Written).unwrap();
        let killed = rig.fs.kill();
        let mut after = rig.recover(&killed);
        assert_eq!(after.lengths, rig.lengths);
        // And what recovery returned is durable by then.
        after = after.recover(&killed.crash(&mut |_, _| 0));
        assert_eq!(after.lengths, rig.lengths);
    }
}

#[test]
fn a_torn_tail_is_reported_with_its_place_and_its_size() {
    let mut rig = journal(false);
    rig.append(&[100, 3000, 200], Level::Written).unwrap();
    let first = rig.places[3];
    let last = rig.places[5];
    // The second record loses all but its last sectors; the third is whole, and still cut.
    let gone = rig.places[4].position / 512;
    let disk = rig.fs.crash(&mut |what, newest| match what {
        Unsynced::Sector { sector, .. } if (gone..gone + 3).contains(sector) => 0,
        _ => newest,
    });
    let torn = recover_from(&disk, 0).unwrap().report.torn.unwrap();
    assert!(torn.position >= first.position, "{torn:?}");
    assert_eq!(torn.position + torn.bytes, last.position + 64 + 200);
    assert!(
        torn.path
            .ends_with(format!("{:020}.journal", first.file.number()))
    );
    let again = recover_from(&disk, 0).unwrap();
    assert_eq!(again.report.torn, None, "it is cut once");
    assert!(again.records.len() >= 3);
}

#[test]
fn leftovers_of_a_cut_tail_never_come_back() {
    // Records without a body are all as long as a mark, so that new ones end exactly where whole
    // ones of the tail that was cut still stand.
    let mut rig = journal(false);
    rig.append(&[0; 24], Level::Written).unwrap();
    let gone = rig.places[3].position / 512 + 1;
    let disk = rig.fs.crash(&mut |what, newest| match what {
        Unsynced::Sector { sector, .. } if *sector == gone => 0,
        _ => newest,
    });
    let mut after = rig.recover(&disk);
    assert!(after.lengths.len() < rig.lengths.len() - 8);
    for _ in 0..16 {
        after.append(&[0], Level::Synced).unwrap();
        let again = after.recover(&after.fs.crash(&mut |_, _| 0));
        assert_eq!(again.lengths, after.lengths);
    }
}

/// A length of any order of magnitude.
fn length(random: &mut fastrand::Rng) -> usize {
    let most = 1 << random.u32(1..14);
    random.usize(..most)
}

#[test]
fn any_run_with_any_crashes_keeps_what_was_confirmed() {
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new(MemoryFs::new(seed));
        for _ in 0..60 {
            let lengths: Vec<usize> = (0..random.usize(1..5))
                .map(|_| length(&mut random))
                .collect();
            match random.u32(..12) {
                0 => rig.writer.mark().unwrap(),
                1 => rig.retire(),
                2 => {
                    rig.writer.sync().unwrap();
                    rig.confirmed = rig.lengths.len();
                }
                3 => {
                    let share = random.f64();
                    let disk = rig.fs.crash(&mut |_, newest| {
                        if random.f64() < share {
                            random.usize(..=newest)
                        } else {
                            0
                        }
                    });
                    rig = rig.recover(&disk);
                }
                4 => rig = rig.recover(&rig.fs.kill()),
                5..8 => rig.append(&lengths, Level::Written).unwrap(),
                _ => rig.append(&lengths, Level::Synced).unwrap(),
            }
        }
    }
}
