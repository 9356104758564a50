//! Data directories of releases: how one is made, and what must be found in it by every release after it.

pub mod lives;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use siding_broker::engine::log::Log;
use siding_broker::engine::subscription::Subscription;
use siding_broker::shard::recovery::{Recovery, Settings, start};
use siding_broker::storage::bodies::{Budgets, Lookup};
use siding_broker::storage::fs::SystemFs;
use siding_broker::storage::{BodyReader, Filling, Threads};
use siding_protocol::run;

use crate::binaries::siding;
use crate::broker::Broker;

/// Beside a directory: what must be found in it.
pub const EXPECTED: &str = "EXPECTED";
/// In it: the data.
pub const DATA: &str = "data";
const FILE_BYTES: u64 = 64 << 10;
/// A file of the journal in which nothing but its header stands is a spare, and left out.
const HEADER_BYTES: usize = 4096;

/// Where the directories lie, one a release.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Copies a directory with everything below it.
///
/// # Errors
/// The disk refuses.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// Makes the directory of a release: a real broker, filled, killed, without its spares.
///
/// # Errors
/// It is there already, or the broker fails.
pub async fn make(release: &str) -> Result<String> {
    let target = folder().join(release);
    ensure!(!target.exists(), "{} is there already", target.display());
    let dir = tempfile::tempdir()?;
    let sizes = "--journal-file-bytes 64KiB --checkpoint-bytes 64KiB --tail-bytes 0";
    let sizes: Vec<_> = sizes.split(' ').collect();
    let mut broker = Broker::start_sized(dir.path(), &sizes).await?;
    fill(&broker, dir.path()).await?;
    broker.kill().await?;
    std::fs::remove_file(dir.path().join("siding.lock"))?;
    std::fs::remove_file(dir.path().join("journal/reserve")).ok();
    for entry in std::fs::read_dir(dir.path().join("journal"))? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        let records = bytes.get(HEADER_BYTES..).unwrap_or_default();
        if records.iter().all(|byte| *byte == 0) {
            std::fs::remove_file(&path)?;
        }
    }
    copy(dir.path(), &target.join(DATA))?;
    let expected = describe_copy(&target.join(DATA))?;
    std::fs::write(target.join(EXPECTED), &expected)?;
    Ok(expected)
}

/// What users do: some of it before the last snapshot, some of it behind.
async fn fill(broker: &Broker, data: &Path) -> Result<()> {
    let before = [
        "queue create orders --max-attempts 3 --backoff 1h --dead-retention 10y --visibility 12h",
        "queue create keyed --order key --dedup-window 1d",
        "queue create kept --retain-settled 1000d",
        "publish kept again",
        "consume kept -n 1",
        "topic create events --retention 10y",
        "sub create events/eu --from earliest --filter routing_key=eu.>",
        "sub create events/all --from earliest",
        "publish orders first -H lang=de --priority 9",
        "publish orders second --delay 1000d",
        "publish orders third --ttl 1000d",
        "publish orders fourth",
        "publish keyed one --key a --dedup x",
        "publish keyed two --key a",
        "publish events paris --routing-key eu.fr",
        "publish events tokyo --routing-key as.jp",
        "consume orders -n 1",
        "cron add nightly tick --to orders --every 1000d",
    ];
    for line in before {
        typed(broker, line).await?;
    }
    typed(broker, "queue create backlog").await?;
    let mut number = 0;
    while !(has(data, "shard-0", "snapshot-")? && has(data, "shard-0/segments", ".segment")?) {
        number += 1;
        ensure!(number < 400, "no checkpoint moved any body");
        let body = format!("backlog {number} ").repeat(200);
        typed(
            broker,
            &format!("publish backlog {}", body.trim().replace(' ', "_")),
        )
        .await?;
    }
    let behind = [
        "publish orders fifth --priority 1",
        "consume orders -n 1 --ack manual",
        "publish events madrid --routing-key eu.es",
        "consume keyed -n 1",
        "queue create brief",
        "publish brief gone",
        "queue rm brief --yes",
        "queue pause keyed",
        "topic create late",
        "publish late last",
    ];
    for line in behind {
        typed(broker, line).await?;
    }
    let taken = typed(broker, "consume orders -n 1 --ack manual --json").await?;
    let taken: serde_json::Value = serde_json::from_str(&taken)?;
    let said = |name| taken.get(name).and_then(serde_json::Value::as_str);
    let (id, grant) = said("id").zip(said("grant")).context("what was taken")?;
    let reject = format!("reject {id} --reason unwanted --grant {grant}");
    typed(broker, &reject).await?;
    Ok(())
}

async fn typed(broker: &Broker, line: &str) -> Result<String> {
    let words: Vec<String> = line
        .split(' ')
        .map(|word| word.replace("routing_key=", "routing_key matches "))
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let ran = siding(&broker.url(), &words, "").await;
    ensure!(ran.code == 0, "{line}: {}", ran.stderr);
    Ok(ran.stdout)
}

fn has(data: &Path, below: &str, part: &str) -> Result<bool> {
    let mut found = false;
    for entry in std::fs::read_dir(data.join(below))? {
        let name = entry?.file_name();
        let name = name.to_str().context("a name of ours")?;
        found |= name.contains(part) && !name.ends_with(".making");
    }
    Ok(found)
}

/// As [`describe`], of a copy: opening a directory changes it.
///
/// # Errors
/// As [`describe`].
pub fn describe_copy(data: &Path) -> Result<String> {
    let dir = tempfile::tempdir()?;
    copy(data, dir.path())?;
    describe(dir.path())
}

/// Everything durable that a directory holds, in words that do not depend on how it is stored. No time
/// passes: what is due stays due.
///
/// # Errors
/// It does not open, or a body cannot be read.
pub fn describe(data: &Path) -> Result<String> {
    let settings = Settings {
        journal_file_bytes: FILE_BYTES,
        filling: Filling::Inline,
        budgets: Budgets {
            tail_bytes: 0,
            read_bytes: 1 << 20,
        },
    };
    let mut recovery = start(Arc::new(SystemFs), data, settings, &Threads::System)?;
    let mut text = String::new();
    let state = recovery.core.state();
    writeln!(
        text,
        "entries to {}, term {}, now {}, last id {}, {} segments, books balance: {}",
        recovery.last_index,
        state.term,
        state.now.0,
        state.last_id,
        recovery.segments.count(),
        state.books_balance(),
    )?;
    let producers = state.producers.0.keys().collect::<Vec<_>>();
    let schedules = state.schedules.by_name.keys().collect::<Vec<_>>();
    writeln!(text, "producers {producers:?}, schedules {schedules:?}")?;
    let logs: Vec<Log> = state.logs.values().cloned().collect();
    for log in &logs {
        let kept: u64 = log
            .live_extents()
            .map(|extent| u64::from(extent.live))
            .sum();
        writeln!(
            text,
            "{:?} is log {}: offsets {} to {}, {} messages and {} bytes charged, {kept} in {} extents",
            log.name,
            log.id,
            log.start,
            log.end,
            log.messages,
            log.bytes,
            log.live_extents().count()
        )?;
        let state = recovery.core.state();
        for id in &log.subscriptions {
            let subscription = state.subscriptions.get(id).context("its subscription")?;
            describe_subscription(&mut text, subscription, log.end)?;
        }
        describe_bodies(&mut text, &mut recovery, log)?;
    }
    Ok(text)
}

fn describe_subscription(text: &mut String, found: &Subscription, end: u64) -> Result<()> {
    let name = found.name.as_deref().unwrap_or("(its own)");
    writeln!(
        text,
        "  reader {name:?}, {}, paused: {}",
        found.id, found.paused
    )?;
    let settings = &found.settings;
    writeln!(
        text,
        "    max_attempts {}, visibility {} ms, backoff {:?}, filter {:?}",
        settings.max_attempts, settings.visibility_timeout_ms, settings.backoff_ms, settings.filter
    )?;
    let books = found.books(end);
    writeln!(
        text,
        "    ready {}, delayed {}, leased {}, dead {}, settled {}, filtered {}",
        books.ready, books.delayed, books.leased, books.dead, books.settled, books.filtered
    )?;
    for (range, said) in found.attributes.iter() {
        writeln!(
            text,
            "    {range:?} priority {} until {}",
            said.priority, said.expires_at.0
        )?;
    }
    for (range, exception) in found.exceptions.iter() {
        writeln!(
            text,
            "    {range:?} attempts {} due {}",
            exception.attempts, exception.due.0
        )?;
    }
    for (grant, lease) in &found.leases {
        let ranges: Vec<_> = lease
            .ranges
            .iter()
            .map(|(range, until)| (range, until.0))
            .collect();
        writeln!(
            text,
            "    leased {}.{} {ranges:?}",
            grant.term, grant.counter
        )?;
    }
    for (range, death) in found.dead.iter() {
        writeln!(
            text,
            "    {range:?} dead of {} at {}: {:?}",
            death.reason.name(),
            death.at.0,
            death.detail
        )?;
    }
    Ok(())
}

/// Every message that is kept, by the first bytes of its body, its length and its checksum.
fn describe_bodies(text: &mut String, recovery: &mut Recovery, log: &Log) -> Result<()> {
    let reader = BodyReader::new(recovery.writer.reader(), recovery.segments.clone());
    let (mut from, mut slices) = (0, Vec::new());
    let bodies = &mut recovery.bodies;
    while let Lookup::Missing { at, reads } = bodies.lookup(log.id, &(from..u64::MAX), &mut slices)
    {
        let record = *reads.first().context("something to read")?;
        bodies.fill(record, reader.read(record)?);
        from = at;
    }
    for slice in &slices {
        for (offset, message) in (slice.first..).zip(run::messages(&slice.bytes)) {
            let body = message.body();
            let first = String::from_utf8_lossy(body.get(..body.len().min(12)).unwrap_or_default());
            let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, body);
            writeln!(
                text,
                "    {offset} at {}: {} bytes {first:?} {crc:08x}",
                slice.published_at.0,
                body.len()
            )?;
        }
    }
    Ok(())
}
