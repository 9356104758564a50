//! A bare engine on a stage: performs effects as a shard does, with a manual clock and a journal
//! in memory whose entries are encoded and decoded, so that a replay uses the bytes.

mod reads;
mod restart;

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use siding_broker::engine::Engine;
use siding_broker::engine::command::{Command, Entry};
use siding_broker::engine::effect::{
    Delivery, Effect, Effects, Expiring, Found, Origin, SessionId, Urgency,
};
use siding_broker::engine::read::Body;
use siding_protocol::event::Answer;
use siding_protocol::refusal::Refusal;
use siding_protocol::request::Request;
use siding_protocol::types::{Grant, Level, Offset, OffsetRange, Timestamp};

use crate::bodies::{Bodies, assert_bodies_of};

/// An outcome with the position of its command.
pub type Outcome = (usize, Result<Answer, Refusal>);

/// What leaves the engine for a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A request is answered.
    Answered(Origin, Result<Answer, Refusal>),
    /// Messages are handed over.
    Delivered(Delivery),
    /// A consumer, by its connection and number, gets nothing more.
    Ended(SessionId, u32, Refusal),
    /// A consumer, by its connection and number, is asked to end what it holds.
    CancelRequested(SessionId, u32, Grant, Offset),
    /// A consumer is told that a lease is about to end.
    Expiring(Expiring),
    /// A browse is answered: log and messages.
    Browsed(Origin, u64, Vec<Found>),
}

/// Watches the engine at every step.
pub trait Witness {
    /// An entry was applied, with these outcomes; `bodies` are those still kept.
    fn applied(&mut self, engine: &Engine, entry: &Entry, outcomes: &[Outcome], bodies: &Bodies);
    /// Messages leave, before anything else happens.
    fn delivered(&mut self, delivery: &Delivery, now: Timestamp);
    /// Messages are chosen that leave once they are settled.
    fn choosing(&mut self, delivery: &Delivery, now: Timestamp);
    /// What was chosen was read.
    fn chosen(&mut self, delivery: &Delivery, bodies: &[Body]);
    /// What was chosen leaves, with the entry that settles it.
    fn delivered_read(&mut self, delivery: &Delivery);
    /// A consumer is told that a lease is about to end.
    fn expiring(&mut self, expiring: &Expiring);
    /// A consumer is asked to end what it holds.
    fn cancelling(&mut self, who: (SessionId, u32), held: (Grant, Offset));
    /// All that can be handed over was.
    fn dispatched(&mut self, engine: &Engine, now: Timestamp);
    /// The process died; the entries of the journal follow, from the first.
    fn restarted(&mut self);
}

/// Watches nothing.
impl Witness for () {
    fn applied(&mut self, _: &Engine, _: &Entry, _: &[Outcome], _: &Bodies) {}
    fn delivered(&mut self, _: &Delivery, _: Timestamp) {}
    fn choosing(&mut self, _: &Delivery, _: Timestamp) {}
    fn chosen(&mut self, _: &Delivery, _: &[Body]) {}
    fn delivered_read(&mut self, _: &Delivery) {}
    fn expiring(&mut self, _: &Expiring) {}
    fn cancelling(&mut self, _: (SessionId, u32), _: (Grant, Offset)) {}
    fn dispatched(&mut self, _: &Engine, _: Timestamp) {}
    fn restarted(&mut self) {}
}

/// When entries of nothing but notes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notes {
    /// With the next awaited command, or un-synced before time passes.
    Ride,
    /// Alone, un-synced.
    AtOnce,
    /// With the next awaited command only.
    Held,
}

/// How the process dies and comes back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crash {
    /// ms that the wall clock shows after the last instant; may be negative.
    pub downtime_ms: i64,
    /// Un-synced entries lost from the end, at most.
    pub lost_notes: usize,
    /// Groups in flight that reached the disk all the same, at most.
    pub kept_in_flight: usize,
    /// Entries that the snapshot covers, modulo those there are.
    pub snapshot_at: Option<usize>,
}

struct Proposal {
    command: Command,
    runs: Vec<Bytes>,
    from: Option<Origin>,
    urgency: Urgency,
}

struct Group {
    payload: Bytes,
    origins: Vec<Option<Origin>>,
    urgency: Urgency,
}

/// An engine, its clock, its journal and its bodies.
pub struct Stage<W: Witness = ()> {
    /// Under test.
    pub engine: Engine,
    /// Watching.
    pub witness: W,
    /// When notes are written.
    pub notes: Notes,
    /// The next group is submitted before the old one is applied.
    pub pipelined: bool,
    now: Timestamp,
    stamped: Timestamp,
    /// Before the last start.
    last_term: u64,
    open: Vec<Proposal>,
    flight: VecDeque<Group>,
    journal: Vec<Bytes>,
    synced: usize,
    /// Since when something confirmed as written waits for a sync.
    unsynced_since: Option<Timestamp>,
    bodies: Bodies,
    /// What the engine wants to read: number, log, ranges.
    reads: VecDeque<(u64, u64, Vec<OffsetRange>)>,
    /// Nothing is read meanwhile.
    slow_disk: bool,
    effects: Effects,
    events: Vec<Event>,
    prepare: Rc<dyn Fn(&mut Engine)>,
}

/// The clock of a new stage, Unix ms.
pub const BEGINNING_MS: u64 = 1_000_000;
/// What is confirmed as written is synced within so many ms.
const FLUSH_MS: u64 = 50;
/// Rounds after which an engine that does not come to rest is broken.
const ROUNDS_MAX: usize = 100_000;

impl<W: Witness> Stage<W> {
    /// A started engine.
    pub fn new(witness: W) -> Self {
        Self::prepared(witness, Rc::new(|_| {}))
    }

    /// A started engine; it and every one after it is prepared before it sees an entry.
    pub fn prepared(witness: W, prepare: Rc<dyn Fn(&mut Engine)>) -> Self {
        let mut stage = Self {
            engine: Engine::new(),
            witness,
            notes: Notes::Ride,
            pipelined: false,
            now: Timestamp(BEGINNING_MS),
            stamped: Timestamp(0),
            last_term: 0,
            open: Vec::new(),
            flight: VecDeque::new(),
            journal: Vec::new(),
            synced: 0,
            unsynced_since: None,
            bodies: Bodies::default(),
            reads: VecDeque::new(),
            slow_disk: false,
            effects: Effects::default(),
            events: Vec::new(),
            prepare,
        };
        (stage.prepare)(&mut stage.engine);
        stage.engine.start(&mut stage.effects);
        stage.run();
        stage
    }

    /// What the clock shows.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Entries in the journal.
    pub fn entries(&self) -> usize {
        self.journal.len()
    }

    /// What happened since it was last asked, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// A session asks.
    pub fn ask(&mut self, from: Origin, request: Request) {
        self.engine
            .handle(self.now, from, request, &mut self.effects);
        self.run();
    }

    /// A connection says hello; `marks_started`: it says what it begins.
    pub fn open_session(&mut self, session: SessionId, holder: &str, marks_started: bool) {
        self.engine.open_session(session, holder, marks_started);
    }

    /// A connection closes.
    pub fn close_session(&mut self, session: SessionId) {
        self.engine.close_session(session, &mut self.effects);
        self.run();
    }

    /// A connection's outbound buffer is full, or has room again.
    pub fn pause_session(&mut self, session: SessionId, paused: bool) {
        self.engine.pause_session(session, paused);
        self.run();
    }

    /// Time passes; the timer fires whenever it is due.
    pub fn advance_ms(&mut self, ms: u64) {
        self.write_notes();
        let target = self.now.plus_ms(ms);
        while let Some(due) = self.engine.next_deadline().filter(|due| *due <= target) {
            let before = (self.now, self.journal.len(), self.events.len());
            self.now = self.now.max(due);
            self.tick();
            self.write_notes();
            let after = (self.now, self.journal.len(), self.events.len());
            assert!(
                before != after || self.pipelined,
                "the timer fires for nothing"
            );
        }
        self.now = target;
        self.tick();
    }

    /// Time passes at once, as for a broker that was not given the processor.
    pub fn jump_ms(&mut self, ms: u64) {
        self.write_notes();
        self.now = self.now.plus_ms(ms);
        self.tick();
    }

    /// What is lazy waits 5 ms at most.
    fn write_notes(&mut self) {
        if self.notes == Notes::Ride {
            self.notes = Notes::AtOnce;
            self.run();
            self.notes = Notes::Ride;
        }
    }

    fn sync(&mut self) {
        self.synced = self.journal.len();
        self.unsynced_since = None;
    }

    fn tick(&mut self) {
        let waited = |since: Timestamp| self.now.ms_since(since) >= FLUSH_MS;
        if self.unsynced_since.is_some_and(waited) {
            self.sync();
        }
        self.engine.advance(self.now, &mut self.effects);
        self.run();
    }

    /// Everything in flight is committed and applied, notes too.
    pub fn flush(&mut self) {
        let (notes, pipelined) = (self.notes, self.pipelined);
        (self.notes, self.pipelined) = (Notes::AtOnce, false);
        self.run();
        (self.notes, self.pipelined) = (notes, pipelined);
    }

    fn run(&mut self) {
        self.dispatch();
        for _ in 0..ROUNDS_MAX {
            if self.wants_commit() {
                self.close_group();
            } else if self.flight.len() > usize::from(self.pipelined) {
                self.apply_oldest();
            } else if let Some(read) = self.next_read() {
                self.read(read);
            } else if self.is_overdue() {
                self.engine.advance(self.now, &mut self.effects);
                self.perform(&Entry::default());
            } else {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    /// More was due than one entry lets happen.
    fn is_overdue(&self) -> bool {
        self.engine
            .next_deadline()
            .is_some_and(|due| due <= self.now)
    }

    fn wants_commit(&self) -> bool {
        match self.notes {
            Notes::AtOnce => !self.open.is_empty(),
            Notes::Ride | Notes::Held => self.open.iter().any(|one| one.urgency > Urgency::Lazy),
        }
    }

    fn close_group(&mut self) {
        self.stamped = self.stamped.max(self.now);
        let mut entry = Entry {
            now: self.stamped,
            ..Entry::default()
        };
        let (mut origins, mut urgency) = (Vec::new(), Urgency::Lazy);
        for proposal in self.open.drain(..) {
            urgency = urgency.max(proposal.urgency);
            entry.commands.push(proposal.command);
            entry.runs.extend(proposal.runs);
            origins.push(proposal.from);
        }
        let payload = encode(&entry);
        self.flight.push_back(Group {
            payload,
            origins,
            urgency,
        });
    }

    fn apply_oldest(&mut self) {
        let Some(group) = self.flight.pop_front() else {
            return;
        };
        self.journal.push(group.payload.clone());
        let level = match group.urgency {
            Urgency::Awaited => Level::Synced,
            Urgency::Lazy | Urgency::Written => Level::Written,
        };
        match group.urgency {
            Urgency::Awaited => self.sync(),
            Urgency::Written => self.unsynced_since = self.unsynced_since.or(Some(self.now)),
            Urgency::Lazy => {}
        }
        let outcomes = self.apply(&decode(group.payload));
        for (position, mut outcome) in outcomes {
            if let Ok(answer) = &mut outcome {
                answer.committed_at(level);
            }
            let origin = group.origins.get(position).expect("a command's position");
            if let Some(origin) = origin {
                self.events.push(Event::Answered(*origin, outcome));
            }
        }
        self.dispatch();
    }

    fn apply(&mut self, entry: &Entry) -> Vec<Outcome> {
        self.engine.apply(entry, &mut self.effects);
        let outcomes = self.perform(entry);
        assert!(self.engine.state().books_balance(), "the books balance");
        self.bodies.assert_whole(self.engine.state());
        self.witness
            .applied(&self.engine, entry, &outcomes, &self.bodies);
        outcomes
    }

    fn dispatch(&mut self) {
        self.engine.dispatch(self.now, &mut self.effects);
        self.perform(&Entry::default());
        if self.engine.term() > self.last_term {
            self.witness.dispatched(&self.engine, self.now);
        }
    }

    fn perform(&mut self, entry: &Entry) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for effect in self.effects.drain() {
            match effect {
                Effect::Reply(to, answer) => self.events.push(Event::Answered(to, answer)),
                Effect::Outcome(position, answer) => outcomes.push((position, answer)),
                Effect::Propose {
                    command,
                    runs,
                    from,
                    urgency,
                } => self.open.push(Proposal {
                    command,
                    runs,
                    from,
                    urgency,
                }),
                Effect::Deliver(delivery) => {
                    for (range, _) in &delivery.ranges {
                        self.bodies.assert_holds(delivery.log, range.clone());
                    }
                    self.witness.delivered(&delivery, self.now);
                    self.events.push(Event::Delivered(delivery));
                }
                Effect::EndConsumer {
                    session,
                    consumer,
                    why,
                } => self.events.push(Event::Ended(session, consumer, why)),
                Effect::CancelRequested {
                    session,
                    consumer,
                    grant,
                    offset,
                } => {
                    self.witness
                        .cancelling((session, consumer), (grant, offset));
                    let event = Event::CancelRequested(session, consumer, grant, offset);
                    self.events.push(event);
                }
                Effect::Browsed(to, log, found) => {
                    for one in &found {
                        self.bodies.assert_holds(log, one.offset..one.offset + 1);
                    }
                    self.events.push(Event::Browsed(to, log, found));
                }
                Effect::Read {
                    number,
                    log,
                    ranges,
                } => {
                    if let Some(delivery) = self.engine.taking(number) {
                        self.witness.choosing(delivery, self.now);
                    }
                    self.reads.push_back((number, log, ranges));
                }
                Effect::DeliverRead(delivery, read) => {
                    assert_bodies_of(&delivery, &read);
                    assert_settles(entry, &delivery);
                    self.witness.delivered_read(&delivery);
                    self.events.push(Event::Delivered(delivery));
                }
                Effect::Expiring(expiring) => {
                    self.witness.expiring(&expiring);
                    self.events.push(Event::Expiring(expiring));
                }
                Effect::Place(place) => self.bodies.place(&place, entry),
                Effect::Discard { log, range } => self.bodies.discard(log, range),
            }
        }
        outcomes
    }
}

fn encode(entry: &Entry) -> Bytes {
    let mut payload = Vec::new();
    entry.encode_head(&mut payload);
    for run in &entry.runs {
        payload.extend_from_slice(run);
    }
    payload.into()
}

fn decode(payload: Bytes) -> Entry {
    Entry::decode(payload).expect("an entry just encoded").0
}

/// What leaves with its bytes was settled by the entry that was applied.
fn assert_settles(entry: &Entry, delivery: &Delivery) {
    let settles = |command: &Command| matches!(command, Command::Take(take) if take.grant() == delivery.grant);
    let is_settled = entry.commands.iter().any(settles);
    assert!(is_settled, "handed over before it is settled");
}
