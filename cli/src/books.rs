//! The books of queues, topics and subscriptions, as rows and records.

use serde_json::Value;
use siding::wire::name_info::Settings;
use siding::wire::{Books, NameInfo, SubscriptionInfo};

use crate::output::Rows;
use crate::{clock, settings};

/// The books of a subscription.
pub(crate) fn books(info: &SubscriptionInfo) -> Books {
    info.books.unwrap_or_default()
}

/// A row a queue or subscription.
pub(crate) fn sub_rows<'a>(subs: impl Iterator<Item = &'a SubscriptionInfo>) -> Rows {
    let row = |sub: &SubscriptionInfo| {
        let books = books(sub);
        vec![
            sub.address.as_str().into(),
            books.ready.into(),
            books.delayed.into(),
            books.leased.into(),
            books.dead.into(),
            books.settled.into(),
            sub.consumers.into(),
        ]
    };
    Rows {
        columns: &[
            "address",
            "ready",
            "delayed",
            "leased",
            "dead",
            "settled",
            "consumers",
        ],
        rows: subs.map(row).collect(),
    }
}

/// A row a topic.
pub(crate) fn topic_rows(names: &[NameInfo]) -> Rows {
    let topics = names
        .iter()
        .filter(|info| matches!(info.settings, Some(Settings::Topic(_))));
    let row = |info: &NameInfo| {
        vec![
            info.name.as_str().into(),
            info.start.into(),
            info.end.into(),
            info.bytes.into(),
            info.subscriptions.len().into(),
        ]
    };
    Rows {
        columns: &["name", "start", "end", "bytes", "subscriptions"],
        rows: topics.map(row).collect(),
    }
}

/// Everything about one address: where it stands, every setting that differs from the default, its
/// books.
pub(crate) fn record(address: &str, info: &NameInfo) -> Vec<(&'static str, Value)> {
    let mut record: Vec<(&'static str, Value)> = vec![
        ("address", address.into()),
        ("log_id", info.log_id.into()),
        ("bytes", info.bytes.into()),
    ];
    let sub = info.subscriptions.iter().find(|sub| sub.address == address);
    match (&info.settings, sub) {
        (Some(Settings::Queue(queue)), _) => {
            if queue.retain_settled_ms() > 0 {
                record.push(("kept_bytes", info.kept_bytes.into()));
            }
            record.extend(settings::queue_told(queue));
        }
        (_, Some(sub)) => {
            let settings = sub.settings.clone().unwrap_or_default();
            record.extend(settings::delivery_told(&settings));
        }
        (Some(Settings::Topic(topic)), None) => record.extend(settings::topic_told(topic)),
        (None, None) => {}
    }
    if let Some(sub) = sub {
        record.extend(sub_record(sub));
    } else {
        record.push(("start", info.start.into()));
        record.push(("end", info.end.into()));
        let addresses = info.subscriptions.iter().map(|sub| sub.address.clone());
        record.push(("subscriptions", addresses.collect::<Vec<_>>().into()));
    }
    record
}

/// The books with every exit: `end - start` is the sum of what follows them, up to the consumers.
fn sub_record(sub: &SubscriptionInfo) -> Vec<(&'static str, Value)> {
    let books = books(sub);
    let mut record: Vec<(&'static str, Value)> = vec![
        ("start", books.start.into()),
        ("end", books.end.into()),
        ("ready", books.ready.into()),
        ("delayed", books.delayed.into()),
        ("leased", books.leased.into()),
        ("dead", books.dead.into()),
        ("settled", books.settled.into()),
        ("expired", books.expired.into()),
        ("cancelled", books.cancelled.into()),
        ("purged", books.purged.into()),
        ("filtered", books.filtered.into()),
        ("evicted", books.evicted.into()),
        ("forwarded", books.forwarded.into()),
        ("salvage_lost", books.salvage_lost.into()),
        ("consumers", sub.consumers.into()),
    ];
    if sub.paused {
        record.push(("paused", true.into()));
    }
    if let Some(left) = sub.redriving {
        record.push(("redriving", left.into()));
    }
    if !sub.blocked_by.is_empty() {
        record.push(("blocked_by", sub.blocked_by.as_str().into()));
    }
    if let Some(due) = sub.next_due_ms {
        record.push(("next_due", clock::rfc3339(due).into()));
    }
    record
}

#[cfg(test)]
mod tests {
    use siding::wire::TopicSettings;

    use super::*;

    #[test]
    fn a_topic_shows_its_subscriptions_and_a_subscription_its_books() {
        let topic = NameInfo {
            settings: Some(Settings::Topic(TopicSettings::default())),
            subscriptions: vec![SubscriptionInfo {
                address: "orders/billing".to_owned(),
                ..SubscriptionInfo::default()
            }],
            ..NameInfo::default()
        };
        let of_topic = record("orders", &topic);
        assert!(of_topic.iter().any(|(name, _)| *name == "subscriptions"));
        let of_sub = record("orders/billing", &topic);
        assert!(of_sub.iter().any(|(name, _)| *name == "ready"));
    }
}
