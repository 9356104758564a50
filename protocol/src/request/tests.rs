//! What a client asks, at the edges of what it may.

mod ranges;

use super::*;

const LIMITS: RunLimits = RunLimits {
    body_bytes_max: limits::BODY_BYTES_DEFAULT,
};

#[test]
fn a_transaction_holds_16_mib_of_runs_together() {
    let publish = wire::Publish {
        run: vec![0; limits::TRANSACTION_BYTES_MAX / 2 + 1].into(),
        ..wire::Publish::default()
    };
    let kind = Some(wire::operation::Kind::Publish(publish));
    let transaction = wire::Transaction {
        producer: 1,
        sequence: 1,
        operations: vec![wire::Operation { kind }; 2],
    };
    let refusal = Request::parse(Kind::Transaction(transaction), LIMITS);
    let max = limits::TRANSACTION_BYTES_MAX as u64;
    let field = "operations".into();
    assert_eq!(refusal, Err(Refusal::TooLarge { field, max }));
}

#[test]
fn a_browse_of_a_state_that_is_none_is_invalid() {
    let browse = |state| {
        let browse = wire::Browse {
            address: "jobs".into(),
            state,
            from_offset: 0,
            limit: 1,
            filter: String::new(),
        };
        Request::parse(Kind::Browse(browse), LIMITS)
    };
    assert!(browse(0).is_ok() && browse(wire::State::Dead.into()).is_ok());
    let refusal = Refusal::malformed("state", "no such state");
    assert_eq!(browse(99), Err(refusal));
}

#[test]
fn an_operation_of_a_transaction_that_is_empty_is_named_by_its_place() {
    let transaction = |count| {
        let transaction = wire::Transaction {
            producer: 1,
            sequence: 1,
            operations: vec![wire::Operation { kind: None }; count],
        };
        Request::parse(Kind::Transaction(transaction), LIMITS)
    };
    let refusal = Box::new(Refusal::malformed("operations", "empty operation"));
    assert_eq!(
        transaction(1_000),
        Err(Refusal::Operation { index: 0, refusal })
    );
}

#[test]
fn a_dedup_window_its_ids_and_an_overflow_out_of_range_are_refused_with_the_range() {
    let queue = |dedup_window_ms, max_dedup_ids, overflow| {
        let settings = wire::QueueSettings {
            dedup_window_ms: Some(dedup_window_ms),
            max_dedup_ids: Some(max_dedup_ids),
            overflow,
            ..wire::QueueSettings::default()
        };
        QueueSettings::parse(Some(settings)).err()
    };
    let topic = |dedup_window_ms, max_dedup_ids| {
        let settings = wire::TopicSettings {
            dedup_window_ms: Some(dedup_window_ms),
            max_dedup_ids: Some(max_dedup_ids),
            ..wire::TopicSettings::default()
        };
        TopicSettings::parse(Some(settings)).err()
    };
    let week = 7 * 86_400_000;
    assert_eq!((queue(0, 1, 0), topic(week, 10_000_000)), (None, None));
    let window = Some(Refusal::out_of_range("dedup_window_ms", 0, week));
    assert_eq!(
        (queue(week + 1, 1, 0), topic(week + 1, 1)),
        (window.clone(), window)
    );
    let ids = Some(Refusal::out_of_range("max_dedup_ids", 1, 10_000_000));
    assert_eq!((queue(0, 0, 0), topic(0, 10_000_001)), (ids.clone(), ids));
    let choice = Some(Refusal::malformed("overflow", "no such choice"));
    assert_eq!(queue(0, 1, 99), choice);
}

#[test]
fn a_queue_keeps_what_it_settled_up_to_10_years_and_not_by_key() {
    let queue = |retain_settled_ms, order: wire::Order| {
        let delivery = Some(wire::DeliverySettings {
            order: order.into(),
            ..wire::DeliverySettings::default()
        });
        let settings = Some(wire::QueueSettings {
            retain_settled_ms: Some(retain_settled_ms),
            delivery,
            ..wire::QueueSettings::default()
        });
        let name = "jobs".into();
        let create = wire::CreateQueue { name, settings };
        Request::parse(Kind::CreateQueue(Box::new(create)), LIMITS)
    };
    assert!(queue(limits::DELAY_MS_MAX, wire::Order::None).is_ok());
    assert!(queue(0, wire::Order::Key).is_ok());
    let (field, max) = ("retain_settled_ms", limits::DELAY_MS_MAX);
    let refusal = Refusal::out_of_range(field, 0, max);
    assert_eq!(queue(max + 1, wire::Order::None), Err(refusal));
    let refused = queue(1, wire::Order::Key);
    let named =
        matches!(refused, Err(Refusal::Invalid { field, .. }) if field == "retain_settled_ms");
    assert!(named, "by key");
}
