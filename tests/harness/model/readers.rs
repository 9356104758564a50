//! Who waits for messages, who holds them, and the documented policy of handing over.
//!
//! The highest priority first, in it the lowest offsets; long polls before consumers, in the order they came; consumers
//! in chunks of ceil(ready / consumers with free credit), round robin; nobody past their credit,
//! nobody paused, nothing twice, and nothing left while somebody has room.

use std::collections::{BTreeMap, BTreeSet};

use siding_broker::engine::command::{Settle, SettleKind};
use siding_broker::engine::effect::{DeliverTo, Delivery, Origin};
use siding_protocol::types::Grant;

use super::again::{Again, Given};

/// Everybody who waits.
#[derive(Clone, Debug, Default)]
pub struct Readers {
    /// Attached consumers by (session, number).
    pub consumers: BTreeMap<(u64, u32), Consumer>,
    /// In the order they came.
    pub polls: Vec<Poll>,
    /// What receives that named themselves were given.
    pub given: Given,
    /// Sessions whose outbound buffer is full.
    pub paused: BTreeSet<u64>,
    reserved: BTreeSet<(u64, u64)>,
    /// Gaps that were told, by subscription and offset; the lease is not applied yet.
    told: BTreeSet<(u64, u64)>,
    rounds: BTreeMap<u64, Round>,
    last_grant: Grant,
}

/// One attached receiver.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Whose messages.
    pub subscription: u64,
    /// Messages.
    pub credit: usize,
    /// Not settled yet.
    pub held: BTreeSet<(Grant, u64)>,
}

/// One waiting receive.
#[derive(Clone, Debug)]
pub struct Poll {
    /// Whom to answer.
    pub origin: Origin,
    /// Whose messages.
    pub subscription: u64,
    /// Messages.
    pub max: usize,
    /// Its name; empty: none.
    pub request_id: Vec<u8>,
    /// What it was given before, and must get again.
    pub again: Option<Again>,
}

/// The turns of one subscription in one dispatch.
#[derive(Clone, Debug, Default)]
struct Round {
    chunk: usize,
    served: BTreeSet<(u64, u32)>,
}

impl Readers {
    /// A connection is gone.
    pub fn close(&mut self, session: u64) {
        self.consumers.retain(|(owner, _), _| *owner != session);
        self.polls.retain(|poll| poll.origin.session != session);
        self.paused.remove(&session);
    }

    /// Credit comes back for what is settled; an extend settles nothing.
    pub(super) fn free(&mut self, settle: &Settle, offsets: impl Iterator<Item = u64>) {
        if settle.kind() != SettleKind::Extend {
            let offsets: Vec<_> = offsets.collect();
            for consumer in self.consumers.values_mut() {
                for offset in &offsets {
                    consumer.held.remove(&(settle.grant(), *offset));
                }
            }
        }
    }

    /// Credit comes back for what a consumer was not given after all.
    pub(super) fn give_back(&mut self, grant: Grant, offset: u64) {
        for consumer in self.consumers.values_mut() {
            consumer.held.remove(&(grant, offset));
        }
    }

    pub(super) fn unreserve(&mut self, subscription: u64, offset: u64) {
        self.reserved.remove(&(subscription, offset));
    }

    pub(super) fn is_reserved(&self, subscription: u64, offset: u64) -> bool {
        self.reserved.contains(&(subscription, offset))
    }

    pub(super) fn forget_told(&mut self, subscription: u64, offset: u64) {
        self.told.remove(&(subscription, offset));
    }

    /// The first gap that is not being told goes with whatever is handed over.
    pub(super) fn told(&mut self, delivery: &Delivery, gaps: &BTreeSet<u64>) {
        let id = delivery.subscription;
        if delivery.ranges.is_empty() {
            return assert_eq!(delivery.gap, None, "a gap with nothing");
        }
        if self.asks_again(delivery) {
            // Told again to who asks again, and to nobody else.
            return;
        }
        let mut untold = gaps
            .iter()
            .filter(|offset| !self.told.contains(&(id, **offset)));
        let first = untold.next().copied();
        let gap = first.map(|first| {
            let rest = untold.copied();
            let end = rest
                .zip(first + 1..)
                .take_while(|(offset, next)| offset == next);
            first..first + 1 + end.count() as u64
        });
        assert_eq!(delivery.gap, gap, "the first gap");
        let told = gap.into_iter().flatten();
        self.told.extend(told.map(|offset| (id, offset)));
    }

    /// Checks one hand-over; `line` is who can go, in turn, each with its attempt.
    pub(super) fn delivered(&mut self, delivery: &Delivery, line: &[(u64, u32)], term: u64) {
        let id = delivery.subscription;
        if delivery.ranges.is_empty() {
            return self.answer_empty(delivery);
        }
        if let DeliverTo::Receive(origin) = delivery.to
            && self.gets_again(origin, delivery)
        {
            return;
        }
        let grant = delivery.grant;
        assert!(grant > self.last_grant, "{grant} after {}", self.last_grant);
        assert_eq!(grant.term, term, "a grant of this term");
        self.last_grant = grant;
        let ranges = delivery.ranges.iter();
        let taken = ranges.flat_map(|(range, attempt)| range.clone().map(|at| (at, *attempt)));
        let taken: Vec<_> = taken.collect();
        let first = line.get(..taken.len());
        assert_eq!(first, Some(&taken[..]), "the first in line");
        let most = match delivery.to {
            DeliverTo::Receive(origin) => {
                let poll = self.take_poll(origin, id);
                if !poll.request_id.is_empty() {
                    let messages = taken.clone();
                    let gap = delivery.gap.clone();
                    let again = Again {
                        grant,
                        messages,
                        gap,
                    };
                    self.given.hand_over((id, poll.request_id), again);
                }
                poll.max
            }
            DeliverTo::Consumer { session, consumer } => {
                self.take_turn((session, consumer), id, line.len())
            }
        };
        assert_eq!(
            taken.len(),
            most.min(line.len()),
            "as many as there is room for"
        );
        for (offset, _) in taken {
            self.reserved.insert((id, offset));
            if let DeliverTo::Consumer { session, consumer } = delivery.to
                && let Some(found) = self.consumers.get_mut(&(session, consumer))
            {
                found.held.insert((grant, offset));
            }
        }
    }

    fn answer_empty(&mut self, delivery: &Delivery) {
        let DeliverTo::Receive(origin) = delivery.to else {
            panic!("an empty push");
        };
        let at = self.polls.iter().position(|poll| poll.origin == origin);
        self.polls.remove(at.expect("a waiting poll"));
    }

    /// Whether it answers a request that was answered before.
    pub fn asks_again(&self, delivery: &Delivery) -> bool {
        let asked = |poll: &Poll| delivery.to == DeliverTo::Receive(poll.origin);
        self.polls
            .iter()
            .any(|poll| asked(poll) && poll.again.is_some())
    }

    /// Who asks again gets the same; whether it did.
    fn gets_again(&mut self, origin: Origin, delivery: &Delivery) -> bool {
        let at = self.polls.iter().position(|poll| poll.origin == origin);
        let Some(again) = at.and_then(|at| self.polls.get(at)?.again.clone()) else {
            return false;
        };
        let ranges = delivery.ranges.iter();
        let given = ranges.flat_map(|(range, attempt)| range.clone().map(|at| (at, *attempt)));
        let mut given: Vec<_> = given.collect();
        given.sort_unstable();
        let mut messages = again.messages;
        messages.sort_unstable();
        assert_eq!((delivery.grant, given), (again.grant, messages), "the same");
        assert_eq!(delivery.gap, again.gap, "the same gap");
        self.polls.retain(|poll| poll.origin != origin);
        true
    }

    fn take_poll(&mut self, origin: Origin, id: u64) -> Poll {
        let first = self.polls.iter().position(|poll| self.polls_now(poll, id));
        let poll = self.polls.remove(first.expect("a waiting poll"));
        assert_eq!(poll.origin, origin, "the first long poll");
        poll
    }

    fn polls_now(&self, poll: &Poll, id: u64) -> bool {
        poll.subscription == id && !self.paused.contains(&poll.origin.session)
    }

    fn take_turn(&mut self, who: (u64, u32), id: u64, free: usize) -> usize {
        let waiting = self.polls.iter().any(|poll| self.polls_now(poll, id));
        assert!(!waiting, "long polls come first");
        let willing = self.willing(id);
        assert!(willing.contains(&who), "{who:?} has no room");
        let round = self.rounds.entry(id).or_default();
        if round.chunk == 0 {
            round.chunk = free.div_ceil(willing.len());
        }
        if !round.served.insert(who) {
            assert!(
                willing.is_subset(&round.served),
                "others come before {who:?}"
            );
            round.served = BTreeSet::from([who]);
        }
        let consumer = self.consumers.get(&who).expect("willing");
        round.chunk.min(consumer.credit - consumer.held.len())
    }

    fn willing(&self, id: u64) -> BTreeSet<(u64, u32)> {
        let consumers = self.consumers.iter().filter(|((session, _), consumer)| {
            consumer.subscription == id
                && consumer.held.len() < consumer.credit
                && !self.paused.contains(session)
        });
        consumers.map(|(who, _)| *who).collect()
    }

    /// How many read, and whether one of them has room.
    pub(super) fn who_reads(&self, id: u64) -> (usize, bool) {
        let consumers = self.consumers.values();
        let consumers = consumers.filter(|consumer| consumer.subscription == id);
        let polls = self.polls.iter().filter(|poll| poll.subscription == id);
        let polled = self.polls.iter().any(|poll| self.polls_now(poll, id));
        let willing = polled || !self.willing(id).is_empty();
        (consumers.count() + polls.count(), willing)
    }

    /// Nobody who has room is left without what is ready.
    pub(super) fn assert_served(&self, id: u64, ready: impl Iterator<Item = u64>) {
        let mut free = ready.filter(|offset| !self.reserved.contains(&(id, *offset)));
        if let Some(offset) = free.next() {
            let polled = self.polls.iter().any(|poll| self.polls_now(poll, id));
            assert!(!polled, "{offset} of {id} waits although somebody polls");
            let willing = self.willing(id);
            assert!(willing.is_empty(), "{offset} of {id} waits for {willing:?}");
        }
    }

    pub(super) fn dispatched(&mut self) {
        self.rounds.clear();
    }
}
