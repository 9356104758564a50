//! CPU seconds of a process, from `/proc/PID/stat`.

use anyhow::{Context, Result};

/// CPU of this process, and of the broker if it runs on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    client: f64,
    broker: Option<f64>,
}

impl Cpu {
    pub(super) fn now(broker_pid: Option<u32>) -> Result<Self> {
        let broker = broker_pid
            .map(|pid| seconds(&pid.to_string()))
            .transpose()?;
        Ok(Self {
            client: seconds("self")?,
            broker,
        })
    }

    /// CPU seconds since `earlier`: ours, the broker's.
    pub(super) fn since(self, earlier: Self) -> (f64, Option<f64>) {
        let broker = self
            .broker
            .zip(earlier.broker)
            .map(|(now, then)| now - then);
        (self.client - earlier.client, broker)
    }
}

fn seconds(pid: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let ticks = ticks(&stat).with_context(|| format!("{path} has no CPU times"))?;
    #[expect(clippy::cast_precision_loss, reason = "ticks of a process fit 52 bits")]
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// User and system ticks: fields 14 and 15. The name in field 2 may hold blanks and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticks_are_found_behind_any_process_name() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 100 20 0 0 20 0 1 0 99";
        assert_eq!(ticks(stat), Some(120));
        assert_eq!(ticks("garbage"), None);
    }

    #[test]
    fn this_process_has_cpu_times() {
        assert!(seconds("self").unwrap() >= 0.0);
    }
}
