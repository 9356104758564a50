//! How fast queues drain, measured in the entries' own time: the hint in `BUSY`. Not durable.

use std::collections::BTreeMap;

use siding_protocol::refusal::Refusal;
use siding_protocol::types::Timestamp;

use super::log::Kind;
use super::state::State;
use super::touched::Touched;

const HINT_MS_MIN: u64 = 100;
const HINT_MS_MAX: u64 = 60_000;
/// Hint while no drain was measured.
const HINT_MS_UNKNOWN: u64 = 1_000;
/// A rate is taken over at least so long.
const WINDOW_MS: u64 = 1_000;

/// Of all queues that are drained.
#[derive(Debug, Default)]
pub(super) struct Meters(BTreeMap<u64, Meter>);

#[derive(Debug, Default)]
struct Meter {
    since: Timestamp,
    /// Messages and bytes that had left by then.
    left: [u64; 2],
    per_second: [u64; 2],
}

impl Meters {
    /// Looks at the queues whose messages moved, once a window each.
    pub(super) fn measure(&mut self, state: &State, touched: &Touched) {
        for id in touched.iter() {
            let Some(log) = state.subscriptions.get(&id).map(|found| found.log) else {
                continue;
            };
            let is_young = |meter: &Meter| state.now.ms_since(meter.since) < WINDOW_MS;
            if self.0.get(&log).is_some_and(is_young) {
                continue;
            }
            let log = state.logs.get(&log);
            let Some(log) = log.filter(|log| matches!(log.kind, Kind::Queue(_))) else {
                continue;
            };
            let meter = self.0.entry(log.id).or_default();
            let elapsed = state.now.ms_since(meter.since);
            if elapsed < WINDOW_MS {
                continue;
            }
            let left = [log.end - log.messages, log.stored_bytes - log.bytes];
            for ((rate, now), before) in meter.per_second.iter_mut().zip(left).zip(meter.left) {
                *rate = now.saturating_sub(before) * 1_000 / elapsed;
            }
            (meter.since, meter.left) = (state.now, left);
        }
    }

    /// Forgets the queues that are gone.
    pub(super) fn keep(&mut self, is_known: impl Fn(u64) -> bool) {
        self.0.retain(|log, _| is_known(*log));
    }

    /// Adds to `BUSY` when to try again: excess ÷ drain rate. The longer nothing has left since that was
    /// measured, the lower it is.
    pub(super) fn hint(&self, now: Timestamp, refusal: &mut Refusal, log: u64) {
        match refusal {
            Refusal::Operation { refusal, .. } => self.hint(now, refusal, log),
            Refusal::Busy {
                resource,
                limit,
                current,
                retry_after_ms,
            } if *retry_after_ms == 0 => {
                let kind = usize::from(*resource == "max_bytes");
                let meter = self.0.get(&log);
                let rate = meter.and_then(|meter| meter.per_second.get(kind));
                let idle_ms = meter.map_or(0, |meter| now.ms_since(meter.since));
                let windows = (idle_ms / WINDOW_MS).max(1);
                // Room for a tenth of the limit is worth another try.
                let excess = current.saturating_sub(*limit) + limit.div_ceil(10);
                *retry_after_ms = match (excess * 1_000).checked_div(rate.copied().unwrap_or(0)) {
                    Some(ms) => clamp_hint(ms.saturating_mul(windows)),
                    None => HINT_MS_UNKNOWN,
                };
            }
            _ => {}
        }
    }
}

/// When to try again, within what a hint may say.
pub(super) fn clamp_hint(ms: u64) -> u64 {
    ms.clamp(HINT_MS_MIN, HINT_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_queue_is_measured_no_more() {
        let mut meters = Meters([1, 2].map(|log| (log, Meter::default())).into());
        meters.keep(|log| log == 2);
        assert_eq!(meters.0.into_keys().collect::<Vec<_>>(), [2]);
    }
}
