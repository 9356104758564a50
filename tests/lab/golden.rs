//! The data directory of a release, made for the tests of all later ones.

use std::process::ExitCode;

use anyhow::Result;
use siding_tests::golden::{folder, lives, make};

/// Makes the data directory of a release, from its tag, or records lives of the engine's rules
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As in 0.1.0; of lives, as in engine-2
    release: String,
    /// Records lives, before a rule is changed
    #[arg(long)]
    lives: bool,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let expected = if args.lives {
        lives::record(&args.release)?
    } else {
        make(&args.release).await?
    };
    eprint!("{expected}");
    eprintln!("made {}", folder().join(&args.release).display());
    Ok(ExitCode::SUCCESS)
}
