//! `siding bench`: measure a broker on a queue of its own, which is removed at the end.

mod backlog;
mod consume;
mod cpu;
mod pacer;
mod pingpong;
mod publish;
mod report;

use anyhow::Result;
use clap::{Args, Subcommand};
use siding::protocol::limits::MAX_BYTES_MAX;
use siding::wire::QueueSettings;
use siding::{Client, Error, Publisher};

use self::report::Report;
use crate::args::{self, Global};
use crate::connect::{connect, leave};
use crate::exit::Exit;
use crate::output::Output;
use crate::signals::Stop;

/// Messages under way where nothing else is said.
const PUBLISH_WINDOW: u32 = 8_192;

/// `siding bench …`
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Publish and wait for every confirm.
    Publish {
        #[command(flatten)]
        load: Load,
        /// One publish in flight per connection: each waits for its confirm.
        #[arg(long)]
        sync: bool,
    },
    /// Fill a queue (not timed), then consume it and wait for every confirmed ack.
    Consume {
        #[command(flatten)]
        load: Load,
    },
    /// Fill a queue with far more than memory holds, on a broker of its own; kill it, start it again, and
    /// drain the queue in order.
    Backlog(backlog::Backlog),
    /// Publish at a fixed rate, consume on another connection, measure the way of each message.
    Pingpong {
        #[command(flatten)]
        load: Load,
        /// Messages a second.
        #[arg(long, default_value = "1000", value_parser = args::rate)]
        rate: f64,
    },
}

/// What is sent, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Messages in all; default: some seconds of work.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Bytes of a body.
    #[arg(long, default_value = "100", value_parser = args::bytes)]
    size: u64,
    /// Connections to the broker.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Messages of a batch.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Messages under way per connection; default 8192 to publish, 32768 to consume.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    window: Option<u32>,
    /// Process id of a broker on this machine: measures its CPU as well.
    #[arg(long)]
    broker_pid: Option<u32>,
}

impl Load {
    fn body(&self) -> Result<Vec<u8>> {
        Ok(vec![b'x'; usize::try_from(self.size)?])
    }

    /// How many messages each connection sends: as even as can be.
    fn shares(&self, messages: u64) -> impl Iterator<Item = u64> + use<> {
        let connections = u64::from(self.connections);
        let (each, more) = (messages / connections, messages % connections);
        (0..connections).map(move |index| each + u64::from(index < more))
    }

    /// Limits that the run cannot reach.
    fn limits(&self, messages: u64) -> QueueSettings {
        let bytes = messages.saturating_mul(self.size.saturating_add(64));
        QueueSettings {
            max_messages: Some(messages.saturating_mul(2).clamp(1_000, 1 << 40)),
            max_bytes: Some(bytes.saturating_mul(2).clamp(64 << 20, MAX_BYTES_MAX)),
            ..QueueSettings::default()
        }
    }

    /// A publisher that sends whole batches.
    async fn publisher(&self, client: &Client, queue: &str) -> Result<Publisher, Error> {
        let bytes = u64::from(self.batch).saturating_mul(self.size.saturating_add(16));
        let batch_bytes = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .clamp(64 << 10, 1 << 20);
        let window = self.window.unwrap_or(PUBLISH_WINDOW);
        client
            .publisher(queue)
            .batch(self.batch)
            .batch_bytes(batch_bytes)
            .window(window.into())
            .open()
            .await
    }
}

/// Runs a `bench` verb on a queue of its own.
pub(crate) async fn run(global: &Global, verb: BenchCommand) -> Result<Exit> {
    let (name, load, default_messages) = match &verb {
        BenchCommand::Backlog(backlog) => return alone(global, backlog).await,
        BenchCommand::Publish { load, sync: false } => ("publish", load, 5_000_000),
        BenchCommand::Publish { load, sync: true } => ("publish --sync", load, 200_000),
        BenchCommand::Consume { load } => ("consume", load, 5_000_000),
        BenchCommand::Pingpong { load, .. } => ("pingpong", load, 10_000),
    };
    let messages = load.messages.unwrap_or(default_messages);
    let mut stop = Stop::listen()?;
    let client = connect(global).await?;
    let queue = format!("bench.{:08x}", fastrand::u32(..));
    let limits = load.limits(messages);
    client.create_queue(&queue, limits.clone()).await?;
    let course = Course {
        global,
        queue: &queue,
        messages,
    };
    let ran = tokio::select! {
        ran = measure(&course, &verb) => ran.map(Some),
        _ = stop.asked() => Ok(None),
    };
    // Removed whatever happened; the first error is the one to tell.
    let removed = client.delete(&queue).await;
    let Some(mut report) = ran? else {
        return Ok(Exit::Interrupted);
    };
    removed?;
    report.first(vec![
        ("bench", name.into()),
        ("queue", queue.as_str().into()),
        ("max_messages", limits.max_messages.into()),
        ("max_bytes", limits.max_bytes.into()),
        ("messages", messages.into()),
        ("size", load.size.into()),
        ("connections", load.connections.into()),
    ]);
    leave(client, None).await;
    tell(global, name, &report).await
}

/// Runs `bench backlog`, which needs no broker.
async fn alone(global: &Global, backlog: &backlog::Backlog) -> Result<Exit> {
    let mut stop = Stop::listen()?;
    let report = tokio::select! {
        report = backlog::run(backlog) => report?,
        _ = stop.asked() => return Ok(Exit::Interrupted),
    };
    tell(global, "backlog", &report).await
}

async fn tell(global: &Global, name: &str, report: &Report) -> Result<Exit> {
    let mut output = Output::new(global.output);
    output.record(&report.record());
    output.flush().await?;
    if let Some(headline) = report.headline(name) {
        eprintln!("{headline}");
        return Ok(Exit::Ok);
    }
    eprintln!("no headline: {} errors", report.errors);
    Ok(Exit::PartlyDone)
}

/// Where a run takes place.
struct Course<'a> {
    global: &'a Global,
    queue: &'a str,
    messages: u64,
}

async fn measure(course: &Course<'_>, verb: &BenchCommand) -> Result<Report> {
    match verb {
        BenchCommand::Publish { load, sync } => publish::run(course, load, *sync).await,
        BenchCommand::Consume { load } => consume::run(course, load).await,
        BenchCommand::Pingpong { load, rate } => pingpong::run(course, load, *rate).await,
        BenchCommand::Backlog(backlog) => backlog::run(backlog).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(connections: u32) -> Load {
        Load {
            messages: None,
            size: 100,
            connections,
            batch: 256,
            window: None,
            broker_pid: None,
        }
    }

    #[test]
    fn the_shares_of_the_connections_make_the_whole() {
        let shares: Vec<_> = load(3).shares(10).collect();
        assert_eq!(shares, [4, 3, 3]);
    }

    #[test]
    fn the_limits_of_the_queue_hold_more_than_the_run() {
        let limits = load(1).limits(5_000_000);
        assert!(limits.max_messages.unwrap() > 5_000_000);
        assert!(limits.max_bytes.unwrap() > 500_000_000);
    }
}
