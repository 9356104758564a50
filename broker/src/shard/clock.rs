//! The only file that reads time.
//!
//! Wall-clock time is read once, at the start; from then on time is that instant plus what the
//! monotonic clock says has passed. So a jump of the wall clock ends no lease early.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use siding_protocol::types::Timestamp;
use tokio::sync::Notify;
use tokio::time::Sleep;

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
    now_us: AtomicU64,
    moved: Notify,
}

impl ManualTime {
    /// Starts at `now`.
    pub fn new(now: Timestamp) -> Self {
        let time = Self::default();
        time.0.now_us.store(now.0 * 1_000, Ordering::Release);
        time
    }

    /// Lets `ms` milliseconds pass and wakes whoever waits for them.
    pub fn advance_ms(&self, ms: u64) {
        self.advance_us(ms * 1_000);
    }

    /// Lets `us` microseconds pass and wakes whoever waits for them.
    pub fn advance_us(&self, us: u64) {
        self.0.now_us.fetch_add(us, Ordering::AcqRel);
        self.0.moved.notify_waiters();
    }

    /// Microseconds since the Unix epoch.
    pub fn now_us(&self) -> u64 {
        self.0.now_us.load(Ordering::Acquire)
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.now_us() / 1_000)
    }

    async fn reach(&self, at_us: u64) {
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            // Registered before the look, or an advance in between would be missed.
            moved.as_mut().enable();
            if self.now_us() >= at_us {
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
    Manual { time: ManualTime, started_us: u64 },
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
                floor: last.max(time.now()),
                source: Running::Manual {
                    time: time.clone(),
                    started_us: time.now_us(),
                },
            },
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match &self.source {
            Running::System { started } => self.floor.plus_ms(whole_ms(started.elapsed())),
            Running::Manual { time, started_us } => {
                let passed_us = time.now_us().saturating_sub(*started_us);
                self.floor.plus_ms(passed_us / 1_000)
            }
        }
    }
}

/// Waits for instants that mostly move away: each commit puts off what is due after it.
///
/// The timer armed first stays armed and finds out, when it fires, that there is nothing to do yet. Arming it anew
/// each time takes the runtime's timer wheel apart and, whenever the instant comes nearer again, three system
/// calls: those of a runtime that wakes itself.
#[derive(Debug)]
pub struct Alarm {
    clock: Clock,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the timer fires; `None`: it has, or there is none.
    armed_at: Option<Timestamp>,
}

impl Alarm {
    /// Waits by `clock`.
    pub fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            timer: None,
            armed_at: None,
        }
    }

    /// Waits until `at`; `None` waits for ever.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn reach(&mut self, at: Option<Timestamp>) {
        let Some(at) = at else {
            return std::future::pending().await;
        };
        match &self.clock.source {
            // What is past waits for the runtime's next look at the time too: others have their turn in between.
            Running::System { .. } => loop {
                self.timer(at).await;
                self.armed_at = None;
                if self.clock.now() >= at {
                    return;
                }
            },
            Running::Manual { time, started_us } => {
                let wait_us = at.ms_since(self.clock.floor).saturating_mul(1_000);
                time.reach(started_us.saturating_add(wait_us)).await;
            }
        }
    }

    /// The timer; it fires at `at` or before.
    fn timer(&mut self, at: Timestamp) -> Pin<&mut Sleep> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::ZERO)));
        if self.armed_at.is_none_or(|armed_at| armed_at > at) {
            let wait = Duration::from_millis(at.ms_since(self.clock.now()));
            timer.as_mut().reset(tokio::time::Instant::now() + wait);
            self.armed_at = Some(at);
        }
        timer.as_mut()
    }
}

/// Measures one piece of work.
#[derive(Clone, Debug)]
pub struct Stopwatch(Since);

#[derive(Clone, Debug)]
enum Since {
    System(Instant),
    Manual(ManualTime, u64),
}

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the file that may")]
    pub fn start(source: &TimeSource) -> Self {
        Self(match source {
            TimeSource::System => Since::System(Instant::now()),
            TimeSource::Manual(time) => Since::Manual(time.clone(), time.now_us()),
        })
    }

    /// What has passed.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Since::System(started) => started.elapsed(),
            Since::Manual(time, started_us) => Duration::from_micros(time.now_us() - started_us),
        }
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
        assert_eq!(clock.now(), Timestamp(150));
    }

    /// Asks once; whether it is time.
    async fn asks(alarm: &mut Alarm, at: Timestamp) -> bool {
        tokio::select! {
            biased;
            () = alarm.reach(Some(at)) => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn an_alarm_may_be_put_off_and_brought_forward_and_is_neither_early_nor_for_ever() {
        let clock = Clock::start(&TimeSource::System, Timestamp(0));
        let mut alarm = Alarm::new(&clock);
        let start = clock.now();
        assert!(!asks(&mut alarm, start.plus_ms(86_400_000)).await);
        // Nearer than what is armed; then further, while it stays armed for the nearer.
        for (armed, asked) in [(2, 2), (2, 6)] {
            let now = clock.now();
            assert!(!asks(&mut alarm, now.plus_ms(armed)).await);
            alarm.reach(Some(now.plus_ms(asked))).await;
            assert!(clock.now() >= now.plus_ms(asked));
        }
        alarm.reach(Some(start)).await;
    }

    #[tokio::test]
    async fn what_is_overdue_lets_others_have_their_turn() {
        let clock = Clock::start(&TimeSource::System, Timestamp(0));
        let mut alarm = Alarm::new(&clock);
        let other = tokio::spawn(std::future::ready(()));
        for _ in 0..1_000 {
            alarm.reach(Some(Timestamp(0))).await;
            if other.is_finished() {
                return;
            }
        }
        panic!("nobody else had a turn");
    }
}
