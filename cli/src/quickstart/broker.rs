//! The real broker, started in this process on a real data directory.

use std::path::PathBuf;

use anyhow::Result;
use siding_broker::{Broker, Config};
use tokio::task::spawn_blocking;

/// A broker that runs until it is stopped.
pub(super) struct Running(Broker);

impl Running {
    /// Starts a broker on a free loopback port; its threads are its own.
    pub(super) async fn start(data_dir: PathBuf) -> Result<Self> {
        let start = move || Broker::start(&Config::embedded(data_dir));
        Ok(Self(spawn_blocking(start).await??))
    }

    /// Where clients connect.
    pub(super) fn url(&self) -> String {
        format!("siding://{}", self.0.addr())
    }

    /// Drains, syncs, stops.
    pub(super) async fn stop(self) -> Result<()> {
        Ok(spawn_blocking(|| self.0.stop()).await??)
    }
}
