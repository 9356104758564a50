//! A steady beat finer than the runtime's timer, which ticks in whole milliseconds.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::clock;

/// A periodic kernel timer, awaited by the runtime like a socket: beat `n` is meant for
/// `started + n × period`, from 1.
pub(crate) struct Pacer {
    timer: Receiver,
    period: Duration,
    intended: Instant,
    /// Beats that have passed and were not given out yet.
    due: u64,
}

impl Pacer {
    pub(crate) fn start(per_second: u64) -> Result<Self> {
        let period = Duration::from_secs(1) / u32::try_from(per_second)?;
        let every = Timespec {
            tv_sec: i64::try_from(period.as_secs())?,
            tv_nsec: period.subsec_nanos().into(),
        };
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let beat = Itimerspec {
            it_interval: every,
            it_value: every,
        };
        let intended = clock::now();
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &beat)?;
        // No pipe, but a descriptor that is waited for and read as one.
        let timer = Receiver::from_owned_fd_unchecked(timer)?;
        Ok(Self {
            timer,
            period,
            intended,
            due: 0,
        })
    }

    /// Waits for the next beat; gives the time it was meant for. Beats missed come at once.
    pub(crate) async fn beat(&mut self) -> Result<Instant> {
        while self.due == 0 {
            let mut count = [0; 8];
            // The kernel answers with the number of beats since it was last asked.
            self.timer.read_exact(&mut count).await?;
            self.due = u64::from_ne_bytes(count);
        }
        self.due -= 1;
        self.intended += self.period;
        Ok(self.intended)
    }
}
