//! `golden`: makes the data directory of a release, for the tests of all later ones.
//!
//! `cargo run -p siding-tests --bin golden -- 0.1.0`

use anyhow::{Context, Result};
use siding_tests::golden::{folder, make};

#[tokio::main]
async fn main() -> Result<()> {
    let release = std::env::args().nth(1).context("golden RELEASE")?;
    let expected = make(&release).await?;
    eprint!("{expected}");
    eprintln!("made {}", folder().join(release).display());
    Ok(())
}
