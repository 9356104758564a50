//! Power cuts at every moment of every short workload.

use siding_tests::crash_states::{Plan, explore};

#[test]
fn no_power_cut_loses_or_invents_anything_whatever_it_left_of_the_disk() {
    let tally = match explore(&Plan::new(1, 1_000)) {
        Ok(tally) => tally,
        Err(broken) => panic!("{broken}"),
    };
    eprintln!("{tally}");
    assert!(tally.distinct >= 100_000, "{tally}");
    assert!(tally.torn > 10_000, "{tally}");
}
