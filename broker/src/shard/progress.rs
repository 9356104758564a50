//! What a start tells people while it reads: how far it has come, at most once a second.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{info, warn};

use super::clock::{Stopwatch, TimeSource};
use crate::storage::Report;
use crate::storage::files::Watch;

/// How far a start has come. Nothing depends on the time it reads.
#[derive(Debug)]
pub struct Progress {
    stopwatch: Stopwatch,
    /// The second in which it was told last.
    told: AtomicU64,
    /// Entries replayed.
    entries: AtomicU64,
}

impl Progress {
    /// It begins.
    pub fn start(time: &TimeSource) -> Self {
        Self {
            stopwatch: Stopwatch::start(time),
            told: AtomicU64::new(0),
            entries: AtomicU64::new(0),
        }
    }

    /// One more entry is replayed.
    pub fn replayed(&self) {
        self.entries.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a second has begun in which nothing was told.
    fn is_due(&self) -> bool {
        let second = self.stopwatch.elapsed().as_secs();
        self.told.swap(second, Ordering::Relaxed) != second
    }

    /// All is read: what it came to.
    pub fn tell_end(&self, report: &Report, snapshot: u64) {
        if let Some(torn) = &report.torn {
            warn!(
                path = %torn.path.display(), position = torn.position, bytes = torn.bytes,
                records = torn.records, "cut a torn tail: a crash interrupted its last group"
            );
        }
        info!(
            snapshot,
            entries = self.entries.load(Ordering::Relaxed),
            read_bytes = report.bytes,
            files = report.files,
            records = report.records,
            cut_bytes = report.torn.as_ref().map_or(0, |torn| torn.bytes),
            rewritten_bytes = report.rewritten_bytes,
            ms = u64::try_from(self.stopwatch.elapsed().as_millis()).unwrap_or(u64::MAX),
            "recovered"
        );
    }
}

impl Watch for Progress {
    fn read(&self, bytes: u64, of: u64) {
        if self.is_due() {
            info!(
                read_bytes = bytes,
                of_bytes = of,
                entries = self.entries.load(Ordering::Relaxed),
                "recovering"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use siding_protocol::types::Timestamp;

    use super::*;
    use crate::shard::clock::ManualTime;

    #[test]
    fn progress_is_told_at_most_once_a_second_and_not_in_the_first() {
        let time = ManualTime::new(Timestamp(5_000_500));
        let progress = Progress::start(&TimeSource::Manual(time.clone()));
        let mut told = 0;
        for _ in 0..35 {
            for _ in 0..50 {
                told += u64::from(progress.is_due());
            }
            time.advance_ms(100);
        }
        assert_eq!(told, 3);
    }
}
