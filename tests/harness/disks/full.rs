//! A disk that is filled by publishing and freed, again and again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::mount::{Mount, allocate};
use super::worker::{Published, Worker};
use super::{Books, Waits, sizes};
use crate::accounting;
use crate::broker::{Broker, DEADLINE};

const DISK_BYTES: u64 = 64 << 20;
/// What somebody else takes of it at first.
const FOREIGN_BYTES: u64 = 16 << 20;
const JOURNAL_FILE: &str = "4MiB";
const CHECKPOINT: &str = "16MiB";
/// Cycles on one data directory.
const CYCLES_OF_ONE: u32 = 5;
/// Acked while the disk is full.
const ACKED_WHILE_FULL: usize = 64;
/// A disk holds more than so many.
const LEFT_WHEN_FULL: u64 = 512;
/// Room that came back is used within this.
const RESUMES_WITHIN: Duration = Duration::from_secs(1);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(10);
/// Of a broker that broke a promise so much is told.
const LAST_LINES: usize = 20;

/// What it came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Times the disk was full, and had room again.
    pub cycles: u32,
    /// Kills while it was full.
    pub kills: u32,
    /// Acks while it was full.
    pub acks: Waits,
    /// From room that came back to the first confirm.
    pub resumes: Waits,
    /// Of the clients.
    pub books: Books,
}

/// Fills and frees a disk so often.
///
/// # Errors
/// The harness failed, or a promise was broken: which one.
pub async fn run(cycles: u32, place: &Path, on_cycle: impl Fn(u32)) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    while outcome.cycles < cycles {
        let disk = Mount::tmpfs(place, DISK_BYTES)?;
        let mut broker =
            Broker::start_sized(&disk.place().join("data"), &sizes(JOURNAL_FILE, CHECKPOINT))
                .await?;
        let most = CYCLES_OF_ONE.min(cycles - outcome.cycles);
        let done = cycle(most, &disk, &mut broker, &mut outcome, &on_cycle).await;
        if done.is_err() {
            for line in broker.log().last(LAST_LINES) {
                eprintln!("  the broker said: {line}");
            }
        }
        done?;
        let status = broker.terminate().await?;
        ensure!(status.success(), "the broker ended with {status}");
        let errors = broker.log().with(&["\"ERROR\""]);
        ensure!(errors.is_empty(), "{errors:?}");
    }
    Ok(outcome)
}

/// Fills and frees one disk.
async fn cycle(
    most: u32,
    disk: &Mount,
    broker: &mut Broker,
    outcome: &mut Outcome,
    on_cycle: impl Fn(u32),
) -> Result<()> {
    let foreign = disk.place().join("foreign");
    allocate(&foreign, FOREIGN_BYTES)?;
    let client = broker.client("worker").await?;
    let mut worker = Worker::new(client, outcome.cycles.into()).await?;
    for cycle in 0..most {
        fill(&mut worker).await?;
        while_full(&mut worker, outcome).await?;
        if cycle == 1 {
            worker.note_kill(false);
            broker.kill().await?;
            broker.restart().await?;
            outcome.kills += 1;
            while_full(&mut worker, outcome).await?;
        }
        if cycle == 0 {
            std::fs::remove_file(&foreign)?;
            resume(&mut worker, outcome).await?;
            fill(&mut worker).await?;
        }
        soon("all is taken", worker.drain(&mut Waits::default())).await?;
        resume(&mut worker, outcome).await?;
        outcome.cycles += 1;
        on_cycle(outcome.cycles);
    }
    let books = soon("all is taken", worker.drain(&mut Waits::default())).await?;
    let report = accounting::check(&worker.records.take(), Some(books));
    outcome.books.add(&report);
    Ok(())
}

/// Until the disk is full and stays so: while the last room comes back, a publish may be refused again.
async fn fill(worker: &mut Worker) -> Result<()> {
    let mut every = tokio::time::interval(RESUMES_WITHIN);
    loop {
        every.tick().await;
        let published = soon("the disk is full", worker.fill(u64::MAX)).await?;
        ensure!(published == Published::Full, "full, and yet: {published:?}");
        if worker.left().await? >= LEFT_WHEN_FULL {
            return Ok(());
        }
    }
}

async fn soon<T>(what: &str, coming: impl Future<Output = Result<T>>) -> Result<T> {
    let came = tokio::time::timeout(DEADLINE, coming).await;
    came.with_context(|| format!("not within {} s: {what}", DEADLINE.as_secs()))?
}

/// Acks are answered, publishes are refused.
async fn while_full(worker: &mut Worker, outcome: &mut Outcome) -> Result<()> {
    let taken = worker.take(ACKED_WHILE_FULL, &mut outcome.acks).await?;
    ensure!(taken >= ACKED_WHILE_FULL, "{taken} messages of a full disk");
    let published = soon("the disk is full", worker.fill(u64::MAX)).await?;
    ensure!(published == Published::Full, "full, and yet: {published:?}");
    Ok(())
}

/// There is room: it must be used soon.
async fn resume(worker: &mut Worker, outcome: &mut Outcome) -> Result<()> {
    match tokio::time::timeout(GIVEN_UP_AFTER, worker.until_confirmed()).await {
        Ok(took) => outcome.resumes += took?,
        Err(_) => bail!("room came back, and is not used after {GIVEN_UP_AFTER:?}"),
    }
    let took = outcome.resumes.longest;
    ensure!(
        took <= RESUMES_WITHIN,
        "room came back, and was used after {took:?}"
    );
    Ok(())
}
