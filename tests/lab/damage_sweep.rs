//! `damage-sweep`: every bit of a store of 64 KiB flipped, one at a time.
//!
//! `cargo run --release -p siding-tests --bin damage-sweep`

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use siding_tests::damage_sweep::{Store, sweep};
use tokio::time::Instant;

fn main() -> Result<ExitCode> {
    let started = Instant::now();
    let swept = sweep(1, std::thread::available_parallelism()?.get())?;
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
