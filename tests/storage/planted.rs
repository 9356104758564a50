//! The checkers of storage are worth what they find: every planted bug, and soon.

use std::sync::Arc;
use std::time::Duration;

use siding_broker::planted::{Bug, plant};
use siding_tests::crash_states::{Plan, explore};
use siding_tests::damage_sweep::sweep_from;
use tokio::time::Instant;

/// A bug must be found by then.
const LIMIT: Duration = Duration::from_mins(1);

/// What a sweep of some bits makes of a bug.
fn swept(bug: Bug) -> Option<String> {
    plant(Some(bug));
    let swept = sweep_from(0, 997);
    plant(None);
    match swept {
        Ok(swept) if swept.is_clean() => None,
        Ok(swept) => Some(format!(
            "{} of {} live bits seen, {} of them cut, {} wrong bytes",
            swept.refused, swept.live, swept.cut, swept.wrong
        )),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// What power cuts make of it.
fn crashed(bug: Bug) -> Option<String> {
    let mut plan = Plan::new(1, 0);
    plan.prepare = Arc::new(move || plant(Some(bug)));
    let violation = explore(&plan).err()?;
    Some(violation.reason)
}

#[test]
fn every_bug_planted_in_storage_is_found() {
    for bug in Bug::STORAGE {
        let started = Instant::now();
        let found = swept(bug).map(|reason| ("damage sweep", reason));
        let found = found.or_else(|| Some(("crash states", crashed(bug)?)));
        let took = started.elapsed();
        let seconds = took.as_secs_f64();
        let Some((by, reason)) = found else {
            panic!("{bug:?} is not found");
        };
        let reason: String = reason.chars().take(160).collect();
        eprintln!("{bug:?}: found after {seconds:.2} s by the {by}: {reason}");
        assert!(took < LIMIT, "{bug:?} took {seconds} s");
    }
}
