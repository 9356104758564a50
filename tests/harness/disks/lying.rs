//! A disk that promised more room than it has: one write fails, and those after it seem to succeed.
//!
//! An ext4 lies in a sparse image on a small file system. The room of everything in the image that is
//! still zeros is given back and taken by somebody else, while the broker stands still; what the broker
//! writes next, into a file that was its own, cannot reach the disk.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::mount::{Mount, allocate_rest, dig_holes, make_image};
use super::worker::{Published, Worker};
use super::{Books, Waits, sizes};
use crate::accounting;
use crate::broker::{Broker, within};

const MEMORY_BYTES: u64 = 24 << 20;
const IMAGE_BYTES: u64 = 256 << 20;
const JOURNAL_FILE: &str = "1MiB";
const CHECKPOINT: &str = "4MiB";
/// Published, and some of it taken, before it goes wrong.
const PUBLISHED: u64 = 200;
const TAKEN: usize = 64;
/// Given to the publisher when the disk fails; those without an answer are sent again after it is healed.
const PUBLISHED_AFTER: u64 = 64;

/// What it came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Times the disk failed under a broker, which ended.
    pub failures: u32,
    /// What it said of it, once each.
    pub reasons: Vec<String>,
    /// Of the clients.
    pub books: Books,
}

/// Lets a disk fail so often, each time under a new broker.
///
/// # Errors
/// The harness failed, or a promise was broken: which one.
pub async fn run(rounds: u32, place: &Path, on_round: impl Fn(u32)) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for round in 0..rounds {
        let (memory, inside) = (place.join("memory"), place.join("disk"));
        std::fs::create_dir_all(&memory)?;
        std::fs::create_dir_all(&inside)?;
        let memory = Mount::tmpfs(&memory, MEMORY_BYTES)?;
        let (image, foreign) = (memory.place().join("image"), memory.place().join("foreign"));
        make_image(&image, IMAGE_BYTES)?;
        let disk = Mount::image(&image, &inside)?;
        let data = inside.join("data");
        let mut broker = Broker::start_sized(&data, &sizes(JOURNAL_FILE, CHECKPOINT)).await?;
        let client = broker.client("worker").await?;
        let mut worker = Worker::new(client, round.into()).await?;
        for _ in 0..PUBLISHED + u64::from(round) {
            ensure!(
                worker.publish().await? == Published::Confirmed,
                "a sound disk"
            );
        }
        worker.take(TAKEN, &mut Waits::default()).await?;

        broker.signal(Signal::STOP)?;
        disk.sync()?;
        dig_holes(&image)?;
        allocate_rest(&foreign)?;
        worker.note_kill(true);
        broker.signal(Signal::CONT)?;

        let filling = tokio::spawn(async move {
            let published = worker.fill(PUBLISHED_AFTER).await;
            (worker, published)
        });
        let status = within("the broker ends", broker.ended()).await?;
        ensure!(
            !status.success(),
            "the disk failed, and the broker ended with {status}"
        );
        let said = broker.log().with(&["\"ERROR\""]);
        let said = said.first().context("it does not say why it ended")?;
        outcome.reasons.push(said.clone());
        outcome.failures += 1;

        std::fs::remove_file(&foreign)?;
        drop(disk);
        let disk = Mount::image(&image, &inside)?;
        broker.restart().await?;
        let (worker, published) = filling.await?;
        ensure!(
            published? != Published::Full,
            "the journal's own room was refused as a full disk"
        );
        let books = worker.drain(&mut Waits::default()).await?;
        let report = accounting::check(&worker.records.take(), Some(books));
        outcome.books.add(&report);
        let status = broker.terminate().await?;
        ensure!(
            status.success(),
            "on a sound disk the broker ended with {status}"
        );
        drop(disk);
        on_round(round + 1);
    }
    outcome.reasons.sort();
    outcome.reasons.dedup();
    Ok(outcome)
}
