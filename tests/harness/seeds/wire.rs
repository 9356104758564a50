//! Seeds of what travels.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use siding_protocol::frame::encode;
use siding_protocol::refusal::Refusal;
use siding_protocol::run::{HeaderValue, MessageFields};
use siding_protocol::wire::frame::Kind;
use siding_protocol::wire::schedule_settings::When;
use siding_protocol::wire::{self, operation};

use crate::bodies::run_like;

/// Every request without its length.
pub(super) fn requests() -> Vec<Vec<u8>> {
    let requests = asked().into_iter().map(|kind| wire::Frame {
        correlation: 7,
        kind: Some(kind),
    });
    requests.map(|frame| frame.encode_to_vec()).collect()
}

/// Whole frames of both sides, one by one and all in a row.
pub(super) fn frames() -> Vec<Vec<u8>> {
    let kinds = asked().into_iter().chain(told());
    let mut all: Vec<_> = kinds
        .map(|kind| {
            let mut bytes = BytesMut::new();
            encode(7, kind, &mut bytes);
            bytes.to_vec()
        })
        .collect();
    all.push(all.concat());
    all
}

/// Messages of every kind, alone and in company.
pub(super) fn runs() -> Vec<Bytes> {
    let headers = [
        ("bytes", HeaderValue::Bytes(b"\0\xFF")),
        ("text", HeaderValue::Text("é")),
        ("int", HeaderValue::Int(-1)),
        ("float", HeaderValue::Float(0.5)),
        ("bool", HeaderValue::Bool(true)),
    ];
    let plain = MessageFields {
        body: b"work",
        ..MessageFields::default()
    };
    let long = [b'x'; 300];
    let long = MessageFields {
        body: &long,
        ..plain
    };
    let keyed = MessageFields {
        key: "customer-7",
        routing_key: "eu.paid",
        dedup_id: "order-1",
        ..plain
    };
    let timed = MessageFields {
        priority: Some(9),
        delay_ms: 1_000,
        ttl_ms: 60_000,
        ..plain
    };
    let dated = MessageFields {
        deliver_at_ms: 1_700_000_000_000,
        headers: &headers,
        ..plain
    };
    let empty = MessageFields::default();
    let all = [plain, long, keyed, timed, dated, empty];
    let alone = all.iter().map(|one| run_like(std::iter::once(*one)).bytes);
    let together = [run_like(all.into_iter()).bytes];
    alone.chain(together).collect()
}

/// Every request, once.
#[expect(clippy::too_many_lines, reason = "a line or two a request")]
fn asked() -> Vec<Kind> {
    let name = || "jobs".to_owned();
    let address = || "news/mail".to_owned();
    let filter = || {
        "not header text eq \"a b\" and routing_key matches eu.* and key in (a, b) or key eq tree"
            .to_owned()
    };
    let look = || "reason in (rejected, max_attempts) or body contains word".to_owned();
    let (grant, ranges) = (grant(), ranges());
    let delivery = wire::DeliverySettings {
        visibility_timeout_ms: Some(30_000),
        max_attempts: Some(5),
        backoff_ms: vec![1_000, 5_000],
        order: wire::Order::Key.into(),
        ttl_ms: Some(60_000),
        filter: filter(),
        ..Default::default()
    };
    let queue = wire::QueueSettings {
        delivery: Some(wire::DeliverySettings {
            filter: String::new(),
            dead_letter_to: "graveyard".into(),
            ..delivery.clone()
        }),
        max_messages: Some(1_000),
        dedup_window_ms: Some(60_000),
        ..Default::default()
    };
    let topic = wire::TopicSettings {
        retention_ms: Some(3_600_000),
        ..Default::default()
    };
    let schedule = |when| wire::ScheduleSettings {
        target: name(),
        when: Some(when),
        ..Default::default()
    };
    let (zone, expression) = ("Europe/Zurich".into(), "*/5 9-17 * * 1-5".into());
    let cron = When::Cron(wire::Cron { expression, zone });
    let start = |kind| Some(wire::StartAt { kind: Some(kind) });
    let run = runs().pop().expect("the last of them");
    let publish = wire::Publish {
        name: name(),
        producer: 3,
        sequence: 9,
        level: wire::Level::Written.into(),
        run: run.clone(),
    };
    let settle = |action: wire::Action| wire::Settle {
        address: address(),
        grant: Some(grant),
        ranges: ranges.clone(),
        action: action.into(),
        delay_ms: Some(2_000),
        reason: "busy".into(),
        ..Default::default()
    };
    let extend = wire::Settle {
        ranges: vec![wire::OffsetRange { first: 4, count: 1 }],
        checkpoint: Some(Bytes::from_static(b"page 2")),
        progress: Some(50),
        note: "half".into(),
        reason: String::new(),
        ..settle(wire::Action::Extend)
    };
    let cancel = wire::Cancel {
        address: name(),
        offset: 4,
    };
    let operations = [
        operation::Kind::Publish(publish.clone()),
        operation::Kind::Settle(settle(wire::Action::Reject)),
        operation::Kind::Cancel(cancel.clone()),
    ];
    let operations = operations.map(|kind| wire::Operation { kind: Some(kind) });
    vec![
        Kind::Hello(wire::Hello {
            version: 1,
            holder: "worker".into(),
            ..Default::default()
        }),
        Kind::Ping(wire::Ping {}),
        Kind::OpenProducer(wire::OpenProducer {}),
        Kind::Publish(publish.clone()),
        Kind::Transaction(wire::Transaction {
            producer: 3,
            sequence: 10,
            operations: operations.to_vec(),
        }),
        Kind::Settle(settle(wire::Action::Nack)),
        Kind::Settle(extend),
        Kind::Started(wire::Started {
            address: address(),
            grant: Some(grant),
            ranges: ranges.clone(),
        }),
        Kind::Consume(wire::Consume {
            address: address(),
            consumer: 1,
            credit_messages: 100,
            credit_bytes: 1 << 20,
            ..Default::default()
        }),
        Kind::StopConsume(wire::StopConsume { consumer: 1 }),
        Kind::Receive(wire::Receive {
            address: name(),
            max_messages: 10,
            max_bytes: 1 << 20,
            wait_ms: 5_000,
            request_id: Bytes::from_static(b"again"),
            ..Default::default()
        }),
        Kind::CreateQueue(Box::new(wire::CreateQueue {
            name: name(),
            settings: Some(queue),
        })),
        Kind::CreateTopic(wire::CreateTopic {
            name: "news".into(),
            settings: Some(topic),
        }),
        Kind::CreateSubscription(Box::new(wire::CreateSubscription {
            address: address(),
            settings: Some(delivery),
            start: start(wire::start_at::Kind::Offset(3)),
        })),
        Kind::Seek(wire::Seek {
            address: address(),
            to: start(wire::start_at::Kind::TimeMs(1_700_000_000_000)),
        }),
        Kind::Delete(wire::Delete { address: address() }),
        Kind::Describe(wire::Describe { address: name() }),
        Kind::List(wire::List {
            prefix: "orders.".into(),
            limit: 100,
            ..Default::default()
        }),
        Kind::Browse(wire::Browse {
            address: name(),
            state: wire::State::Dead.into(),
            limit: 5,
            filter: look(),
            ..Default::default()
        }),
        Kind::Purge(wire::Purge {
            address: name(),
            filter: look(),
            dry_run: true,
        }),
        Kind::Redrive(wire::Redrive {
            address: name(),
            rate: 15,
            filter: look(),
            ..Default::default()
        }),
        Kind::StopRedrive(wire::StopRedrive { address: name() }),
        Kind::DropDead(wire::DropDead {
            address: name(),
            limit: 3,
            ..Default::default()
        }),
        Kind::Pause(wire::Pause {
            address: name(),
            paused: true,
        }),
        Kind::Get(wire::Get {
            address: name(),
            offset: 4,
        }),
        Kind::Await(wire::Await {
            address: name(),
            offset: 4,
            wait_ms: 60_000,
        }),
        Kind::Cancel(cancel),
        Kind::Explain(wire::Explain {
            address: name(),
            offset: Some(4),
            ..Default::default()
        }),
        Kind::CreateSchedule(Box::new(wire::CreateSchedule {
            name: "nightly".into(),
            settings: Some(schedule(cron)),
            run: runs().swap_remove(0),
        })),
        Kind::DeleteSchedule(wire::DeleteSchedule {
            name: "nightly".into(),
        }),
        Kind::ListSchedules(wire::ListSchedules {
            limit: 10,
            ..Default::default()
        }),
        Kind::RunSchedule(wire::RunSchedule {
            name: "nightly".into(),
        }),
    ]
}

/// What a broker says, once each where it has a structure.
fn told() -> Vec<Kind> {
    let batch = wire::Batch {
        log_id: 2,
        first_offset: 4,
        count: 1,
        attempt: 1,
        grant: Some(grant()),
        run: runs().swap_remove(0),
        ..Default::default()
    };
    let gap = Some(wire::OffsetRange { first: 1, count: 3 });
    let outcome = wire::SettleOutcome {
        range: gap,
        lost: true,
        ..Default::default()
    };
    vec![
        Kind::Welcome(wire::Welcome {
            version: 1,
            limits: Some(wire::Limits::default()),
            ..Default::default()
        }),
        Kind::Pong(wire::Pong {}),
        Kind::Confirm(wire::Confirm {
            first_offset: 4,
            count: 2,
            duplicates: vec![wire::Duplicate {
                index: 1,
                offset: 3,
            }],
            ..Default::default()
        }),
        Kind::Settled(wire::Settled {
            settled: 1,
            outcomes: vec![outcome],
        }),
        Kind::Deliver(wire::Deliver {
            consumer: 1,
            batches: vec![batch.clone()],
            gap,
        }),
        Kind::Received(wire::Received {
            batches: vec![batch],
            gap,
        }),
        Kind::Error(Refusal::ProducerUnknown.to_wire()),
    ]
}

fn grant() -> wire::Grant {
    wire::Grant {
        term: 1,
        counter: 5,
    }
}

fn ranges() -> Vec<wire::OffsetRange> {
    vec![
        wire::OffsetRange { first: 4, count: 2 },
        wire::OffsetRange { first: 9, count: 1 },
    ]
}
