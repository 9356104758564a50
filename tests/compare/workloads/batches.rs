//! As fast as can be: publishing, consuming, and both at once.

use anyhow::Result;

use crate::cell::{Cell, Timing, consume_all, publish_all};
use crate::figures::Figures;

/// A run that publishes writes at most so much.
const PUBLISHED_BYTES_MAX: u64 = 4 << 30;
/// What is consumed again may lie in memory: a backlog that does not is a workload of its own.
const FILLED_BYTES_MAX: u64 = 200 << 20;
/// A queue that is drained sooner is filled and drained again, so often at most.
const DRAINS: u32 = 4;

pub(super) async fn publish(cell: &mut Cell<'_>) -> Result<Figures> {
    let most = PUBLISHED_BYTES_MAX / cell.task.size as u64;
    let once = async |cell: &Cell<'_>, count| {
        let queue = cell.create().await?;
        let publishers = cell.publishers(&queue).await?;
        let timed = cell.timed();
        publish_all(publishers, cell.task.size, count).await?;
        let timing = timed.stop(count);
        cell.conclude(&queue, count).await?;
        Ok(timing)
    };
    Ok(cell.calibrated(most, once).await?.figures())
}

pub(super) async fn consume(cell: &mut Cell<'_>) -> Result<Figures> {
    let most = FILLED_BYTES_MAX / cell.task.size as u64;
    let mut timing = cell.calibrated(most, drain).await?;
    let count = cell.known.unwrap_or(most);
    let enough = cell.seconds() / 2.0;
    for _ in 1..DRAINS {
        if timing.seconds >= enough {
            break;
        }
        timing = timing.and(&drain(cell, count).await?);
    }
    Ok(timing.figures())
}

/// Fills a queue, which is not timed, and drains it.
async fn drain(cell: &Cell<'_>, count: u64) -> Result<Timing> {
    let queue = cell.create().await?;
    publish_all(cell.publishers(&queue).await?, cell.task.size, count).await?;
    cell.ensure_left(&queue, count).await?;
    let timed = cell.timed();
    let consumers = cell.consumers(&queue).await?;
    consume_all(consumers, cell.task.size, count).await?;
    let timing = timed.stop(count);
    cell.conclude(&queue, 0).await?;
    Ok(timing)
}

pub(super) async fn together(cell: &mut Cell<'_>) -> Result<Figures> {
    let most = PUBLISHED_BYTES_MAX / cell.task.size as u64;
    let once = async |cell: &Cell<'_>, count| {
        let queue = cell.create().await?;
        let publishers = cell.publishers(&queue).await?;
        let consumers = cell.consumers(&queue).await?;
        let timed = cell.timed();
        tokio::try_join!(
            publish_all(publishers, cell.task.size, count),
            consume_all(consumers, cell.task.size, count),
        )?;
        let timing = timed.stop(count);
        cell.conclude(&queue, 0).await?;
        Ok(timing)
    };
    Ok(cell.calibrated(most, once).await?.figures())
}
