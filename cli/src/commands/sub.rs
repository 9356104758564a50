//! `siding sub`: create, list, show, remove, purge, pause, resume, seek.

use anyhow::Result;
use clap::Subcommand;
use siding::Start;

use super::object::{self, Kind, Target};
use crate::args::{Consent, FilterArg, Global};
use crate::connect::{connect, leave};
use crate::exit::Exit;
use crate::settings::SubArgs;
use crate::signals::Stop;
use crate::times;

/// `siding sub …`
#[derive(Debug, Subcommand)]
pub(crate) enum SubCommand {
    /// Create a subscription; with the same settings again is fine, wherever it reads now.
    #[command(after_help = "\
Examples:
  siding sub create orders/billing --from earliest --max-attempts 5
  siding sub create orders/to-jobs --forward-to jobs")]
    Create {
        /// TOPIC/NAME.
        address: String,
        /// Where it begins to read: earliest, latest, an offset, 2h (ago), or a time.
        #[arg(
            long,
            value_name = "WHERE",
            alias = "start",
            default_value = "latest",
            value_parser = times::start
        )]
        from: Start,
        #[command(flatten)]
        settings: Box<SubArgs>,
    },
    /// List subscriptions.
    #[command(after_help = "Example:\n  siding sub ls orders/")]
    Ls {
        /// Only addresses that begin so.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show the books, and every setting that differs from the default.
    #[command(after_help = "Example:\n  siding sub show orders/billing")]
    Show {
        /// TOPIC/NAME.
        address: String,
    },
    /// Remove a subscription; the topic keeps its messages.
    #[command(after_help = "Example:\n  siding sub rm orders/billing --yes")]
    Rm {
        /// TOPIC/NAME.
        address: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Drop what is ready or delayed for this subscription.
    #[command(after_help = "Example:\n  siding sub purge orders/billing --dry-run")]
    Purge {
        /// TOPIC/NAME.
        address: String,
        #[command(flatten)]
        which: FilterArg,
        #[command(flatten)]
        consent: Consent,
    },
    /// Stop handing messages over; what is leased stays leased.
    #[command(after_help = "Example:\n  siding sub pause orders/billing")]
    Pause {
        /// TOPIC/NAME.
        address: String,
    },
    /// Hand messages over again.
    #[command(after_help = "Example:\n  siding sub resume orders/billing")]
    Resume {
        /// TOPIC/NAME.
        address: String,
    },
    /// Read again from there on, whatever had become of it; live leases end.
    #[command(after_help = "Example:\n  siding sub seek orders/billing --to 2h --yes")]
    Seek {
        /// TOPIC/NAME.
        address: String,
        /// earliest, latest, an offset, 2h (ago), or a time.
        #[arg(long, value_name = "WHERE", value_parser = times::start)]
        to: Start,
        #[command(flatten)]
        consent: Consent,
    },
}

/// Runs a `sub` verb.
pub(crate) async fn run(global: &Global, verb: SubCommand) -> Result<Exit> {
    if let SubCommand::Create {
        address,
        settings,
        from,
    } = verb
    {
        return create(global, &address, &settings, from).await;
    }
    let client = connect(global).await?;
    let at = |address| Target::new(global, &client, Kind::Sub, address);
    match verb {
        SubCommand::Create { .. } => Ok(Exit::Ok),
        SubCommand::Ls { prefix } => object::list(&at(prefix)).await,
        SubCommand::Show { address } => object::show(&at(address)).await,
        SubCommand::Rm { address, consent } => object::remove(&at(address), consent).await,
        SubCommand::Purge {
            address,
            which,
            consent,
        } => object::purge(&at(address), &which.filter, consent).await,
        SubCommand::Pause { address } => object::pause(&at(address), true).await,
        SubCommand::Resume { address } => object::pause(&at(address), false).await,
        SubCommand::Seek {
            address,
            to,
            consent,
        } => object::seek(&at(address), to, consent).await,
    }
}

/// An ephemeral one lives as long as this command.
async fn create(global: &Global, address: &str, settings: &SubArgs, from: Start) -> Result<Exit> {
    let mut stop = Stop::listen()?;
    let client = connect(global).await?;
    let wire = settings.to_wire();
    client
        .create_subscription(address, wire.clone(), from)
        .await?;
    object::tell_if_missing(&client, &wire).await?;
    if !settings.ephemeral {
        return Ok(Exit::Ok);
    }
    eprintln!("{address} lives as long as this command: Ctrl-C ends both");
    let exit = stop.asked().await;
    leave(client, None).await;
    Ok(exit)
}
