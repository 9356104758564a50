//! Simulated brokers: a slice of the seeds.

mod planted;

use siding_tests::sim::{Plan, Sum, play};

#[test]
fn nothing_confirmed_is_lost_and_nothing_comes_twice_without_a_cause() {
    let mut sum = Sum::default();
    for seed in 1..=100 {
        let outcome = play(Plan::new(seed));
        assert!(outcome.is_clean(), "{outcome}");
        sum.add(&outcome);
    }
    eprintln!("{sum}");
}
