//! When what was confirmed as written is synced: soon, whether more comes or not. Pure.

use siding_protocol::types::{Level, Timestamp};

use crate::engine::effect::Urgency;

/// What was confirmed as written and is not synced yet.
#[derive(Clone, Copy, Debug)]
pub struct Flush {
    /// When it is to be synced; `None`: nothing waits for that.
    at: Option<Timestamp>,
    interval_ms: u64,
}

impl Flush {
    /// Nothing is written yet; what is will be synced within `interval_ms`.
    pub fn new(interval_ms: u64) -> Self {
        let at = None;
        Self { at, interval_ms }
    }

    /// A group is committed. A sync covers everything before it; what somebody was told is written
    /// is synced in its time. Notes wait for no sync.
    pub fn note(&mut self, now: Timestamp, level: Level, urgency: Urgency) {
        match (level, urgency) {
            (Level::Synced, _) => self.at = None,
            (Level::Written, Urgency::Lazy) => {}
            (Level::Written, _) => {
                self.at.get_or_insert(now.plus_ms(self.interval_ms));
            }
        }
    }

    /// When a sync is due; `None`: nothing waits for one.
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }

    /// Whether a sync is due.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// Somebody waits until everything that was confirmed is synced.
    pub fn hurry(&mut self) {
        self.at = self.at.map(|_| Timestamp(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_written_confirm_sets_the_time_and_a_sync_ends_it() {
        let mut flush = Flush::new(50);
        flush.note(Timestamp(10), Level::Written, Urgency::Lazy);
        assert_eq!(flush.at(), None, "notes wait for no sync");
        flush.note(Timestamp(20), Level::Written, Urgency::Written);
        flush.note(Timestamp(60), Level::Written, Urgency::Written);
        assert!(!flush.is_due(Timestamp(69)) && flush.is_due(Timestamp(70)));
        flush.note(Timestamp(70), Level::Synced, Urgency::Written);
        flush.hurry();
        assert_eq!(flush.at(), None, "nothing waits");
    }
}
