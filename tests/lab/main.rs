//! `siding-lab`: what `cargo test` does a slice of, for as long as asked.
//!
//! `cargo run --release -p siding-lab -- killer --kills 50`

mod crash_states;
mod damage_sweep;
mod disks;
mod golden;
mod guard;
mod killer;
mod model;
mod seeds;
mod simulate;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The long runs of Siding's tests. Each says what it found and ends with 1 if that breaks a promise.
#[derive(Debug, Parser)]
#[command(version)]
struct Lab {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Killer(killer::Args),
    Simulate(simulate::Args),
    CrashStates(crash_states::Args),
    DamageSweep(damage_sweep::Args),
    Model(model::Args),
    Disks(disks::Args),
    Guard(guard::Args),
    Golden(golden::Args),
    Seeds(seeds::Args),
}

fn main() -> Result<ExitCode> {
    match Lab::parse().verb {
        Verb::Killer(args) => on_a_runtime(killer::run(&args)),
        Verb::Simulate(args) => simulate::run(&args),
        Verb::CrashStates(args) => crash_states::run(&args),
        Verb::DamageSweep(args) => damage_sweep::run(&args),
        Verb::Model(args) => model::run(&args),
        Verb::Disks(args) => on_a_runtime(disks::run(&args)),
        Verb::Guard(args) => guard::run(&args),
        Verb::Golden(args) => on_a_runtime(golden::run(&args)),
        Verb::Seeds(args) => seeds::run(&args),
    }
}

/// For verbs that talk to real brokers; a simulated one blocks its thread, which no runtime allows.
fn on_a_runtime(verb: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::runtime::Runtime::new()?.block_on(verb)
}

/// So many threads as there are processors.
fn processors() -> Result<u64> {
    Ok(u64::try_from(std::thread::available_parallelism()?.get())?)
}
