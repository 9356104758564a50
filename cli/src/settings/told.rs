//! Settings as `show` tells them: what differs from the default, as it would be typed.

use serde_json::Value;
use siding::protocol::settings;
use siding::wire::{self, DeliverySettings, QueueSettings, TopicSettings};

use crate::units;

/// A setting as `create` takes it: the flag's name and its value.
pub(crate) type Told = (&'static str, Value);

/// Gathers what differs.
#[derive(Default)]
struct Teller(Vec<Told>);

impl Teller {
    fn tell<T: PartialEq>(&mut self, name: &'static str, is: &T, default: &T, value: Value) {
        if is != default {
            self.0.push((name, value));
        }
    }

    fn duration(&mut self, name: &'static str, is: Option<u64>, default: Option<u64>) {
        let text = units::duration(is.unwrap_or_default());
        self.tell(name, &is, &default, text.into());
    }

    fn bytes(&mut self, name: &'static str, is: Option<u64>, default: Option<u64>) {
        let text = units::bytes(is.unwrap_or_default());
        self.tell(name, &is, &default, text.into());
    }

    fn number(&mut self, name: &'static str, is: Option<u64>, default: Option<u64>) {
        self.tell(name, &is, &default, is.into());
    }

    fn text(&mut self, name: &'static str, is: &str) {
        self.tell(name, &is, &"", is.into());
    }

    fn flag(&mut self, name: &'static str, is: bool) {
        self.tell(name, &is, &false, is.into());
    }

    #[expect(clippy::too_many_lines, reason = "a line a setting")]
    fn delivery(&mut self, is: &DeliverySettings) {
        let default = default_of(settings::DeliverySettings::parse(None)).to_wire();
        let backoff: Vec<_> = is
            .backoff_ms
            .iter()
            .map(|ms| units::duration(*ms))
            .collect();
        self.duration(
            "visibility",
            is.visibility_timeout_ms,
            default.visibility_timeout_ms,
        );
        self.duration("max_hold", is.max_hold_ms, default.max_hold_ms);
        self.number(
            "max_attempts",
            is.max_attempts.map(u64::from),
            default.max_attempts.map(u64::from),
        );
        self.tell(
            "backoff",
            &is.backoff_ms,
            &default.backoff_ms,
            backoff.join(",").into(),
        );
        self.tell(
            "order",
            &is.order(),
            &default.order(),
            match is.order() {
                wire::Order::Key => "key",
                wire::Order::Unspecified | wire::Order::None => "none",
            }
            .into(),
        );
        self.tell(
            "on_dead",
            &is.on_dead(),
            &default.on_dead(),
            match is.on_dead() {
                wire::OnDead::HaltKey => "halt",
                wire::OnDead::Unspecified | wire::OnDead::Skip => "skip",
            }
            .into(),
        );
        self.duration("age_step", is.age_step_ms, default.age_step_ms);
        self.duration("ttl", is.ttl_ms, default.ttl_ms);
        self.tell(
            "on_expired",
            &is.on_expired(),
            &default.on_expired(),
            match is.on_expired() {
                wire::OnExpired::Dead => "dead",
                wire::OnExpired::Unspecified | wire::OnExpired::Drop => "drop",
            }
            .into(),
        );
        self.text("dead_letter_to", &is.dead_letter_to);
        self.number("max_dead", is.max_dead, default.max_dead);
        self.bytes("max_dead_bytes", is.max_dead_bytes, default.max_dead_bytes);
        self.duration(
            "dead_retention",
            is.dead_retention_ms,
            default.dead_retention_ms,
        );
        self.flag("track", is.track);
        self.duration(
            "done_retention",
            is.done_retention_ms,
            default.done_retention_ms,
        );
        self.text("filter", &is.filter);
        self.text("forward_to", &is.forward_to);
        self.flag("ephemeral", is.ephemeral);
    }

    fn level(&mut self, is: wire::Level, default: wire::Level) {
        let text = match is {
            wire::Level::Written => "written",
            wire::Level::Quorum => "quorum",
            wire::Level::Unspecified | wire::Level::Synced => "synced",
        };
        self.tell("level", &is, &default, text.into());
    }
}

/// Of a subscription.
pub(crate) fn delivery_told(is: &DeliverySettings) -> Vec<Told> {
    let mut teller = Teller::default();
    teller.delivery(is);
    teller.0
}

/// Of a queue, its built-in subscription's included.
pub(crate) fn queue_told(is: &QueueSettings) -> Vec<Told> {
    let default = default_of(settings::QueueSettings::parse(None)).to_wire();
    let mut teller = Teller::default();
    teller.delivery(&is.delivery.clone().unwrap_or_default());
    teller.number("max_messages", is.max_messages, default.max_messages);
    teller.bytes("max_bytes", is.max_bytes, default.max_bytes);
    teller.tell(
        "overflow",
        &is.overflow(),
        &default.overflow(),
        match is.overflow() {
            wire::Overflow::DropOldest => "drop-oldest",
            wire::Overflow::DeadOldest => "dead-oldest",
            wire::Overflow::Unspecified | wire::Overflow::Reject => "reject",
        }
        .into(),
    );
    teller.level(is.level(), default.level());
    teller.duration("dedup_window", is.dedup_window_ms, default.dedup_window_ms);
    teller.number("max_dedup_ids", is.max_dedup_ids, default.max_dedup_ids);
    teller.duration(
        "retain_settled",
        is.retain_settled_ms,
        default.retain_settled_ms,
    );
    teller.0
}

/// Of a topic.
pub(crate) fn topic_told(is: &TopicSettings) -> Vec<Told> {
    let default = default_of(settings::TopicSettings::parse(None)).to_wire();
    let mut teller = Teller::default();
    teller.duration("retention", is.retention_ms, default.retention_ms);
    teller.bytes(
        "retention_bytes",
        is.retention_bytes,
        default.retention_bytes,
    );
    teller.level(is.level(), default.level());
    teller.duration("dedup_window", is.dedup_window_ms, default.dedup_window_ms);
    teller.number("max_dedup_ids", is.max_dedup_ids, default.max_dedup_ids);
    teller.0
}

fn default_of<T, E: std::fmt::Debug>(parsed: Result<T, E>) -> T {
    parsed.expect("no setting at all is within every range")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::settings::{QueueArgs, SubArgs, TopicArgs};

    #[derive(Parser)]
    struct Typed<T: clap::Args> {
        #[command(flatten)]
        settings: T,
    }

    fn typed<T: clap::Args>(line: &[String]) -> T {
        let name = std::iter::once("create".to_owned());
        Typed::parse_from(name.chain(line.iter().cloned())).settings
    }

    /// What is told, typed again.
    fn line(told: &[Told]) -> Vec<String> {
        let words = |(name, value): &Told| {
            let flag = format!("--{}", name.replace('_', "-"));
            match value {
                Value::Bool(true) => vec![flag],
                Value::String(text) => vec![flag, text.clone()],
                other => vec![flag, other.to_string()],
            }
        };
        told.iter().flat_map(words).collect()
    }

    fn split(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_show_tells_of_a_queue_is_what_create_takes() {
        let by_key = split(
            "--visibility 1m30s --max-hold 1h --max-attempts 3 --backoff 1s,500ms --order key \
             --on-dead halt --age-step 1m --ttl 1h --on-expired dead --dead-letter-to graves \
             --max-dead 7 --max-dead-bytes 64KiB --dead-retention 15d --track --done-retention 2h \
             --max-messages 12 --max-bytes 1000 --overflow dead-oldest --level written \
             --dedup-window 7d --max-dedup-ids 9",
        );
        let sought_back = split("--max-messages 12 --retain-settled 1h");
        for all in [by_key, sought_back] {
            let settings: QueueArgs = typed(&all);
            let parsed = settings::QueueSettings::parse(Some(settings.to_wire()));
            let told = queue_told(&parsed.expect("in range").to_wire());
            assert_eq!(line(&told), all);
        }
    }

    #[test]
    fn what_show_tells_of_topics_and_subscriptions_is_what_create_takes() {
        let all = split(
            "--retention 2d --retention-bytes 5GiB --level written --dedup-window 0s \
             --max-dedup-ids 5",
        );
        let settings: TopicArgs = typed(&all);
        let parsed = settings::TopicSettings::parse(Some(settings.to_wire()));
        assert_eq!(line(&topic_told(&parsed.expect("in range").to_wire())), all);
        let mut all = split("--visibility 1s --filter EXPR --forward-to jobs --ephemeral");
        all[3] = "routing_key matches eu.>".to_owned();
        let settings: SubArgs = typed(&all);
        let parsed = settings::DeliverySettings::parse(Some(settings.to_wire()));
        let told = delivery_told(&parsed.expect("in range").to_wire());
        assert_eq!(line(&told), all);
    }

    #[test]
    fn what_is_as_by_default_is_not_told() {
        let queue = default_of(settings::QueueSettings::parse(None)).to_wire();
        assert!(queue_told(&queue).is_empty());
        let topic = default_of(settings::TopicSettings::parse(None)).to_wire();
        assert!(topic_told(&topic).is_empty());
    }
}
