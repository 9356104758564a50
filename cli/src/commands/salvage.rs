//! `salvage`: a data directory that a broker refuses is opened by an explicit loss. The one verb that works
//! on files: no broker runs on damaged ones.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use siding_broker::salvage::{self, SalvageError};
use siding_broker::shard::recovery::RecoveryError;
use siding_broker::storage::StorageError;
use siding_broker::storage::fs::SystemFs;

use crate::exit::{Exit, failure};
use crate::output::Output;

pub(crate) const ABOUT: &str = "\
Open a data directory that a broker refuses as damaged.

Reads everything and prints what is damaged, what can be kept and what is lost, and changes nothing; exit
code 3 if anything is damaged. With --accept-data-loss what is lost is counted (salvage_lost) and told to
readers as a gap, everything else is kept, and the directory opens again; the damaged files are put aside
into salvaged-1, salvaged-2, ... in it and never deleted. Stop the broker first. A copy of the directory
from one moment, where there is one, may lose less.";

/// What to salvage.
#[derive(Debug, Args)]
pub(crate) struct SalvageArgs {
    /// The data directory.
    #[arg(value_name = "DIR", default_value = "siding-data")]
    data_dir: PathBuf,
    /// Do it: what the dry run calls lost is lost.
    #[arg(long)]
    accept_data_loss: bool,
}

/// Says what can be kept, or keeps it.
pub(crate) async fn run(args: &SalvageArgs) -> Result<Exit> {
    let fs = Arc::new(SystemFs);
    if args.accept_data_loss
        && salvage::finish(&*fs, &args.data_dir).map_err(|error| explained(&error))?
    {
        eprintln!("finished a salvage that had been interrupted");
        return Ok(Exit::Ok);
    }
    let salvage = salvage::look(fs, &args.data_dir).map_err(|error| explained(&error))?;
    let report = salvage.report();
    let mut out = Output::new(None);
    out.raw()
        .extend_from_slice(format!("{report}\n").as_bytes());
    out.flush().await?;
    if !salvage.is_damaged() {
        eprintln!("nothing is damaged; nothing was changed");
        return Ok(Exit::Ok);
    }
    let lost = report.lost();
    if !args.accept_data_loss {
        eprintln!(
            "nothing was changed; with --accept-data-loss {lost} messages are lost for good, and the \
             directory opens"
        );
        return Ok(Exit::PartlyDone);
    }
    let aside = salvage.accept().map_err(|error| explained(&error))?;
    eprintln!(
        "{lost} messages are lost; the directory opens; the damaged files are in {}",
        aside.display()
    );
    Ok(Exit::Ok)
}

fn explained(error: &SalvageError) -> anyhow::Error {
    let exit = match error {
        SalvageError::NoData { .. } => Exit::NoSuchName,
        SalvageError::Recovery(RecoveryError::Storage(StorageError::Locked { .. })) => Exit::Busy,
        SalvageError::Recovery(_) | SalvageError::NoState { .. } => Exit::Unreachable,
    };
    failure(exit, error.to_string())
}
