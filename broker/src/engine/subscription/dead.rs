//! Dead letters: a state of messages with a reason, and back from it.

use siding_protocol::types::{OffsetRange, Timestamp};

use super::{Context, Subscription};
use crate::engine::log::Change;
use crate::engine::planted::Bug;

/// Why messages are dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Reason {
    /// Charged as often as allowed.
    MaxAttempts = 1,
    /// A consumer said so.
    Rejected = 2,
}

impl Reason {
    /// The name in documents and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxAttempts => "max_attempts",
            Self::Rejected => "rejected",
        }
    }
}

/// A dead letter's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
    /// The words of the reject.
    pub detail: String,
}

impl Subscription {
    /// Messages in nobody's hands become dead letters; past `max_dead` the oldest leave.
    pub fn die(&mut self, range: OffsetRange, death: Death, context: &mut Context<'_>) {
        self.deaths.insert(death.at, range.clone());
        self.dead.insert(range.clone(), death);
        context.changes.push(Change::Died(range.clone()));
        while self.dead.count() > self.settings.max_dead {
            let Some((_, oldest)) = self.deaths.first() else {
                break;
            };
            let excess = self.dead.count() - self.settings.max_dead;
            let oldest = oldest.start..oldest.end.min(oldest.start + excess);
            self.bury(oldest.clone());
            self.forget(oldest.clone());
            self.evicted += oldest.end - oldest.start;
            context.changes.push(Change::DeadGone(oldest));
        }
        if self.planted.has(Bug::DeadLetterDropped) && range.end - range.start > 1 {
            let last = range.end - 1..range.end;
            self.bury(last.clone());
            self.forget(last.clone());
            self.evicted += 1;
            context.changes.push(Change::DeadGone(last));
        }
    }

    /// Takes `range`, all dead, out of the dead letters.
    pub fn bury(&mut self, range: OffsetRange) {
        let parts: Vec<_> = self
            .dead
            .overlap(range.clone())
            .map(|(part, death)| (part, death.at))
            .collect();
        for (part, at) in parts {
            self.deaths.remove(at, &part);
        }
        self.dead.remove(range);
    }

    /// Dead letters back to ready at their old place, attempts 0: at most `limit` (0: all), the
    /// lowest offsets first.
    pub fn redrive(&mut self, limit: u64, context: &mut Context<'_>) -> u64 {
        let mut left = if limit == 0 { u64::MAX } else { limit };
        let before = left;
        let mut chosen = Vec::new();
        for (range, _) in self.dead.iter() {
            let part = range.start..range.end.min(range.start.saturating_add(left));
            left -= part.end - part.start;
            chosen.push(part);
            if left == 0 {
                break;
            }
        }
        for range in chosen {
            self.bury(range.clone());
            // A lapsed grant may still settle late, until the message is delivered again.
            self.edit_exceptions(range.clone(), |exception| exception.attempts = 0);
            self.make_ready(range.clone());
            context.changes.push(Change::Revived(range));
        }
        before - left
    }
}
