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
