//! A broker killed again and again under load, with the books done at the end.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, bail};
use fastrand::Rng;
use siding::wire::{DeliverySettings, QueueSettings};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accounting::{self, Event, Report};
use crate::broker::{Broker, Log, within};
use crate::load::{Bodies, Load, Records, now};

const QUEUE: &str = "load";
/// The shortest there is: what a kill leaves leased comes back soon.
const VISIBILITY_MS: u64 = 1_000;
/// Messages of this run come back many times: none of them is to end as a dead letter.
const ATTEMPTS_MAX: u32 = 1_000;
/// A lease is noted within so much, and a busy machine's tasks look at their clocks.
const NOTED_WITHIN_MS: u64 = 250;
/// Of a broker that ends by itself so much is told.
const LAST_LINES: usize = 40;

/// How a run goes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often.
    pub kills: u32,
    /// Publishers, each on a connection of its own.
    pub publishers: u32,
    /// Consumers, each on a connection of its own.
    pub consumers: u32,
    /// So many events of the clients lie between a start and a cut connection, and from there to a
    /// kill.
    pub events_between: Range<u64>,
    /// Of the bodies and of the moments.
    pub seed: u64,
    /// Whether there is a checkpoint for each MiB: the journal is cut all the time.
    pub small_files: bool,
}

/// A checkpoint for every file, files that a group may fill, and nothing kept in memory.
const SMALL_FILES: [&str; 6] = [
    "--journal-file-bytes",
    "1MiB",
    "--checkpoint-bytes",
    "1MiB",
    "--tail-bytes",
    "0",
];

/// What it came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The books of the clients.
    pub report: Report,
    /// Kills while it served or started.
    pub kills: u32,
    /// What the broker logged as an error.
    pub errors: Vec<String>,
    /// What its checkpoints did, by its log.
    pub checkpoints: Checkpoints,
}

/// What checkpoints did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoints {
    /// Snapshots behind which the journal was cut.
    pub cuts: u64,
    /// Journal files that were given back.
    pub retired: u64,
    /// Blocks of bodies that were moved to segments.
    pub blocks: u64,
    /// Segments that were removed.
    pub removed: u64,
}

impl Checkpoints {
    fn of(log: &Log) -> Self {
        let sum = |message, field| {
            let lines = log.with(&[message]);
            let numbers = lines.iter().filter_map(|line| number_of(line, field));
            numbers.sum()
        };
        Self {
            cuts: log.with(&["journal cut"]).len() as u64,
            retired: sum("journal cut", "retired"),
            blocks: sum("bodies moved", "blocks"),
            removed: sum("journal cut", "removed"),
        }
    }
}

/// A number in a line of JSON.
fn number_of(line: &str, field: &str) -> Option<u64> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line.get("fields")?.get(field)?.as_u64()
}

/// Runs the plan on this directory.
///
/// # Errors
/// The harness failed, or the broker did not come back: the run says nothing then.
pub async fn run(plan: Plan, data_dir: &Path, on_kill: impl Fn(u32)) -> Result<Outcome> {
    let mut rng = Rng::with_seed(plan.seed);
    let mut broker = begin(&plan, data_dir).await?;
    let load = Load {
        queue: QUEUE,
        visibility_ms: VISIBILITY_MS,
        bodies: Bodies { seed: plan.seed },
        records: Records::default(),
    };
    broker
        .client("creator")
        .await?
        .create_queue(QUEUE, settings())
        .await?;
    let (stop_publishers, publishing) = watch::channel(false);
    let (stop_consumers, consuming) = watch::channel(false);
    let (mut publishers, mut consumers) = (JoinSet::new(), JoinSet::new());
    let mut connections = Vec::new();
    for number in 0..plan.publishers {
        let client = broker.client(&format!("publisher-{number}")).await?;
        publishers.spawn(load.clone().publish(client, number, publishing.clone()));
    }
    for number in 0..plan.consumers {
        let client = broker.client(&format!("consumer-{number}")).await?;
        connections.push((number, client.clone()));
        consumers.spawn(load.clone().consume(client, number, consuming.clone()));
    }
    let mut kills = 0;
    while kills < plan.kills {
        let events = rng.u64(plan.events_between.clone());
        progress(&load.records, &mut broker, events).await?;
        if let Some((consumer, client)) = rng.choice(&connections) {
            let (consumer, at) = (*consumer, now());
            load.records.note(Event::Cut { consumer, at });
            client.cut_connection();
        }
        let events = rng.u64(plan.events_between.clone());
        progress(&load.records, &mut broker, events).await?;
        let at = now();
        let noted = at - NOTED_WITHIN_MS;
        let power = false;
        load.records.note(Event::Killed { at, noted, power });
        broker.kill().await?;
        kills += 1;
        if kills < plan.kills && rng.u32(0..4) == 0 {
            broker.kill_while_it_starts().await?;
            kills += 1;
        }
        broker.restart().await?;
        on_kill(kills);
    }
    drop(connections);
    stop_publishers.send_replace(true);
    within("publishers end", all(&mut publishers)).await?;
    stop_consumers.send_replace(true);
    within("consumers end", all(&mut consumers)).await?;
    let drain = load
        .clone()
        .drain(broker.client("drain").await?, plan.consumers);
    let books = within("the queue is drained", drain).await?;
    Ok(Outcome {
        report: accounting::check(&load.records.take(), Some(books)),
        kills,
        errors: broker.log().with(&["\"ERROR\""]),
        checkpoints: Checkpoints::of(broker.log()),
    })
}

async fn begin(plan: &Plan, data_dir: &Path) -> Result<Broker> {
    if plan.small_files {
        Broker::start_sized(data_dir, &SMALL_FILES).await
    } else {
        Broker::start(data_dir).await
    }
}

/// Waits until clients have noted so many events more.
async fn progress(records: &Records, broker: &mut Broker, events: u64) -> Result<()> {
    let count = records.count() + events;
    let made = async {
        tokio::select! {
            () = records.until(count) => Ok(()),
            status = broker.ended() => Err(status),
        }
    };
    let Err(status) = within("clients make progress", made).await else {
        return Ok(());
    };
    let last = broker.log().last(LAST_LINES).join("\n");
    bail!(
        "nobody killed it, and the broker ended with {}:\n{last}",
        status?
    )
}

async fn all(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

fn settings() -> QueueSettings {
    QueueSettings {
        delivery: Some(DeliverySettings {
            visibility_timeout_ms: Some(VISIBILITY_MS),
            max_attempts: Some(ATTEMPTS_MAX),
            backoff_ms: vec![20],
            ..DeliverySettings::default()
        }),
        ..QueueSettings::default()
    }
}

impl Outcome {
    /// Whether every promise held.
    pub fn is_clean(&self) -> bool {
        self.report.violations.is_empty() && self.errors.is_empty()
    }
}
