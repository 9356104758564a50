//! One publish in flight for each caller, over connections of their own or all over one.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::bodies::Bodies;
use crate::cell::Cell;
use crate::clock;
use crate::figures::{Figures, P50, P99, round};
use crate::latency::Latency;
use crate::peer::Publish;

/// Before the clocks start.
const WARM_UP: f64 = 0.2;

pub(super) async fn run(cell: &mut Cell<'_>) -> Result<Figures> {
    let queue = cell.create().await?;
    let publishers = cell.publishers(&queue).await?;
    measure(cell, &queue, publishers).await
}

pub(super) async fn shared(cell: &mut Cell<'_>) -> Result<Figures> {
    let queue = cell.create().await?;
    let publishers = cell.sharing(&queue).await?;
    measure(cell, &queue, publishers).await
}

async fn measure(
    cell: &Cell<'_>,
    queue: &str,
    publishers: Vec<Box<dyn Publish>>,
) -> Result<Figures> {
    let warm_up = Duration::from_secs_f64(WARM_UP * cell.scale);
    let (warm, publishers, _) = for_a_while(publishers, cell.task.size, warm_up).await?;
    let timed = cell.timed();
    let length = Duration::from_secs_f64(cell.seconds());
    let (count, publishers, latency) = for_a_while(publishers, cell.task.size, length).await?;
    let timing = timed.stop(count);
    drop(publishers);
    cell.conclude(queue, warm + count).await?;
    let mut figures = timing.figures();
    figures.push((P50, round(latency.micros(0.5))));
    figures.push((P99, round(latency.micros(0.99))));
    Ok(figures)
}

/// Every publisher, one after the other, for so long: how many in all, and how long one took.
async fn for_a_while(
    publishers: Vec<Box<dyn Publish>>,
    size: usize,
    length: Duration,
) -> Result<(u64, Vec<Box<dyn Publish>>, Latency)> {
    let end = clock::now() + length;
    let mut running = JoinSet::new();
    for publisher in publishers {
        running.spawn(one_by_one(publisher, size, end));
    }
    let (mut all, mut publishers, mut latency) = (0, Vec::new(), Latency::new()?);
    while let Some(ended) = running.join_next().await {
        let (count, publisher, share) = ended??;
        all += count;
        publishers.push(publisher);
        latency.add(&share)?;
    }
    Ok((all, publishers, latency))
}

async fn one_by_one(
    mut publisher: Box<dyn Publish>,
    size: usize,
    end: Instant,
) -> Result<(u64, Box<dyn Publish>, Latency)> {
    let mut latency = Latency::new()?;
    let mut bodies = Bodies::new(size, 0..u64::MAX);
    let (mut count, mut sent) = (0, clock::now());
    while let Some(body) = bodies.next_body()
        && sent < end
    {
        publisher.one(body).await?;
        let now = clock::now();
        latency.record(now.saturating_duration_since(sent));
        sent = now;
        count += 1;
    }
    Ok((count, publisher, latency))
}
