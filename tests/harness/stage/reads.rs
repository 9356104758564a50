//! What the engine asks of the disk, at once or late, and what there is of memory.

use siding_broker::engine::command::Entry;
use siding_broker::engine::shortage::Shortage;
use siding_protocol::types::OffsetRange;

use super::{Stage, Witness};

impl<W: Witness> Stage<W> {
    /// The disk answers reads, or lets them wait.
    pub fn set_slow_disk(&mut self, slow: bool) {
        self.slow_disk = slow;
        self.run();
    }

    /// There is plenty of memory, or it is tight, or gone.
    pub fn set_memory(&mut self, word: &str) {
        let (limit, current) = (85, 90);
        self.engine.note_shortage(match word {
            "tight" => Shortage::Tight,
            "gone" => Shortage::Memory { limit, current },
            _ => Shortage::None,
        });
        self.run();
    }

    /// Logs and ranges that are still to be read, the oldest first.
    pub fn reading(&self) -> impl Iterator<Item = (u64, &[OffsetRange])> {
        self.reads
            .iter()
            .map(|(_, log, ranges)| (*log, &ranges[..]))
    }

    /// The next one, unless the disk is slow.
    pub(super) fn next_read(&mut self) -> Option<(u64, u64, Vec<OffsetRange>)> {
        (!self.slow_disk).then(|| self.reads.pop_front()).flatten()
    }

    /// Its bodies come.
    pub(super) fn read(&mut self, (number, log, ranges): (u64, u64, Vec<OffsetRange>)) {
        let bodies = self.bodies.read(log, &ranges);
        if let Some(delivery) = self.engine.taking(number) {
            self.witness.chosen(delivery, &bodies);
        }
        self.engine
            .bodies_read(self.now, number, &bodies, &mut self.effects);
        self.perform(&Entry::default());
        self.dispatch();
    }
}
