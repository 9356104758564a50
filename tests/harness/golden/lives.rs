//! Lives of an engine as its journal has them, and the state they came to: what a version of the engine's rules
//! made of its entries, every later one must make of them.
//!
//! A life is scripted, so that each rule which is to change is met, or random, for everything that nobody thought of.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};
use siding_broker::engine::Engine;
use siding_broker::engine::command::Entry;
use siding_broker::engine::effect::{Effects, Origin};
use siding_protocol::request::Request;

use super::{EXPECTED, folder};
use crate::life;
use crate::stage::Stage;
use crate::transcript::play;

/// Beside [`EXPECTED`]: the entries of all lives.
const LIVES: &str = "lives";
/// Random lives that are recorded.
const RANDOM: u32 = 48;
const SEED: u64 = 2;
/// More than a shard keeps of version 2.
const PRODUCERS: u64 = 1_030;

/// Each meets a rule that version 3 changes, or one that lies beside it.
const SCRIPTS: [&str; 7] = [
    // Dedup ids of what was withdrawn.
    "
    queue jobs window=1h attempts=1
    publish jobs n=6 dedup=a,b,c,d,e,f
    cancel jobs@0
    publish jobs dedup=a
    reject alice jobs@1
    receive alice jobs max=2
    reject alice jobs@1
    drop jobs
    publish jobs n=2 dedup=b,c
    release alice jobs@2
    cancel jobs@2
    purge jobs
    publish jobs n=6 dedup=a,b,c,d,e,f
    advance 1h
    publish jobs n=2 dedup=a,b
    ",
    // What awaits a verdict is purged, sifted and sought.
    "
    topic news keep=1h
    publish news n=6 keys=a.x,b.x
    disk slow
    sub news/a start=earliest filter=routing_key_matches_a.*
    purge news/a
    publish news n=4 keys=a.x,b.x
    disk quick
    advance 1s
    publish news n=4 keys=b.x,a.x
    purge news/a
    ",
    // Priorities, ageing and keys.
    "
    queue jobs age=5s
    publish jobs n=3 priority=1
    advance 4s
    publish jobs n=3 priority=9
    advance 7s
    receive alice jobs max=2
    nack alice jobs@0
    advance 1m
    queue keyed order=key attempts=2 backoff=1s
    publish keyed n=6 key=a,b
    receive bob keyed max=2
    nack bob keyed@0
    advance 2s
    receive bob keyed max=9
    restart after=10s
    ",
    // Places said as instants, ages of extents.
    "
    topic news keep=10s
    sub news/a
    publish news n=2
    advance 1s
    publish news n=2
    advance 1s
    publish news n=2 size=60000
    seek news/a since=1s
    sub news/b since=1500ms
    advance 5s
    receive alice news/a max=3
    advance 8s
    publish news n=2
    queue kept keep=1h
    publish kept n=4
    receive alice kept max=4
    ack alice kept@0-3
    seek kept since=0s
    ",
    // Instants that the calendar says, and durations beside them.
    "
    queue jobs lives=1m
    publish jobs at=10s
    publish jobs at=10s ttl=5s
    publish jobs delay=10s ttl=5s
    schedule tick jobs every=10s overlap=allow
    schedule once jobs at=25s
    schedule daily jobs cron=*/5_*_*_*_* overlap=buffer_one catch_up=60s
    advance 9s
    advance 1s
    restart back=1h
    advance 20s
    restart after=2h snapshot=4
    advance 10m
    ",
    // Leases and what is remembered of them over restarts.
    "
    queue jobs visibility=30s hold=60s backoff=0s
    publish jobs n=9
    receive alice jobs max=3
    consume bob jobs credit=3
    extend alice jobs@0 by=50s checkpoint=half
    restart after=20s
    ack alice jobs@0
    advance 30s
    receive carol jobs max=2
    ack alice jobs@1
    restart after=2h lost=1
    advance 1m
    ",
    // Forwards, and dead letters that go elsewhere.
    "
    queue second attempts=1
    queue first attempts=1 dead_to=second
    publish first n=3
    receive alice first max=2
    nack alice first@0-1
    advance 1s
    receive alice second max=1
    nack alice second@0
    advance 1m
    ",
];

/// Entries of a life, in order.
struct Life {
    name: String,
    entries: Vec<Head>,
}

/// An entry without its runs, which no state depends on.
struct Head {
    bytes: Bytes,
    /// Of the whole entry.
    length: u32,
}

impl Head {
    fn of(payload: &Bytes) -> Self {
        let mut rest = payload.clone();
        let head = 4 + rest.get_u32_le() as usize;
        Self {
            bytes: payload.slice(..head),
            length: u32::try_from(payload.len()).expect("an entry is small"),
        }
    }
}

fn life(name: String, journal: &[Bytes]) -> Life {
    let entries = journal.iter().map(Head::of).collect();
    Life { name, entries }
}

/// Records lives of the engine as it is, and what they came to.
///
/// # Errors
/// They are there already, or cannot be written.
pub fn record(version: &str) -> Result<String> {
    let target = folder().join(version);
    ensure!(!target.exists(), "{} is there already", target.display());
    let mut lives = vec![many_producers()];
    for (number, script) in SCRIPTS.iter().enumerate() {
        let name = format!("script {number}");
        lives.push(life(name, play(script).journal()));
    }
    for (number, entries) in life::record(SEED, RANDOM).into_iter().enumerate() {
        lives.push(life(format!("random {number}"), &entries));
    }
    let (mut bytes, mut expected) = (BytesMut::new(), String::new());
    for life in &lives {
        put(&mut bytes, life.name.as_bytes());
        bytes.put_u32_le(u32::try_from(life.entries.len())?);
        for entry in &life.entries {
            put(&mut bytes, &entry.bytes);
            bytes.put_u32_le(entry.length);
        }
        writeln!(expected, "{}", came_to(life)?)?;
    }
    std::fs::create_dir_all(&target)?;
    std::fs::write(target.join(LIVES), bytes)?;
    std::fs::write(target.join(EXPECTED), &expected)?;
    Ok(expected)
}

/// Producers beyond those that a shard keeps.
fn many_producers() -> Life {
    let mut stage = Stage::new(());
    for correlation in 1..=PRODUCERS {
        let from = Origin {
            session: 1,
            correlation,
        };
        stage.advance_ms(1);
        stage.ask(from, Request::OpenProducer);
    }
    life("producers".to_owned(), stage.journal())
}

/// The folders that hold lives.
///
/// # Errors
/// The folder cannot be read.
pub fn recorded() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        found.extend(path.join(LIVES).is_file().then_some(path));
    }
    Ok(found)
}

/// What recorded lives come to now, in the words of [`EXPECTED`].
///
/// # Errors
/// They cannot be read, or an entry does not decode.
pub fn replayed(recorded: &std::path::Path) -> Result<String> {
    let mut bytes = Bytes::from(std::fs::read(recorded.join(LIVES))?);
    let mut text = String::new();
    while bytes.has_remaining() {
        let name = take(&mut bytes)?;
        let name = String::from_utf8(name.to_vec())?;
        let count = bytes.try_get_u32_le().context("a count")?;
        let entries = (0..count).map(|_| {
            let head = take(&mut bytes)?;
            let length = bytes.try_get_u32_le().context("a length")?;
            Ok(Head {
                bytes: head,
                length,
            })
        });
        let entries = entries.collect::<Result<_>>()?;
        writeln!(text, "{}", came_to(&Life { name, entries })?)?;
    }
    Ok(text)
}

fn put(out: &mut BytesMut, part: &[u8]) {
    out.put_u32_le(u32::try_from(part.len()).expect("an entry is small"));
    out.put_slice(part);
}

fn take(bytes: &mut Bytes) -> Result<Bytes> {
    let length = bytes.try_get_u32_le().context("a length")? as usize;
    ensure!(length <= bytes.len(), "cut short");
    Ok(bytes.split_to(length))
}

/// The digest is that of a snapshot without its first field, the engine's version, which is not of the state.
fn came_to(life: &Life) -> Result<String> {
    let (mut engine, mut effects) = (Engine::new(), Effects::default());
    for head in &life.entries {
        let (entry, _) = Entry::decode_head(head.bytes.clone(), head.length)?;
        engine.apply(&entry, &mut effects);
        drop(effects.drain());
    }
    let mut snapshot = BytesMut::new();
    engine.snapshot(&mut snapshot);
    let state = snapshot.get(2..).context("a version comes first")?;
    let digest = checksum(CrcAlgorithm::Crc64Nvme, state);
    let (name, entries) = (&life.name, life.entries.len());
    Ok(format!("{name}: {entries} entries, digest {digest:016x}"))
}
