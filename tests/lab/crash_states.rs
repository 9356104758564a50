//! `crash-states`: power cuts at every moment of every short workload and of random longer ones, until
//! so many distinct images were recovered.
//!
//! `cargo run --release -p siding-tests --bin crash-states -- --images 10000000 --seed 1`
//!
//! A violation names its workload; `--seed S --workload W` repeats it alone.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use siding_tests::crash_states::images::Budget;
use siding_tests::crash_states::{Plan, explore};
use tokio::time::Instant;

const USAGE: &str = "crash-states [--images N] [--seed N] [--workload N] [--threads N]";

fn main() -> Result<ExitCode> {
    let plan = plan(std::env::args().skip(1))?;
    let started = Instant::now();
    let explored = explore(&plan);
    let took = started.elapsed();
    let mut out = std::io::stdout().lock();
    writeln!(out, "seed                       {}", plan.seed)?;
    let code = match explored {
        Ok(tally) => {
            writeln!(out, "{tally}")?;
            writeln!(out, "violations                 0")?;
            ExitCode::SUCCESS
        }
        Err(violation) => {
            writeln!(out, "{violation}")?;
            let (seed, workload) = (plan.seed, violation.workload);
            let again = format!("--seed {seed} --workload {workload}");
            writeln!(out, "again by                   {again}")?;
            ExitCode::FAILURE
        }
    };
    writeln!(out, "seconds                    {}", took.as_secs())?;
    Ok(code)
}

fn plan(mut words: impl Iterator<Item = String>) -> Result<Plan> {
    let mut plan = Plan::new(fastrand::u64(..), u64::MAX);
    plan.images = 10_000_000;
    plan.exhaustive = Budget {
        samples: 64,
        tears: 200,
    };
    plan.random = Budget {
        samples: 16,
        tears: 32,
    };
    while let Some(flag) = words.next() {
        let value: u64 = words.next().context(USAGE)?.parse().context(USAGE)?;
        match flag.as_str() {
            "--images" => plan.images = value,
            "--seed" => plan.seed = value,
            "--workload" => plan.only = Some(value),
            "--threads" => plan.threads = value,
            _ => bail!(USAGE),
        }
    }
    Ok(plan)
}
