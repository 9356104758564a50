//! The open group: what one commit gathers, and who waits for each command of it.

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
}

/// Gathers commands until it is closed.
#[derive(Debug)]
pub struct OpenGroup {
    pending: Pending,
    bytes_max: usize,
    awaited: bool,
    since: Option<Timestamp>,
}

impl OpenGroup {
    /// Gathering stops once `bytes_max` are reached.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            pending: Pending::empty(),
            bytes_max,
            awaited: false,
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
        self.awaited |= urgency == Urgency::Awaited;
        let run_bytes: usize = runs.iter().map(Bytes::len).sum();
        self.pending.bytes += command.encoded_len() + run_bytes;
        self.pending.entry.runs.extend(runs);
        self.pending.entry.commands.push(command);
        self.pending.waiters.push(waiter);
    }

    /// Whether a request of `bytes` may join: there is room, and one too large to share an entry
    /// has one to itself.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.is_empty() || (self.pending.bytes < self.bytes_max && bytes < self.bytes_max)
    }

    /// Whether nothing waits to be logged.
    pub fn is_empty(&self) -> bool {
        self.pending.entry.commands.is_empty()
    }

    /// Whether somebody waits for this group: it must be committed now.
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// When its first command came.
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Bytes gathered.
    pub fn bytes(&self) -> usize {
        self.pending.bytes
    }

    /// Closes it, stamped `now`; the next one is open.
    pub fn close(&mut self, now: Timestamp) -> Pending {
        (self.awaited, self.since) = (false, None);
        let mut pending = std::mem::replace(&mut self.pending, Pending::empty());
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
        }
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
        let purge = Command::Purge(Purge { subscription: 1 });
        group.push(Timestamp(1), purge, vec![Bytes::from(vec![0; 50])], NOTE);
        assert!(group.has_room_for(10));
        assert!(!group.has_room_for(5_000));
        group.push(Timestamp(1), tick(), vec![Bytes::from(vec![0; 50])], NOTE);
        assert!(!group.has_room_for(1));
    }
}
