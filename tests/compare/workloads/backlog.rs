//! A deep backlog: filled, killed as by a crash, started again, drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinHandle;

use crate::bodies::{Bodies, Tally};
use crate::cell::Cell;
use crate::clock;
use crate::figures::{
    CPU, DRAIN, FILL, Figures, MESSAGES, RESIDENT, RESTART, SECONDS, float, round, whole,
};
use crate::usage;

const MESSAGES_WANTED: u64 = 5_000_000;
/// Who needs longer to take them is given fewer.
const FILL_SECONDS: f64 = 20.0;
/// Their rate is seen in steps, each twice as long.
const FIRST_STEP: u64 = 2_000;
const SEEN_SECONDS: f64 = 1.0;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The most memory a server was seen to have.
struct Watched {
    peak_kib: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

pub(super) async fn run(cell: &mut Cell<'_>) -> Result<Figures> {
    let wanted = whole(float(MESSAGES_WANTED) * cell.scale.min(1.0));
    let size = cell.task.size;
    let queue = cell.create().await?;
    let watched = Watched::start(cell.server.pid());
    let cpu = usage::cpu_seconds(cell.server.pid());
    let (count, fill) = fill(cell, &queue, wanted).await?;
    let filling_cpu = usage::cpu_seconds(cell.server.pid()) - cpu;
    let filled_mib = watched.stop();
    cell.ensure_left(&queue, count).await?;
    let began = cell.server.restart(cell.peer).await?;
    let watched = Watched::start(cell.server.pid());
    let mut consumer = cell.consumer(&queue).await?;
    let mut tally = Tally::default();
    let (mut first, mut draining) = (None, clock::now());
    while tally.count < count {
        let mut visit = |body: &[u8]| tally.note(body, size);
        consumer.take(&mut visit).await?;
        if first.is_none() {
            first = Some(clock::seconds_since(began));
            draining = clock::now();
        }
    }
    consumer.settled().await?;
    let drain = float(count) / clock::seconds_since(draining).max(1e-9);
    let seconds = clock::seconds_since(began);
    ensure!(tally == Tally::whole(count), "other messages came back");
    let cpu = filling_cpu + usage::cpu_seconds(cell.server.pid());
    cell.conclude(&queue, 0).await?;
    Ok(vec![
        (FILL, fill.round()),
        (DRAIN, drain.round()),
        (RESIDENT, round(filled_mib.max(watched.stop()))),
        (RESTART, round(first.unwrap_or_default())),
        (CPU, round(cpu / float(count) * 1e6)),
        (MESSAGES, float(count)),
        (SECONDS, round(seconds)),
    ])
}

/// Publishes as many as are wanted, or as the time allows; how many, and how many a second.
async fn fill(cell: &Cell<'_>, queue: &str, mut wanted: u64) -> Result<(u64, f64)> {
    let load = cell.load();
    let mut publisher = cell.publisher(queue).await?;
    let began = clock::now();
    let (mut done, mut step) = (0, FIRST_STEP);
    while done < wanted {
        let end = wanted.min(done + step);
        publisher.all(Bodies::new(load.size, done..end)).await?;
        done = end;
        step *= 2;
        let seconds = clock::seconds_since(began);
        if seconds > SEEN_SECONDS {
            let foreseen = whole(float(done) / seconds * FILL_SECONDS);
            wanted = wanted.min(foreseen.max(done));
        }
    }
    Ok((done, float(done) / clock::seconds_since(began).max(1e-9)))
}

impl Watched {
    fn start(pid: u32) -> Self {
        let peak_kib = Arc::new(AtomicU64::new(0));
        let peak = Arc::clone(&peak_kib);
        let task = tokio::spawn(async move {
            let mut look = tokio::time::interval(LOOK_EVERY);
            loop {
                look.tick().await;
                peak.fetch_max(usage::resident_kib(pid), Ordering::Relaxed);
            }
        });
        Self { peak_kib, task }
    }

    /// MiB.
    fn stop(self) -> f64 {
        self.task.abort();
        float(self.peak_kib.load(Ordering::Relaxed)) / 1_024.0
    }
}
