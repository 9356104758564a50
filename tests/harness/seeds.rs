//! What every target of [`crate::fuzz`] begins with, made by the encoders themselves.

mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use siding_broker::storage::bodies::{Bodies, Budgets, Placed};
use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::{Append, Filling, JournalOptions, Kind, Level, recover};
use siding_protocol::types::Timestamp;

use crate::fuzz::{Forged, Place, Step, TARGETS};
use crate::transcript::play;

/// Of the target of that name.
///
/// # Panics
/// There is no such target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "frames" => wire::frames(),
        "requests" => wire::requests(),
        "runs" => wire::runs().iter().map(|run| run.to_vec()).collect(),
        "entries" => entries(),
        "snapshot" => snapshots(),
        "recovery" => damages(),
        other => panic!("no target {other}"),
    }
}

/// Writes all of them, a folder for each target; what is there already stays.
///
/// # Errors
/// A folder or file cannot be written.
pub fn write(corpus: &Path) -> Result<()> {
    for target in TARGETS {
        let folder = corpus.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in seeds(target.name).into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:03}")), seed)?;
        }
    }
    Ok(())
}

/// A little of everything that stands in a journal and in a snapshot.
const LIVES: [&str; 3] = [
    "
    queue jobs attempts=2 window=10s track=1h backoff=5s keep=1h
    publish jobs n=3 dedup=a,b,c priority=9
    publish jobs dedup=d ttl=60s
    publish jobs delay=5s
    receive alice jobs max=3
    extend alice jobs@1 by=30s checkpoint=half progress=50 note=busy
    ack alice jobs@0 result=done
    nack alice jobs@1 delay=1s reason=again
    reject alice jobs@2 reason=bad
    receive bob jobs max=1
    close bob
    redrive jobs rate=1
    transaction publish jobs n=2 + cancel jobs@4
    pause jobs
    ",
    "
    topic news window=10s
    queue jobs order=key max_messages=9 on_dead=halt_key
    sub news/mail filter=routing_key_matches_eu.* start=earliest
    sub news/on to=jobs
    publish news n=4 keys=eu.a,us.b key=k,l
    publish jobs n=2 key=k
    consume alice news/mail
    ack alice news/mail@0
    seek news/mail start=latest
    schedule tick jobs every=10s
    advance 10s
    run tick
    purge jobs
    delete news/on
    ",
    "
    queue jobs backoff=0s attempts=1
    queue mail
    marking carol
    publish jobs n=20 size=300
    consume carol jobs credit=5
    started carol jobs@0
    close carol
    consume dave jobs at-most-once
    restart snapshot=3
    publish mail level=written
    drop jobs
    delete mail
    ",
];

fn entries() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for life in LIVES {
        let stage = play(life);
        seeds.extend(stage.journal().iter().map(|payload| payload.to_vec()));
    }
    seeds.sort_by_key(Vec::len);
    seeds.dedup();
    // A header is judged too, whatever its payload.
    seeds.extend([1_u8, 2, 3, 8].map(|kind| {
        let mut header = [0; 64];
        for (place, value) in [(4, 1), (5, kind), (8, 5), (40, 9), (48, 1), (56, 3)] {
            if let Some(byte) = header.get_mut(place) {
                *byte = value;
            }
        }
        header.to_vec()
    }));
    seeds
}

fn snapshots() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = LIVES
        .iter()
        .map(|life| {
            let mut bytes = BytesMut::new();
            play(life).engine.snapshot(&mut bytes);
            bytes.to_vec()
        })
        .collect();
    seeds.push(index_of_bodies());
    seeds
}

/// The index of some bodies that came and of which some went.
fn index_of_bodies() -> Vec<u8> {
    let mut bodies = Bodies::new(Budgets::default());
    let records = records();
    for (log, offset, record) in [(2, 0, 0), (2, 4, 1), (5, 0, 1), (2, 8, 2)] {
        bodies.place(
            Placed {
                log,
                first: offset,
                count: 4,
                published_at: Timestamp(1_000 + offset),
                record: *records.get(record).expect("three of them"),
                start: 100,
                bytes: 200,
            },
            None,
        );
    }
    bodies.discard(2, &(2..6));
    let mut bytes = Vec::new();
    bodies.export(&mut bytes);
    bytes
}

/// Where three records of a journal stand.
fn records() -> Vec<siding_broker::storage::RecordAt> {
    let disk = Arc::new(MemoryFs::new(1));
    let mut options = JournalOptions::new(disk, PathBuf::from("/j"), 77);
    options.filling = Filling::Inline;
    options.file_bytes = 64 << 10;
    let (mut writer, _) = recover(&options, &|_| 1, &mut drop).expect("a new journal");
    let entries = [1, 2, 3].map(|index| Append {
        kind: Kind::Entry,
        shard: 0,
        index,
        term: 1,
        payload: vec![Bytes::from_static(&[0; 400])],
    });
    let mut places = Vec::new();
    let written = writer.append(&entries, Level::Synced, &mut places);
    written.expect("a sound disk");
    places
}

/// One of each step, and some together.
fn damages() -> Vec<Vec<u8>> {
    let at = |bytes| Place::behind_header(0, bytes);
    let second = |bytes| Place::behind_header(1, bytes);
    let forged = |kind, index, group, mark| Forged {
        kind,
        index,
        group,
        mark,
    };
    let steps = [
        Step::Flip(at(64), 40),
        Step::Flip(second(0), 3),
        Step::Zero(second(2_000), 64),
        Step::Copy(at(64), second(64), 40),
        Step::Forge(second(20_000), forged(0, 15, 30, 1)),
        Step::Forge(second(20_000), forged(2, -1, -1, -1)),
        Step::Forge(at(8_000), forged(5, 3, 4, 40)),
    ];
    let alone = steps.iter().map(|step| step.to_bytes().to_vec());
    let together = [steps.map(Step::to_bytes).concat(), Vec::new()];
    alone.chain(together).collect()
}
