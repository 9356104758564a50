//! Why a message does not move, counted one by one.

use siding_broker::engine::Engine;
use siding_protocol::event::{Cause, CauseCode};
use siding_protocol::request::MessageId;
use siding_protocol::types::Timestamp;

use super::line::in_turn;
use super::{Message, Model, Place, Subscription};

/// Cause, number, and instant if there is one.
type Why = (CauseCode, u64, Option<u64>);

/// Dispatches from one question to the next.
const ASKED_EVERY: u64 = 7;

impl Model {
    /// Asks the engine about one message after the other, each time another one.
    pub(super) fn compare_explanation(&mut self, engine: &Engine, now: u64) {
        self.explained += 1;
        // A line is counted one by one; asked each time it would be most of what a life costs.
        if !self.explained.is_multiple_of(ASKED_EVERY) {
            return;
        }
        let count = self.subscriptions.len().max(1);
        let turn = usize::try_from(self.explained).expect("small") % count;
        let Some((id, subscription)) = self.subscriptions.iter().nth(turn) else {
            return;
        };
        let log = self.logs.get(&subscription.log).expect("its log");
        let published = log.end.saturating_sub(subscription.start).max(1);
        let offset = subscription.start + self.explained / 3 % published;
        let name = match &subscription.name {
            None => log.name.clone(),
            Some(name) => format!("{}/{name}", log.name),
        };
        let address = name.parse().expect("an address");
        let asked = MessageId { address, offset };
        let Ok(answer) = engine.explain_message(Timestamp(now), &asked) else {
            assert_eq!(subscription.start, log.end, "{name}@{offset} is there");
            return;
        };
        let why = |cause: &Cause| (cause.code, cause.number, cause.at.map(|at| at.0));
        let found: Vec<_> = answer.causes.iter().map(why).collect();
        let found = without_forwarding(subscription, found);
        let expected = self.why(*id, subscription, offset, now);
        assert_eq!(expected, found, "why {name}@{offset} does not move");
    }

    fn why(&self, id: u64, subscription: &Subscription, offset: u64, now: u64) -> Vec<Why> {
        let Some(message) = subscription.messages.get(&offset) else {
            let ended = subscription.ended.get(&offset);
            let known = ended.map(|ended| (u64::from(ended.attempts), ended.at));
            let (attempts, at) = known.unzip();
            return vec![(CauseCode::Settled, attempts.unwrap_or(0), at)];
        };
        let attempts = u64::from(message.attempts);
        // Sought back while it was on its way to somebody, it waits for that first.
        let waits = matches!(message.place, Place::Ready | Place::Unjudged(_));
        if waits && self.readers.is_reserved(id, offset) {
            return vec![(CauseCode::Leased, attempts + 1, None)];
        }
        let held_up = self.held_up(id, subscription);
        let behind = match &message.place {
            Place::Leased { deadline, .. } => {
                return vec![(CauseCode::Leased, attempts + 1, Some(*deadline))];
            }
            Place::Dead { at, .. } => return vec![(CauseCode::Dead, attempts, Some(*at))],
            Place::Delayed(due, _) => {
                let also = held_up.filter(|(code, ..)| *code != CauseCode::NoCredit);
                let not_due = (CauseCode::NotDue, attempts, Some(*due));
                return [not_due].into_iter().chain(also).collect();
            }
            Place::Unjudged(_) => {
                let before = subscription.messages.range(..offset);
                let before = before.filter(|(_, one)| matches!(one.place, Place::Unjudged(_)));
                Some((CauseCode::Behind, before.count() as u64, None))
            }
            Place::Ready => self.behind(id, subscription, (offset, message), now),
        };
        held_up.into_iter().chain(behind).collect()
    }

    fn behind(
        &self,
        id: u64,
        subscription: &Subscription,
        (offset, message): (u64, &Message),
        now: u64,
    ) -> Option<Why> {
        let reserved = |offset| self.readers.is_reserved(id, offset);
        if let Some(key) = message.key
            && !subscription.is_turn(offset)
        {
            let head = subscription.first_of(key)?;
            return Some((CauseCode::KeyBlocked, head, subscription.moves_at(head)));
        }
        let others = message.key.into_iter();
        let mut others = others.flat_map(|key| subscription.ready_of(key));
        if let Some((other, _)) = others.find(|(other, _)| reserved(*other)) {
            return Some((CauseCode::KeyBlocked, other, None));
        }
        let line = in_turn(subscription.line(now, reserved));
        let place = line.iter().position(|(other, _)| *other == offset);
        match place {
            None => Some((CauseCode::Settled, 0, Some(message.expires_at))),
            Some(0) => None,
            Some(before) => Some((CauseCode::Behind, before as u64, None)),
        }
    }

    fn held_up(&self, id: u64, subscription: &Subscription) -> Option<Why> {
        let waits = |one: &&Message| matches!(one.place, Place::Ready | Place::Unjudged(_));
        let ready = subscription.messages.values().filter(waits).count() as u64;
        if subscription.paused {
            return Some((CauseCode::Paused, ready, None));
        }
        if !subscription.settings.forward_to.is_empty() {
            return None;
        }
        match self.readers.who_reads(id) {
            (0, _) => Some((CauseCode::NoConsumer, ready, None)),
            (readers, false) => Some((CauseCode::NoCredit, readers as u64, None)),
            (_, true) => None,
        }
    }
}

impl Subscription {
    /// The message of a key that has it, or is the next to.
    fn first_of(&self, key: u64) -> Option<u64> {
        let mut ready = self.ready_of(key).map(|(offset, _)| offset);
        self.holder(key)
            .or_else(|| ready.find(|offset| self.is_turn(*offset)))
    }

    /// When time moves it.
    fn moves_at(&self, offset: u64) -> Option<u64> {
        match &self.messages.get(&offset)?.place {
            Place::Leased { deadline, .. } => Some(*deadline),
            Place::Delayed(due, _) => Some(*due),
            _ => None,
        }
    }
}

/// What it forwards to has no room: of that the model knows nothing.
fn without_forwarding(subscription: &Subscription, mut found: Vec<Why>) -> Vec<Why> {
    if !subscription.settings.forward_to.is_empty() {
        found.retain(|(code, ..)| *code != CauseCode::NoCredit);
    }
    found
}
