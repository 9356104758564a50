//! The two subscriptions: one writes the file, one counts by host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use siding::{Client, Consumer, DeliveredBatch};

use super::accounting::ResultLine;
use super::floor::Floor;
use super::{TO_FILE, TO_HOSTS};

/// Longer ones are counted as this: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

/// What a reader brings home.
#[derive(Default)]
pub(super) struct Read {
    pub(super) hosts: BTreeMap<String, u64>,
    latency: Option<Histogram<u64>>,
}

/// From publish to the result in the file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quantiles {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Read {
    pub(super) fn add(&mut self, other: Self) {
        self.hosts.extend(other.hosts);
        self.latency = self.latency.take().or(other.latency);
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let Some(latency) = &self.latency else {
            return Quantiles::default();
        };
        #[expect(clippy::cast_precision_loss, reason = "three digits are kept")]
        let ms = |quantile| (latency.value_at_quantile(quantile) as f64 / 10.0).round() / 100.0;
        Quantiles {
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
        }
    }
}

/// Writes each result as a line; acks once the lines are flushed.
pub(super) async fn to_file(url: String, path: PathBuf, floor: Floor) -> Result<Read> {
    let client = Client::connect(&url).await?;
    let mut consumer = client.consumer(TO_FILE).open().await?;
    let mut file = BufWriter::new(File::create_new(path)?);
    let mut latency = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
    while let Some(batch) = next(&mut consumer, &floor).await? {
        for message in batch.messages() {
            file.write_all(message.body())?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
        for message in batch.messages() {
            let line = ResultLine::parse(message.body()).context("a result that is none")?;
            let micros = floor.written(line.position).as_micros();
            latency.saturating_record(u64::try_from(micros)?);
        }
        batch.ack_detached();
    }
    finish(client, consumer).await?;
    Ok(Read {
        latency: Some(latency),
        ..Read::default()
    })
}

/// Counts results by host.
pub(super) async fn to_hosts(url: String, floor: Floor) -> Result<Read> {
    let client = Client::connect(&url).await?;
    let mut consumer = client.consumer(TO_HOSTS).open().await?;
    let mut hosts = BTreeMap::new();
    while let Some(batch) = next(&mut consumer, &floor).await? {
        for message in batch.messages() {
            let line = ResultLine::parse(message.body()).context("a result that is none")?;
            if let Some(host) = line.host {
                *hosts.entry(host).or_insert(0) += 1;
            }
        }
        batch.ack_detached();
    }
    finish(client, consumer).await?;
    Ok(Read {
        hosts,
        ..Read::default()
    })
}

/// The next batch; `None` when the floor closes.
async fn next(consumer: &mut Consumer, floor: &Floor) -> Result<Option<DeliveredBatch>> {
    let mut closing = floor.closing();
    tokio::select! {
        batch = consumer.next_batch() => Ok(batch.transpose()?),
        _ = closing.wait_for(|closing| *closing) => Ok(None),
    }
}

async fn finish(client: Client, consumer: Consumer) -> Result<()> {
    consumer.close().await?;
    client.close().await;
    Ok(())
}
