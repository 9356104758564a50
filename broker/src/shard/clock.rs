//! The only file that reads time.
//!
//! Wall-clock time is read once, at the start; from then on time is that instant plus what the
//! monotonic clock says has passed. So a jump of the wall clock ends no lease early.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use siding_protocol::types::Timestamp;
use tokio::sync::Notify;

/// Where a broker takes its time from.
#[derive(Clone, Debug, Default)]
pub enum TimeSource {
    /// The machine's clocks.
    #[default]
    System,
    /// A test's hand.
    Manual(ManualTime),
}

/// Time that only passes when told; clones share it.
#[derive(Clone, Debug, Default)]
pub struct ManualTime(Arc<ManualInner>);

#[derive(Debug, Default)]
struct ManualInner {
    now_ms: AtomicU64,
    moved: Notify,
}

impl ManualTime {
    /// Starts at `now`.
    pub fn new(now: Timestamp) -> Self {
        let time = Self::default();
        time.0.now_ms.store(now.0, Ordering::Release);
        time
    }

    /// Lets `ms` milliseconds pass and wakes whoever waits for them.
    pub fn advance_ms(&self, ms: u64) {
        self.0.now_ms.fetch_add(ms, Ordering::AcqRel);
        self.0.moved.notify_waiters();
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.0.now_ms.load(Ordering::Acquire))
    }

    async fn reach(&self, at: Timestamp) {
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            // Registered before the look, or an advance in between would be missed.
            moved.as_mut().enable();
            if self.now() >= at {
                return;
            }
            moved.await;
        }
    }
}

/// A running clock: never goes backwards, and never below the last instant in the log.
#[derive(Clone, Debug)]
pub struct Clock {
    floor: Timestamp,
    source: Running,
}

#[derive(Clone, Debug)]
enum Running {
    System { started: Instant },
    Manual(ManualTime),
}

impl Clock {
    /// Starts at the later of `last`, the last instant in the log, and the source's own time.
    #[expect(clippy::disallowed_methods, reason = "this is the file that may")]
    pub fn start(source: &TimeSource, last: Timestamp) -> Self {
        match source {
            TimeSource::System => {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH);
                let wall = Timestamp(wall.map_or(0, whole_ms));
                let started = Instant::now();
                Self {
                    floor: last.max(wall),
                    source: Running::System { started },
                }
            }
            TimeSource::Manual(time) => Self {
                floor: last,
                source: Running::Manual(time.clone()),
            },
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match &self.source {
            Running::System { started } => self.floor.plus_ms(whole_ms(started.elapsed())),
            Running::Manual(time) => time.now().max(self.floor),
        }
    }

    /// Waits until `at`; `None` waits for ever.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn reach(&self, at: Option<Timestamp>) {
        let Some(at) = at else {
            return std::future::pending().await;
        };
        match &self.source {
            Running::System { .. } => {
                let wait = Duration::from_millis(at.ms_since(self.now()));
                tokio::time::sleep(wait).await;
            }
            Running::Manual(time) => time.reach(at).await,
        }
    }
}

/// Measures one piece of work.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the file that may")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// What has passed.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_lies_before_the_last_instant_in_the_log() {
        let far = Timestamp(u64::MAX / 2);
        assert!(Clock::start(&TimeSource::System, far).now() >= far);
        let manual = ManualTime::new(Timestamp(10));
        let clock = Clock::start(&TimeSource::Manual(manual.clone()), Timestamp(50));
        assert_eq!(clock.now(), Timestamp(50));
        manual.advance_ms(100);
        assert_eq!(clock.now(), Timestamp(110));
    }
}
