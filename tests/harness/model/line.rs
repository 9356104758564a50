//! Who goes next, one message at a time.

use super::{Place, Subscription};

/// A ready message that may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) offset: u64,
    attempt: u32,
    priority: u32,
    /// Priorities that waiting has raised it by.
    raised: u64,
}

impl Subscription {
    /// What is ready, by offset; what has expired is passed over, whether or not an entry said so.
    pub(super) fn line(&self, now: u64) -> Vec<Candidate> {
        let ready = self.messages.iter().filter(|(_, message)| {
            let expired = message.expires_at > 0 && message.expires_at <= now;
            message.place == Place::Ready && !expired
        });
        let candidates = ready.map(|(offset, message)| Candidate {
            offset: *offset,
            attempt: message.attempts + 1,
            priority: message.priority,
            raised: match self.settings.age_step_ms {
                0 => 0,
                step => now.saturating_sub(message.ready_since) / step,
            },
        });
        candidates.collect()
    }
}

/// The oldest of each priority is asked who goes first: that of the highest priority with what waiting
/// has added; of equals the oldest.
pub(super) fn in_turn(mut line: Vec<Candidate>) -> Vec<(u64, u32)> {
    let mut turns = Vec::new();
    while !line.is_empty() {
        let heads = (0..=9).filter_map(|priority| {
            let mut alike = line.iter().filter(|one| one.priority == priority);
            alike.next().copied()
        });
        let rank = |one: &Candidate| u64::from(9 - one.priority).saturating_sub(one.raised);
        let next = heads.min_by_key(|one| (rank(one), one.offset));
        let next = next.expect("somebody waits");
        line.retain(|one| one.offset != next.offset);
        turns.push((next.offset, next.attempt));
    }
    turns
}
