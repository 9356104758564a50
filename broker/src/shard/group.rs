//! The open group: what one commit gathers, and who waits for each command of it.

use std::collections::VecDeque;

use bytes::Bytes;
use siding_protocol::types::Timestamp;

use crate::engine::command::{Command, Entry};
use crate::engine::effect::{Origin, Urgency};

/// Who waits for a command's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Whom to answer.
    pub origin: Origin,
    /// Bytes of the request, held against its connection until it is answered.
    pub charge: usize,
}

/// A closed group on its way to the disk: the entry, and a waiter or none beside each command.
#[derive(Debug)]
pub struct Pending {
    /// What is logged.
    pub entry: Entry,
    /// As many as there are commands.
    pub waiters: Vec<Option<Waiter>>,
    /// Bytes of head and runs, nearly.
    pub bytes: usize,
    /// Of its most urgent command.
    pub urgency: Urgency,
}

/// Entries hold so many times what requests are gathered up to; what the engine proposes on its own
/// (leases, returns) may fill an entry that far, and then begins another.
const ENTRY_SHARE: usize = 2;

/// Gathers commands until it is closed.
///
/// **Invariant**: an entry fits a journal record. Requests are let in as far as there is room; the
/// engine's own proposals cannot be turned away, so they are cut into as many entries as it takes.
#[derive(Debug)]
pub struct OpenGroup {
    pending: Pending,
    /// What did not fit the entry before, in order. Nearly always empty.
    later: VecDeque<Pending>,
    bytes_max: usize,
    since: Option<Timestamp>,
}

impl OpenGroup {
    /// Gathering stops once `bytes_max` are reached.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            pending: Pending::empty(),
            later: VecDeque::new(),
            bytes_max,
            since: None,
        }
    }

    /// Adds a command with the runs of its publishes.
    pub fn push(
        &mut self,
        now: Timestamp,
        command: Command,
        runs: Vec<Bytes>,
        (waiter, urgency): (Option<Waiter>, Urgency),
    ) {
        self.since.get_or_insert(now);
        let run_bytes: usize = runs.iter().map(Bytes::len).sum();
        let bytes = command.encoded_len() + run_bytes;
        let last = self.later.back().unwrap_or(&self.pending);
        if !last.is_empty() && last.bytes + bytes > ENTRY_SHARE * self.bytes_max {
            self.later.push_back(Pending::empty());
        }
        let pending = self.later.back_mut().unwrap_or(&mut self.pending);
        pending.urgency = pending.urgency.max(urgency);
        pending.bytes += bytes;
        pending.entry.runs.extend(runs);
        pending.entry.commands.push(command);
        pending.waiters.push(waiter);
    }

    /// Whether a request of `bytes` may join: there is room, and one too large to share an entry
    /// has one to itself.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.is_empty()
            || (self.later.is_empty()
                && self.pending.bytes < self.bytes_max
                && bytes < self.bytes_max)
    }

    /// Whether nothing waits to be logged.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether somebody waits for this group: it must be committed now.
    pub fn is_awaited(&self) -> bool {
        self.urgency() > Urgency::Lazy
    }

    /// Of its most urgent command.
    pub fn urgency(&self) -> Urgency {
        let later = self.later.iter().map(|later| later.urgency);
        later.fold(self.pending.urgency, Urgency::max)
    }

    /// When its first command came.
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Bytes of the entry that [`Self::close`] gives.
    pub fn bytes(&self) -> usize {
        self.pending.bytes
    }

    /// Closes its first entry, stamped `now`; what did not fit it stays open.
    pub fn close(&mut self, now: Timestamp) -> Pending {
        let next = self.later.pop_front().unwrap_or_else(Pending::empty);
        let mut pending = std::mem::replace(&mut self.pending, next);
        self.since.take_if(|_| self.pending.is_empty());
        pending.entry.now = now;
        pending
    }
}

impl Pending {
    fn empty() -> Self {
        Self {
            entry: Entry::default(),
            waiters: Vec::new(),
            bytes: 0,
            urgency: Urgency::Lazy,
        }
    }

    fn is_empty(&self) -> bool {
        self.entry.commands.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::command::{Empty, Purge};

    const NOTE: (Option<Waiter>, Urgency) = (None, Urgency::Lazy);

    fn tick() -> Command {
        Command::Tick(Empty {})
    }

    #[test]
    fn a_group_is_awaited_as_soon_as_one_of_its_commands_is() {
        let mut group = OpenGroup::new(100);
        group.push(Timestamp(5), tick(), Vec::new(), NOTE);
        assert!(!group.is_awaited());
        group.push(Timestamp(6), tick(), Vec::new(), (None, Urgency::Awaited));
        assert!(group.is_awaited());
        assert_eq!(group.since(), Some(Timestamp(5)));
        let pending = group.close(Timestamp(7));
        assert_eq!(
            (pending.entry.now, pending.waiters.len()),
            (Timestamp(7), 2)
        );
        assert!(group.is_empty() && !group.is_awaited() && group.since().is_none());
    }

    #[test]
    fn gathering_stops_at_the_limit_and_a_larger_request_is_an_entry_alone() {
        let mut group = OpenGroup::new(100);
        assert!(group.has_room_for(5_000), "alone in an empty group");
        let purge = Command::Purge(Purge {
            subscription: 1,
            limit: 0,
        });
        group.push(Timestamp(1), purge, vec![Bytes::from(vec![0; 50])], NOTE);
        assert!(group.has_room_for(10));
        assert!(!group.has_room_for(5_000));
        group.push(Timestamp(1), tick(), vec![Bytes::from(vec![0; 50])], NOTE);
        assert!(!group.has_room_for(1));
    }

    #[test]
    fn what_the_engine_proposes_beyond_an_entry_goes_to_the_next_ones_in_order() {
        let mut group = OpenGroup::new(100);
        let purge = |subscription| {
            Command::Purge(Purge {
                subscription,
                limit: 0,
            })
        };
        for subscription in 0..100 {
            let run = vec![Bytes::from(vec![0; 90])];
            let urgency = if subscription == 99 {
                Urgency::Awaited
            } else {
                Urgency::Lazy
            };
            group.push(Timestamp(1), purge(subscription), run, (None, urgency));
        }
        let mut came = Vec::new();
        while !group.is_empty() {
            assert!(group.is_awaited() && group.since().is_some() && !group.has_room_for(1));
            assert!(group.bytes() <= 200);
            let pending = group.close(Timestamp(2));
            assert_eq!(pending.entry.runs.len(), pending.entry.commands.len());
            came.extend(pending.entry.commands);
        }
        assert_eq!(came, (0..100).map(purge).collect::<Vec<_>>());
        assert!(!group.is_awaited() && group.since().is_none());
    }
}
