//! The one place of the command line that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, for measuring.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line is a shell: it measures rates and latencies of a real broker"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Now as Unix time in ms, for comparing with what the broker stamped.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line is a shell: it shows and compares wall-clock times"
)]
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A Unix time in ms as RFC 3339 text, UTC.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    // A time past the year 9999 has no such text; its number still says more than an error.
    match UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)) {
        Some(time) if unix_ms < 253_402_300_800_000 => {
            humantime::format_rfc3339_millis(time).to_string()
        }
        _ => unix_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_as_rfc_3339_and_an_impossible_one_as_its_number() {
        assert_eq!(rfc3339(1_000), "1970-01-01T00:00:01.000Z");
        assert_eq!(rfc3339(u64::MAX), u64::MAX.to_string());
    }
}
