//! The volatile half: sessions, consumers, credit, reservations. Empty after a restart.

mod polls;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use siding_protocol::request::ProducerTicket;
use siding_protocol::types::{Grant, OffsetRange, Timestamp};

use super::effect::{DeliverTo, Delivery, Origin, SessionId};
use super::fence::Fences;
use super::job::waits::Waits;
use super::notices::Notices;
use super::read::Reads;
use super::runs::RangeSet;
use super::schedule::Clock;
use super::seed::Seed;
use super::shortage::Shortage;
use super::take::Taking;
use super::touched::Touched;

/// Everything that ends with a connection.
#[derive(Debug, Default)]
pub struct Volatile {
    /// By session.
    pub sessions: BTreeMap<SessionId, Session>,
    /// By subscription: who waits for its messages.
    pub readers: BTreeMap<u64, Readers>,
    /// By grant: what consumers hold against their credit.
    held: BTreeMap<Grant, Held>,
    /// The grants of `held` by connection and consumer.
    grants: BTreeSet<(SessionId, u32, Grant)>,
    /// When consumers are told that leases are about to end.
    pub notices: Notices,
    /// What receives that named themselves were given, until the lease is applied: by subscription
    /// and id.
    given: BTreeMap<(u64, Bytes), Delivery>,
    /// Subscriptions that may have something to hand over.
    pub touched: Touched,
    /// When long polls end.
    pub polls: BTreeSet<(Timestamp, u64, Origin)>,
    /// Who waits for the end of which message.
    pub waits: Waits,
    /// When which schedule is due.
    pub clock: Clock,
    /// Publishes and transactions on their way to the log, oldest first: they come back in order.
    pub in_flight: VecDeque<ProducerTicket>,
    /// Ephemeral subscriptions, each with the connection that made it.
    pub ephemerals: BTreeMap<u64, SessionId>,
    /// Who asked for those on their way to the log, in order, by log and name.
    pub to_be_ephemeral: BTreeMap<(u64, String), VecDeque<SessionId>>,
    /// Bodies that are asked for.
    pub reads: Reads,
    /// Hand-overs whose settle is on its way to the log.
    pub(super) takes: BTreeMap<Grant, Taking>,
    /// Of the last grant of this term.
    pub last_counter: u64,
    /// Whether the `Start` is on its way: a grant of the old term could be given twice.
    pub starting: bool,
    /// What there is too little of.
    pub shortage: Shortage,
    /// Of which nothing is handed over.
    pub fences: Fences,
    /// What the seeds of new logs are drawn from.
    pub secret: Seed,
    /// Whether a `Tick` is on its way.
    pub ticking: bool,
    /// Bytes that one entry may have; `None`: any.
    pub entry_bytes_max: Option<usize>,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    /// The client instance.
    pub holder: String,
    /// It says what it begins.
    pub marks_started: bool,
    /// Gets no deliveries while its outbound buffer is full.
    pub paused: bool,
    /// By the client's number.
    pub consumers: BTreeMap<u32, Attached>,
    /// Long polls that wait.
    pub polls: usize,
}

/// What a session knows of one of its consumers.
#[derive(Clone, Copy, Debug)]
pub struct Attached {
    /// What it reads.
    pub subscription: u64,
    /// Its window.
    pub credit_bytes: u64,
}

/// Who waits for messages of one subscription, the next to be served first.
#[derive(Debug, Default)]
pub struct Readers {
    /// Attached consumers.
    pub consumers: VecDeque<Consumer>,
    /// Long polls.
    pub polls: VecDeque<Poll>,
    /// Handed over, the lease not applied yet.
    pub reserved: RangeSet,
    /// Gaps that were told, the lease not applied yet.
    pub told: RangeSet,
}

/// One attached receiver.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its connection.
    pub session: SessionId,
    /// The client's number for it.
    pub number: u32,
    /// Window in messages.
    pub credit_messages: u64,
    /// Window in bytes.
    pub credit_bytes: u64,
    /// Held against the window.
    pub held_messages: u64,
    /// Held against the window.
    pub held_bytes: u64,
    /// ms.
    pub visibility_timeout_ms: Option<u64>,
    /// What it gets is settled before.
    pub ack_on_delivery: bool,
}

/// One waiting `Receive`.
#[derive(Clone, Debug)]
pub struct Poll {
    /// Whom to answer.
    pub origin: Origin,
    /// At most.
    pub max_messages: u64,
    /// At most.
    pub max_bytes: u64,
    /// Repeated it gets the same; empty: none.
    pub request_id: Bytes,
    /// Until when.
    pub until: Timestamp,
    /// ms.
    pub visibility_timeout_ms: Option<u64>,
}

/// What a consumer holds under one grant.
#[derive(Clone, Debug)]
pub struct Held {
    /// Of which subscription.
    pub subscription: u64,
    /// The consumer's connection.
    pub session: SessionId,
    /// The client's number for it.
    pub number: u32,
    /// Not settled yet.
    pub ranges: RangeSet,
    /// Their bytes.
    pub bytes: u64,
    /// Settled before they are handed over: it is no lease that could lapse.
    taken: bool,
}

/// Room for one hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// At least 1.
    pub messages: u64,
    /// One message is handed over even if it is larger.
    pub bytes: u64,
}

impl Consumer {
    /// Free credit = window - held; the window is smaller while memory is scarce.
    pub fn room(&self, shortage: Shortage) -> Option<Room> {
        let window = |credit| shortage.window(credit);
        let messages = window(self.credit_messages).saturating_sub(self.held_messages);
        let bytes = window(self.credit_bytes).saturating_sub(self.held_bytes);
        (messages > 0 && bytes > 0).then_some(Room { messages, bytes })
    }
}

impl Session {
    /// A session of a client instance, without consumers.
    pub fn new(holder: &str, marks_started: bool) -> Self {
        Self {
            holder: holder.to_owned(),
            marks_started,
            paused: false,
            consumers: BTreeMap::new(),
            polls: 0,
        }
    }

    /// The windows of its consumers together: so much can be on its way to it.
    pub fn credit_bytes(&self) -> u64 {
        self.consumers.values().map(|each| each.credit_bytes).sum()
    }

    /// Forgets a consumer; returns what it read.
    fn forget_consumer(&mut self, number: u32) -> Option<u64> {
        Some(self.consumers.remove(&number)?.subscription)
    }
}

impl Volatile {
    /// The holder's name of a session.
    pub fn holder(&self, session: SessionId) -> &str {
        self.sessions
            .get(&session)
            .map_or("", |session| &session.holder)
    }

    /// Gives credit back for settled ranges; only a settle does, never an expiry.
    pub fn free(&mut self, grant: Grant, ranges: impl Iterator<Item = OffsetRange>) {
        let Some(held) = self.held.get_mut(&grant) else {
            return;
        };
        let before = held.ranges.count();
        let messages: u64 = ranges.map(|range| held.ranges.remove(range)).sum();
        let bytes = if messages == before {
            held.bytes
        } else {
            held.bytes * messages / before
        };
        held.bytes -= bytes;
        let (subscription, session, number) = (held.subscription, held.session, held.number);
        if held.ranges.is_empty() {
            self.held.remove(&grant);
            self.notices.forget(grant);
            self.grants.remove(&(session, number, grant));
        }
        if let Some(consumer) = self.consumer(subscription, session, number) {
            consumer.held_messages -= messages;
            consumer.held_bytes -= bytes;
            self.touched.insert(subscription);
        }
    }

    /// The consumer that got a grant, by its connection and number.
    pub fn holder_of(&self, grant: Grant) -> Option<(SessionId, u32)> {
        let held = self.held.get(&grant)?;
        Some((held.session, held.number))
    }

    /// Forgets who waits for subscriptions that are not `known` any more: their consumers, with all
    /// they hold, and their long polls.
    pub fn take_orphans(
        &mut self,
        known: impl Fn(u64) -> bool,
    ) -> Vec<(VecDeque<Consumer>, VecDeque<Poll>)> {
        let orphans = self.readers.extract_if(.., |id, _| !known(*id));
        let orphans: Vec<_> = orphans.map(|(_, readers)| readers).collect();
        for readers in &orphans {
            for consumer in &readers.consumers {
                if let Some(session) = self.sessions.get_mut(&consumer.session) {
                    session.forget_consumer(consumer.number);
                }
                self.forget_held(consumer.session, consumer.number);
            }
        }
        let gone: Vec<_> = self
            .polls
            .extract_if(.., |(_, id, _)| !known(*id))
            .collect();
        for (_, _, origin) in &gone {
            self.forget_poll(*origin);
        }
        let waiting = orphans.into_iter();
        waiting
            .map(|readers| (readers.consumers, readers.polls))
            .collect()
    }

    /// Whether a session is there and has room for what is handed over.
    pub fn listens(&self, session: SessionId) -> bool {
        self.sessions
            .get(&session)
            .is_some_and(|session| !session.paused)
    }

    fn consumer(
        &mut self,
        subscription: u64,
        session: SessionId,
        number: u32,
    ) -> Option<&mut Consumer> {
        let consumers = &mut self.readers.get_mut(&subscription)?.consumers;
        consumers
            .iter_mut()
            .find(|c| c.session == session && c.number == number)
    }

    /// Forgets a consumer; returns its subscription and the grants it still held.
    pub fn remove_consumer(
        &mut self,
        session: SessionId,
        number: u32,
    ) -> Option<(u64, Vec<Grant>)> {
        let subscription = self.sessions.get_mut(&session)?.forget_consumer(number)?;
        if let Some(readers) = self.readers.get_mut(&subscription) {
            readers
                .consumers
                .retain(|c| c.session != session || c.number != number);
            self.touched.insert(subscription);
        }
        Some((subscription, self.forget_held(session, number)))
    }

    /// Forgets what a consumer holds; returns its leases.
    fn forget_held(&mut self, session: SessionId, number: u32) -> Vec<Grant> {
        let last = Grant {
            term: u64::MAX,
            counter: u64::MAX,
        };
        let mine = (session, number, Grant::default())..=(session, number, last);
        let grants = self.grants.extract_if(mine, |_| true);
        let mut grants: Vec<_> = grants.map(|(_, _, grant)| grant).collect();
        grants.retain(|grant| {
            self.notices.forget(*grant);
            self.takes.remove(grant);
            self.held.remove(grant).is_some_and(|held| !held.taken)
        });
        grants
    }

    /// What is handed over under a grant is settled before.
    pub fn mark_taken(&mut self, grant: Grant) {
        if let Some(held) = self.held.get_mut(&grant) {
            held.taken = true;
        }
    }

    /// What a consumer holds under a grant.
    pub fn held(&self, grant: Grant) -> Option<&Held> {
        self.held.get(&grant)
    }

    /// Notes what was handed over to a consumer; a `Receive` has no credit.
    pub fn hold(
        &mut self,
        to: DeliverTo,
        grant: Grant,
        subscription: u64,
        taken: impl Iterator<Item = OffsetRange>,
        bytes: u64,
    ) {
        if let DeliverTo::Consumer {
            session,
            consumer: number,
        } = to
        {
            let ranges = taken.collect();
            self.grants.insert((session, number, grant));
            self.held.insert(
                grant,
                Held {
                    subscription,
                    session,
                    number,
                    ranges,
                    bytes,
                    taken: false,
                },
            );
        }
    }
}

impl Readers {
    /// Whether nobody waits and nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.consumers.is_empty() && self.polls.is_empty() && self.reserved.is_empty()
    }
}
