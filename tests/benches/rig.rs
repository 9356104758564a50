//! A bare engine with one queue, one session and one producer, for benches: it commits what the engine
//! proposes at once, and keeps no journal and no bodies. And a whole shard on a disk, without sockets.

mod desk;

use std::collections::VecDeque;

use bytes::Bytes;
use siding_broker::engine::Engine;
use siding_broker::engine::command::Entry;
use siding_broker::engine::effect::{Effect, Effects, Origin};
use siding_broker::engine::state::State;
use siding_protocol::limits::CREDIT_BYTES_MAX;
use siding_protocol::request::{Action, ProducerTicket, Receive, Request, Settle};
use siding_protocol::run::{self, MessageFields, RunBuilder, RunLimits, ScannedRun};
use siding_protocol::settings::QueueSettings;
use siding_protocol::types::{Address, Grant, Name, OffsetRange, Timestamp};

pub use desk::{Desk, recover};

const QUEUE: &str = "jobs";
const SESSION: u64 = 1;

/// The engine and what it was asked so far.
#[derive(Debug, Default)]
pub struct Rig {
    engine: Engine,
    effects: Effects,
    now: u64,
    correlation: u64,
    sequence: u64,
    /// What was handed over and is not settled.
    held: VecDeque<(Grant, Vec<OffsetRange>)>,
}

impl Rig {
    /// An engine with a queue.
    ///
    /// # Panics
    /// The defaults are not valid.
    pub fn new() -> Self {
        Self::with(QueueSettings::parse(None).expect("defaults are valid"))
    }

    /// An engine with a queue of these settings.
    pub fn with(settings: QueueSettings) -> Self {
        let mut rig = Self {
            now: 1_000_000,
            ..Self::default()
        };
        rig.engine.start(&mut rig.effects);
        rig.commit();
        rig.engine.open_session(SESSION, "bench", false);
        rig.ask(Request::OpenProducer);
        rig.ask(Request::CreateQueue {
            name: name(),
            settings: Box::new(settings),
        });
        rig
    }

    /// What it knows.
    pub fn state(&self) -> &State {
        self.engine.state()
    }

    /// Stores one run.
    pub fn publish(&mut self, run: ScannedRun) {
        self.sequence += 1;
        let ticket = ProducerTicket {
            producer: 1,
            sequence: self.sequence,
        };
        self.ask(Request::Publish {
            name: name(),
            ticket,
            level: None,
            run,
        });
    }

    /// Hands over so many messages.
    pub fn receive(&mut self, max_messages: u32) {
        self.ask(Request::Receive(Receive {
            address: address(),
            max_messages,
            max_bytes: CREDIT_BYTES_MAX,
            wait_ms: 0,
            visibility_timeout_ms: None,
            request_id: Bytes::new(),
        }));
    }

    /// Settles one hand-over; false if there is none.
    pub fn ack(&mut self) -> bool {
        let Some((grant, ranges)) = self.held.pop_front() else {
            return false;
        };
        self.ask(Request::Settle(Settle {
            address: address(),
            grant,
            ranges,
            action: Action::Ack,
            rider: None,
        }));
        true
    }

    fn ask(&mut self, request: Request) {
        self.correlation += 1;
        let from = Origin {
            session: SESSION,
            correlation: self.correlation,
        };
        let now = Timestamp(self.now);
        self.engine.handle(now, from, request, &mut self.effects);
        self.commit();
    }

    /// Applies what is proposed, hands over, and applies the leases of that.
    fn commit(&mut self) {
        self.now += 1;
        for _ in 0..2 {
            let mut entry = Entry {
                now: Timestamp(self.now),
                ..Entry::default()
            };
            for effect in self.effects.drain() {
                match effect {
                    Effect::Propose { command, runs, .. } => {
                        entry.commands.push(command);
                        entry.runs.extend(runs);
                    }
                    Effect::Deliver(delivery) => {
                        let ranges = delivery.ranges.into_iter().map(|(range, _)| range);
                        self.held.push_back((delivery.grant, ranges.collect()));
                    }
                    _ => {}
                }
            }
            if !entry.commands.is_empty() {
                self.engine.apply(&entry, &mut self.effects);
            }
            self.engine.dispatch(Timestamp(self.now), &mut self.effects);
        }
    }
}

/// A scanned run of `count` messages of 100 bytes.
///
/// # Panics
/// It is not a run.
pub fn plain_run(count: u32) -> ScannedRun {
    run_like((0..count).map(|_| plain()))
}

/// A plain message of 100 bytes.
pub fn plain() -> MessageFields<'static> {
    MessageFields {
        body: &[b'x'; 100],
        ..MessageFields::default()
    }
}

/// A scanned run of these messages.
///
/// # Panics
/// It is not a run.
pub fn run_like<'a>(messages: impl Iterator<Item = MessageFields<'a>>) -> ScannedRun {
    let mut builder = RunBuilder::new(RunLimits::default());
    for fields in messages {
        builder.push(&fields).expect("within the limits");
    }
    run::scan(builder.take().0, RunLimits::default()).expect("built, so it passes")
}

fn name() -> Name {
    QUEUE.parse().expect("a valid name")
}

fn address() -> Address {
    QUEUE.parse().expect("a valid address")
}
