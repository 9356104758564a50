//! What is different about messages: what the publisher said, and what happened since.

use siding_protocol::limits::PRIORITY_DEFAULT;
use siding_protocol::types::{OffsetRange, Timestamp};

use super::Subscription;

/// What the publisher said about messages. Most are plain, and those take no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// 9 goes first.
    pub priority: u8,
    /// Leaves when it is not leased then; 0: never.
    pub expires_at: Timestamp,
}

impl Default for Attributes {
    #[expect(clippy::cast_possible_truncation, reason = "at most 9")]
    fn default() -> Self {
        Self {
            priority: PRIORITY_DEFAULT as u8,
            expires_at: Timestamp(0),
        }
    }
}

/// What happened to messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// Charged so far.
    pub attempts: u32,
    /// Handings-over that charged no attempt.
    pub acquires: u32,
    /// Delayed until; 0: not delayed.
    pub due: Timestamp,
}

impl Exception {
    /// Whether it says that messages are delayed.
    pub fn is_delayed(&self) -> bool {
        self.due > Timestamp(0)
    }
}

impl Subscription {
    /// The whole of `range`, cut where exceptions differ; plain messages have the default.
    pub fn exceptions_of(&self, range: OffsetRange) -> Vec<(OffsetRange, Exception)> {
        let mut parts: Vec<_> = self
            .exceptions
            .overlap(range.clone())
            .map(|(part, e)| (part, *e))
            .collect();
        let plain = self.exceptions.gaps(range).into_iter();
        parts.extend(plain.map(|part| (part, Exception::default())));
        parts.sort_unstable_by_key(|(part, _)| part.start);
        parts
    }

    /// Replaces the exceptions of `range`; a default one takes no room.
    pub fn set_exception(&mut self, range: OffsetRange, exception: Exception) {
        if exception == Exception::default() {
            self.exceptions.remove(range);
        } else {
            self.exceptions.insert(range, exception);
        }
    }

    /// Changes what is exceptional in `range`; plain messages stay plain.
    pub fn edit_exceptions(&mut self, range: OffsetRange, edit: impl Fn(&mut Exception)) {
        let parts: Vec<_> = self
            .exceptions
            .overlap(range)
            .map(|(part, e)| (part, *e))
            .collect();
        for (part, mut exception) in parts {
            edit(&mut exception);
            self.set_exception(part, exception);
        }
    }

    /// Replaces what the publisher said about `range`; what is plain takes no room.
    pub fn set_attributes(&mut self, range: OffsetRange, attributes: Attributes) {
        if attributes == Attributes::default() {
            self.attributes.remove(range);
        } else {
            self.attributes.insert(range, attributes);
        }
    }

    /// Messages have left: nothing about them is kept.
    pub fn forget(&mut self, range: OffsetRange) {
        self.jobs.forget(range.clone());
        self.exceptions.remove(range.clone());
        self.attributes.remove(range.clone());
        self.lapsed.remove(range.clone());
        self.words.forget(range.clone());
        self.generations.remove(range.clone());
        self.leave_lanes(range);
    }
}
