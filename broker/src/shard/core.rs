//! The pure middle of a shard: what comes in goes to the engine's doors, what the engine says is
//! sorted into the open group (to be logged) and deeds (to be done). No IO, no async, no clock.
//!
//! ```text
//! input ──► handle ──┬──► open group ──close──► (disk) ──committed──► apply ─► dispatch
//!                    └──► deeds ◄──────────────────────────────────────┴─────────┘
//! ```

use bytes::BytesMut;
use siding_protocol::event::Answer;
use siding_protocol::refusal::Refusal;
use siding_protocol::request::Request;
use siding_protocol::types::{Grant, Level, Offset, OffsetRange, Timestamp};

use super::group::{OpenGroup, Pending, Waiter};
use crate::engine::Engine;
use crate::engine::command::Entry;
use crate::engine::effect::{Delivery, Effect, Effects, Expiring, Found, Origin, Place, SessionId};
use crate::engine::entry::ENTRY_HEAD_BYTES_MAX;
use crate::engine::planted::Planted;
use crate::engine::read::Body;
use crate::engine::seed::Seed;
use crate::engine::shortage::Shortage;
use crate::engine::snapshot::SnapshotError;
use crate::engine::state::State;

/// Lazy commands wait so long for an awaited group to ride with; then they are written un-synced.
pub const LAZY_MS: u64 = 5;

/// What comes from the sessions, in order.
#[derive(Debug)]
pub enum Input {
    /// A connection said its hello.
    Opened {
        /// Its number.
        session: SessionId,
        /// The client instance.
        holder: String,
        /// It says what it begins.
        marks_started: bool,
    },
    /// It asks.
    Request {
        /// Who, and under which correlation id.
        origin: Origin,
        /// What.
        request: Request,
        /// Bytes of the frame, held against the connection until it is answered.
        charge: usize,
    },
    /// Its outbound buffer is full, or has drained.
    Paused {
        /// Which connection.
        session: SessionId,
        /// Whether deliveries to it stop.
        paused: bool,
    },
    /// It is gone: what its consumers hold lapses.
    Closed {
        /// Which connection.
        session: SessionId,
    },
}

/// Something to be done outside, in order.
#[derive(Debug, PartialEq)]
pub enum Deed {
    /// Answer a request.
    Answer(Origin, Result<Answer, Refusal>),
    /// A request no longer counts against its connection.
    Release(SessionId, usize),
    /// Hand messages over.
    Deliver(Delivery),
    /// Hand messages over with these bodies.
    DeliverRead(Delivery, Vec<Body>),
    /// Tell a consumer, by its connection and number, that nothing more will come, and why.
    EndConsumer(SessionId, u32, Refusal),
    /// Tell a consumer, by its connection and number, that it is asked to end what it holds.
    CancelRequested(SessionId, u32, Grant, Offset),
    /// Answer a browse: the log, and what was found.
    Browsed(Origin, u64, Vec<Found>),
    /// Bring these bodies to [`Core::bodies_read`] under this number.
    Read(u64, u64, Vec<OffsetRange>),
    /// Tell a consumer that a lease is about to end.
    Expiring(Expiring),
    /// Remember where bodies lie in the entry just applied.
    Place(Place),
    /// Forget bodies.
    Discard(u64, OffsetRange),
}

/// One engine with its open group.
#[derive(Debug)]
pub struct Core {
    engine: Engine,
    effects: Effects,
    open: OpenGroup,
    deeds: Vec<Deed>,
}

impl Core {
    /// A shard that has seen no entry. A group gathers up to `group_bytes_max` and one command more.
    pub fn new(group_bytes_max: usize) -> Self {
        Self::with(Engine::new(), group_bytes_max)
    }

    /// From a snapshot.
    ///
    /// # Errors
    /// It is not one.
    pub fn restore(snapshot: &[u8], group_bytes_max: usize) -> Result<Self, SnapshotError> {
        Ok(Self::with(Engine::restore(snapshot)?, group_bytes_max))
    }

    fn with(mut engine: Engine, group_bytes_max: usize) -> Self {
        engine.limit_steps(group_bytes_max as u64);
        let open = OpenGroup::new(group_bytes_max);
        Self {
            engine,
            effects: Effects::default(),
            open,
            deeds: Vec::new(),
        }
    }

    /// The log says, at a restart: nobody waits for outcomes, nobody is served.
    pub fn replay(&mut self, entry: &Entry) {
        self.engine.apply(entry, &mut self.effects);
        self.sort_replayed();
    }

    /// Plants a bug in the engine, for as long as this core lives.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: crate::engine::planted::Bug) {
        self.engine.plant(bug);
    }

    /// What is planted in its engine.
    pub fn planted(&self) -> Planted {
        self.engine.planted()
    }

    /// Plants the same as in another core.
    pub fn plant_like(&mut self, planted: Planted) {
        self.engine.plant_like(planted);
    }

    /// What nobody outside may know, from the operating system.
    pub fn set_secret(&mut self, secret: Seed) {
        self.engine.set_secret(secret);
    }

    /// What is asked for must fit a journal record of so many bytes.
    pub fn limit_records(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.engine
            .limit_entries(bytes.saturating_sub(ENTRY_HEAD_BYTES_MAX));
    }

    /// A broker starts: proposes the new term.
    pub fn start(&mut self, now: Timestamp) {
        self.engine.start(&mut self.effects);
        self.sort(now, None, &[]);
    }

    /// Whether the open group has room for this input; if not, it must be closed first.
    pub fn has_room_for(&self, input: &Input) -> bool {
        match input {
            Input::Request { charge, .. } => self.open.has_room_for(*charge),
            Input::Opened { .. } | Input::Paused { .. } | Input::Closed { .. } => true,
        }
    }

    /// Takes one input.
    pub fn input(&mut self, now: Timestamp, input: Input) {
        let mut asked = None;
        match input {
            Input::Opened {
                session,
                holder,
                marks_started,
            } => self.engine.open_session(session, &holder, marks_started),
            Input::Request {
                origin,
                request,
                charge,
            } => {
                asked = Some(Waiter { origin, charge });
                self.engine.handle(now, origin, request, &mut self.effects);
            }
            Input::Paused { session, paused } => self.engine.pause_session(session, paused),
            Input::Closed { session } => {
                self.engine.close_session(session, &mut self.effects);
            }
        }
        self.sort(now, asked, &[]);
    }

    /// Something is scarce, or is there again.
    pub fn note_shortage(&mut self, shortage: Shortage) {
        self.engine.note_shortage(shortage);
    }

    /// A group is committed: applies it, answers who waited for it, and names the level reached.
    pub fn committed(&mut self, now: Timestamp, pending: &Pending, level: Level) {
        self.engine.apply(&pending.entry, &mut self.effects);
        let first = self.deeds.len();
        self.sort(now, None, &pending.waiters);
        for deed in self.deeds.iter_mut().skip(first) {
            if let Deed::Answer(_, Ok(answer)) = deed {
                answer.committed_at(level);
            }
        }
        let waiters = pending.waiters.iter().flatten();
        let releases = waiters.map(|waiter| Deed::Release(waiter.origin.session, waiter.charge));
        self.deeds.extend(releases);
    }

    /// The bodies that the engine asked for under this number.
    pub fn bodies_read(&mut self, now: Timestamp, number: u64, bodies: &[Body]) {
        self.engine
            .bodies_read(now, number, bodies, &mut self.effects);
        self.sort(now, None, &[]);
    }

    /// Hands out what can be handed out.
    pub fn dispatch(&mut self, now: Timestamp) {
        self.engine.dispatch(now, &mut self.effects);
        self.sort(now, None, &[]);
    }

    /// Proposes a `Tick` if something is due. Only while nothing is in flight: an entry on its way
    /// carries the time by itself.
    pub fn advance(&mut self, now: Timestamp) {
        if self.engine.next_deadline().is_some_and(|due| due <= now) {
            self.engine.advance(now, &mut self.effects);
            self.sort(now, None, &[]);
        }
    }

    /// The open group.
    pub fn open(&self) -> &OpenGroup {
        &self.open
    }

    /// Closes the open group, stamped `now`.
    pub fn close_group(&mut self, now: Timestamp) -> Pending {
        self.open.close(now)
    }

    /// Whether lazy commands have waited long enough, or fill the group.
    pub fn lazy_is_due(&self, now: Timestamp) -> bool {
        let waited = self
            .open
            .since()
            .is_some_and(|since| since.plus_ms(LAZY_MS) <= now);
        waited || !self.open.has_room_for(0)
    }

    /// When there is work without any input: lazy commands to write, or something due.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let lazy = self.open.since().map(|since| since.plus_ms(LAZY_MS));
        lazy.into_iter().chain(self.engine.next_deadline()).min()
    }

    /// What is to be done, in order; the room stays.
    pub fn deeds(&mut self) -> std::vec::Drain<'_, Deed> {
        self.deeds.drain(..)
    }

    /// The engine's durable half, to look at.
    pub fn state(&self) -> &State {
        self.engine.state()
    }

    /// Hands over nothing more of a log: a body of it cannot be read.
    pub fn fence(&mut self, log: u64) {
        self.engine.fence(log);
    }

    /// The engine's durable half.
    pub fn snapshot(&self) -> BytesMut {
        let mut bytes = BytesMut::new();
        self.engine.snapshot(&mut bytes);
        bytes
    }

    /// The last instant in the log.
    pub fn last_now(&self) -> Timestamp {
        self.engine.last_now()
    }

    /// The term of this start.
    pub fn term(&self) -> u64 {
        self.engine.term()
    }

    /// Sorts the engine's effects. `asked` is the request just handled: if a command was proposed
    /// for it, it waits beside that command, otherwise it is over. `waiters` are those of the entry
    /// just applied.
    fn sort(&mut self, now: Timestamp, asked: Option<Waiter>, waiters: &[Option<Waiter>]) {
        let mut asked = asked;
        for effect in self.effects.drain() {
            match effect {
                Effect::Propose {
                    command,
                    runs,
                    from,
                    urgency,
                } => {
                    let waiter = from.map(|origin| match asked.take_if(|it| it.origin == origin) {
                        Some(waiter) => waiter,
                        None => Waiter { origin, charge: 0 },
                    });
                    self.open.push(now, command, runs, (waiter, urgency));
                }
                Effect::Outcome(position, answer) => {
                    if let Some(Some(waiter)) = waiters.get(position) {
                        self.deeds.push(Deed::Answer(waiter.origin, answer));
                    }
                }
                Effect::Reply(origin, answer) => self.deeds.push(Deed::Answer(origin, answer)),
                Effect::Deliver(delivery) => self.deeds.push(Deed::Deliver(delivery)),
                Effect::DeliverRead(delivery, bodies) => {
                    self.deeds.push(Deed::DeliverRead(delivery, bodies));
                }
                Effect::EndConsumer {
                    session,
                    consumer,
                    why,
                } => self.deeds.push(Deed::EndConsumer(session, consumer, why)),
                Effect::CancelRequested {
                    session,
                    consumer,
                    grant,
                    offset,
                } => {
                    let deed = Deed::CancelRequested(session, consumer, grant, offset);
                    self.deeds.push(deed);
                }
                Effect::Browsed(origin, log, found) => {
                    self.deeds.push(Deed::Browsed(origin, log, found));
                }
                Effect::Read {
                    number,
                    log,
                    ranges,
                } => self.deeds.push(Deed::Read(number, log, ranges)),
                Effect::Expiring(expiring) => self.deeds.push(Deed::Expiring(expiring)),
                Effect::Place(place) => self.deeds.push(Deed::Place(place)),
                Effect::Discard { log, range } => self.deeds.push(Deed::Discard(log, range)),
            }
        }
        if let Some(Waiter { origin, charge }) = asked {
            self.deeds.push(Deed::Release(origin.session, charge));
        }
    }

    fn sort_replayed(&mut self) {
        for effect in self.effects.drain() {
            match effect {
                Effect::Place(place) => self.deeds.push(Deed::Place(place)),
                Effect::Discard { log, range } => self.deeds.push(Deed::Discard(log, range)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
