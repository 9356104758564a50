//! `siding queue`: create, list, show, remove, purge, pause, resume, seek.

use anyhow::Result;
use clap::Subcommand;
use siding::Start;

use super::object::{self, Kind, Target};
use crate::args::{Consent, FilterArg, Global};
use crate::connect::connect;
use crate::exit::Exit;
use crate::settings::QueueArgs;
use crate::times;

/// `siding queue …`
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Create a queue; with the same settings again is fine.
    #[command(after_help = "\
Examples:
  siding queue create emails --visibility 2m --max-attempts 5 --backoff 1s,10s,1m
  siding queue create payments --order key --on-dead halt --dedup-window 1d --track")]
    Create {
        /// Its name: letters, digits, `.`, `_`, `-`.
        name: String,
        #[command(flatten)]
        settings: Box<QueueArgs>,
    },
    /// List queues.
    #[command(after_help = "Example:\n  siding queue ls orders. -o json")]
    Ls {
        /// Only names that begin so.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show the books, and every setting that differs from the default.
    #[command(after_help = "Example:\n  siding queue show emails")]
    Show {
        /// The queue.
        name: String,
    },
    /// Remove a queue with all its messages.
    #[command(after_help = "Example:\n  siding queue rm emails --yes")]
    Rm {
        /// The queue.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Drop what is ready or delayed.
    #[command(after_help = "Example:\n  siding queue purge emails --dry-run")]
    Purge {
        /// The queue.
        name: String,
        #[command(flatten)]
        which: FilterArg,
        #[command(flatten)]
        consent: Consent,
    },
    /// Stop handing messages over; what is leased stays leased.
    #[command(after_help = "Example:\n  siding queue pause emails")]
    Pause {
        /// The queue.
        name: String,
    },
    /// Hand messages over again.
    #[command(after_help = "Example:\n  siding queue resume emails")]
    Resume {
        /// The queue.
        name: String,
    },
    /// Read settled messages again, as far back as --retain-settled reaches; live leases end.
    #[command(after_help = "Example:\n  siding queue seek emails --to 1h --yes")]
    Seek {
        /// The queue.
        name: String,
        /// earliest, latest, an offset, 2h (ago), or a time.
        #[arg(long, value_name = "WHERE", value_parser = times::start)]
        to: Start,
        #[command(flatten)]
        consent: Consent,
    },
}

/// Runs a `queue` verb.
pub(crate) async fn run(global: &Global, verb: QueueCommand) -> Result<Exit> {
    let client = connect(global).await?;
    let at = |name| Target::new(global, &client, Kind::Queue, name);
    match verb {
        QueueCommand::Create { name, settings } => {
            let wire = settings.to_wire();
            client.create_queue(&name, wire.clone()).await?;
            object::tell_if_missing(&client, &wire.delivery.unwrap_or_default()).await?;
            Ok(Exit::Ok)
        }
        QueueCommand::Ls { prefix } => object::list(&at(prefix)).await,
        QueueCommand::Show { name } => object::show(&at(name)).await,
        QueueCommand::Rm { name, consent } => object::remove(&at(name), consent).await,
        QueueCommand::Purge {
            name,
            which,
            consent,
        } => object::purge(&at(name), &which.filter, consent).await,
        QueueCommand::Pause { name } => object::pause(&at(name), true).await,
        QueueCommand::Resume { name } => object::pause(&at(name), false).await,
        QueueCommand::Seek { name, to, consent } => object::seek(&at(name), to, consent).await,
    }
}
