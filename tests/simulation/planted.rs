//! The simulator is worth what it finds: planted bugs, each within a few seeds.

use std::rc::Rc;

use siding_broker::engine::planted::Bug;
use siding_broker::planted as shard;
use siding_tests::accounting::Violation;
use siding_tests::sim::disk::Lie;
use siding_tests::sim::{Outcome, Plan, play};
use tokio::time::Instant;

/// A bug that is not found by then is not found.
const SEEDS: u64 = 100;

/// The first run in which it shows; says how long that took.
fn assert_found(what: &str, by: &[Violation], change: impl Fn(&mut Plan)) {
    let started = Instant::now();
    let mut outcome = Outcome::default();
    let found = (1..=SEEDS).find(|seed| {
        let mut plan = Plan::new(*seed);
        change(&mut plan);
        outcome = play(plan);
        outcome.panicked || by.iter().any(|violation| outcome.count(*violation) > 0)
    });
    let took = started.elapsed().as_millis();
    let how = if outcome.panicked {
        "a panic"
    } else {
        "the books"
    };
    eprintln!("{what}: found by {how} of seed {found:?} after {took} ms");
    assert!(found.is_some(), "{what} is not found in {SEEDS} runs");
}

fn assert_bug_found(bug: Bug, by: &[Violation]) {
    assert_found(&format!("{bug:?}"), by, |plan| {
        plan.setup.prepare = Rc::new(move |core| core.plant(bug));
        // What a start replayed was not wrong yet, so they differ: that finds every bug and shows nothing.
        plan.setup.checks_snapshots = false;
    });
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_by_what_is_lost() {
    assert_found("a sync that is none", &[Violation::Lost], |plan| {
        plan.lie = Lie::Sync;
    });
}

#[test]
fn a_disk_that_lies_about_directories_is_found() {
    let mut outcome = Outcome::default();
    let found = (1..=SEEDS).find(|seed| {
        let mut plan = Plan::new(*seed);
        plan.lie = Lie::SyncDir;
        outcome = play(plan);
        !outcome.is_clean()
    });
    eprintln!("a directory that is not synced: found by seed {found:?}: {outcome}");
    assert!(found.is_some(), "not found in {SEEDS} runs");
}

#[test]
fn an_attempt_lost_on_restart_is_found() {
    assert_bug_found(Bug::AttemptLostOnRestart, &[Violation::Attempt]);
}

#[test]
fn leases_that_end_with_a_restart_are_found() {
    let by = [Violation::Unjustified, Violation::Overlap];
    assert_bug_found(Bug::LeasesEndOnRestart, &by);
}

#[test]
fn a_stale_grant_accepted_is_found() {
    assert_bug_found(Bug::StaleGrantAccepted, &[Violation::StaleAck]);
}

#[test]
fn a_transaction_half_applied_is_found() {
    assert_bug_found(Bug::TransactionHalfApplied, &[Violation::Vanished]);
}

#[test]
fn a_dead_letter_dropped_is_found() {
    assert_bug_found(Bug::DeadLetterDropped, &[Violation::Books]);
}

/// Whether a run shows a bug of the shard.
fn shows(bug: shard::Bug, outcome: &Outcome) -> bool {
    let lost = [Violation::Lost, Violation::NoSuffix];
    match bug {
        shard::Bug::IndexReused => outcome.stuck.iter().any(|it| it.contains("not start")),
        shard::Bug::ConfirmedUnsynced => lost.iter().any(|it| outcome.count(*it) > 0),
        shard::Bug::MoveForgotten => outcome.panicked,
        _ => false,
    }
}

#[test]
fn every_bug_of_the_shard_is_found_and_none_where_none_is() {
    for bug in shard::Bug::SHARD {
        let started = Instant::now();
        shard::plant(Some(bug));
        let found = (1..=SEEDS).find(|seed| shows(bug, &play(Plan::new(*seed))));
        shard::plant(None);
        let took = started.elapsed().as_millis();
        eprintln!("{bug:?}: found by seed {found:?} after {took} ms");
        let seed = found.unwrap_or_else(|| panic!("{bug:?} is not found in {SEEDS} runs"));
        let outcome = play(Plan::new(seed));
        assert!(outcome.is_clean(), "where {bug:?} is not: {outcome}");
    }
}
