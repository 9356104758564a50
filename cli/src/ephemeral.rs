//! A subscription of a topic that lives as long as a command.

use anyhow::Result;
use siding::wire::DeliverySettings;
use siding::wire::name_info::Settings;
use siding::{Client, Start};

use crate::exit::{Exit, failure};

/// Subscribes; gives the address to read.
///
/// # Errors
/// Not a topic.
pub(crate) async fn subscribe(
    client: &Client,
    topic: &str,
    from: Option<Start>,
    filter: &str,
) -> Result<String> {
    let words = "--from and --filter are for a topic, read by a subscription of its own";
    if let Some((topic, _)) = topic.split_once('/') {
        let mend = format!("siding consume {topic} --from …, or siding sub seek");
        return Err(failure(Exit::Usage, format!("{words} · {mend}")));
    }
    let info = client.describe(topic).await?;
    if !matches!(info.settings, Some(Settings::Topic(_))) {
        let mend = format!("{topic} is a queue: siding peek {topic}, or siding queue seek");
        return Err(failure(Exit::Usage, format!("{words} · {mend}")));
    }
    let address = format!("{topic}/cli-{:08x}", fastrand::u32(..));
    let settings = DeliverySettings {
        ephemeral: true,
        filter: filter.to_owned(),
        ..DeliverySettings::default()
    };
    let from = from.unwrap_or(Start::Latest);
    client.create_subscription(&address, settings, from).await?;
    Ok(address)
}
