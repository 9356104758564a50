//! What a shard is told before it starts: its pace, and the machine it runs on.

use super::clock::TimeSource;
use crate::memory::MemoryGauge;
use crate::storage::Threads;

/// What of a running shard is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Journal bytes between two snapshots.
    pub checkpoint_bytes: u64,
    /// What was confirmed as written is synced within so much, ms.
    pub flush_ms: u64,
}

/// What a shard takes from the machine it runs on.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Its time.
    pub time: TimeSource,
    /// Who does what blocks.
    pub threads: Threads,
    /// Every snapshot is compared with what the shard itself would write, and a difference panics: for tests,
    /// since the core thread gathers its state for that.
    pub checks_snapshots: bool,
    /// What it has taken of its memory.
    pub memory: MemoryGauge,
}
