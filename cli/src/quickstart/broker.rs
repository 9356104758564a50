//! The real broker, started in this process on a real data directory.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

/// A broker that runs until it is stopped.
pub(super) struct Running {
    addr: SocketAddr,
}

impl Running {
    /// Starts a broker on a free loopback port.
    pub(super) async fn start(_data_dir: &Path) -> Result<Self> {
        anyhow::bail!("no broker yet");
    }

    pub(super) fn url(&self) -> String {
        format!("siding://{}", self.addr)
    }

    /// Drains, syncs, stops.
    pub(super) async fn stop(self) -> Result<()> {
        Ok(())
    }
}
