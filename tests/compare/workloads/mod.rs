//! What is done with every broker, one file each.

mod backlog;
mod batches;
mod fan_out;
mod latency;
mod single;

use anyhow::Result;

use crate::cell::Cell;
use crate::figures::Figures;
use crate::task::Kind;

/// Runs the cell once; its figures.
pub(crate) async fn run(cell: &mut Cell<'_>) -> Result<Figures> {
    match cell.task.kind {
        Kind::Publish => batches::publish(cell).await,
        Kind::Consume => batches::consume(cell).await,
        Kind::Together => batches::together(cell).await,
        Kind::Latency(rate) => latency::run(cell, rate).await,
        Kind::Single => single::run(cell).await,
        Kind::Shared => single::shared(cell).await,
        Kind::FanOut(readers) => fan_out::run(cell, readers).await,
        Kind::Backlog => backlog::run(cell).await,
    }
}
