//! What each fuzz target begins with, written to files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

/// Writes what each fuzz target begins with
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to; a folder for each target is made in it
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    siding_tests::seeds::write(&args.folder)?;
    Ok(ExitCode::SUCCESS)
}
