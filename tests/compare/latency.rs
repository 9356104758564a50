//! Latencies, to three digits.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::figures::float;

/// Longer ones are counted as this: one minute.
const NANOS_MAX: u64 = 60_000_000_000;

pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, NANOS_MAX, 3)?))
    }

    pub(crate) fn record(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(NANOS_MAX);
        self.0.saturating_record(nanos);
    }

    pub(crate) fn add(&mut self, other: &Self) -> Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        float(self.0.value_at_quantile(quantile)) / 1e3
    }
}
