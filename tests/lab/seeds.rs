//! `seeds`: writes what each fuzz target begins with.
//!
//! `cargo run -p siding-tests --bin seeds -- target/fuzz/corpus`

use std::path::Path;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let corpus = std::env::args().nth(1).context("seeds FOLDER")?;
    siding_tests::seeds::write(Path::new(&corpus))
}
