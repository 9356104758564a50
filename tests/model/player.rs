//! Plays operations on a stage that the model watches, and sees that every request is answered.

use std::collections::{BTreeMap, BTreeSet};

use siding_broker::engine::effect::{DeliverTo, Origin};
use siding_protocol::event::Answer;
use siding_protocol::limits::CREDIT_BYTES_MAX;
use siding_protocol::refusal::State;
use siding_protocol::request::{self, Action, Consume, ProducerTicket, Receive, Request};
use siding_protocol::run::ScannedRun;
use siding_protocol::settings::{DeliverySettings, QueueSettings, StartAt, TopicSettings};
use siding_protocol::types::{Address, Grant, Name, OffsetRange};
use siding_tests::bodies::run_of;
use siding_tests::model::Model;
use siding_tests::model::readers::{Consumer, Poll};
use siding_tests::stage::{Crash, Event, Notes, Stage};

use crate::operation::{Operation, Publish, Settle};

const NAMES: [&str; 4] = ["jobs", "mail", "news", "logs"];
const ADDRESSES: [&str; 5] = ["jobs", "mail", "news/a", "news/b", "logs/a"];
const TIMES_MS: [u64; 9] = [1, 4, 500, 999, 1_000, 1_001, 5_000, 31_000, 3_600_000];
const SIZES: [usize; 5] = [0, 3, 3, 100, 30_000];

/// A stage, who asked what, and what was delivered.
pub(crate) struct Player {
    stage: Stage<Model>,
    correlation: u64,
    waiting: BTreeMap<u64, u64>,
    /// Client to its open session.
    sessions: BTreeMap<u64, u64>,
    last_session: u64,
    deliveries: Vec<(Address, Grant, Vec<OffsetRange>)>,
    producers: Vec<u64>,
    sequences: BTreeMap<usize, u64>,
    runs: BTreeMap<(u32, usize), ScannedRun>,
}

impl Player {
    /// With names to publish to.
    pub(crate) fn new() -> Self {
        let mut player = Self {
            stage: Stage::new(Model::default()),
            correlation: 0,
            waiting: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            deliveries: Vec::new(),
            producers: Vec::new(),
            sequences: BTreeMap::new(),
            runs: BTreeMap::new(),
        };
        for _ in 0..3 {
            player.ask(0, Request::OpenProducer);
        }
        for (name, settings) in [(0, 0), (1, 1)] {
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
            });
        }
        player
    }

    /// One step.
    pub(crate) fn play(&mut self, operation: &Operation) {
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
            } => self.consume(*session, *number, ADDRESSES[*address], *credit),
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
            } => self.receive(*session, ADDRESSES[*address], *max, *wait),
            other => {
                if let Some((session, request)) = self.request(other) {
                    self.ask(session, request);
                }
            }
        }
        self.events();
    }

    fn request(&mut self, operation: &Operation) -> Option<(u64, Request)> {
        let mut session = 0;
        let at = |address: &usize| parse::<Address>(ADDRESSES[*address]);
        let request = match operation {
            Operation::CreateQueue { name, settings } => Request::CreateQueue {
                name: parse(NAMES[*name]),
                settings: queue_settings(*settings),
            },
            Operation::CreateTopic { name, retention } => Request::CreateTopic {
                name: parse(NAMES[*name]),
                settings: TopicSettings {
                    retention_bytes: [1 << 30, 100_000][*retention],
                },
            },
            Operation::CreateSubscription {
                address,
                settings,
                start,
            } => Request::CreateSubscription {
                address: at(&(*address).max(2)),
                settings: delivery_settings(*settings),
                start: match start {
                    0..6 => StartAt::Latest,
                    6..10 => StartAt::Earliest,
                    _ => StartAt::Offset(*start),
                },
            },
            Operation::Delete { address, whole } => {
                let mut address = at(address);
                if *whole {
                    address.subscription = None;
                }
                Request::Delete { address }
            }
            Operation::Publish(publish) => {
                let ticket = self.ticket(publish);
                let run = self.run(publish);
                let name = parse(NAMES[publish.name]);
                Request::Publish { name, ticket, run }
            }
            Operation::Settle {
                session: number,
                settle,
            } => {
                session = self.session(*number);
                Request::Settle(self.settle(settle)?)
            }
            Operation::Transaction { publishes, settles } => {
                self.transaction(publishes, settles)?
            }
            Operation::Purge { address } => Request::Purge {
                address: at(address),
            },
            Operation::Redrive { address, limit } => Request::Redrive {
                address: at(address),
                limit: *limit,
            },
            Operation::Look { address, state } => look(at(address), *state),
            _ => return None,
        };
        Some((session, request))
    }

    fn ask(&mut self, session: u64, request: Request) {
        if session == 0 {
            self.stage.open_session(0, "admin");
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
    fn session(&mut self, client: u64) -> u64 {
        if let Some(session) = self.sessions.get(&client) {
            return *session;
        }
        self.last_session += 1;
        self.sessions.insert(client, self.last_session);
        self.stage
            .open_session(self.last_session, &format!("client {client}"));
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
        mine.find(named).copied()
    }

    fn consume(&mut self, client: u64, number: u32, address: &str, credit: u32) {
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
            address: parse(address),
            consumer: number,
            credit_messages: credit,
            credit_bytes: CREDIT_BYTES_MAX,
            visibility_timeout_ms: (number == 1).then_some(2_000),
        };
        self.ask(session, Request::Consume(consume));
    }

    fn receive(&mut self, client: u64, address: &str, max: u32, wait: usize) {
        let session = self.session(client);
        let origin = self.origin(session);
        if let Some(subscription) = self.find(address) {
            self.stage.witness.readers.polls.push(Poll {
                origin,
                subscription,
                max: max as usize,
            });
        }
        let receive = Receive {
            address: parse(address),
            max_messages: max,
            max_bytes: CREDIT_BYTES_MAX,
            wait_ms: [0, TIMES_MS[wait]][usize::from(wait > 2)],
            visibility_timeout_ms: None,
        };
        self.stage.ask(origin, Request::Receive(receive));
    }

    fn ticket(&mut self, publish: &Publish) -> ProducerTicket {
        let last = self.sequences.entry(publish.producer).or_default();
        let sequence = match publish.back {
            0 => *last + 1,
            // A client that lost count, far ahead.
            1_025.. => *last + publish.back,
            back => last.saturating_sub(back) + 1,
        };
        *last = sequence.max(*last);
        ProducerTicket {
            producer: self.producers.get(publish.producer).copied().unwrap_or(1),
            sequence,
        }
    }

    fn run(&mut self, publish: &Publish) -> ScannedRun {
        let key = (publish.count, SIZES[publish.size]);
        let run = self.runs.entry(key).or_insert_with(|| run_of(key.0, key.1));
        run.clone()
    }

    fn settle(&self, settle: &Settle) -> Option<request::Settle> {
        let (address, grant, ranges) = self.deliveries.iter().rev().nth(settle.delivery)?;
        let offsets = ranges.iter().cloned().flatten().skip(settle.skip);
        let offsets = offsets.take(settle.take);
        let kept = offsets.filter(|offset| offset % settle.holes != 1);
        let mut ranges: Vec<OffsetRange> = Vec::new();
        for offset in kept {
            match ranges.last_mut() {
                Some(last) if last.end == offset => last.end += 1,
                _ => ranges.push(offset..offset + 1),
            }
        }
        let delay = [0, 1, 1_000, 5_000, 60_000][settle.delay];
        Some(request::Settle {
            address: address.clone(),
            grant: *grant,
            ranges: (!ranges.is_empty()).then_some(ranges)?,
            action: match settle.action {
                0..3 => Action::Ack,
                3 => Action::Nack { delay_ms: None },
                4 => Action::Nack {
                    delay_ms: Some(delay),
                },
                5 => Action::Release { delay_ms: delay },
                6 => Action::Reject {
                    reason: "no".to_owned(),
                },
                _ => Action::Extend {
                    remaining_ms: delay.max(1_000),
                },
            },
        })
    }

    fn transaction(&mut self, publishes: &[Publish], settles: &[Settle]) -> Option<Request> {
        let ticket = self.ticket(publishes.first()?);
        let settles = settles.iter().filter_map(|settle| self.settle(settle));
        let mut operations: Vec<_> = settles.map(request::Operation::Settle).collect();
        for publish in publishes {
            let run = self.run(publish);
            let name = parse(NAMES[publish.name]);
            operations.push(request::Operation::Publish { name, run });
        }
        Some(Request::Transaction { ticket, operations })
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
    pub(crate) fn finish(mut self) {
        self.stage.pipelined = false;
        self.stage.notes = Notes::AtOnce;
        self.stage.flush();
        self.stage.advance_ms(3_600_000);
        self.events();
        assert!(self.waiting.is_empty(), "unanswered: {:?}", self.waiting);
        let cut = self.deliveries.len() * 7;
        self.stage.assert_replays([cut].into_iter());
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

fn look(address: Address, state: usize) -> Request {
    let states = [
        State::Ready,
        State::Delayed,
        State::Leased,
        State::Dead,
        State::Settled,
    ];
    Request::Browse {
        address,
        state: states.get(state).copied(),
        from_offset: 0,
        limit: 5,
    }
}

fn delivery_settings(choice: usize) -> DeliverySettings {
    DeliverySettings {
        visibility_timeout_ms: [1_000, 30_000, 5_000][choice],
        max_attempts: [2, 10, 3][choice],
        backoff_ms: [vec![0], vec![1_000, 5_000], vec![0, 1_000]][choice].clone(),
        max_dead: [3, 100, 1][choice],
    }
}

fn queue_settings(choice: usize) -> QueueSettings {
    QueueSettings {
        delivery: delivery_settings(choice),
        max_messages: [20, 1_000, 50][choice],
        max_bytes: [1 << 30, 100_000, 700][choice],
    }
}
