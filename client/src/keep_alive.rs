//! Keeps a lease alive while a handler works.

use std::sync::Arc;
use std::time::Duration;

use siding_protocol::request::Rider;
use siding_protocol::types::{Grant, OffsetRange};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::delivery::{self, Extended};
use crate::error::Error;
use crate::lease::Source;

/// A broker's shortest visibility timeout is twice this.
const SHORTEST: Duration = Duration::from_millis(500);

/// Extends a lease at every half of its visibility timeout until it is dropped, or the message has been
/// held for as long as its queue or subscription says (`max_hold`): then the lease runs out.
#[derive(Debug)]
#[must_use = "dropped, it stops"]
pub struct KeepAlive {
    task: JoinHandle<()>,
}

impl KeepAlive {
    pub(crate) fn start(source: Arc<Source>, grant: Grant, range: OffsetRange) -> Self {
        let task = tokio::spawn(async move {
            // An error ends it as a lost lease does: the settle that follows will tell the handler.
            drop(keep(&source, grant, range).await);
        });
        Self { task }
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(source: &Source, grant: Grant, range: OffsetRange) -> Result<(), Error> {
    let visibility = loop {
        match source.visibility().await {
            // The lease may outlive the connection: asked again on the next one.
            Err(Error::Interrupted { .. }) => {}
            known => break known?,
        }
    };
    let mut ticks = tokio::time::interval((visibility / 2).max(SHORTEST));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let held = (grant, range.clone());
        let extended = source.prolong(held, Rider::default()).await?;
        if let Extended::LeaseLost(_) = delivery::extended(&extended) {
            return Ok(());
        }
    }
}
