//! Every bit of a store of 64 KiB flipped, one at a time.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use siding_tests::damage_sweep::{Store, sweep};
use tokio::time::Instant;

use crate::processors;

/// Flips every bit of a store of 64 KiB, one at a time, and looks who notices
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let swept = sweep(1, usize::try_from(processors()?)?)?;
    let percent = Store::new()?.live_percent();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{swept}")?;
    writeln!(out, "live records, percent      {percent}")?;
    writeln!(
        out,
        "seconds                    {}",
        started.elapsed().as_secs()
    )?;
    Ok(if swept.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
