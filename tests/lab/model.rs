//! Random lives of an engine beside the naive model, for as long as asked.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use siding_tests::life::{self, Divergence, Plan, Tally};
use tokio::time::Instant;

use crate::processors;

/// Lives of one batch: about ten thousand operations.
const CASES: u32 = 100;

/// Plays random lives of an engine beside the naive model
///
/// Lives are played in batches, each with a seed of its own, so that one batch repeats a divergence:
/// --seed S --batch B.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// No limit if not given
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    operations: u64,
    /// No limit if not given
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Of the lives; random if not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// This one only
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// The first batch, to go on where a run ended
    #[arg(long, value_name = "BATCH", default_value_t = 0)]
    from: u64,
    /// As many as there are processors if not given
    #[arg(long, value_name = "N")]
    threads: Option<u64>,
    /// 1: tells which command met which state
    #[arg(long, value_name = "0|1", default_value_t = 0)]
    pairs: u64,
}

struct Run {
    operations: u64,
    until: Option<Instant>,
    seed: u64,
    batch: Option<u64>,
    pairs: bool,
}

/// What all threads found so far.
#[derive(Default)]
struct Found {
    tally: Tally,
    divergence: Option<(u64, Divergence)>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let minutes = |minutes| started + Duration::from_secs(minutes * 60);
    let threads = match args.batch {
        Some(_) => 1,
        None => args.threads.map_or_else(processors, Ok)?,
    };
    let run = Run {
        operations: args.operations,
        until: args.minutes.map(minutes),
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
        batch: args.batch,
        pairs: args.pairs > 0,
    };
    let (next, found) = (AtomicU64::new(args.from), Mutex::new(Found::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
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
