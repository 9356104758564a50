//! Who waits for the end of which message. Volatile: whoever still wants to know asks again.

use std::collections::{BTreeMap, BTreeSet};

use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use crate::engine::effect::{Origin, SessionId};

/// A message of a subscription.
type At = (u64, Offset);

/// Everybody who waits for an end.
#[derive(Debug, Default)]
pub struct Waits {
    untils: BTreeMap<(At, Origin), Timestamp>,
    times: BTreeSet<(Timestamp, At, Origin)>,
    sessions: BTreeMap<SessionId, BTreeSet<(At, Origin)>>,
}

impl Waits {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.untils.is_empty()
    }

    /// How many a session has.
    pub fn of_session(&self, session: SessionId) -> usize {
        self.sessions.get(&session).map_or(0, BTreeSet::len)
    }

    /// Somebody waits for a message, until an instant.
    pub fn add(&mut self, until: Timestamp, at: At, origin: Origin) {
        self.remove(at, origin);
        self.untils.insert((at, origin), until);
        self.times.insert((until, at, origin));
        let session = self.sessions.entry(origin.session).or_default();
        session.insert((at, origin));
    }

    /// It waits no more.
    pub fn remove(&mut self, at: At, origin: Origin) {
        if let Some(until) = self.untils.remove(&(at, origin)) {
            self.times.remove(&(until, at, origin));
        }
        if let Some(session) = self.sessions.get_mut(&origin.session) {
            session.remove(&(at, origin));
            if session.is_empty() {
                self.sessions.remove(&origin.session);
            }
        }
    }

    /// A connection is gone.
    pub fn forget_session(&mut self, session: SessionId) {
        for (at, origin) in self.sessions.remove(&session).unwrap_or_default() {
            self.remove(at, origin);
        }
    }

    /// Who waits for messages of a range, rising.
    pub fn within(&self, subscription: u64, range: OffsetRange) -> Vec<(Offset, Vec<Origin>)> {
        let from = |offset| ((subscription, offset), FIRST);
        let mut found: Vec<(Offset, Vec<Origin>)> = Vec::new();
        if self.untils.is_empty() || range.is_empty() {
            return found;
        }
        for (((_, offset), origin), _) in self.untils.range(from(range.start)..from(range.end)) {
            match found.last_mut() {
                Some((last, origins)) if last == offset => origins.push(*origin),
                _ => found.push((*offset, vec![*origin])),
            }
        }
        found
    }

    /// When the first wait is over.
    pub fn first_due(&self) -> Option<Timestamp> {
        self.times.first().map(|(until, _, _)| *until)
    }

    /// Takes out one whose wait is over.
    pub fn take_due(&mut self, now: Timestamp) -> Option<(At, Origin)> {
        let (_, at, origin) = *self.times.first().filter(|(until, _, _)| *until <= now)?;
        self.remove(at, origin);
        Some((at, origin))
    }

    /// Takes out those who wait for subscriptions that are not `known` any more.
    pub fn take_orphans(&mut self, known: impl Fn(u64) -> bool) -> Vec<Origin> {
        let waiting = self.untils.keys();
        let orphans = waiting.filter(|((subscription, _), _)| !known(*subscription));
        let orphans: Vec<_> = orphans.copied().collect();
        for (at, origin) in &orphans {
            self.remove(*at, *origin);
        }
        orphans.into_iter().map(|(_, origin)| origin).collect()
    }
}

const FIRST: Origin = Origin {
    session: 0,
    correlation: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(session: u64, correlation: u64) -> Origin {
        Origin {
            session,
            correlation,
        }
    }

    #[test]
    fn a_wait_is_found_by_message_by_time_and_by_session() {
        let mut waits = Waits::default();
        waits.add(Timestamp(5), (1, 7), origin(1, 1));
        waits.add(Timestamp(3), (1, 7), origin(2, 1));
        waits.add(Timestamp(9), (2, 7), origin(1, 2));
        let both = vec![origin(1, 1), origin(2, 1)];
        assert_eq!(waits.within(1, 0..10), [(7, both)]);
        assert_eq!(waits.within(1, 8..10), []);
        assert_eq!(
            (waits.of_session(1), waits.first_due()),
            (2, Some(Timestamp(3)))
        );
        assert_eq!(waits.take_due(Timestamp(4)), Some(((1, 7), origin(2, 1))));
        assert_eq!(waits.take_due(Timestamp(4)), None);
        waits.forget_session(1);
        assert_eq!((waits.of_session(1), waits.first_due()), (0, None));
        assert_eq!(waits.within(1, 0..10), []);
    }
}
