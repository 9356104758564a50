//! `siding topic`: create, list, show, remove, purge.

use anyhow::Result;
use clap::Subcommand;

use super::object::{self, Kind, Target};
use crate::args::{Consent, FilterArg, Global};
use crate::connect::connect;
use crate::exit::Exit;
use crate::settings::TopicArgs;

/// `siding topic …`
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic; with the same settings again is fine.
    #[command(after_help = "Example:\n  siding topic create orders --retention 30d")]
    Create {
        /// Its name: letters, digits, `.`, `_`, `-`.
        name: String,
        #[command(flatten)]
        settings: TopicArgs,
    },
    /// List topics.
    #[command(after_help = "Example:\n  siding topic ls")]
    Ls {
        /// Only names that begin so.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show what it keeps, its subscriptions, and every setting that differs from the default.
    #[command(after_help = "Example:\n  siding topic show orders")]
    Show {
        /// The topic.
        name: String,
    },
    /// Remove a topic with its messages and subscriptions.
    #[command(after_help = "Example:\n  siding topic rm orders --yes")]
    Rm {
        /// The topic.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Drop what is ready or delayed in every subscription; the log keeps its messages.
    #[command(after_help = "Example:\n  siding topic purge orders --yes")]
    Purge {
        /// The topic.
        name: String,
        #[command(flatten)]
        which: FilterArg,
        #[command(flatten)]
        consent: Consent,
    },
}

/// Runs a `topic` verb.
pub(crate) async fn run(global: &Global, verb: TopicCommand) -> Result<Exit> {
    let client = connect(global).await?;
    let at = |name| Target::new(global, &client, Kind::Topic, name);
    match verb {
        TopicCommand::Create { name, settings } => {
            client.create_topic(&name, settings.to_wire()).await?;
            Ok(Exit::Ok)
        }
        TopicCommand::Ls { prefix } => object::list(&at(prefix)).await,
        TopicCommand::Show { name } => object::show(&at(name)).await,
        TopicCommand::Rm { name, consent } => object::remove(&at(name), consent).await,
        TopicCommand::Purge {
            name,
            which,
            consent,
        } => object::purge(&at(name), &which.filter, consent).await,
    }
}
