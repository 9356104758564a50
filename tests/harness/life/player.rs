//! Plays operations on a stage that the model watches, and sees that every request is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::choices::{ADDRESSES, TIMES_MS, parse};
use super::operation::{Operation, Publish};
use crate::model::readers::{Consumer, Poll};
use crate::model::{Coverage, Model};
use crate::stage::{Crash, Event, Notes, Stage};
use bytes::Bytes;
use siding_broker::engine::Engine;
use siding_broker::engine::effect::{DeliverTo, Origin};
use siding_protocol::event::Answer;
use siding_protocol::limits::CREDIT_BYTES_MAX;
use siding_protocol::request::{Consume, Receive, Request};
use siding_protocol::run::ScannedRun;
use siding_protocol::types::{Address, Grant, Name, OffsetRange, Timestamp};

/// A stage, who asked what, and what was delivered.
pub(super) struct Player {
    stage: Stage<Model>,
    correlation: u64,
    waiting: BTreeMap<u64, u64>,
    /// Client to its open session.
    sessions: BTreeMap<u64, u64>,
    last_session: u64,
    pub(super) deliveries: Vec<(Address, Grant, Vec<OffsetRange>)>,
    pub(super) published: Option<Publish>,
    pub(super) producers: Vec<u64>,
    pub(super) sequences: BTreeMap<usize, u64>,
    pub(super) runs: BTreeMap<(u32, usize, (usize, usize), usize), ScannedRun>,
}

impl Player {
    /// With names to publish to; `keeps`: the first of them keeps what it has settled.
    pub(super) fn new(prepare: Rc<dyn Fn(&mut Engine)>, keeps: bool) -> Self {
        let mut player = Self {
            stage: Stage::prepared(Model::default(), prepare),
            correlation: 0,
            waiting: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            deliveries: Vec::new(),
            published: None,
            producers: Vec::new(),
            sequences: BTreeMap::new(),
            runs: BTreeMap::new(),
        };
        for _ in 0..3 {
            player.ask(0, Request::OpenProducer);
        }
        for (name, settings) in [(0, if keeps { 3 } else { 0 }), (1, 1)] {
            player.play(&Operation::CreateQueue { name, settings });
        }
        for (name, retention) in [(2, 0), (3, 1)] {
            player.play(&Operation::CreateTopic { name, retention });
        }
        for address in 2..5 {
            player.play(&Operation::CreateSubscription {
                address,
                settings: address % 3,
                start: 0,
                filter: address % 2,
            });
        }
        player
    }

    /// The entries of the stage, once nothing is under way.
    pub(super) fn journal(&mut self) -> Vec<Bytes> {
        self.stage.flush();
        self.stage.journal().to_vec()
    }

    /// What the clock shows.
    pub(super) fn now(&self) -> Timestamp {
        self.stage.now()
    }

    /// One step.
    pub(super) fn play(&mut self, operation: &Operation) {
        match operation {
            Operation::Close { session } => self.close(*session),
            Operation::Pause { session, paused } => {
                let session = self.session(*session);
                let readers = &mut self.stage.witness.readers;
                if *paused {
                    readers.paused.insert(session);
                } else {
                    readers.paused.remove(&session);
                }
                self.stage.pause_session(session, *paused);
            }
            Operation::Advance { ms } => self.stage.advance_ms(TIMES_MS[*ms]),
            Operation::Jump { ms } => self.stage.jump_ms(TIMES_MS[*ms]),
            Operation::Notes { mode } => {
                self.stage.notes = [Notes::Ride, Notes::AtOnce, Notes::Held][*mode];
            }
            Operation::Pipeline { on } => self.stage.pipelined = *on,
            Operation::Disk { slow } => self.stage.set_slow_disk(*slow),
            Operation::Flush => self.stage.flush(),
            Operation::Restart {
                downtime,
                lost,
                kept,
                snapshot,
            } => self.restart(*downtime, *lost, *kept, *snapshot),
            Operation::Consume {
                session,
                number,
                address,
                credit,
                at_most_once,
            } => {
                let who = (*session, *number);
                self.consume(who, ADDRESSES[*address], *credit, *at_most_once);
            }
            Operation::Stop { session, number } => {
                let session = self.session(*session);
                let who = (session, *number);
                self.stage.witness.readers.consumers.remove(&who);
                self.ask(session, Request::StopConsume { consumer: *number });
            }
            Operation::Receive {
                session,
                address,
                max,
                wait,
                request_id,
            } => self.receive(*session, ADDRESSES[*address], (*max, *wait), *request_id),
            other => {
                if let Operation::PublishAgain { after } = other {
                    self.stage.advance_ms(TIMES_MS[*after]);
                    self.events();
                }
                if let Some((session, request)) = self.request(other) {
                    self.ask(session, request);
                }
            }
        }
        self.events();
    }

    fn ask(&mut self, session: u64, request: Request) {
        if session == 0 {
            self.stage.open_session(0, "admin", false);
        }
        let origin = self.origin(session);
        self.stage.ask(origin, request);
        self.events();
    }

    fn origin(&mut self, session: u64) -> Origin {
        self.correlation += 1;
        self.waiting.insert(self.correlation, session);
        Origin {
            session,
            correlation: self.correlation,
        }
    }

    /// The open session of a client; the number of a session is never used again.
    pub(super) fn session(&mut self, client: u64) -> u64 {
        if let Some(session) = self.sessions.get(&client) {
            return *session;
        }
        self.last_session += 1;
        self.sessions.insert(client, self.last_session);
        // The third one says what it begins.
        let name = format!("client {client}");
        self.stage
            .open_session(self.last_session, &name, client == 3);
        self.last_session
    }

    fn close(&mut self, client: u64) {
        let session = self.session(client);
        self.sessions.remove(&client);
        self.stage.witness.readers.close(session);
        self.waiting.retain(|_, owner| *owner != session);
        self.stage.close_session(session);
    }

    fn restart(&mut self, downtime: usize, lost: usize, kept: usize, snapshot: Option<usize>) {
        let downtime = i64::try_from(TIMES_MS[downtime]).expect("short");
        self.waiting.clear();
        self.sessions.clear();
        self.stage.restart(Crash {
            downtime_ms: if kept == 2 { -downtime } else { downtime },
            lost_notes: lost,
            kept_in_flight: kept,
            snapshot_at: snapshot,
        });
    }

    /// Where the subscription at an address is now.
    fn find(&self, address: &str) -> Option<u64> {
        let state = self.stage.engine.state();
        let (name, subscription) = address
            .split_once('/')
            .map_or((address, None), |(n, s)| (n, Some(s)));
        let log = state.logs.get(state.names.get(name)?)?;
        let mut mine = log.subscriptions.iter();
        let named = |id: &&u64| {
            state
                .subscriptions
                .get(id)
                .is_some_and(|s| s.name.as_deref() == subscription)
        };
        let is_read = |id: &u64| {
            let found = state.subscriptions.get(id);
            found.is_some_and(|found| found.settings.forward_to.is_empty())
        };
        mine.find(named).copied().filter(is_read)
    }

    fn consume(
        &mut self,
        (client, number): (u64, u32),
        address: &str,
        credit: u32,
        ack_on_delivery: bool,
    ) {
        let session = self.session(client);
        let who = (session, number);
        let readers = &self.stage.witness.readers;
        if let Some(subscription) = self.find(address)
            && !readers.consumers.contains_key(&who)
        {
            let consumer = Consumer {
                subscription,
                credit: credit as usize,
                held: BTreeSet::new(),
            };
            self.stage.witness.readers.consumers.insert(who, consumer);
        }
        let consume = Consume {
            ack_on_delivery,
            address: parse(address),
            consumer: number,
            credit_messages: credit,
            credit_bytes: CREDIT_BYTES_MAX,
            visibility_timeout_ms: (number == 1).then_some(2_000),
        };
        self.ask(session, Request::Consume(consume));
    }

    fn receive(
        &mut self,
        client: u64,
        address: &str,
        (max, wait): (u32, usize),
        request_id: usize,
    ) {
        let request_id: &'static [u8] = &b"xxx"[..request_id];
        let session = self.session(client);
        let origin = self.origin(session);
        if let Some(subscription) = self.find(address) {
            let named = (subscription, request_id.to_vec());
            let again = self.stage.witness.again(&named, self.stage.now().0);
            self.stage.witness.readers.polls.push(Poll {
                request_id: named.1,
                again,
                origin,
                subscription,
                max: max as usize,
            });
        }
        let receive = Receive {
            request_id: Bytes::from_static(request_id),
            address: parse(address),
            max_messages: max,
            max_bytes: CREDIT_BYTES_MAX,
            wait_ms: [0, TIMES_MS[wait]][usize::from(wait > 2)],
            visibility_timeout_ms: None,
        };
        self.stage.ask(origin, Request::Receive(receive));
    }

    /// Every request is answered once; deliveries are remembered, to be settled.
    fn events(&mut self) {
        for event in self.stage.take_events() {
            match event {
                Event::Answered(origin, answer) => {
                    if let Ok(Answer::ProducerOpened(id)) = answer {
                        self.producers.push(id);
                    }
                    if answer.is_err() {
                        let polls = &mut self.stage.witness.readers.polls;
                        polls.retain(|poll| poll.origin != origin);
                    }
                    self.answered(origin);
                }
                Event::Ended(session, consumer, _) => {
                    let consumers = &mut self.stage.witness.readers.consumers;
                    let ended = consumers.remove(&(session, consumer));
                    let ended = ended.expect("an attached consumer");
                    let known = &self.stage.engine.state().subscriptions;
                    assert!(!known.contains_key(&ended.subscription), "it is there");
                }
                Event::Browsed(origin, _, _) => self.answered(origin),
                Event::CancelRequested(..) | Event::Expiring(_) => {}
                Event::Delivered(delivery) => {
                    if let DeliverTo::Receive(origin) = delivery.to {
                        self.answered(origin);
                    }
                    let ranges = delivery.ranges.into_iter().map(|(range, _)| range);
                    if let Some(address) = self.address(delivery.subscription) {
                        let ranges = ranges.collect();
                        self.deliveries.push((address, delivery.grant, ranges));
                    }
                }
            }
        }
    }

    fn answered(&mut self, origin: Origin) {
        // Awaited by a connection that closed meanwhile: the shard drops it.
        let mut open = self.sessions.values();
        if origin.session == 0 || open.any(|session| *session == origin.session) {
            let waited = self.waiting.remove(&origin.correlation);
            assert!(waited.is_some(), "{origin:?} is answered twice");
        }
    }

    fn address(&self, id: u64) -> Option<Address> {
        let state = self.stage.engine.state();
        let subscription = state.subscriptions.get(&id)?;
        let name: Name = parse(&state.logs.get(&subscription.log)?.name);
        Some(Address {
            name,
            subscription: subscription.name.as_deref().map(parse),
        })
    }

    /// Everything is answered in the end, and the journal gives the same again.
    pub(super) fn finish(mut self) -> Coverage {
        self.stage.pipelined = false;
        self.stage.notes = Notes::AtOnce;
        self.stage.set_slow_disk(false);
        self.stage.flush();
        let mut subscriptions = self.stage.engine.state().subscriptions.values();
        let is_judged = subscriptions.all(|subscription| subscription.unjudged.is_empty());
        assert!(is_judged, "a filter has not been asked");
        self.stage.advance_ms(3_600_000);
        self.events();
        self.stage.witness.assert_fired();
        assert!(self.waiting.is_empty(), "unanswered: {:?}", self.waiting);
        let cut = self.deliveries.len() * 7;
        self.stage.assert_replays([cut].into_iter());
        self.stage.witness.coverage
    }
}
