//! Snapshots and the data directory, crashed at every step.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use siding_broker::storage::fs::{Fs, SystemFs};
use siding_broker::storage::memory_fs::{MemoryFs, Operation};
use siding_broker::storage::{Damage, DataDir, Section, Snapshot, Snapshots, StorageError};

const DIRECTORY: &str = "/d/shard-0";

fn snapshots(fs: &MemoryFs) -> Snapshots {
    Snapshots::new(Arc::new(fs.clone()), PathBuf::from(DIRECTORY))
}

fn snapshot(index: u64) -> Snapshot {
    let section = |name: &str, length: usize| Section {
        name: name.into(),
        data: Bytes::from(vec![index.to_le_bytes()[0]; length]),
    };
    let sections = vec![
        section("engine", 1700),
        section("empty", 0),
        section("bodies", 300),
    ];
    Snapshot {
        index,
        term: 3,
        node: 77,
        sections,
    }
}

#[test]
fn a_crash_at_any_step_leaves_the_snapshot_before_or_the_new_one() {
    let operations = [
        Operation::Open,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::SyncDir,
    ];
    let mut random = fastrand::Rng::with_seed(5);
    let fs = MemoryFs::new(1);
    assert_eq!(snapshots(&fs).latest().unwrap(), None);
    snapshots(&fs).write(&snapshot(10)).unwrap();
    for operation in operations {
        for nth in 1.. {
            let broken = fs.kill();
            broken.fail(operation, nth, ErrorKind::Other);
            let written = snapshots(&broken).write(&snapshot(20)).is_ok();
            for _ in 0..50 {
                let share = random.f64();
                let disk = broken.crash(&mut |_, newest| {
                    if random.f64() < share {
                        random.usize(..=newest)
                    } else {
                        0
                    }
                });
                let latest = snapshots(&disk).latest().unwrap().unwrap();
                assert!(latest == snapshot(20) || (!written && latest == snapshot(10)));
                // And the next one is written over whatever the crash left.
                snapshots(&disk).write(&snapshot(30)).unwrap();
                let disk = disk.crash(&mut |_, _| 0);
                assert_eq!(snapshots(&disk).latest().unwrap(), Some(snapshot(30)));
                assert_eq!(disk.list(Path::new(DIRECTORY)).unwrap().len(), 1);
            }
            if written && broken.count(operation) < nth {
                break;
            }
        }
    }
}

#[test]
fn a_damaged_newest_snapshot_is_an_error_and_never_an_older_one() {
    let fs = MemoryFs::new(1);
    snapshots(&fs).write(&snapshot(10)).unwrap();
    let older = fs.list(Path::new(DIRECTORY)).unwrap();
    let path = Path::new(DIRECTORY).join(&older[0]);
    let newest = Path::new(DIRECTORY).join(older[0].replace("10", "20"));
    let whole = fs.contents(&path).unwrap();
    for byte in 0..whole.len() {
        let disk = fs.kill();
        // The newer one is the older one under another name, with a byte changed.
        let file = disk
            .open(&newest, siding_broker::storage::fs::OpenMode::CreateNew)
            .unwrap();
        let mut changed = whole.clone();
        changed[byte] ^= 16;
        file.write_at(&[std::io::IoSlice::new(&changed)], 0, true)
            .unwrap();
        match snapshots(&disk).latest() {
            Err(StorageError::Damaged { path, .. }) => assert_eq!(path, newest),
            other => panic!("byte {byte}: {other:?}"),
        }
    }
    for shorter in 0..whole.len() {
        let disk = MemoryFs::new(1);
        let file = disk
            .open(&path, siding_broker::storage::fs::OpenMode::CreateNew)
            .unwrap();
        file.write_at(&[std::io::IoSlice::new(&whole[..shorter])], 0, true)
            .unwrap();
        snapshots(&disk).latest().unwrap_err();
    }
}

#[test]
fn a_second_broker_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let first = DataDir::open(Arc::new(SystemFs), &path).unwrap();
    let node = first.node();
    assert!(matches!(
        DataDir::open(Arc::new(SystemFs), &path),
        Err(StorageError::Locked { path: found }) if found == path
    ));
    drop(first);
    assert_eq!(
        DataDir::open(Arc::new(SystemFs), &path).unwrap().node(),
        node
    );
}

#[test]
fn a_directory_keeps_its_node_whatever_step_a_crash_hits() {
    for operation in [
        Operation::Open,
        Operation::Write,
        Operation::Sync,
        Operation::SyncDir,
    ] {
        for nth in 1..4 {
            let fs = MemoryFs::new(nth);
            fs.fail(operation, nth, ErrorKind::Other);
            let opened = DataDir::open(Arc::new(fs.clone()), Path::new("/d"));
            for all in [0, usize::MAX] {
                let disk = fs.crash(&mut |_, newest| newest.min(all));
                let again = DataDir::open(Arc::new(disk.clone()), Path::new("/d")).unwrap();
                if let Ok(before) = &opened {
                    assert_eq!(again.node(), before.node());
                }
                let node = again.node();
                drop(again);
                let last = disk.crash(&mut |_, _| 0);
                assert_eq!(
                    DataDir::open(Arc::new(last), Path::new("/d"))
                        .unwrap()
                        .node(),
                    node
                );
            }
        }
    }
}

#[test]
fn data_without_a_node_file_is_damage_and_not_a_new_directory() {
    let fs = MemoryFs::new(1);
    let path = Path::new("/d");
    drop(DataDir::open(Arc::new(fs.clone()), path).unwrap());
    snapshots(&fs).write(&snapshot(10)).unwrap();
    fs.remove(&path.join("node.toml")).unwrap();
    let open = || DataDir::open(Arc::new(fs.clone()), path);
    assert!(matches!(
        open(),
        Err(StorageError::Damaged {
            damage: Damage::Missing,
            ..
        })
    ));
    for (text, format) in [("format = 2\nnode = 5\n", true), ("nonsense", false)] {
        let fs = MemoryFs::new(1);
        let file = fs
            .open(
                &path.join("node.toml"),
                siding_broker::storage::fs::OpenMode::CreateNew,
            )
            .unwrap();
        file.write_at(&[std::io::IoSlice::new(text.as_bytes())], 0, true)
            .unwrap();
        let error = DataDir::open(Arc::new(fs), path).unwrap_err();
        assert_eq!(
            matches!(error, StorageError::Format { found: 2, .. }),
            format,
            "{error}"
        );
    }
}
