//! Each message to every one of several readers.

use anyhow::Result;
use tokio::task::JoinSet;

use crate::cell::{Cell, consume_all, publish_all};
use crate::figures::Figures;

/// Readers that are slower than the publisher leave so much behind at most.
const PUBLISHED_BYTES_MAX: u64 = 512 << 20;

pub(super) async fn run(cell: &mut Cell<'_>, readers: usize) -> Result<Figures> {
    let most = PUBLISHED_BYTES_MAX / cell.task.size as u64;
    let once = async |cell: &Cell<'_>, count| {
        let topic = cell.create().await?;
        let publishers = cell.publishers(&topic).await?;
        let consumers = cell.consumers(&topic).await?;
        let timed = cell.timed();
        let mut running = JoinSet::new();
        for consumer in consumers {
            running.spawn(consume_all(vec![consumer], cell.task.size, count));
        }
        running.spawn(publish_all(publishers, cell.task.size, count));
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        let timing = timed.stop(count);
        cell.conclude(&topic, 0).await?;
        Ok(timing)
    };
    let mut timing = cell.calibrated(most, once).await?;
    // From here on counted where they arrive.
    timing.messages *= readers as u64;
    Ok(timing.figures())
}
