//! Subscriptions that end with the connection that made them, and at the latest with the broker.

use std::collections::btree_map::Entry;

use siding_protocol::request::Request;

use super::command::{Command, CreateSubscription, Delete};
use super::effect::{Effects, SessionId, Urgency};
use super::state::State;
use super::{Engine, propose};

impl State {
    /// A broker starts: no connection of before is left.
    pub(super) fn end_ephemerals(&mut self, effects: &mut Effects) {
        let ephemeral = self.subscriptions.values();
        let ephemeral = ephemeral.filter(|subscription| subscription.settings.ephemeral);
        let ended: Vec<_> = ephemeral.map(|found| (found.log, found.id)).collect();
        for (log, id) in ended {
            let subscription = Some(id);
            // It is there, so nothing is refused.
            drop(self.delete(Delete { log, subscription }, effects));
        }
    }
}

impl Engine {
    /// A connection is about to make an ephemeral subscription.
    pub(super) fn note_ephemeral(&mut self, session: SessionId, request: &Request) {
        if let Request::CreateSubscription {
            address, settings, ..
        } = request
            && settings.ephemeral
            && let Ok(log) = self.log_named(&address.name)
            && let Some(name) = &address.subscription
        {
            let key = (log.id, name.to_string());
            let asked = self.volatile.to_be_ephemeral.entry(key).or_default();
            asked.push_back(session);
        }
    }

    /// It is made, unless it was there: then it ends with whoever made it first.
    pub(super) fn follow_creation(&mut self, create: &CreateSubscription, effects: &mut Effects) {
        if !create.settings.ephemeral {
            return;
        }
        let key = (create.log, create.name.clone());
        let Entry::Occupied(mut asked) = self.volatile.to_be_ephemeral.entry(key) else {
            return;
        };
        let session = asked.get_mut().pop_front();
        if asked.get().is_empty() {
            asked.remove();
        }
        let Some(session) = session else { return };
        let log = self.state.logs.get(&create.log);
        let made = log.and_then(|log| self.state.subscription_named(log, &create.name));
        let Some(made) = made.filter(|made| made.settings.ephemeral) else {
            return;
        };
        let (log, id) = (made.log, made.id);
        let owner = *self.volatile.ephemerals.entry(id).or_insert(session);
        if !self.volatile.sessions.contains_key(&owner) {
            end(log, id, effects);
        }
    }

    /// A connection closed.
    pub(super) fn end_ephemerals(&mut self, session: SessionId, effects: &mut Effects) {
        let owned = self.volatile.ephemerals.iter();
        let owned = owned.filter(|(_, owner)| **owner == session);
        for (id, _) in owned {
            if let Some(subscription) = self.state.subscriptions.get(id) {
                end(subscription.log, *id, effects);
            }
        }
    }
}

fn end(log: u64, id: u64, effects: &mut Effects) {
    let subscription = Some(id);
    let delete = Command::Delete(Delete { log, subscription });
    propose(delete, Urgency::Awaited, effects);
}
