//! Why something does not move: the closed list of causes, what decides first.
//!
//! Nothing here has an opinion of its own: states come from the delivery state machine, order from the
//! function that selects, and what a filter says is asked of the filter.

mod message;

use siding_protocol::event::{Answer, Books, Cause, CauseCode, Explanation};
use siding_protocol::refusal::Refusal;
use siding_protocol::request::{About, MessageId};
use siding_protocol::types::{Address, Offset, OffsetRange, Timestamp};

use super::Engine;
use super::consumer::Consumer;
use super::effect::{Effects, Origin};
use super::read::{Body, Job};
use super::sift::messages;
use super::state::gone;
use super::subscription::Subscription;

/// Holders named in one cause.
const HOLDERS_TOLD: usize = 3;

/// Whether the filter passed over a message that has left is read from its body.
#[derive(Clone, Debug)]
pub(super) struct Explaining {
    origin: Origin,
    subscription: u64,
    offset: Offset,
    /// If its body is gone.
    otherwise: Explanation,
}

impl Explaining {
    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn range(&self) -> OffsetRange {
        self.offset..self.offset + 1
    }
}

impl Engine {
    /// `None`: the answer comes once a body is read.
    pub(super) fn explain(
        &mut self,
        now: Timestamp,
        origin: Origin,
        address: &Address,
        about: About,
        effects: &mut Effects,
    ) -> Result<Option<Answer>, Refusal> {
        let explanation = match about {
            About::All => self.explain_name(address).map(Some),
            About::DedupId(id) => self.explain_dedup_id(now, address, &id).map(Some),
            About::Message(offset) => {
                let address = address.clone();
                let id = MessageId { address, offset };
                let explanation = self.explain_message(now, &id)?;
                self.ask_the_filter(origin, &id, explanation, effects)
            }
        };
        Ok(explanation?.map(Answer::Explained))
    }

    /// What of a queue or subscription does not move.
    fn explain_name(&self, address: &Address) -> Result<Explanation, Refusal> {
        let subscription = self.looked_at(address)?;
        let log = self.log_named(&address.name)?;
        let books = subscription.books(log.end);
        let is_held_up = subscription.paused || books.ready > 0;
        let held_up = self.held_up(subscription).filter(|_| is_held_up);
        let mut causes: Vec<_> = held_up.into_iter().collect();
        causes.extend(counted(subscription));
        let waits = books.ready + books.delayed + books.leased > 0;
        if books.filtered > 0 && !waits {
            let text = "the filter passed them over";
            causes.push(Cause::new(CauseCode::Filtered, books.filtered, text));
        }
        let blocked = causes.iter().filter_map(Cause::ends_at);
        let next_wake = blocked.chain(subscription.next_move()).min();
        Ok(Explanation { causes, next_wake })
    }

    fn explain_dedup_id(
        &self,
        now: Timestamp,
        address: &Address,
        id: &str,
    ) -> Result<Explanation, Refusal> {
        let log = self.log_named(&address.name)?;
        let window_ms = log.dedup_window_ms();
        let hash = log.seed.hash128(id.as_bytes());
        let Some(original) = log.dedup.find(hash, window_ms, now) else {
            return Ok(Explanation::default());
        };
        let until = original.at.plus_ms(window_ms);
        let text = format!("stored before, as {}@{}", log.name, original.offset);
        let cause = Cause::new(CauseCode::Duplicate, original.offset, text);
        Ok(Explanation {
            causes: vec![cause.at(until)],
            next_wake: Some(until),
        })
    }

    /// Of a message that has left nobody noted whether the filter passed it over: if some were, its
    /// body is asked.
    fn ask_the_filter(
        &mut self,
        origin: Origin,
        id: &MessageId,
        explanation: Explanation,
        effects: &mut Effects,
    ) -> Result<Option<Explanation>, Refusal> {
        let subscription = self.looked_at(&id.address)?;
        let (log, offset) = (subscription.log, id.offset);
        let has_left = explanation
            .causes
            .iter()
            .any(|cause| cause.code == CauseCode::Settled);
        let is_known = subscription.jobs.records.get(offset).is_some();
        if subscription.filtered == 0 || !has_left || is_known {
            return Ok(Some(explanation));
        }
        self.refuse_more_looks(origin.session)?;
        let explaining = Explaining {
            origin,
            subscription: subscription.id,
            offset,
            otherwise: explanation,
        };
        let job = Job::Explain(Box::new(explaining));
        self.volatile.reads.ask(log, job, effects);
        Ok(None)
    }

    /// The body was read, if it is there still.
    pub(super) fn explain_read(
        &mut self,
        explaining: Explaining,
        bodies: &[Body],
        effects: &mut Effects,
    ) {
        let Explaining {
            origin,
            subscription,
            offset,
            otherwise,
        } = explaining;
        let Some(subscription) = self.state.subscriptions.get(&subscription) else {
            return effects.reply(origin, Err(gone()));
        };
        let text = &subscription.settings.filter;
        let filter = self.volatile.reads.filter(text);
        let read = messages(bodies).find(|(at, _)| *at == offset);
        let matches = read.zip(filter);
        let matches = matches.map(|((_, message), filter)| filter.matches_message(message));
        let cause = match matches {
            None => return effects.reply(origin, Ok(Answer::Explained(otherwise))),
            Some(false) => {
                let text = format!("it does not match: {text}");
                Cause::new(CauseCode::Filtered, 0, text)
            }
            Some(true) => {
                let books = Books {
                    filtered: 0,
                    ..subscription.books(0)
                };
                Cause::new(CauseCode::Settled, 0, exits(&books))
            }
        };
        let explanation = Explanation {
            causes: vec![cause],
            next_wake: None,
        };
        effects.reply(origin, Ok(Answer::Explained(explanation)));
    }

    /// What holds up everything that is ready.
    fn held_up(&self, subscription: &Subscription) -> Option<Cause> {
        let ready = subscription.books(0).ready;
        if subscription.paused {
            let text = "delivery is paused: resume it";
            return Some(Cause::new(CauseCode::Paused, ready, text));
        }
        if self.volatile.fences.hold(subscription.log) {
            let text = "a body cannot be read, so nothing is handed over: the log of the broker names \
                        it; stop the broker and run `siding salvage`";
            return Some(Cause::new(CauseCode::Paused, ready, text));
        }
        if !subscription.settings.forward_to.is_empty() {
            return self.forward_blocked(subscription);
        }
        let readers = self.volatile.readers.get(&subscription.id);
        let readers = readers.filter(|found| found.consumers.len() + found.polls.len() > 0);
        let Some(readers) = readers else {
            let text = "nobody reads";
            return Some(Cause::new(CauseCode::NoConsumer, ready, text));
        };
        let willing = readers.consumers.iter().any(|each| self.takes(each));
        let mut polls = readers.polls.iter().map(|poll| poll.origin.session);
        if willing || polls.any(|session| self.volatile.listens(session)) {
            return None;
        }
        let full = readers.consumers.iter().map(|each| self.window(each));
        let text = full.take(HOLDERS_TOLD).collect::<Vec<_>>().join(", ");
        let count = readers.consumers.len() + readers.polls.len();
        Some(Cause::new(CauseCode::NoCredit, count as u64, text))
    }

    /// How full the window of a consumer is.
    fn window(&self, consumer: &Consumer) -> String {
        let holder = self.volatile.holder(consumer.session);
        if !self.volatile.listens(consumer.session) {
            return format!("{holder} does not read what it is sent");
        }
        let (held, credit) = (consumer.held_messages, consumer.credit_messages);
        let (held_bytes, credit_bytes) = (consumer.held_bytes, consumer.credit_bytes);
        if held >= credit {
            format!("{holder} holds {held} messages of {credit}")
        } else {
            format!("{holder} holds {held_bytes} bytes of {credit_bytes}")
        }
    }

    /// What a subscription forwards, or its dead letters, have no place to go.
    fn forward_blocked(&self, subscription: &Subscription) -> Option<Cause> {
        let until = self.volatile.reads.blocked.get(&subscription.id)?;
        let target = self.blocked_by(subscription);
        let text = format!("{target} has no room, or is not there");
        Some(Cause::new(CauseCode::NoCredit, 1, text).at(*until))
    }
}

/// How many messages of a subscription do not move for which cause.
fn counted(subscription: &Subscription) -> impl Iterator<Item = Cause> {
    let leased = subscription.first_deadline();
    let leased = leased.map(|(until, _)| {
        let count = subscription.leased_count();
        Cause::new(CauseCode::Leased, count, "the first of these leases ends").at(until)
    });
    let delayed = subscription.delayed.first();
    let delayed = delayed.map(|(due, _)| {
        let count = subscription.delayed.count();
        Cause::new(CauseCode::NotDue, count, "the first of them is due").at(due)
    });
    let others = [
        (
            CauseCode::KeyBlocked,
            subscription.lanes.waiting().count(),
            "others of their keys go first",
        ),
        (
            CauseCode::Behind,
            subscription.unjudged.count(),
            "the filter is being asked",
        ),
        (
            CauseCode::Dead,
            subscription.dead.count(),
            "dead letters: redrive or drop them",
        ),
    ];
    let others = others.into_iter().filter(|(_, count, _)| *count > 0);
    let others = others.map(|(code, count, text)| Cause::new(code, count, text));
    leased.into_iter().chain(delayed).chain(others)
}

/// The exits that messages of a subscription took so far: one of them was this message's.
fn exits(books: &Books) -> String {
    let exits = [
        ("acked", books.settled),
        ("expired", books.expired),
        ("cancelled", books.cancelled),
        ("purged", books.purged),
        ("evicted", books.evicted),
        ("forwarded", books.forwarded),
        ("lost in a salvage", books.salvage_lost),
        ("passed over by the filter", books.filtered),
    ];
    let taken = exits.iter().filter(|(_, count)| *count > 0);
    let taken: Vec<_> = taken.map(|(exit, _)| *exit).collect();
    taken.join(" or ")
}
