//! A steady beat finer than the runtime's timer, which ticks in whole milliseconds.

use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::sync::mpsc;

use crate::clock;

/// Beats that may wait for a sender that is late; they keep their intended time.
const WAITING: usize = 1_024;

/// A periodic kernel timer: beat `n` is meant for `started + n × period`, from 1.
pub(super) struct Pacer {
    started: Instant,
    beats: mpsc::Receiver<Instant>,
}

impl Pacer {
    pub(super) fn start(rate: f64) -> Result<Self> {
        let period = Duration::try_from_secs_f64(1.0 / rate)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let every = Timespec {
            tv_sec: i64::try_from(period.as_secs())?,
            tv_nsec: period.subsec_nanos().into(),
        };
        let beat = Itimerspec {
            it_interval: every,
            it_value: every,
        };
        let (send, beats) = mpsc::channel(WAITING);
        let started = clock::now();
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &beat)?;
        let tick = move || tick(&timer, started, period, &send);
        thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(tick)?;
        Ok(Self { started, beats })
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Waits for the next beat; gives the time it was meant for. Beats missed come at once.
    pub(super) async fn beat(&mut self) -> Result<Instant> {
        self.beats.recv().await.context("the timer failed")
    }
}

/// Passes beats on until nobody wants them.
fn tick(timer: &OwnedFd, started: Instant, period: Duration, beats: &mpsc::Sender<Instant>) {
    let mut intended = started;
    let mut count = [0; 8];
    // The kernel answers with the number of beats since it was last asked.
    while rustix::io::read(timer, &mut count).is_ok() {
        for _ in 0..u64::from_ne_bytes(count) {
            intended += period;
            if beats.blocking_send(intended).is_err() {
                return;
            }
        }
    }
}
