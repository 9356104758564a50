//! Power cuts at every moment of every short workload and of random longer ones, until so many distinct
//! images were recovered.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use siding_tests::crash_states::images::Budget;
use siding_tests::crash_states::{Plan, explore};
use tokio::time::Instant;

use crate::processors;

/// Cuts the power at every moment of storage workloads and recovers what may be left
///
/// A violation names its workload; --seed S --workload W repeats it alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Distinct images to recover
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    images: u64,
    /// Of the workloads and the cuts; random if not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// This one only
    #[arg(long, value_name = "N")]
    workload: Option<u64>,
    /// As many as there are processors if not given
    #[arg(long, value_name = "N")]
    threads: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut plan = Plan::new(args.seed.unwrap_or_else(|| fastrand::u64(..)), u64::MAX);
    plan.images = args.images;
    plan.exhaustive = Budget {
        samples: 64,
        tears: 200,
    };
    plan.random = Budget {
        samples: 16,
        tears: 32,
    };
    plan.only = args.workload;
    plan.threads = args.threads.map_or_else(processors, Ok)?;
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
