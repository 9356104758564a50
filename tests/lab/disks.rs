//! Real brokers on a disk that is filled and freed, and on one that lies.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use siding_tests::binaries::binary;
use siding_tests::disks::{Books, Waits, full, lying, why_not};

/// Serves from a disk that is filled and freed, or from one that fails under it
///
/// Where mounting is not allowed it says so, and nothing is tested.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    kind: Disk,
    /// Filled so often; or so many brokers
    times: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Disk {
    Full,
    Lying,
}

pub(crate) async fn run(&Args { kind, times }: &Args) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if let Some(reason) = why_not() {
        writeln!(out, "skipped: nothing can be mounted here ({reason})")?;
        return Ok(ExitCode::SUCCESS);
    }
    // Built before the clock runs.
    binary("sidingd");
    let dir = tempfile::tempdir()?;
    let on_one = |done| eprintln!("{done} of {times}");
    let started = tokio::time::Instant::now();
    let books = match kind {
        Disk::Full => {
            let outcome = full::run(times, dir.path(), on_one).await?;
            writeln!(out, "filled and freed  {}", outcome.cycles)?;
            writeln!(out, "killed while full {}", outcome.kills)?;
            tell(&mut out, "acks while full", outcome.acks)?;
            tell(&mut out, "resumed", outcome.resumes)?;
            outcome.books
        }
        Disk::Lying => {
            let outcome = lying::run(times, dir.path(), on_one).await?;
            writeln!(out, "ended by a failed write or sync  {}", outcome.failures)?;
            for reason in &outcome.reasons {
                writeln!(out, "  {reason}")?;
            }
            outcome.books
        }
    };
    let Books {
        sent,
        confirmed,
        refused,
        unknown,
        acked,
        broken,
    } = &books;
    writeln!(
        out,
        "sent {sent}: confirmed {confirmed}, refused {refused}, unknown {unknown}"
    )?;
    writeln!(out, "acked             {acked}")?;
    writeln!(out, "broken promises   {}", broken.len())?;
    for one in broken {
        writeln!(out, "  {one}")?;
    }
    writeln!(
        out,
        "seconds           {:.1}",
        started.elapsed().as_secs_f64()
    )?;
    Ok(if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tell(out: &mut impl Write, what: &str, waits: Waits) -> Result<()> {
    let longest = waits.longest.as_secs_f64() * 1e3;
    Ok(writeln!(
        out,
        "{what:<18}{} times, at most {longest:.1} ms",
        waits.count
    )?)
}
