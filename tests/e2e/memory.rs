//! A broker that has taken most of its memory refuses more, and goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siding::wire::QueueSettings;
use siding::{Error, Message, OnBusy, ReceiveOptions, Refusal};
use siding_tests::broker::{Broker, within};

use crate::limited;

const BUDGET: u64 = 64 << 20;
/// Every one of them is different: none shares its place with another.
const BATCH: u64 = 2_000;

/// What a process holds in memory and in no file, in bytes.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.context("no such line")?.parse::<u64>()? << 10)
}

#[test]
fn past_its_memory_budget_publishes_are_refused_and_consumers_go_on() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let budget = BUDGET.to_string();
        let sizes = ["--memory-budget", &budget, "--tail-bytes", "1MiB"];
        // Checkpoints come one after the other: each builds the state a second time.
        let files = ["--journal-file-bytes", "4MiB", "--checkpoint-bytes", "4MiB"];
        let broker = Broker::start_sized(dir.path(), &[sizes, files].concat()).await?;
        let pid = broker.pid().context("it runs")?;
        let client = broker.client("worker").await?;
        client
            .create_queue("jobs", QueueSettings::default())
            .await?;
        let ready = client.publisher("jobs").open().await?;
        ready.publish("ready").await?.await?;
        let publisher = client
            .publisher("jobs")
            .on_busy(OnBusy::Fail)
            .open()
            .await?;
        let (mut sent, mut most) = (0_u64, 0);
        let refusal = 'full: loop {
            ensure!(sent < 3_000_000, "{sent} and no end, {most} bytes");
            let mut receipts = Vec::new();
            for _ in 0..BATCH {
                // Neighbours differ, or they would be one range.
                let delay = Duration::from_secs(3_600 + sent % 2 * 60 + sent / 100);
                let message = Message::new("x").delay(delay);
                receipts.push(publisher.publish(message).await?);
                sent += 1;
            }
            for receipt in receipts {
                match receipt.await {
                    Ok(_) => {}
                    Err(Error::Refused(refusal)) => break 'full refusal,
                    Err(error) => return Err(error.into()),
                }
            }
            most = most.max(resident(pid)?);
        };
        let Refusal::Busy {
            resource, limit, ..
        } = &refusal
        else {
            anyhow::bail!("{refusal}");
        };
        ensure!(resource == "memory", "{refusal}");
        ensure!(*limit < BUDGET, "{refusal}");
        most = most.max(resident(pid)?);
        ensure!(most <= BUDGET + BUDGET / 10, "{most} bytes of {BUDGET}");
        ensure!(most >= BUDGET / 4, "{most} bytes of {BUDGET} and no room");
        eprintln!("{sent} messages, at most {most} bytes");

        let received = client.receive("jobs", ReceiveOptions::default()).await?;
        let batch = received
            .batches
            .into_iter()
            .next()
            .context("one is ready")?;
        let settled = batch.ack().await?;
        ensure!(settled.outcomes.is_empty(), "{settled:?}");

        client.delete("jobs").await?;
        client
            .create_queue("more", QueueSettings::default())
            .await?;
        let waiting = client.publisher("more").open().await?;
        within("there is room again", async {
            waiting.publish("again").await?.await
        })
        .await?;
        Ok(())
    })
}
