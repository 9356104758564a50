//! The model is worth what it finds: every planted bug, and soon.

use std::rc::Rc;
use std::time::Duration;

use siding_broker::engine::planted::Bug;
use siding_tests::life::{self, Plan};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_mins(1);
const CASES: u32 = 20_000;

/// The model finds it within a minute; says how soon.
fn assert_found(bug: Bug) {
    let mut plan = Plan::new(1, CASES);
    plan.prepare = Rc::new(move |engine| engine.plant(bug));
    plan.shrinks = false;
    let started = Instant::now();
    let played = life::play(&plan);
    let took = started.elapsed();
    let divergence = played.expect_err("the model sees nothing");
    let reason: String = divergence.reason.chars().take(200).collect();
    eprintln!("{bug:?}: found after {} ms: {reason}", took.as_millis());
    assert!(took < LIMIT, "{bug:?} took {took:?}");
}

#[test]
fn an_attempt_lost_on_restart_is_found() {
    assert_found(Bug::AttemptLostOnRestart);
}

#[test]
fn a_dead_letter_dropped_is_found() {
    assert_found(Bug::DeadLetterDropped);
}

#[test]
fn a_delay_fired_early_is_found() {
    assert_found(Bug::DelayFiredEarly);
}

#[test]
fn a_transaction_half_applied_is_found() {
    assert_found(Bug::TransactionHalfApplied);
}

#[test]
fn a_priority_lost_on_retry_is_found() {
    assert_found(Bug::PriorityLostOnRetry);
}

#[test]
fn a_ttl_on_a_leased_message_is_found() {
    assert_found(Bug::TtlOnALeasedMessage);
}

#[test]
fn two_leases_on_one_key_are_found() {
    assert_found(Bug::TwoLeasesOnOneKey);
}

#[test]
fn a_seek_that_leaves_a_lease_is_found() {
    assert_found(Bug::SeekLeavesALease);
}

#[test]
fn a_stale_grant_accepted_is_found() {
    assert_found(Bug::StaleGrantAccepted);
}

#[test]
fn a_dedup_window_off_by_one_is_found() {
    assert_found(Bug::DedupWindowOffByOne);
}

#[test]
fn a_hand_over_before_its_ack_is_found() {
    assert_found(Bug::HandedOverBeforeItsAck);
}
