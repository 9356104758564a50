//! Every number, length and count of a request: accepted at both ends of its range, refused one beyond.

use crate::wire::Action;
use crate::wire::schedule_settings::When;

use super::*;

/// A field, the ends of its range, and a request that says such a value.
type Ranged = (&'static str, u64, u64, fn(u64) -> Kind);
/// A field, the most bytes (or steps) of it, and a request that says so many.
type Sized = (&'static str, usize, fn(usize) -> Kind);
/// A field, and a request in which it says what does not exist.
type Choice = (&'static str, fn() -> Kind);

const YEARS: u64 = limits::DELAY_MS_MAX;
const DAY: u64 = 86_400_000;

#[rustfmt::skip]
const DELIVERY: [Ranged; 10] = [
    ("visibility_timeout_ms", 1_000, DAY / 2, |v| delivery(|d| d.visibility_timeout_ms = Some(v))),
    ("max_attempts", 1, 1_000, |v| delivery(|d| d.max_attempts = Some(small(v)))),
    ("backoff_ms", 0, YEARS, |v| delivery(|d| d.backoff_ms = vec![1, v])),
    ("max_dead", 1, 1_000_000, |v| delivery(|d| d.max_dead = Some(v))),
    ("max_dead_bytes", 1, 1 << 50, |v| delivery(|d| d.max_dead_bytes = Some(v))),
    ("dead_retention_ms", 1_000, YEARS, |v| delivery(|d| d.dead_retention_ms = Some(v))),
    ("age_step_ms", 1_000, YEARS, |v| delivery(|d| d.age_step_ms = Some(v))),
    ("ttl_ms", 0, YEARS, |v| delivery(|d| d.ttl_ms = Some(v))),
    ("max_hold_ms", 30_000, YEARS, |v| delivery(|d| d.max_hold_ms = Some(v))),
    ("done_retention_ms", 0, 30 * DAY, |v| delivery(|d| d.done_retention_ms = Some(v))),
];

#[rustfmt::skip]
const NAMES: [Ranged; 13] = [
    ("max_messages", 1, 1 << 40, |v| queue(|q| q.max_messages = Some(v))),
    ("max_bytes", 1, 1 << 50, |v| queue(|q| q.max_bytes = Some(v))),
    ("dedup_window_ms", 0, 7 * DAY, |v| queue(|q| q.dedup_window_ms = Some(v))),
    ("max_dedup_ids", 1, 10_000_000, |v| queue(|q| q.max_dedup_ids = Some(v))),
    ("retain_settled_ms", 0, YEARS, |v| queue(|q| q.retain_settled_ms = Some(v))),
    ("retention_bytes", 1, 1 << 50, |v| topic(|t| t.retention_bytes = Some(v))),
    ("retention_ms", 1_000, YEARS, |v| topic(|t| t.retention_ms = Some(v))),
    ("dedup_window_ms", 0, 7 * DAY, |v| topic(|t| t.dedup_window_ms = Some(v))),
    ("max_dedup_ids", 1, 10_000_000, |v| topic(|t| t.max_dedup_ids = Some(v))),
    ("name", 1, 128, |v| Kind::DeleteSchedule(wire::DeleteSchedule { name: long(v) })),
    ("address", 1, 128, |v| Kind::Delete(wire::Delete { address: long(v) })),
    ("every_ms", 1_000, YEARS, |v| schedule(|s| s.when = Some(When::EveryMs(v)))),
    ("catch_up_ms", 0, YEARS, |v| schedule(|s| s.catch_up_ms = Some(v))),
];

#[rustfmt::skip]
const REQUESTS: [Ranged; 20] = [
    ("credit_messages", 1, 65_535, |v| consume(|c| c.credit_messages = small(v))),
    ("credit_bytes", 1, 8 << 20, |v| consume(|c| c.credit_bytes = v)),
    ("visibility_timeout_ms", 1_000, DAY / 2, |v| consume(|c| c.visibility_timeout_ms = Some(v))),
    ("max_messages", 1, 1_000, |v| receive(|r| r.max_messages = small(v))),
    ("max_bytes", 1, 8 << 20, |v| receive(|r| r.max_bytes = v)),
    ("wait_ms", 0, 60_000, |v| receive(|r| r.wait_ms = v)),
    ("visibility_timeout_ms", 1_000, DAY / 2, |v| receive(|r| r.visibility_timeout_ms = Some(v))),
    ("limit", 1, 1_000, |v| Kind::List(wire::List { limit: small(v), ..Default::default() })),
    ("limit", 1, 1_000, |v| Kind::ListSchedules(wire::ListSchedules { limit: small(v), ..Default::default() })),
    ("limit", 1, 1_000, |v| Kind::Browse(wire::Browse { address: "q".into(), limit: small(v), ..Default::default() })),
    ("rate", 0, 1_000_000, |v| Kind::Redrive(wire::Redrive { address: "q".into(), rate: v, ..Default::default() })),
    ("wait_ms", 0, 60_000, |v| Kind::Await(wire::Await { address: "q".into(), wait_ms: v, ..Default::default() })),
    ("delay_ms", 0, YEARS, |v| settle(Action::Nack, |s| s.delay_ms = Some(v))),
    ("delay_ms", 0, YEARS, |v| settle(Action::Release, |s| s.delay_ms = Some(v))),
    ("remaining_ms", 1_000, DAY / 2, |v| settle(Action::Extend, |s| s.delay_ms = Some(v))),
    ("progress", 0, 100, |v| settle(Action::Release, |s| s.progress = Some(small(v)))),
    ("ranges", 1, 10_000, |v| settle(Action::Ack, |s| s.ranges = (0..v).map(|at| range(2 * at, 1)).collect())),
    ("operations", 1, 1_000, |v| transaction(|t| t.operations = vec![cancel(); small(v) as usize])),
    ("producer", 1, u64::MAX, |v| transaction(|t| t.producer = v)),
    ("sequence", 1, u64::MAX - 1, |v| transaction(|t| t.sequence = v)),
];

#[rustfmt::skip]
const LENGTHS: [Sized; 11] = [
    ("backoff_ms", 16, |n| delivery(|d| d.backoff_ms = vec![1; n])),
    ("filter", 4 << 10, |n| delivery(|d| d.filter = format!("{:n$}", "key eq x"))),
    ("filter", 4 << 10, |n| Kind::Purge(wire::Purge { address: "q".into(), filter: format!("{:n$}", "key eq x"), dry_run: true })),
    ("request_id", 64, |n| receive(|r| r.request_id = vec![7; n].into())),
    ("reason", 1 << 10, |n| settle(Action::Nack, |s| s.reason = "x".repeat(n))),
    ("reason", 1 << 10, |n| settle(Action::Reject, |s| s.reason = "x".repeat(n))),
    ("checkpoint", 64 << 10, |n| settle(Action::Nack, |s| s.checkpoint = Some(vec![7; n].into()))),
    ("result", 256 << 10, |n| settle(Action::Ack, |s| s.result = Some(vec![7; n].into()))),
    ("note", 1 << 10, |n| settle(Action::Nack, |s| (s.progress, s.note) = (Some(1), "x".repeat(n)))),
    ("expression", 128, |n| schedule(|s| s.when = Some(cron(n, 1)))),
    ("zone", 128, |n| schedule(|s| s.when = Some(cron(1, n)))),
];

#[test]
fn every_value_is_accepted_within_its_range_and_refused_beyond_it_with_the_range() {
    for (field, min, max, ask) in DELIVERY.into_iter().chain(NAMES).chain(REQUESTS) {
        for within in [min, max] {
            let parsed = Request::parse(ask(within), LIMITS);
            assert!(parsed.is_ok(), "{field} = {within}: {parsed:?}");
        }
        // 0 turns off what has a shortest duration.
        let below = min.checked_sub(1).filter(|below| *below > 0 || min == 1);
        for beyond in below.into_iter().chain(max.checked_add(1)) {
            match Request::parse(ask(beyond), LIMITS) {
                Err(Refusal::Invalid {
                    field: told,
                    min: lowest,
                    max: highest,
                    ..
                }) => {
                    assert_eq!((&*told, lowest, highest), (field, min, max), "{beyond}");
                }
                other => panic!("{field} = {beyond}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_length_is_accepted_up_to_its_most_and_refused_beyond_it_as_too_large() {
    for (field, most, ask) in LENGTHS {
        let parsed = Request::parse(ask(most), LIMITS);
        assert!(parsed.is_ok(), "{field} of {most}: {parsed:?}");
        let (field, max) = (field.into(), most as u64);
        let refusal = Err(Refusal::TooLarge { field, max });
        assert_eq!(Request::parse(ask(most + 1), LIMITS), refusal);
    }
}

#[test]
fn a_choice_that_is_none_is_refused_by_its_name() {
    let choices: [Choice; 9] = [
        ("order", || delivery(|d| d.order = 99)),
        ("on_dead", || delivery(|d| d.on_dead = 99)),
        ("on_expired", || delivery(|d| d.on_expired = 99)),
        ("overflow", || queue(|q| q.overflow = 99)),
        ("level", || queue(|q| q.level = 99)),
        ("level", || topic(|t| t.level = 99)),
        ("overlap", || schedule(|s| s.overlap = 99)),
        ("when", || schedule(|s| s.when = None)),
        ("action", || settle(Action::Ack, |s| s.action = 99)),
    ];
    for (field, ask) in choices {
        match Request::parse(ask(), LIMITS) {
            Err(Refusal::Invalid { field: told, .. }) => assert_eq!(told, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn a_settle_is_of_65_535_messages_at_most() {
    let ask = |count: u64| {
        let ranges = vec![range(0, 1), range(9, count - 1)];
        Request::parse(settle(Action::Ack, |settle| settle.ranges = ranges), LIMITS)
    };
    assert!(ask(65_535).is_ok());
    let refusal = Err(Refusal::out_of_range("ranges", 1, 65_535));
    assert_eq!(ask(65_536), refusal);
}

fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap()
}

fn long(length: u64) -> String {
    "n".repeat(small(length) as usize)
}

fn range(first: u64, count: u64) -> wire::OffsetRange {
    wire::OffsetRange { first, count }
}

fn cron(expression: usize, zone: usize) -> When {
    When::Cron(wire::Cron {
        expression: "x".repeat(expression),
        zone: "x".repeat(zone),
    })
}

fn cancel() -> wire::Operation {
    let (address, offset) = ("q".into(), 0);
    let cancel = wire::Cancel { address, offset };
    wire::Operation {
        kind: Some(wire::operation::Kind::Cancel(cancel)),
    }
}

/// A value by default, with a change.
fn changed<T: Default>(change: impl FnOnce(&mut T)) -> T {
    let mut value = T::default();
    change(&mut value);
    value
}

fn delivery(change: impl FnOnce(&mut wire::DeliverySettings)) -> Kind {
    Kind::CreateSubscription(Box::new(wire::CreateSubscription {
        address: "t/s".into(),
        settings: Some(changed(change)),
        start: None,
    }))
}

fn queue(change: impl FnOnce(&mut wire::QueueSettings)) -> Kind {
    let (name, settings) = ("q".into(), Some(changed(change)));
    Kind::CreateQueue(Box::new(wire::CreateQueue { name, settings }))
}

fn topic(change: impl FnOnce(&mut wire::TopicSettings)) -> Kind {
    let (name, settings) = ("t".into(), Some(changed(change)));
    Kind::CreateTopic(wire::CreateTopic { name, settings })
}

fn schedule(change: impl FnOnce(&mut wire::ScheduleSettings)) -> Kind {
    let mut settings = wire::ScheduleSettings {
        target: "q".into(),
        when: Some(When::AtMs(1)),
        ..wire::ScheduleSettings::default()
    };
    change(&mut settings);
    Kind::CreateSchedule(Box::new(wire::CreateSchedule {
        name: "s".into(),
        settings: Some(settings),
        run: vec![0x0A, 3, 0x0A, 1, b'x'].into(),
    }))
}

fn consume(change: impl FnOnce(&mut wire::Consume)) -> Kind {
    let mut consume = wire::Consume {
        address: "q".into(),
        credit_messages: 1,
        credit_bytes: 1,
        ..wire::Consume::default()
    };
    change(&mut consume);
    Kind::Consume(consume)
}

fn receive(change: impl FnOnce(&mut wire::Receive)) -> Kind {
    let mut receive = wire::Receive {
        address: "q".into(),
        max_messages: 1,
        max_bytes: 1,
        ..wire::Receive::default()
    };
    change(&mut receive);
    Kind::Receive(receive)
}

fn settle(action: Action, change: impl FnOnce(&mut wire::Settle)) -> Kind {
    let mut settle = wire::Settle {
        address: "q".into(),
        grant: Some(wire::Grant::default()),
        ranges: vec![range(0, 1)],
        action: action.into(),
        ..wire::Settle::default()
    };
    change(&mut settle);
    Kind::Settle(settle)
}

fn transaction(change: impl FnOnce(&mut wire::Transaction)) -> Kind {
    let mut transaction = wire::Transaction {
        producer: 1,
        sequence: 1,
        operations: vec![cancel()],
    };
    change(&mut transaction);
    Kind::Transaction(transaction)
}
