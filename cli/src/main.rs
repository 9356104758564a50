//! `siding`: the command line of Siding. Turns the result of a verb into an exit code.

mod args;
mod attributes;
mod bars;
mod books;
mod browse;
mod clock;
mod commands;
mod connect;
mod drain;
mod ephemeral;
mod exit;
mod feed;
mod flags;
mod gap;
mod id;
mod input;
mod json_line;
mod lines;
mod output;
mod quickstart;
mod settings;
mod shown;
mod signals;
mod template;
mod times;
mod units;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::exit::{Exit, explain};

fn main() -> ExitCode {
    // clap itself ends with 2 for a wrong command line and 0 for --help.
    let cli = Cli::parse();
    log_to_stderr();
    let result = run(cli);
    let (exit, line) = match &result {
        Ok(exit) => (*exit, None),
        Err(error) => explain(error),
    };
    if let Some(line) = line {
        eprintln!("{line}");
    }
    exit.into()
}

/// One thread for everything: a client's work is small, and hops between threads cost more than
/// they give.
fn run(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(dispatch(cli));
    // A blocking read of stdin that never ends must not keep the process.
    runtime.shutdown_background();
    result
}

async fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let global = &cli.global;
    match cli.command {
        Command::Publish(args) => Box::pin(commands::publish::run(global, args)).await,
        Command::Consume(args) => Box::pin(commands::consume::run(global, args)).await,
        Command::Work(args) => Box::pin(commands::work::run(global, args)).await,
        Command::Peek(args) => Box::pin(commands::peek::run(global, args)).await,
        Command::Ack(args) => Box::pin(commands::settle::ack(global, args)).await,
        Command::Nack(args) => Box::pin(commands::settle::nack(global, args)).await,
        Command::Release(args) => Box::pin(commands::settle::release(global, args)).await,
        Command::Reject(args) => Box::pin(commands::settle::reject(global, args)).await,
        Command::Extend(args) => Box::pin(commands::settle::extend(global, args)).await,
        Command::Get(args) => Box::pin(commands::job::get(global, args)).await,
        Command::Await(args) => Box::pin(commands::job::wait(global, args)).await,
        Command::Cancel(args) => Box::pin(commands::job::cancel(global, args)).await,
        Command::Explain(args) => Box::pin(commands::explain::run(global, args)).await,
        Command::Queue(verb) => Box::pin(commands::queue::run(global, verb)).await,
        Command::Topic(verb) => Box::pin(commands::topic::run(global, verb)).await,
        Command::Sub(verb) => Box::pin(commands::sub::run(global, verb)).await,
        Command::Dead(verb) => Box::pin(commands::dead::run(global, verb)).await,
        Command::Cron(verb) => Box::pin(commands::cron::run(global, verb)).await,
        Command::Bench(verb) => Box::pin(commands::bench::run(global, verb)).await,
        Command::Salvage(args) => Box::pin(commands::salvage::run(&args)).await,
        Command::Quickstart(args) => Box::pin(quickstart::run(global, args)).await,
    }
}

/// Warnings of the client and of the quickstart's broker; `SIDING_LOG=debug` says more.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("SIDING_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
