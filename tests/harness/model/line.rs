//! Who goes next, one message at a time.

use super::{Message, Place, Subscription};

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
    /// What may go, by offset; what has expired is passed over, whether or not an entry said so.
    pub(super) fn line(&self, now: u64, reserved: impl Fn(u64) -> bool) -> Vec<Candidate> {
        let ready = self.messages.iter().filter(|(offset, message)| {
            let expired = (1..=now).contains(&message.expires_at);
            let goes = message.place == Place::Ready && !expired && !reserved(**offset);
            goes && message.key.is_none_or(|key| {
                let mut others = self.ready_of(key);
                self.is_turn(**offset) && !others.any(|(other, _)| reserved(other))
            })
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

    pub(super) fn ready_of(&self, key: u64) -> impl Iterator<Item = (u64, &Message)> {
        let messages = self.messages.iter();
        let alike = messages.filter(move |(_, one)| one.key == Some(key));
        let ready = alike.filter(|(_, one)| one.place == Place::Ready);
        ready.map(|(offset, one)| (*offset, one))
    }

    /// The message that keeps others of its key back.
    pub(super) fn holder(&self, key: u64) -> Option<u64> {
        let mut messages = self.messages.iter();
        let holds = messages.find(|(_, one)| one.key == Some(key) && one.holds_key);
        holds.map(|(offset, _)| *offset)
    }

    /// Whether it is this message's turn among those of its key: it has gone, or is the next to go.
    pub(super) fn is_turn(&self, offset: u64) -> bool {
        let key = self.messages.get(&offset).and_then(|one| one.key);
        let Some(key) = key else { return false };
        if let Some(holder) = self.holder(key) {
            return holder == offset;
        }
        let first = self.ready_of(key);
        let first = first.min_by_key(|(offset, one)| (9 - one.priority, *offset));
        first.is_some_and(|(first, _)| first == offset)
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
