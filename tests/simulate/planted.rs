//! The simulator is worth what it finds: planted bugs, each within a few seeds.

use std::rc::Rc;

use siding_broker::engine::planted::Bug;
use siding_tests::accounting::Violation;
use siding_tests::sim::disk::Lie;
use siding_tests::sim::{Outcome, Plan, play};

/// A bug that is not found by then is not found.
const SEEDS: u64 = 60;

/// The first run in which it shows; says how many it took.
fn first(what: &str, shows: impl Fn(&Outcome) -> bool, change: impl Fn(&mut Plan)) {
    let found = (1..=SEEDS).find(|seed| {
        let mut plan = Plan::new(*seed);
        change(&mut plan);
        shows(&play(plan))
    });
    eprintln!("{what}: found by seed {found:?}");
    assert!(found.is_some(), "{what} is not found in {SEEDS} runs");
}

fn broken(violation: Violation) -> impl Fn(&Outcome) -> bool {
    move |outcome| outcome.count(violation) > 0
}

fn plant(bug: Bug) -> impl Fn(&mut Plan) {
    move |plan| plan.setup.prepare = Rc::new(move |core| core.plant(bug))
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_by_what_is_lost() {
    first("a lying sync", broken(Violation::Lost), |plan| {
        plan.lie = Lie::Sync;
    });
}

#[test]
fn an_attempt_lost_on_restart_is_found() {
    let bug = Bug::AttemptLostOnRestart;
    first(
        "an attempt lost on restart",
        broken(Violation::Attempt),
        plant(bug),
    );
}
