//! What the broker says of itself to those who ask whether it is well.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where the broker stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reads its snapshot and journal.
    Recovering,
    /// Serves.
    Serving,
    /// Finishes what was asked, and takes nothing new.
    Draining,
    /// Ended.
    Stopped,
}

/// Shared between the core thread, which sets it, and the admin thread, which reads it.
#[derive(Debug)]
pub struct Health(AtomicU8);

impl Default for Health {
    fn default() -> Self {
        Self(AtomicU8::new(0))
    }
}

impl Health {
    /// The broker comes to this stage.
    pub fn set(&self, stage: Stage) {
        let number = match stage {
            Stage::Recovering => 0,
            Stage::Serving => 1,
            Stage::Draining => 2,
            Stage::Stopped => 3,
        };
        self.0.store(number, Ordering::Release);
    }

    /// The checks that fail now, as text; empty: ready.
    pub fn failing(&self) -> Vec<&'static str> {
        match self.0.load(Ordering::Acquire) {
            0 => vec!["recovering: the journal is being read"],
            1 => Vec::new(),
            2 => vec!["draining: the broker is about to stop"],
            _ => vec!["stopped"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_ready_only_while_it_serves() {
        let health = Health::default();
        assert_eq!(health.failing().len(), 1);
        health.set(Stage::Serving);
        assert!(health.failing().is_empty());
        for stage in [Stage::Recovering, Stage::Draining, Stage::Stopped] {
            health.set(stage);
            assert_eq!(health.failing().len(), 1, "{stage:?}");
        }
    }
}
