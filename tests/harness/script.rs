//! The words of a transcript: lines, settings, durations, ranges, and events as text.

mod explain;
mod job;
mod schedule;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

use siding_broker::engine::effect::Found;
use siding_protocol::event::{
    Answer, Books, Confirm, Duplicate, OperationDone, SettleOutcomeKind, Settled, SubscriptionInfo,
};
use siding_protocol::refusal::Refusal;
use siding_protocol::run::{MessageFields, ScannedRun};
use siding_protocol::settings::{DeliverySettings, QueueSettings, StartAt, TopicSettings};
use siding_protocol::types::{Level, OffsetRange, Timestamp};
use siding_protocol::wire;

use crate::bodies::run_like;
use crate::stage::BEGINNING_MS;

pub use job::bytes_text;

/// One line: a command, its plain words, its `key=value` words, and what is expected, if anything
/// is said about it.
#[derive(Clone, Debug)]
pub struct Line {
    /// As written.
    pub text: String,
    /// Expected events; `None`: only that nothing is refused.
    pub expected: Option<Vec<String>>,
}

/// The words of a command.
#[derive(Clone, Debug)]
pub struct Words {
    plain: Vec<String>,
    named: BTreeMap<String, String>,
}

/// Splits a script into lines; empty ones and those that begin with `#` are dropped.
pub fn lines(script: &str) -> Vec<Line> {
    let lines = script.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(Line::of).collect()
}

impl Line {
    fn of(text: &str) -> Self {
        let (command, expected) = match text.split_once("->") {
            None => (text, None),
            Some((command, events)) => (command, Some(split_events(events))),
        };
        Self {
            text: command.split_whitespace().collect::<Vec<_>>().join(" "),
            expected,
        }
    }
}

fn split_events(events: &str) -> Vec<String> {
    let events = events.split(';').map(str::trim);
    events
        .filter(|event| !event.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Words {
    /// Of one command.
    pub fn of(text: &str) -> Self {
        let (mut plain, mut named) = (Vec::new(), BTreeMap::new());
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => drop(named.insert(key.to_owned(), value.to_owned())),
                None => plain.push(word.to_owned()),
            }
        }
        Self { plain, named }
    }

    /// The plain word at this place; the command itself is 0.
    pub fn word(&self, at: usize) -> &str {
        self.plain.get(at).map_or("", String::as_str)
    }

    /// Whether a plain word stands there.
    pub fn has(&self, word: &str) -> bool {
        self.plain.iter().any(|plain| plain == word)
    }

    /// The value of a named word.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.named.get(key).map(String::as_str)
    }

    /// A number.
    pub fn number<T: FromStr>(&self, key: &str) -> Option<T> {
        let parse = |text: &str| text.parse().ok();
        self.text(key)
            .map(|text| parse(text).unwrap_or_else(|| panic!("{key}={text} is no number")))
    }

    /// A duration in ms: `250ms`, `30s`, `5m`, `1h`.
    pub fn ms(&self, key: &str) -> Option<u64> {
        self.text(key).map(duration_ms)
    }

    /// What a publish carries: `n` messages that are alike, but for their dedup ids.
    pub fn run(&self) -> ScannedRun {
        let letter = self.text("body").unwrap_or("x");
        let body = letter.repeat(self.number("size").unwrap_or(1)).into_bytes();
        let ids = self.text("dedup").map(|ids| ids.split(',').collect());
        let ids: Vec<_> = ids.unwrap_or_default();
        let count = self.number("n").unwrap_or(ids.len().max(1));
        let at = self.ms("at").map(|after| BEGINNING_MS + after);
        let fields = MessageFields {
            body: &body,
            priority: self.number("priority"),
            delay_ms: self.ms("delay").unwrap_or(0),
            deliver_at_ms: at.unwrap_or(0),
            ttl_ms: self.ms("ttl").unwrap_or(0),
            ..MessageFields::default()
        };
        let id = |at: usize| ids.get(at).filter(|id| **id != "-").copied();
        let routing_keys = self.text("keys").unwrap_or("").split(',').cycle();
        let keys = self.text("key").unwrap_or("").split(',').cycle();
        let messages = (0..count).zip(routing_keys.zip(keys));
        run_like(messages.map(|(at, (routing_key, key))| MessageFields {
            routing_key,
            key,
            dedup_id: id(at).unwrap_or_default(),
            ..fields
        }))
    }

    /// Words in one: `_` stands for a blank, but in names of fields.
    pub fn words(&self, key: &str) -> String {
        let text = self.text(key).unwrap_or("").replace('_', " ");
        text.replace("routing key", "routing_key")
    }

    /// What a confirm means.
    pub fn level(&self) -> Option<Level> {
        self.text("level").map(|level| match level {
            "written" => Level::Written,
            "synced" => Level::Synced,
            other => panic!("no level {other}"),
        })
    }

    fn delivery(&self) -> wire::DeliverySettings {
        let steps = self.text("backoff").map(|steps| steps.split(','));
        wire::DeliverySettings {
            visibility_timeout_ms: self.ms("visibility"),
            max_hold_ms: self.ms("hold"),
            max_attempts: self.number("attempts"),
            backoff_ms: steps.into_iter().flatten().map(duration_ms).collect(),
            max_dead: self.number("max_dead"),
            max_dead_bytes: self.number("max_dead_bytes"),
            dead_retention_ms: self.ms("dead_retention"),
            track: self.ms("track").is_some(),
            done_retention_ms: self.ms("track"),
            filter: self.words("filter"),
            order: match self.text("order") {
                Some("key") => wire::Order::Key.into(),
                _ => wire::Order::None.into(),
            },
            on_dead: match self.text("on_dead") {
                Some("halt_key") => wire::OnDead::HaltKey.into(),
                _ => wire::OnDead::Skip.into(),
            },
            age_step_ms: self.ms("age"),
            ttl_ms: self.ms("lives"),
            on_expired: match self.text("expired") {
                Some("dead") => wire::OnExpired::Dead.into(),
                _ => wire::OnExpired::Drop.into(),
            },
            ephemeral: self.has("ephemeral"),
            forward_to: self.text("to").unwrap_or("").to_owned(),
            dead_letter_to: self.text("dead_to").unwrap_or("").to_owned(),
        }
    }

    /// Settings of a subscription.
    pub fn delivery_settings(&self) -> DeliverySettings {
        DeliverySettings::parse(Some(self.delivery())).expect("valid settings")
    }

    /// Settings of a queue.
    pub fn queue_settings(&self) -> QueueSettings {
        let settings = wire::QueueSettings {
            delivery: Some(self.delivery()),
            max_messages: self.number("max_messages"),
            max_bytes: self.number("max_bytes"),
            level: self.level().map_or(0, |level| level.to_wire().into()),
            overflow: self.overflow().into(),
            dedup_window_ms: self.ms("window"),
            max_dedup_ids: self.number("max_ids"),
            retain_settled_ms: self.ms("keep"),
        };
        QueueSettings::parse(Some(settings)).expect("valid settings")
    }

    fn overflow(&self) -> wire::Overflow {
        match self.text("overflow") {
            None => wire::Overflow::Unspecified,
            Some("reject") => wire::Overflow::Reject,
            Some("drop_oldest") => wire::Overflow::DropOldest,
            Some("dead_oldest") => wire::Overflow::DeadOldest,
            Some(other) => panic!("no such overflow: {other}"),
        }
    }

    /// Settings of a topic.
    pub fn topic_settings(&self) -> TopicSettings {
        let settings = wire::TopicSettings {
            retention_bytes: self.number("retention"),
            level: self.level().map_or(0, |level| level.to_wire().into()),
            dedup_window_ms: self.ms("window"),
            max_dedup_ids: self.number("max_ids"),
            retention_ms: self.ms("keep"),
        };
        TopicSettings::parse(Some(settings)).expect("valid settings")
    }

    /// Where a subscription starts, or is moved to.
    pub fn start(&self) -> StartAt {
        if let Some(since) = self.ms("since") {
            return StartAt::Time(Timestamp(BEGINNING_MS + since));
        }
        match self.text("start") {
            None | Some("latest") => StartAt::Latest,
            Some("earliest") => StartAt::Earliest,
            Some(_) => StartAt::Offset(self.number("start").unwrap_or(0)),
        }
    }
}

/// `250ms`, `30s`, `5m`, `1h` in ms.
pub fn duration_ms(text: &str) -> u64 {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match text.trim_start_matches(digits) {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => panic!("{text}: no unit {other:?}"),
    };
    digits.parse::<u64>().expect("a whole number") * unit
}

/// `name@3` or `name@3-5` (the last included): the name and its offsets.
pub fn parse_messages(text: &str) -> (&str, Vec<OffsetRange>) {
    let (name, ranges) = text
        .split_once('@')
        .unwrap_or_else(|| panic!("no offset: {text}"));
    let number = |text: &str| text.parse::<u64>().expect("an offset");
    let ranges = ranges.split(',').map(|range| match range.split_once('-') {
        None => number(range)..number(range) + 1,
        Some((first, last)) => number(first)..number(last) + 1,
    });
    (name, ranges.collect())
}

/// A range as the scripts write it.
pub fn range_text(range: &OffsetRange) -> String {
    match range.end - range.start {
        1 => format!("{}", range.start),
        _ => format!("{}-{}", range.start, range.end - 1),
    }
}

/// What an answer says; `name` gives a log's name.
pub fn answer_text(answer: &Answer, name: &impl Fn(u64) -> String) -> Vec<String> {
    match answer {
        Answer::Done | Answer::ProducerOpened(_) => Vec::new(),
        Answer::Confirm(confirm) => vec![confirm_text(confirm, name)],
        Answer::Settled(settled) => settled_text(settled),
        Answer::TransactionDone(done) => done
            .iter()
            .flat_map(|one| match one {
                OperationDone::Publish(confirm) => vec![confirm_text(confirm, name)],
                OperationDone::Settle(settled) => settled_text(settled),
                OperationDone::Cancelled => vec!["cancelled".to_owned()],
            })
            .collect(),
        Answer::NameInfo(info) => info.subscriptions.iter().map(describe_text).collect(),
        Answer::Listing { names, more } => {
            let names = names.iter().map(|info| info.name.clone());
            names.chain(more.then(|| "more".to_owned())).collect()
        }
        Answer::Counted(count) => vec![format!("counted {count}")],
        Answer::Schedules { schedules, .. } => {
            schedules.iter().map(schedule::schedule_text).collect()
        }
        Answer::Job(info) => vec![job::job_text(info)],
        Answer::Explained(explanation) => explain::explanation_text(explanation),
    }
}

fn confirm_text(confirm: &Confirm, name: &impl Fn(u64) -> String) -> String {
    let (first, count) = (confirm.first_offset, u64::from(confirm.count));
    let level = match confirm.level {
        Level::Written => " written",
        Level::Synced => "",
    };
    let mut text = match count {
        0 => format!("confirm nothing{level}"),
        _ => format!(
            "confirm {}@{}{level}",
            name(confirm.log_id),
            range_text(&(first..first + count))
        ),
    };
    for Duplicate { index, offset } in &confirm.duplicates {
        write!(text, ", {index} is @{offset}").expect("a String takes all");
    }
    text
}

fn settled_text(settled: &Settled) -> Vec<String> {
    let mut texts = vec![format!("settled {}", settled.settled)];
    for outcome in &settled.outcomes {
        let range = range_text(&outcome.range);
        texts.push(match outcome.kind {
            SettleOutcomeKind::Late => format!("late @{range}"),
            SettleOutcomeKind::CancelRequested => format!("asked to cancel @{range}"),
            SettleOutcomeKind::LeaseLost(state) => format!("lease lost @{range}: {}", state.name()),
        });
    }
    texts
}

fn describe_text(info: &SubscriptionInfo) -> String {
    let Books {
        start,
        end,
        ready,
        delayed,
        leased,
        dead,
        settled,
        expired,
        cancelled,
        purged,
        filtered,
        evicted,
        forwarded,
        salvage_lost,
    } = info.books;
    let mut text = format!("{} {start}..{end}", info.address);
    let counts = [
        ("ready", ready),
        ("delayed", delayed),
        ("leased", leased),
        ("dead", dead),
        ("settled", settled),
        ("expired", expired),
        ("cancelled", cancelled),
        ("purged", purged),
        ("filtered", filtered),
        ("evicted", evicted),
        ("forwarded", forwarded),
        ("salvage_lost", salvage_lost),
        ("held by you", info.held_by_you),
        ("consumers", info.consumers.into()),
    ];
    for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        write!(text, ", {count} {what}").expect("a String takes all");
    }
    if !info.blocked_by.is_empty() {
        write!(text, ", blocked by {}", info.blocked_by).expect("a String takes all");
    }
    if let Some(left) = info.redriving {
        write!(text, ", {left} redriving").expect("a String takes all");
    }
    if info.paused {
        text.push_str(", paused");
    }
    text
}

/// One message of a browse.
pub fn found_text(found: &Found) -> String {
    let mut text = format!("@{} {}", found.offset, found.state.name());
    if found.attempts > 0 {
        write!(text, ", {} attempts", found.attempts).expect("a String takes all");
    }
    for word in [found.reason, &found.detail, &found.holder] {
        if !word.is_empty() {
            write!(text, ", {word}").expect("a String takes all");
        }
    }
    text
}

/// A refusal, short.
pub fn refusal_text(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Operation { index, refusal } => {
            format!("operation {index}: {}", refusal_text(refusal))
        }
        Refusal::NotFound { name, nearest } if nearest.is_empty() => format!("not found {name}"),
        Refusal::NotFound { name, nearest } => {
            format!("not found {name}, nearest {}", nearest.join(", "))
        }
        Refusal::Exists { name } => format!("exists {name}"),
        Refusal::Invalid {
            field, min, max, ..
        } if min < max => format!("invalid {field}, {min} to {max}"),
        Refusal::Invalid { field, .. } => format!("invalid {field}"),
        Refusal::LeaseLost { state } => format!("lease lost: {}", state.name()),
        Refusal::DedupConflict { index, offset } => format!("dedup conflict: {index} is @{offset}"),
        Refusal::ProducerUnknown => "producer unknown".to_owned(),
        Refusal::Busy {
            resource,
            limit,
            current,
            retry_after_ms,
        } => format!("busy {resource} {current} of {limit}, retry after {retry_after_ms} ms"),
        other => other.to_string(),
    }
}
