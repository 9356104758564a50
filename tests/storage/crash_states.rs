//! Power cuts at every moment of every short workload.

use siding_tests::crash_states::images::Budget;
use siding_tests::crash_states::{Plan, explore};
use siding_tests::volume::volume;

#[test]
fn no_power_cut_loses_or_invents_anything_whatever_it_left_of_the_disk() {
    let mut plan = Plan::new(1, volume(1_000));
    // Every moment of every short workload at any volume, but fewer of its images.
    let Budget { samples, tears } = plan.exhaustive;
    plan.exhaustive = Budget {
        samples: share(samples),
        tears: share(tears),
    };
    let tally = match explore(&plan) {
        Ok(tally) => tally,
        Err(broken) => panic!("{broken}"),
    };
    eprintln!("{tally}");
    assert!(tally.distinct >= volume(100_000), "{tally}");
    assert!(tally.torn > volume(10_000), "{tally}");
}

fn share(full: usize) -> usize {
    usize::try_from(volume(full as u64)).expect("less")
}
