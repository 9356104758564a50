//! Long polls: who waits until when, and what those that name themselves were given.

use std::collections::BTreeSet;

use bytes::Bytes;
use siding_protocol::types::Timestamp;

use super::Volatile;
use crate::engine::command::Lease;
use crate::engine::effect::{Delivery, Origin, SessionId};

impl Volatile {
    /// Forgets the long polls of a session: nobody waits for their answers.
    pub fn forget_polls(&mut self, session: SessionId) {
        self.waits.forget_session(session);
        let mine = |(_, _, origin): &(Timestamp, u64, Origin)| origin.session == session;
        let gone = self.polls.extract_if(.., |poll| mine(poll));
        let subscriptions: BTreeSet<_> = gone.map(|(_, id, _)| id).collect();
        for id in subscriptions {
            if let Some(readers) = self.readers.get_mut(&id) {
                readers.polls.retain(|poll| poll.origin.session != session);
            }
        }
    }

    /// Takes out the long polls whose time is up.
    pub fn take_due_polls(&mut self, now: Timestamp) -> Vec<(Timestamp, u64, Origin)> {
        let mut due = Vec::new();
        let is_due = |(until, _, _): &(Timestamp, u64, Origin)| *until <= now;
        while self.polls.first().is_some_and(is_due) {
            due.extend(self.polls.pop_first());
        }
        let subscriptions: BTreeSet<_> = due.iter().map(|(_, id, _)| *id).collect();
        for id in subscriptions {
            if let Some(readers) = self.readers.get_mut(&id) {
                readers.polls.retain(|poll| poll.until > now);
            }
        }
        for (_, _, origin) in &due {
            self.forget_poll(*origin);
        }
        due
    }

    /// A long poll is answered: it counts no more.
    pub fn forget_poll(&mut self, origin: Origin) {
        if let Some(session) = self.sessions.get_mut(&origin.session) {
            session.polls -= 1;
        }
    }

    /// A receive that names itself was given something.
    pub fn give(&mut self, request_id: Bytes, delivery: Delivery) {
        self.given
            .insert((delivery.subscription, request_id), delivery);
    }

    /// What a receive of this name was given, if the lease is not applied yet.
    pub fn given(&self, subscription: u64, request_id: &Bytes) -> Option<&Delivery> {
        self.given.get(&(subscription, request_id.clone()))
    }

    /// A lease is applied: from now on it tells itself whom it was given to.
    pub fn note_leased(&mut self, lease: &Lease) {
        if !lease.request_id.is_empty() {
            let request_id = Bytes::copy_from_slice(&lease.request_id);
            let named = (lease.subscription, request_id);
            let is_it = |given: &Delivery| given.grant == lease.grant();
            if self.given.get(&named).is_some_and(is_it) {
                self.given.remove(&named);
            }
        }
    }

    /// Takes out the long poll of this name, if it waits: its answer is asked for anew.
    pub fn take_poll(&mut self, subscription: u64, request_id: &Bytes) -> Option<Origin> {
        let polls = &mut self.readers.get_mut(&subscription)?.polls;
        let at = polls
            .iter()
            .position(|poll| poll.request_id == request_id)?;
        let poll = polls.remove(at)?;
        self.polls.remove(&(poll.until, subscription, poll.origin));
        self.forget_poll(poll.origin);
        Some(poll.origin)
    }
}
