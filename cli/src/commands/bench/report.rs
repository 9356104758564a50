//! What a run measured, with the settings it ran under.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::Value;

use super::Load;
use super::cpu::Cpu;
use crate::clock;

/// Settings and results of one run.
pub(super) struct Report {
    settings: Vec<(&'static str, Value)>,
    results: Vec<(&'static str, Value)>,
    rate: f64,
    pub(super) errors: u64,
}

/// The timed part of a run.
pub(super) struct Timed {
    started: std::time::Instant,
    cpu: Cpu,
    broker_pid: Option<u32>,
}

impl Timed {
    pub(super) fn start(load: &Load) -> Result<Self> {
        Ok(Self {
            cpu: Cpu::now(load.broker_pid)?,
            broker_pid: load.broker_pid,
            started: clock::now(),
        })
    }

    /// Ends the timed part, in which `messages` went their way.
    pub(super) fn stop(self, messages: u64, errors: u64) -> Result<Report> {
        let elapsed = clock::now().saturating_duration_since(self.started);
        let (client, broker) = Cpu::now(self.broker_pid)?.since(self.cpu);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a count of messages fits 52 bits"
        )]
        let count = messages as f64;
        let per_million = |cpu: f64| round(cpu / count * 1e6);
        let rate = count / elapsed.as_secs_f64().max(1e-9);
        let mut report = Report::of(rate, errors);
        report.result("seconds", round(elapsed.as_secs_f64()));
        report.result("messages_per_second", rate.round());
        report.result("errors", errors);
        report.result("client_cpu_seconds_per_million", per_million(client));
        if let Some(broker) = broker {
            report.result("broker_cpu_seconds_per_million", per_million(broker));
        }
        Ok(report)
    }
}

impl Report {
    /// Without results yet, but for a headline.
    pub(super) fn of(rate: f64, errors: u64) -> Self {
        Self {
            settings: Vec::new(),
            results: Vec::new(),
            rate,
            errors,
        }
    }

    pub(super) fn setting(&mut self, name: &'static str, value: impl Into<Value>) {
        self.settings.push((name, value.into()));
    }

    pub(super) fn result(&mut self, name: &'static str, value: impl Into<Value>) {
        self.results.push((name, value.into()));
    }

    /// Settings that every run has, before its own.
    pub(super) fn first(&mut self, settings: Vec<(&'static str, Value)>) {
        self.settings.splice(0..0, settings);
    }

    /// Percentiles under the names `<what>_p50_us` … `<what>_max_us`.
    pub(super) fn latency(&mut self, names: &LatencyNames, latency: &Latency) {
        for (name, quantile) in names.iter().zip([0.5, 0.9, 0.99, 0.999, 1.0]) {
            self.result(name, latency.micros_at(quantile));
        }
    }

    pub(super) fn record(&self) -> Vec<(&'static str, Value)> {
        self.settings.iter().chain(&self.results).cloned().collect()
    }

    /// One line for people; none where something failed.
    pub(super) fn headline(&self, name: &str) -> Option<String> {
        (self.errors == 0).then(|| format!("{name}: {} messages/s", human(self.rate)))
    }
}

/// Names of p50, p90, p99, p99.9 and the maximum.
pub(super) type LatencyNames = [&'static str; 5];

/// Of confirms.
pub(super) const CONFIRM: LatencyNames = [
    "confirm_p50_us",
    "confirm_p90_us",
    "confirm_p99_us",
    "confirm_p999_us",
    "confirm_max_us",
];
/// Of messages, from the stamp taken just before they were published.
pub(super) const FROM_SEND: LatencyNames = [
    "from_send_p50_us",
    "from_send_p90_us",
    "from_send_p99_us",
    "from_send_p999_us",
    "from_send_max_us",
];
/// Of messages, from the time they were meant to be sent.
pub(super) const FROM_INTENDED: LatencyNames = [
    "from_intended_p50_us",
    "from_intended_p90_us",
    "from_intended_p99_us",
    "from_intended_p999_us",
    "from_intended_max_us",
];

/// Longer ones are counted as this: one minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Latencies, to three digits.
pub(super) struct Latency(Histogram<u64>);

impl Latency {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)?))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos);
    }

    pub(super) fn add(&mut self, other: &Self) -> Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    fn micros_at(&self, quantile: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "three digits are kept")]
        let nanos = self.0.value_at_quantile(quantile) as f64;
        (nanos / 100.0).round() / 10.0
    }
}

/// To three decimals.
pub(super) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn human(rate: f64) -> String {
    if rate >= 1e6 {
        format!("{:.2} M", rate / 1e6)
    } else if rate >= 1e4 {
        format!("{:.1} k", rate / 1e3)
    } else {
        format!("{rate:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(errors: u64) -> Report {
        Report {
            settings: vec![],
            results: vec![],
            rate: 2_345_678.0,
            errors,
        }
    }

    #[test]
    fn a_run_with_errors_has_no_headline() {
        let headline = report(0).headline("publish").unwrap();
        assert_eq!(headline, "publish: 2.35 M messages/s");
        assert_eq!(report(1).headline("publish"), None);
    }

    #[test]
    fn latencies_are_told_in_microseconds() {
        let mut latency = Latency::new().unwrap();
        latency.record(Duration::from_micros(150));
        let mut report = report(0);
        report.latency(&CONFIRM, &latency);
        let (name, value) = report.record().remove(0);
        assert_eq!(name, "confirm_p50_us");
        assert!((value.as_f64().unwrap() - 150.0).abs() < 1.0, "{value}");
    }
}
