//! Simulated brokers, each from a seed.

mod planted;

use siding_tests::sim::{Plan, Sum, play};
use siding_tests::volume::volume;

/// Seeds of the full volume.
const SEEDS: u64 = 100;
/// Seeds of the full volume on small files.
const SEEDS_ON_SMALL_FILES: u64 = 80;

/// So many seeds of a profile, each without a broken promise.
fn play_all(seeds: u64, plan: fn(u64) -> Plan) -> Sum {
    let mut sum = Sum::default();
    for seed in 1..=seeds {
        let outcome = play(plan(seed));
        assert!(outcome.is_clean(), "{outcome}");
        sum.add(&outcome);
    }
    eprintln!("{sum}");
    sum
}

#[test]
fn nothing_confirmed_is_lost_and_nothing_comes_twice_without_a_cause() {
    play_all(volume(SEEDS), Plan::new);
}

#[test]
fn nothing_is_given_away_that_a_snapshot_needs_and_the_cut_is_met_often_enough_to_tell() {
    let seeds = volume(SEEDS_ON_SMALL_FILES);
    let met = play_all(seeds, Plan::on_small_files).exercised;
    assert!(met.roll_overs >= seeds, "{met}");
    assert!(met.cuts >= seeds, "{met}");
    // Rare: a slice may meet none.
    assert!(met.segments_removed >= seeds / 10, "{met}");
}
