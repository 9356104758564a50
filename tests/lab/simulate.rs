//! `simulate`: plays as many runs of a simulated broker as asked, and says what became of the
//! messages.
//!
//! `cargo run --release -p siding-tests --bin simulate -- --seeds 10000`

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use siding_tests::sim::{Plan, Sum, play};

const USAGE: &str = "simulate [--seeds N] [--seed FIRST]";
/// One run in so many is played twice.
const TWICE_EVERY: u64 = 100;

fn main() -> Result<ExitCode> {
    let (first, count) = range(std::env::args().skip(1))?;
    let started = tokio::time::Instant::now();
    let mut out = std::io::stdout().lock();
    let (mut sum, mut twice, mut differ) = (Sum::default(), 0, 0);
    for seed in first..first.saturating_add(count) {
        let outcome = play(Plan::new(seed));
        sum.add(&outcome);
        if (seed - first) % TWICE_EVERY == 0 {
            twice += 1;
            if play(Plan::new(seed)).hash != outcome.hash {
                differ += 1;
                writeln!(out, "seed {seed} went another way the second time")?;
            }
        }
        if !outcome.is_clean() {
            write!(out, "{outcome}")?;
            writeln!(
                out,
                "  again: cargo run --release -p siding-tests --bin simulate -- --seeds 1 --seed {seed}"
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

fn range(mut words: impl Iterator<Item = String>) -> Result<(u64, u64)> {
    let (mut first, mut count) = (1, 100);
    while let Some(flag) = words.next() {
        let value = words.next().context(USAGE)?;
        let value: u64 = value.parse().context(USAGE)?;
        match flag.as_str() {
            "--seed" => first = value,
            "--seeds" => count = value,
            _ => bail!(USAGE),
        }
    }
    Ok((first, count))
}
