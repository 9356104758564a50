//! `model`: random lives of an engine beside the naive model, for as long as asked.
//!
//! `cargo run --release -p siding-tests --bin model -- --operations 100000000 --seed 1`
//!
//! Lives are played in batches, each with a seed of its own, so that one batch repeats a divergence:
//! `--seed S --batch B`. `--from B` goes on where a run ended.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use siding_tests::life::{self, Divergence, Plan, Tally};
use tokio::time::Instant;

const USAGE: &str = "model [--operations N] [--minutes N] [--seed N] [--batch N] [--from BATCH] \
                     [--threads N] [--pairs 1]";
/// Lives of one batch: about ten thousand operations.
const CASES: u32 = 100;

struct Run {
    operations: u64,
    until: Option<Instant>,
    seed: u64,
    batch: Option<u64>,
    /// The first batch.
    from: u64,
    threads: u64,
    pairs: bool,
}

/// What all threads found so far.
#[derive(Default)]
struct Found {
    tally: Tally,
    divergence: Option<(u64, Divergence)>,
}

fn main() -> Result<ExitCode> {
    let run = run(std::env::args().skip(1))?;
    let started = Instant::now();
    let (next, found) = (AtomicU64::new(run.from), Mutex::new(Found::default()));
    std::thread::scope(|scope| {
        for _ in 0..run.threads {
            scope.spawn(|| play(&run, &next, &found));
        }
    });
    let found = found.into_inner().ok().context("a player panicked")?;
    report(&run, &found, started.elapsed())
}

/// Batch after batch, until there was enough or one diverges.
fn play(run: &Run, next: &AtomicU64, found: &Mutex<Found>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let batch = run.batch.unwrap_or(number);
        let played = life::play(&Plan::new(seed_of(run.seed, batch), CASES));
        let Ok(mut found) = found.lock() else { return };
        match played {
            Ok(tally) => found.tally.join(tally),
            Err(divergence) => found.divergence = Some((batch, divergence)),
        }
        let operations = found.tally.operations;
        if number % 1_000 == 999 {
            let pairs = found.tally.coverage.pairs();
            eprintln!("{operations} operations, {pairs} pairs");
        }
        let late = run.until.is_some_and(|until| Instant::now() >= until);
        let enough = operations >= run.operations || run.batch.is_some();
        if found.divergence.is_some() || late || enough {
            return;
        }
    }
}

fn report(run: &Run, found: &Found, took: Duration) -> Result<ExitCode> {
    let Found { tally, divergence } = found;
    let mut out = std::io::stdout().lock();
    let rate = u128::from(tally.operations) * 1_000 / took.as_millis().max(1);
    writeln!(out, "seed                   {}", run.seed)?;
    writeln!(out, "operations             {}", tally.operations)?;
    writeln!(out, "pairs (state, command) {}", tally.coverage.pairs())?;
    writeln!(
        out,
        "divergences            {}",
        u8::from(divergence.is_some())
    )?;
    writeln!(out, "operations a second    {rate}")?;
    writeln!(out, "seconds                {}", took.as_secs())?;
    if run.pairs {
        for line in tally.coverage.lines() {
            writeln!(out, "  {line}")?;
        }
    }
    let Some((batch, divergence)) = divergence else {
        return Ok(ExitCode::SUCCESS);
    };
    writeln!(
        out,
        "again by               --seed {} --batch {batch}",
        run.seed
    )?;
    write!(out, "{divergence}")?;
    Ok(ExitCode::FAILURE)
}

/// Batches of one seed and of its neighbours have nothing in common.
fn seed_of(seed: u64, batch: u64) -> u64 {
    fastrand::Rng::with_seed(seed ^ fastrand::Rng::with_seed(batch).u64(..)).u64(..)
}

fn run(mut words: impl Iterator<Item = String>) -> Result<Run> {
    let threads = std::thread::available_parallelism()?.get();
    let mut run = Run {
        operations: u64::MAX,
        until: None,
        seed: fastrand::u64(..),
        batch: None,
        from: 0,
        threads: threads as u64,
        pairs: false,
    };
    while let Some(flag) = words.next() {
        let value = words.next().context(USAGE)?;
        let value: u64 = value.parse().context(USAGE)?;
        match flag.as_str() {
            "--operations" => run.operations = value,
            "--minutes" => run.until = Some(Instant::now() + Duration::from_secs(value * 60)),
            "--seed" => run.seed = value,
            "--batch" => run.batch = Some(value),
            "--from" => run.from = value,
            "--threads" => run.threads = value,
            "--pairs" => run.pairs = value > 0,
            _ => bail!(USAGE),
        }
    }
    if run.batch.is_some() {
        run.threads = 1;
    }
    Ok(run)
}
