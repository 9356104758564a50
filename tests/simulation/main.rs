//! Simulated brokers, each from a seed.

mod planted;

use siding_tests::sim::{Plan, Sum, play};
use siding_tests::volume::volume;

/// Seeds of the full volume.
const SEEDS: u64 = 100;

#[test]
fn nothing_confirmed_is_lost_and_nothing_comes_twice_without_a_cause() {
    let mut sum = Sum::default();
    for seed in 1..=volume(SEEDS) {
        let outcome = play(Plan::new(seed));
        assert!(outcome.is_clean(), "{outcome}");
        sum.add(&outcome);
    }
    eprintln!("{sum}");
}
