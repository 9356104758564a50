//! `siding queue | topic | sub`: create, list, show, remove, purge.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use siding::wire::name_info::Settings;
use siding::wire::{DeliverySettings, NameInfo, QueueSettings, TopicSettings};
use siding::{Client, Start};

use crate::args::{self, Consent, Global};
use crate::books::{books, record, sub_rows, topic_rows};
use crate::connect::connect;
use crate::exit::{Exit, failure};
use crate::output::Output;

/// `siding queue …`
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Create a queue; with the same settings again is fine.
    Create {
        /// Its name: letters, digits, `.`, `_`, `-`.
        name: String,
        #[command(flatten)]
        delivery: DeliveryArgs,
        /// Most messages, ready, delayed and leased together; default 2^40: no limit.
        #[arg(long)]
        max_messages: Option<u64>,
        /// Most bytes of the same; default 1GiB.
        #[arg(long, value_parser = args::bytes)]
        max_bytes: Option<u64>,
    },
    /// List queues.
    Ls {
        /// Only names that begin so.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show books and settings.
    Show {
        /// The queue.
        name: String,
    },
    /// Remove a queue with all its messages.
    Rm {
        /// The queue.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Drop what is ready or delayed.
    Purge {
        /// The queue.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
}

/// `siding topic …`
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic; with the same settings again is fine.
    Create {
        /// Its name: letters, digits, `.`, `_`, `-`.
        name: String,
        /// Past it the oldest messages leave; default 10GiB.
        #[arg(long, value_parser = args::bytes)]
        retention_bytes: Option<u64>,
    },
    /// List topics.
    Ls {
        /// Only names that begin so.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show books and settings.
    Show {
        /// The topic.
        name: String,
    },
    /// Remove a topic with its messages and subscriptions.
    Rm {
        /// The topic.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Drop what is ready or delayed in every subscription; the log keeps its messages.
    Purge {
        /// The topic.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
}

/// `siding sub …`
#[derive(Debug, Subcommand)]
pub(crate) enum SubCommand {
    /// Create a subscription; with the same settings again is fine.
    Create {
        /// TOPIC/NAME.
        address: String,
        #[command(flatten)]
        delivery: DeliveryArgs,
        /// Where it begins to read: earliest, latest or an offset.
        #[arg(long, default_value = "latest", value_parser = start)]
        start: Start,
    },
    /// List subscriptions.
    Ls {
        /// Only addresses that begin so.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show books and settings.
    Show {
        /// TOPIC/NAME.
        address: String,
    },
    /// Remove a subscription; the topic keeps its messages.
    Rm {
        /// TOPIC/NAME.
        address: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Drop what is ready or delayed for this subscription.
    Purge {
        /// TOPIC/NAME.
        address: String,
        #[command(flatten)]
        consent: Consent,
    },
}

/// How deliveries behave. What is not given takes the broker's default.
#[derive(Debug, Args)]
pub(crate) struct DeliveryArgs {
    /// How long a delivered message is leased, 1s to 12h; default 30s.
    #[arg(long, value_parser = args::duration)]
    visibility: Option<Duration>,
    /// Attempts before a message is dead, 1 to 1000; default 10.
    #[arg(long)]
    max_attempts: Option<u32>,
    /// Waits between attempts, such as 1s,5s,30s; the last repeats; default 1s to 6h in 9 steps.
    #[arg(long, value_delimiter = ',', value_parser = args::duration)]
    backoff: Vec<Duration>,
    /// Dead letters kept; default 100000.
    #[arg(long)]
    max_dead: Option<u64>,
}

impl DeliveryArgs {
    fn to_wire(&self) -> DeliverySettings {
        DeliverySettings {
            visibility_timeout_ms: self.visibility.map(ms),
            max_attempts: self.max_attempts,
            backoff_ms: self.backoff.iter().copied().map(ms).collect(),
            max_dead: self.max_dead,
            ..Default::default()
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        offset => match offset.parse() {
            Ok(offset) => Ok(Start::Offset(offset)),
            Err(_) => Err("a start is earliest, latest or an offset".to_owned()),
        },
    }
}

/// Runs a `queue` verb.
pub(crate) async fn queue(global: &Global, verb: QueueCommand) -> Result<Exit> {
    let client = connect(global).await?;
    match verb {
        QueueCommand::Create {
            name,
            delivery,
            max_messages,
            max_bytes,
        } => {
            let settings = QueueSettings {
                delivery: Some(delivery.to_wire()),
                max_messages,
                max_bytes,
                ..Default::default()
            };
            client.create_queue(&name, settings).await?;
            Ok(Exit::Ok)
        }
        QueueCommand::Ls { prefix } => list(global, &client, &prefix, Kind::Queue).await,
        QueueCommand::Show { name } => show(global, &client, &name, Kind::Queue).await,
        QueueCommand::Rm { name, consent } => remove(&client, &name, Kind::Queue, consent).await,
        QueueCommand::Purge { name, consent } => {
            purge(global, &client, (&name, Kind::Queue), consent).await
        }
    }
}

/// Runs a `topic` verb.
pub(crate) async fn topic(global: &Global, verb: TopicCommand) -> Result<Exit> {
    let client = connect(global).await?;
    match verb {
        TopicCommand::Create {
            name,
            retention_bytes,
        } => {
            client
                .create_topic(
                    &name,
                    TopicSettings {
                        retention_bytes,
                        ..Default::default()
                    },
                )
                .await?;
            Ok(Exit::Ok)
        }
        TopicCommand::Ls { prefix } => list(global, &client, &prefix, Kind::Topic).await,
        TopicCommand::Show { name } => show(global, &client, &name, Kind::Topic).await,
        TopicCommand::Rm { name, consent } => remove(&client, &name, Kind::Topic, consent).await,
        TopicCommand::Purge { name, consent } => {
            purge(global, &client, (&name, Kind::Topic), consent).await
        }
    }
}

/// Runs a `sub` verb.
pub(crate) async fn sub(global: &Global, verb: SubCommand) -> Result<Exit> {
    let client = connect(global).await?;
    match verb {
        SubCommand::Create {
            address,
            delivery,
            start,
        } => {
            client
                .create_subscription(&address, delivery.to_wire(), start)
                .await?;
            Ok(Exit::Ok)
        }
        SubCommand::Ls { prefix } => list(global, &client, &prefix, Kind::Sub).await,
        SubCommand::Show { address } => show(global, &client, &address, Kind::Sub).await,
        SubCommand::Rm { address, consent } => remove(&client, &address, Kind::Sub, consent).await,
        SubCommand::Purge { address, consent } => {
            purge(global, &client, (&address, Kind::Sub), consent).await
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Queue,
    Topic,
    Sub,
}

impl Kind {
    const fn noun(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Topic => "topic",
            Self::Sub => "subscription",
        }
    }

    /// Refuses an address of another kind, naming the verb that fits.
    fn check(self, address: &str, info: &NameInfo) -> Result<()> {
        let is = match (&info.settings, address.contains('/')) {
            (_, true) => Self::Sub,
            (Some(Settings::Topic(_)), _) => Self::Topic,
            _ => Self::Queue,
        };
        if is == self {
            return Ok(());
        }
        let verb = match is {
            Self::Queue => "siding queue",
            Self::Topic => "siding topic",
            Self::Sub => "siding sub",
        };
        let words = format!(
            "{address:?} is a {}, not a {} · {verb}",
            is.noun(),
            self.noun()
        );
        Err(failure(Exit::Usage, words))
    }
}

async fn list(global: &Global, client: &Client, prefix: &str, kind: Kind) -> Result<Exit> {
    let log_prefix = prefix.split_once('/').map_or(prefix, |(topic, _)| topic);
    let names = client.list(log_prefix).await?;
    let rows = if kind == Kind::Topic {
        topic_rows(&names)
    } else {
        let wanted = |info: &&NameInfo| {
            matches!(info.settings, Some(Settings::Topic(_))) == (kind == Kind::Sub)
        };
        let subs = names
            .iter()
            .filter(wanted)
            .flat_map(|info| &info.subscriptions);
        sub_rows(subs.filter(|sub| sub.address.starts_with(prefix)))
    };
    let mut output = Output::new(global.output);
    let exit = if rows.rows.is_empty() {
        Exit::NothingMatched
    } else {
        Exit::Ok
    };
    output.rows(&rows);
    output.flush().await?;
    Ok(exit)
}

async fn show(global: &Global, client: &Client, address: &str, kind: Kind) -> Result<Exit> {
    let info = client.describe(address).await?;
    kind.check(address, &info)?;
    let mut output = Output::new(global.output);
    output.record(&record(address, &info));
    output.flush().await?;
    Ok(Exit::Ok)
}

async fn remove(client: &Client, address: &str, kind: Kind, consent: Consent) -> Result<Exit> {
    let info = client.describe(address).await?;
    kind.check(address, &info)?;
    let noun = kind.noun();
    let deed = match kind {
        Kind::Sub => format!("remove {noun} {address}"),
        _ => format!(
            "remove {noun} {address} with {} bytes of messages",
            info.bytes
        ),
    };
    if !consent.given(&deed)? {
        return Ok(Exit::Ok);
    }
    client.delete(address).await?;
    Ok(Exit::Ok)
}

/// A queue, a subscription, or every subscription of a topic.
async fn purge(
    global: &Global,
    client: &Client,
    (address, kind): (&str, Kind),
    consent: Consent,
) -> Result<Exit> {
    let info = client.describe(address).await?;
    kind.check(address, &info)?;
    let waiting = info.subscriptions.iter().map(|sub| {
        let books = books(sub);
        books.ready.saturating_add(books.delayed)
    });
    let waiting: u64 = waiting.sum();
    if !consent.given(&format!("drop {waiting} messages of {address}"))? {
        return Ok(Exit::Ok);
    }
    let mut purged = 0_u64;
    for sub in &info.subscriptions {
        purged = purged.saturating_add(client.purge(&sub.address).await?);
    }
    let mut output = Output::new(global.output);
    output.record(&[("purged", purged.into())]);
    output.flush().await?;
    Ok(if purged == 0 {
        Exit::NothingMatched
    } else {
        Exit::Ok
    })
}

#[cfg(test)]
mod tests {
    use siding::wire::SubscriptionInfo;

    use super::*;

    fn topic() -> NameInfo {
        NameInfo {
            name: "orders".to_owned(),
            settings: Some(Settings::Topic(TopicSettings::default())),
            subscriptions: vec![SubscriptionInfo {
                address: "orders/billing".to_owned(),
                ..SubscriptionInfo::default()
            }],
            ..NameInfo::default()
        }
    }

    #[test]
    fn a_verb_of_the_wrong_kind_names_the_right_one() {
        let error = Kind::Queue.check("orders", &topic()).unwrap_err();
        assert!(error.to_string().contains("siding topic"), "{error}");
        assert!(Kind::Topic.check("orders", &topic()).is_ok());
        assert!(Kind::Sub.check("orders/billing", &topic()).is_ok());
        assert!(Kind::Topic.check("orders/billing", &topic()).is_err());
    }

    #[test]
    fn a_start_is_a_word_or_an_offset() {
        assert_eq!(start("earliest"), Ok(Start::Earliest));
        assert_eq!(start("17"), Ok(Start::Offset(17)));
        assert!(start("yesterday").is_err());
    }
}
