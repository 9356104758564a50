//! As many runs of a simulated broker as asked, and what became of the messages.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use siding_tests::sim::{Plan, Sum, play};

/// One run in so many is played twice.
const TWICE_EVERY: u64 = 100;

/// Plays a whole broker on one thread from one seed, again and again, and does the books
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,
    /// The first
    #[arg(long, value_name = "FIRST", default_value_t = 1)]
    seed: u64,
    /// On journal files of the smallest size, with ten times the traffic
    #[arg(long)]
    small_files: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (first, count) = (args.seed, args.seeds);
    let (plan, flag) = if args.small_files {
        (Plan::on_small_files as fn(u64) -> Plan, " --small-files")
    } else {
        (Plan::new as fn(u64) -> Plan, "")
    };
    let started = tokio::time::Instant::now();
    let mut out = std::io::stdout().lock();
    let (mut sum, mut twice, mut differ) = (Sum::default(), 0, 0);
    for seed in first..first.saturating_add(count) {
        let outcome = play(plan(seed));
        sum.add(&outcome);
        if (seed - first) % TWICE_EVERY == 0 {
            twice += 1;
            if play(plan(seed)).hash != outcome.hash {
                differ += 1;
                writeln!(out, "seed {seed} went another way the second time")?;
            }
        }
        if !outcome.is_clean() {
            write!(out, "{outcome}")?;
            writeln!(
                out,
                "  again: cargo run --release -p siding-lab -- simulate --seeds 1 --seed {seed}{flag}"
            )?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    write!(out, "{sum}")?;
    writeln!(
        out,
        "played twice      {twice}, {differ} of them differently"
    )?;
    writeln!(out, "seconds           {seconds:.1}")?;
    let is_clean = sum.failed.is_empty() && differ == 0;
    Ok(if is_clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
