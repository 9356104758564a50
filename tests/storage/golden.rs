//! P20: the data of every release opens, and everything is found in it.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use siding_broker::engine::Engine;
use siding_broker::engine::command::{ENGINE_VERSION, ENTRY_FORMAT};
use siding_broker::storage::bodies::{Bodies, Budgets, Move};
use siding_broker::storage::fs::SystemFs;
use siding_broker::storage::mover::move_bodies;
use siding_broker::storage::record;
use siding_broker::storage::{
    DataDir, FileId, Filling, RecordAt, Section, Snapshot, Snapshots, recover,
};
use siding_protocol::types::Timestamp;
use siding_tests::golden::{DATA, EXPECTED, copy, describe, describe_copy, folder, lives};
use siding_tests::journal::FILE_BYTES;

/// The directories there are, by release.
fn releases() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        if entry.path().join(DATA).is_dir() {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found.sort();
    found
}

#[test]
fn the_data_of_every_release_opens_and_holds_what_it_held() {
    let releases = releases();
    assert!(releases.contains(&"0.1.0".to_owned()), "{releases:?}");
    for release in releases {
        let data = folder().join(&release).join(DATA);
        let expected = fs::read_to_string(folder().join(&release).join(EXPECTED)).unwrap();
        let found = describe_copy(&data).unwrap_or_else(|error| panic!("{release}: {error}"));
        assert!(
            found == expected,
            "{release} holds:\n{found}\nand not:\n{expected}"
        );
        for needed in [
            "\"backlog\"",
            "\"first\"",
            "priority 1",
            "leased 1",
            "dead of",
            "nightly",
            "balance: true",
        ] {
            assert!(expected.contains(needed), "{release} has no {needed}");
        }
        assert!(!expected.contains(" 0 segments"), "bodies have moved");
        assert!(
            data.join("shard-0").read_dir().unwrap().count() >= 2,
            "a snapshot and segments"
        );
    }
}

#[test]
fn the_entries_of_every_engine_come_to_the_state_they_came_to() {
    let recorded = lives::recorded().unwrap();
    assert!(!recorded.is_empty());
    for path in recorded {
        let expected = fs::read_to_string(path.join(EXPECTED)).unwrap();
        let found = lives::replayed(&path).unwrap();
        let differ = expected.lines().zip(found.lines());
        let differ: Vec<_> = differ.filter(|(was, is)| was != is).collect();
        assert!(differ.is_empty(), "{}: {differ:#?}", path.display());
        assert_eq!(found.lines().count(), expected.lines().count());
    }
}

#[test]
fn what_is_made_of_a_release_is_opened_twice_alike() {
    for release in releases() {
        let dir = tempfile::tempdir().unwrap();
        copy(&folder().join(release).join(DATA), dir.path()).unwrap();
        let first = describe(dir.path()).unwrap();
        assert_eq!(describe(dir.path()).unwrap(), first);
    }
}

/// The first file below a directory whose name holds this.
fn first(directory: &Path, part: &str) -> Vec<u8> {
    let names = fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().path());
    let found = names.filter(|path| path.file_name().unwrap().to_str().unwrap().contains(part));
    fs::read(found.min().unwrap()).unwrap()
}

/// Writes a little of everything.
fn write(data: &Path) {
    let data_dir = DataDir::open(Arc::new(SystemFs), data).unwrap();
    let mut options = data_dir.journal();
    (options.file_bytes, options.filling) = (FILE_BYTES, Filling::Inline);
    drop(recover(&options, &|_| 1, &mut |_| {}).unwrap());
    let (mut engine, mut bodies) = (BytesMut::new(), Vec::new());
    Engine::new().snapshot(&mut engine);
    Bodies::new(Budgets::default()).export(&mut bodies);
    let section = |name: &str, data| Section {
        name: name.to_owned(),
        data,
    };
    let sections = vec![
        section("engine", engine.freeze()),
        section("bodies", bodies.into()),
    ];
    let snapshot = Snapshot {
        index: 1,
        term: 1,
        node: data_dir.node(),
        sections,
    };
    data_dir.snapshots().write(&snapshot).unwrap();
    let segments = data_dir.segments();
    segments.adopt(std::iter::empty()).unwrap();
    let record = RecordAt {
        file: FileId::Journal(1),
        position: 4096,
        length: 4,
    };
    let wanted = Move {
        log: 1,
        kept: 0..1,
        first: 0,
        count: 1,
        published_at: Timestamp(1),
        record,
        start: 0,
        bytes: 4,
    };
    let read = &mut |_| Ok(Bytes::from_static(b"body"));
    move_bodies(&segments, &[wanted], 1, read).unwrap();
}

/// Where a file that begins with a magic says its format.
const FORMAT_AT: Range<usize> = 8..12;

#[test]
fn what_is_written_now_has_the_formats_of_the_newest_release_here() {
    // Who raises one of these makes a directory of the release before, and then says the new ones here.
    assert_eq!((record::VERSION, ENTRY_FORMAT, ENGINE_VERSION), (1, 1, 2));
    let newest = folder().join(releases().pop().unwrap()).join(DATA);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    for (below, part) in [
        ("journal", ".journal"),
        ("shard-0", "snapshot-"),
        ("shard-0/segments", ".segment"),
    ] {
        let [was, is] = [&newest, dir.path()].map(|data| first(&data.join(below), part));
        assert_eq!(was[FORMAT_AT], is[FORMAT_AT], "format of {part}");
        assert_eq!(was[..8], is[..8], "magic of {part}");
    }
    let node = |data: &Path| fs::read_to_string(data.join("node.toml")).unwrap();
    let format = |data: &Path| node(data).lines().next().unwrap().to_owned();
    assert_eq!(format(&newest), format(dir.path()));
    // The sections of a snapshot begin with theirs, too.
    let snapshots = |data: &Path| {
        let directory = data.join("shard-0");
        Snapshots::new(Arc::new(SystemFs), directory)
            .latest()
            .unwrap()
            .unwrap()
    };
    for name in ["engine", "bodies"] {
        let begin = |data: &Path| snapshots(data).section(name).unwrap()[..2].to_vec();
        assert_eq!(begin(&newest), begin(dir.path()), "version of {name}");
    }
}
