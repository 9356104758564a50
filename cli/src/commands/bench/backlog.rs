//! `bench backlog`: far more than fits in memory, on a broker of its own: filled, killed, started again,
//! drained.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use siding::Client;
use siding::wire::QueueSettings;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::report::{Report, round};
use crate::args;
use crate::clock;

const QUEUE: &str = "backlog";
const PUBLISH_WINDOW: u64 = 8_192;
const CONSUME_WINDOW: u32 = 32_768;
const QUEUE_BYTES: u64 = 8 << 30;
/// The rate is measured over so many parts of the messages.
const PARTS: u64 = 64;
/// Nothing more comes within so long: what is missing is lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the number that begins each body.
const NUMBER_BYTES: usize = 8;

/// What is kept, and by whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct Backlog {
    /// Messages in all.
    #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    messages: u64,
    /// Bytes of a body, at least 8.
    #[arg(long, default_value = "100", value_parser = args::bytes)]
    size: u64,
    /// Memory the broker is given.
    #[arg(long, default_value = "256MiB", value_parser = args::bytes)]
    memory: u64,
    /// The broker; default: `sidingd` beside this program.
    #[arg(long)]
    sidingd: Option<PathBuf>,
    /// Where its data lies meanwhile; default: a directory in the one for temporary files.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A broker of this run's own.
struct Broker {
    child: Child,
    client: Client,
}

/// Runs it and tells what it measured.
pub(super) async fn run(backlog: &Backlog) -> Result<Report> {
    ensure!(
        backlog.size >= 8,
        "--size must be at least 8: a body begins with its number"
    );
    let parent = backlog.dir.clone().unwrap_or_else(std::env::temp_dir);
    let data = tempfile::Builder::new()
        .prefix("siding-backlog-")
        .tempdir_in(parent)?;
    let broker = backlog.start(data.path()).await?;
    let settings = QueueSettings {
        max_messages: Some(backlog.messages.saturating_mul(2)),
        max_bytes: Some(QUEUE_BYTES),
        ..QueueSettings::default()
    };
    broker.client.create_queue(QUEUE, settings).await?;
    let rates = backlog.fill(&broker.client).await?;
    let filled_kib = broker.resident_kib()?;
    eprintln!("filled; killing the broker");
    broker.kill().await?;
    let began = clock::now();
    let broker = backlog.start(data.path()).await?;
    let restart = clock::now().saturating_duration_since(began);
    let drained = backlog.drain(&broker.client).await?;
    let drained_kib = broker.resident_kib()?;
    broker.kill().await?;
    let lost = backlog.messages - drained.messages.min(backlog.messages);
    let mut report = Report::of(rates.all, lost + drained.wrong);
    report.result("publish_per_second", rates.all.round());
    report.result("publish_first_quarter_per_second", rates.first.round());
    report.result("publish_last_quarter_per_second", rates.last.round());
    report.result("last_to_first_quarter", round(rates.last / rates.first));
    report.result("broker_peak_kib_filled", filled_kib);
    report.result("restart_seconds", round(restart.as_secs_f64()));
    report.result("first_message_seconds", round(drained.first.as_secs_f64()));
    report.result("drained", drained.messages);
    report.result("lost", lost);
    report.result("out_of_order_or_wrong", drained.wrong);
    report.result("drain_per_second", drained.rate.round());
    report.result("broker_peak_kib_drained", drained_kib);
    report.setting("messages", backlog.messages);
    report.setting("size", backlog.size);
    report.setting("memory", backlog.memory);
    Ok(report)
}

/// Messages a second: over all, and medians of the first and last quarter.
struct Rates {
    all: f64,
    first: f64,
    last: f64,
}

/// What came back.
struct Drained {
    messages: u64,
    wrong: u64,
    first: Duration,
    rate: f64,
}

impl Backlog {
    async fn start(&self, data: &Path) -> Result<Broker> {
        let beside = || Some(std::env::current_exe().ok()?.with_file_name("sidingd"));
        let program = self.sidingd.clone().or_else(beside);
        let program = program.context("which sidingd? say --sidingd PATH")?;
        let mut child = Command::new(&program)
            .arg("--data-dir")
            .arg(data)
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "off"])
            .args(["--memory-budget", &self.memory.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let stdout = child.stdout.take().context("piped")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some(address) = line.strip_prefix("listening on ") {
                let client = Client::connect(&format!("siding://{address}")).await?;
                return Ok(Broker { child, client });
            }
        }
        bail!("the broker ended before it listened")
    }

    fn body(&self, number: u64) -> Vec<u8> {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(usize::try_from(self.size).unwrap_or(NUMBER_BYTES), b'x');
        body
    }

    async fn fill(&self, client: &Client) -> Result<Rates> {
        let publisher = client.publisher(QUEUE).batch(256).window(PUBLISH_WINDOW);
        let publisher = publisher.batch_bytes(64 << 10).open().await?;
        let (each, began) = (self.messages / PARTS, clock::now());
        let (mut parts, mut since) = (Vec::new(), began);
        let mut body = self.body(0);
        for number in 0..self.messages {
            if let Some(start) = body.first_chunk_mut::<NUMBER_BYTES>() {
                *start = number.to_be_bytes();
            }
            drop(publisher.publish_body(&body).await?);
            if (number + 1).is_multiple_of(each) {
                let now = clock::now();
                parts.push(rate(each, now.saturating_duration_since(since)));
                since = now;
            }
        }
        publisher.close().await?;
        let all = rate(self.messages, clock::now().saturating_duration_since(began));
        let quarter = parts.len() / 4;
        let last = parts.split_off(parts.len() - quarter);
        parts.truncate(quarter);
        Ok(Rates {
            all,
            first: median(parts),
            last: median(last),
        })
    }

    async fn drain(&self, client: &Client) -> Result<Drained> {
        let began = clock::now();
        let mut consumer = client.consumer(QUEUE).window(CONSUME_WINDOW).open().await?;
        let (mut messages, mut wrong, mut first) = (0, 0, Duration::ZERO);
        while messages < self.messages {
            let next = tokio::time::timeout(PATIENCE, consumer.next_batch()).await;
            let Ok(Some(batch)) = next else { break };
            let batch = batch?;
            if messages == 0 {
                first = clock::now().saturating_duration_since(began);
            }
            for message in batch.messages() {
                let is_right = batch.attempt() == 1 && message.body() == self.body(messages);
                wrong += u64::from(!is_right);
                messages += 1;
            }
            batch.ack_detached();
        }
        wrong += consumer.flush_settles().await;
        let took = clock::now().saturating_duration_since(began);
        consumer.close().await?;
        Ok(Drained {
            messages,
            wrong,
            first,
            rate: rate(messages, took),
        })
    }
}

impl Broker {
    /// The most memory it ever had, KiB.
    fn resident_kib(&self) -> Result<u64> {
        let id = self.child.id().context("the broker has ended")?;
        let path = format!("/proc/{id}/status");
        let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        peak_kib(&status).with_context(|| format!("{path} has no VmHWM"))
    }

    /// As a crash would end it. The client is dropped: to close it would be to wait for the broker.
    async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of messages fits 52 bits"
)]
fn rate(messages: u64, took: Duration) -> f64 {
    messages as f64 / took.as_secs_f64().max(1e-9)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_what_the_kernel_says() {
        let status = "Name:\tsidingd\nVmPeak:\t  9 kB\nVmHWM:\t  282112 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(peak_kib(status), Some(282_112));
        assert_eq!(peak_kib("Name:\tsidingd\n"), None);
    }

    #[test]
    fn a_median_is_what_half_of_the_parts_reach() {
        assert_eq!(median(vec![3.0, 1.0, 9.0]).to_bits(), 3.0_f64.to_bits());
        assert_eq!(median(Vec::new()).to_bits(), 0.0_f64.to_bits());
    }
}
