//! The one place of the comparison that reads a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, for measuring.
#[expect(
    clippy::disallowed_methods,
    reason = "real servers are measured in real time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Now as Unix seconds, to date the record.
#[expect(
    clippy::disallowed_methods,
    reason = "a record is dated by the wall clock"
)]
pub(crate) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Seconds since then.
pub(crate) fn seconds_since(then: Instant) -> f64 {
    now().saturating_duration_since(then).as_secs_f64()
}
