//! The data directory of a release, made for the tests of all later ones.

use std::process::ExitCode;

use anyhow::Result;
use siding_tests::golden::{folder, make};

/// Makes the data directory of a release, from its tag
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As in 0.1.0
    release: String,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let expected = make(&args.release).await?;
    eprint!("{expected}");
    eprintln!("made {}", folder().join(&args.release).display());
    Ok(ExitCode::SUCCESS)
}
