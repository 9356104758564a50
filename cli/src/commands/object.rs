//! What `siding queue`, `topic` and `sub` share: list, show, remove, purge, pause, seek.

use anyhow::Result;
use siding::wire::name_info::Settings;
use siding::wire::{DeliverySettings, NameInfo};
use siding::{Client, Error, PurgeOptions, Refusal, Start};

use crate::args::{Consent, Global};
use crate::books::{books, record, sub_rows, topic_rows};
use crate::clock;
use crate::exit::{Exit, failure};
use crate::output::Output;

/// What a verb is about, and where it is asked.
pub(super) struct Target<'a> {
    global: &'a Global,
    client: &'a Client,
    kind: Kind,
    address: String,
}

impl<'a> Target<'a> {
    pub(super) const fn new(
        global: &'a Global,
        client: &'a Client,
        kind: Kind,
        address: String,
    ) -> Self {
        Self {
            global,
            client,
            kind,
            address,
        }
    }

    /// Describes it.
    ///
    /// # Errors
    /// It is not there, or of another kind.
    async fn describe(&self) -> Result<NameInfo> {
        let info = self.client.describe(&self.address).await?;
        self.kind.check(&self.address, &info)?;
        Ok(info)
    }
}

/// What an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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

/// Lists those whose addresses begin so.
pub(super) async fn list(target: &Target<'_>) -> Result<Exit> {
    let (prefix, kind) = (target.address.as_str(), target.kind);
    let log_prefix = prefix.split_once('/').map_or(prefix, |(topic, _)| topic);
    let names = target.client.list(log_prefix).await?;
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
    let mut output = Output::new(target.global.output);
    output.rows(&rows);
    output.flush().await?;
    Ok(matched(rows.rows.len() as u64))
}

/// Where messages go on to may be created later, and they wait until then: a name that is only mistyped
/// is told at once.
pub(super) async fn tell_if_missing(client: &Client, settings: &DeliverySettings) -> Result<()> {
    let onward = [&settings.forward_to, &settings.dead_letter_to];
    for name in onward.into_iter().filter(|name| !name.is_empty()) {
        match client.describe(name).await {
            Err(Error::Refused(refusal @ Refusal::NotFound { .. })) => {
                eprintln!("{refusal}: what goes there waits until it is created");
            }
            there => drop(there?),
        }
    }
    Ok(())
}

/// Shows books and settings.
pub(super) async fn show(target: &Target<'_>) -> Result<Exit> {
    let info = target.describe().await?;
    let mut output = Output::new(target.global.output);
    output.record(&record(&target.address, &info));
    output.flush().await?;
    Ok(Exit::Ok)
}

/// Removes it, with consent.
pub(super) async fn remove(target: &Target<'_>, consent: Consent) -> Result<Exit> {
    let info = target.describe().await?;
    let (noun, address) = (target.kind.noun(), &target.address);
    let deed = match target.kind {
        Kind::Sub => format!("remove {noun} {address}"),
        _ => format!(
            "remove {noun} {address} with {} bytes of messages",
            info.bytes
        ),
    };
    if !consent.given(&deed)? {
        return Ok(Exit::Ok);
    }
    target.client.delete(address).await?;
    Ok(Exit::Ok)
}

/// Clears a queue, a subscription, or every subscription of a topic.
pub(super) async fn purge(target: &Target<'_>, filter: &str, consent: Consent) -> Result<Exit> {
    let info = target.describe().await?;
    let mut matching = 0_u64;
    for sub in &info.subscriptions {
        let count = if filter.is_empty() {
            let books = books(sub);
            books.ready.saturating_add(books.delayed)
        } else {
            let counted = PurgeOptions {
                filter: filter.to_owned(),
                dry_run: true,
            };
            target.client.purge(&sub.address, counted).await?
        };
        matching = matching.saturating_add(count);
    }
    let deed = format!("drop {} of {}", messages(matching), target.address);
    if consent.dry_run {
        eprintln!("would {deed}");
        return count(target.global, "matching", matching).await;
    }
    if !consent.given(&deed)? {
        return Ok(Exit::Ok);
    }
    let mut purged = 0_u64;
    for sub in &info.subscriptions {
        let matching = PurgeOptions {
            filter: filter.to_owned(),
            dry_run: false,
        };
        purged = purged.saturating_add(target.client.purge(&sub.address, matching).await?);
    }
    count(target.global, "purged", purged).await
}

/// Pauses or resumes it.
pub(super) async fn pause(target: &Target<'_>, paused: bool) -> Result<Exit> {
    target.describe().await?;
    if paused {
        target.client.pause(&target.address).await?;
    } else {
        target.client.resume(&target.address).await?;
    }
    Ok(Exit::Ok)
}

/// Moves it, with consent: what is leased is fenced, what was done is done again.
pub(super) async fn seek(target: &Target<'_>, to: Start, consent: Consent) -> Result<Exit> {
    let info = target.describe().await?;
    let leased: u64 = info.subscriptions.iter().map(|sub| books(sub).leased).sum();
    let place = match to {
        Start::Earliest => "the earliest kept message".to_owned(),
        Start::Latest => "the end".to_owned(),
        Start::Offset(offset) => format!("offset {offset}"),
        Start::Time(at) => clock::rfc3339(at.0),
    };
    let address = &target.address;
    let deed = format!("move {address} to {place} and end {leased} leases");
    if !consent.given(&deed)? {
        return Ok(Exit::Ok);
    }
    let ready = target.client.seek(address, to).await?;
    let mut output = Output::new(target.global.output);
    output.record(&[("ready", ready.into())]);
    output.flush().await?;
    Ok(Exit::Ok)
}

/// Prints how many it were; none is exit code 1.
pub(super) async fn count(global: &Global, what: &'static str, count: u64) -> Result<Exit> {
    let mut output = Output::new(global.output);
    output.record(&[(what, count.into())]);
    output.flush().await?;
    Ok(matched(count))
}

fn messages(count: u64) -> String {
    let noun = if count == 1 { "message" } else { "messages" };
    format!("{count} {noun}")
}

const fn matched(count: u64) -> Exit {
    if count == 0 {
        Exit::NothingMatched
    } else {
        Exit::Ok
    }
}

#[cfg(test)]
mod tests {
    use siding::wire::{SubscriptionInfo, TopicSettings};

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
}
