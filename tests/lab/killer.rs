//! A broker killed under load for as long as asked, and what became of the messages.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use siding_tests::binaries::binary;
use siding_tests::killer::{Checkpoints, Outcome, Plan};

/// Kills a broker under load, again and again, and does the books
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often
    #[arg(long, value_name = "N", default_value_t = 50)]
    kills: u32,
    /// Publishers, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 4)]
    publishers: u32,
    /// Consumers, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 4)]
    consumers: u32,
    /// A checkpoint for each file of 1 MiB: the journal is cut all the time
    #[arg(long)]
    small_files: bool,
    /// Of the bodies and the moments; random if not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let plan = Plan {
        kills: args.kills,
        publishers: args.publishers,
        consumers: args.consumers,
        events_between: 0..100_000,
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
        small_files: args.small_files,
    };
    let (seed, asked) = (plan.seed, plan.kills);
    let dir = tempfile::tempdir()?;
    // Built before the clock runs.
    binary("sidingd");
    let started = tokio::time::Instant::now();
    let outcome = siding_tests::killer::run(plan, dir.path(), |kills| {
        eprintln!("kill {kills} of {asked}");
    })
    .await?;
    let seconds = started.elapsed().as_secs_f64();
    let Outcome {
        report,
        kills,
        errors,
        checkpoints,
    } = &outcome;
    let mut out = std::io::stdout().lock();
    writeln!(out, "seed              {seed}")?;
    writeln!(out, "kills             {kills}")?;
    write!(out, "{report}")?;
    for error in errors {
        writeln!(out, "  {error}")?;
    }
    let Checkpoints {
        cuts,
        retired,
        blocks,
        removed,
    } = checkpoints;
    writeln!(out, "cuts              {cuts}, {retired} files retired")?;
    writeln!(
        out,
        "blocks moved      {blocks}, {removed} segments removed"
    )?;
    writeln!(out, "seconds           {seconds:.1}")?;
    if outcome.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    let kept = dir.keep();
    writeln!(out, "the data directory stays in {}", kept.display())?;
    Ok(ExitCode::FAILURE)
}
