//! `killer`: kills a broker under load for as long as asked, and says what became of the messages.
//!
//! `cargo run --release -p siding-tests --bin killer -- --kills 50`

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use siding_tests::binaries::binary;
use siding_tests::killer::{Outcome, Plan, run};

const USAGE: &str = "killer [--kills N] [--publishers N] [--consumers N] [--seed N]";

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let plan = plan(std::env::args().skip(1))?;
    let (seed, asked) = (plan.seed, plan.kills);
    let dir = tempfile::tempdir()?;
    // Built before the clock runs.
    binary("sidingd");
    let started = tokio::time::Instant::now();
    let outcome = run(plan, dir.path(), |kills| {
        eprintln!("kill {kills} of {asked}");
    })
    .await?;
    let seconds = started.elapsed().as_secs_f64();
    let Outcome {
        report,
        kills,
        errors,
    } = &outcome;
    let mut out = std::io::stdout().lock();
    writeln!(out, "seed              {seed}")?;
    writeln!(out, "kills             {kills}")?;
    write!(out, "{report}")?;
    for error in errors {
        writeln!(out, "  {error}")?;
    }
    writeln!(out, "seconds           {seconds:.1}")?;
    if outcome.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    let kept = dir.keep();
    writeln!(out, "the data directory stays in {}", kept.display())?;
    Ok(ExitCode::FAILURE)
}

fn plan(mut words: impl Iterator<Item = String>) -> Result<Plan> {
    let mut plan = Plan {
        kills: 50,
        publishers: 4,
        consumers: 4,
        events_between: 0..100_000,
        seed: fastrand::u64(..),
    };
    while let Some(flag) = words.next() {
        let value = words.next().context(USAGE)?;
        let value: u64 = value.parse().context(USAGE)?;
        match flag.as_str() {
            "--kills" => plan.kills = u32::try_from(value)?,
            "--publishers" => plan.publishers = u32::try_from(value)?,
            "--consumers" => plan.consumers = u32::try_from(value)?,
            "--seed" => plan.seed = value,
            _ => bail!(USAGE),
        }
    }
    Ok(plan)
}
