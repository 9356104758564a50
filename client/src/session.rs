//! The client's half of a connection, without the connection: frames in, events and bytes out.
//!
//! Pure: no IO, no clock (`now_ms` is an argument, counted from anywhere), randomness from a seed.
//! The shell writes what [`Session::out`] holds, hands over every frame that comes, and tells the
//! events. A session outlives its connections: what was unanswered is sent again or failed.

mod event;
mod producer;
mod producing;
mod subscribing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use siding_protocol::error_code::ErrorCode;
use siding_protocol::frame::Outgoing;
use siding_protocol::refusal::Refusal;
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

pub(crate) use self::event::{Cargo, Event};
use self::producer::Producer;
use self::subscribing::Subscriber;
use crate::error::{Error, ProtocolError};
use crate::notice::Notice;
use crate::settle::{Settlement, parse_settled};
use crate::shared::{Ask, Reply};
use crate::started::Begun;

/// How much longer than a draining broker asked for is waited for its close.
const DRAIN_SLACK_MS: u64 = 1_000;

/// What is under way, and what waits.
#[derive(Debug)]
pub(crate) struct Session {
    /// To be written, in order.
    pub(crate) out: Outgoing,
    random: fastrand::Rng,
    connected: bool,
    /// The broker is about to close: nothing new is sent but settles.
    draining: bool,
    limits: wire::Limits,
    next_correlation: u64,
    unanswered: BTreeMap<u64, Pending>,
    /// Requests that were never sent.
    waiting_asks: VecDeque<Ask>,
    waiting_settles: Vec<Settlement>,
    producers: BTreeMap<u64, Producer>,
    consumers: BTreeMap<u32, Subscriber>,
    /// Bytes of publishes under way.
    in_flight_bytes: usize,
    /// A request waits for others to leave the in-flight bytes.
    blocked: bool,
}

/// A frame that was sent and waits for its answer.
#[derive(Debug)]
enum Pending {
    Ask(Ask),
    Settle(Settlement),
    Open {
        key: u64,
    },
    Produce {
        key: u64,
        number: u64,
        bytes: usize,
    },
    Subscribe {
        consumer: u32,
    },
    Unsubscribe(Option<Reply<()>>),
    /// A ping, or a note: nobody waits for the answer.
    Note,
}

impl Session {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            out: Outgoing::default(),
            random: fastrand::Rng::with_seed(seed),
            connected: false,
            draining: false,
            limits: wire::Limits::default(),
            // The hello had the first.
            next_correlation: 2,
            unanswered: BTreeMap::new(),
            waiting_asks: VecDeque::new(),
            waiting_settles: Vec::new(),
            producers: BTreeMap::new(),
            consumers: BTreeMap::new(),
            in_flight_bytes: 0,
            blocked: false,
        }
    }

    /// A connection was welcomed: sends what waited, and again what was unanswered.
    pub(crate) fn connected(&mut self, limits: wire::Limits) {
        self.connected = true;
        self.limits = limits;
        // Settles first: what was not handed out goes back before it can be delivered again.
        for settlement in std::mem::take(&mut self.waiting_settles) {
            self.settle(settlement);
        }
        self.pump_all();
        let consumers: Vec<_> = self.consumers.keys().copied().collect();
        for consumer in consumers {
            self.send_subscribe(consumer);
        }
        for ask in std::mem::take(&mut self.waiting_asks) {
            self.ask(ask);
        }
    }

    /// The connection is gone.
    pub(crate) fn disconnected(&mut self, events: &mut Vec<Event>) {
        self.connected = false;
        self.draining = false;
        self.in_flight_bytes = 0;
        self.out = Outgoing::default();
        for pending in std::mem::take(&mut self.unanswered).into_values() {
            match pending {
                Pending::Ask(ask) => {
                    let maybe_applied = ask.changes;
                    let lost = Error::Interrupted { maybe_applied };
                    events.push(Event::Answered(ask, Err(lost)));
                }
                Pending::Settle(settlement) => self.waiting_settles.push(settlement),
                // A consumer ends with its connection.
                Pending::Unsubscribe(Some(reply)) => events.push(Event::Replied(reply, Ok(()))),
                Pending::Unsubscribe(None)
                | Pending::Open { .. }
                | Pending::Produce { .. }
                | Pending::Subscribe { .. }
                | Pending::Note => {}
            }
        }
        for producer in self.producers.values_mut() {
            producer.disconnected();
        }
        let consumers = self.consumers.values();
        let released = consumers
            .flat_map(Subscriber::release_waiting)
            .collect::<Vec<_>>();
        self.waiting_settles.extend(released);
    }

    /// Gives up for good: everything unanswered fails.
    pub(crate) fn abort(&mut self, events: &mut Vec<Event>) {
        let closed = |maybe_applied| Error::Closed { maybe_applied };
        for pending in std::mem::take(&mut self.unanswered).into_values() {
            match pending {
                Pending::Ask(ask) => {
                    let error = closed(ask.changes);
                    events.push(Event::Answered(ask, Err(error)));
                }
                Pending::Settle(settlement) => {
                    events.push(Event::Settled(settlement, Err(closed(true))));
                }
                Pending::Unsubscribe(Some(reply)) => events.push(Event::Replied(reply, Ok(()))),
                _ => {}
            }
        }
        for ask in std::mem::take(&mut self.waiting_asks) {
            events.push(Event::Answered(ask, Err(closed(false))));
        }
        for settlement in std::mem::take(&mut self.waiting_settles) {
            events.push(Event::Settled(settlement, Err(closed(true))));
        }
        for producer in self.producers.values_mut() {
            for reply in std::mem::take(&mut producer.openers) {
                events.push(Event::Replied(reply, Err(closed(false))));
            }
            for (cargo, sent) in producer.abort() {
                events.push(Event::Produced(cargo, Err(closed(sent))));
            }
        }
        for (_, subscriber) in std::mem::take(&mut self.consumers) {
            if let Some(reply) = subscriber.opener {
                events.push(Event::Replied(reply, Err(closed(false))));
            }
            events.push(Event::Ended(subscriber.queue, Some(closed(false))));
        }
    }

    /// Whether new requests may be sent.
    const fn is_open(&self) -> bool {
        self.connected && !self.draining
    }

    /// Whether nothing is unanswered or waits.
    pub(crate) fn is_idle(&self) -> bool {
        let note = |pending| matches!(pending, &Pending::Note);
        self.unanswered.values().all(note)
            && self.waiting_asks.is_empty()
            && self.waiting_settles.is_empty()
            && self
                .producers
                .values()
                .all(|producer| producer.unanswered() == 0)
    }

    fn expect(&mut self, pending: Pending) -> u64 {
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        self.unanswered.insert(correlation, pending);
        correlation
    }

    /// Sends a request, or keeps it for the next connection.
    pub(crate) fn ask(&mut self, ask: Ask) {
        if ask.reply.is_closed() {
            return;
        }
        if !self.is_open() {
            self.waiting_asks.push_back(ask);
            return;
        }
        let kind = ask.kind.clone();
        let correlation = self.expect(Pending::Ask(ask));
        self.out.frame(correlation, kind);
    }

    /// Sends a settle, or keeps it for the next connection.
    pub(crate) fn settle(&mut self, mut settlement: Settlement) {
        if !self.connected {
            self.waiting_settles.push(settlement);
            return;
        }
        let kind = Kind::Settle(settlement.as_wire());
        let correlation = self.expect(Pending::Settle(settlement));
        self.out.frame(correlation, kind);
    }

    /// Notes what the application has begun; without a connection nothing is held that it could say.
    pub(crate) fn begun(&mut self, begun: Begun) {
        if self.connected {
            let correlation = self.expect(Pending::Note);
            let started = Kind::Started(begun.into_wire());
            self.out.frame(correlation, started);
        }
    }

    /// Sends a ping that nobody waits for.
    pub(crate) fn ping(&mut self) {
        let correlation = self.expect(Pending::Note);
        self.out.frame(correlation, Kind::Ping(wire::Ping {}));
    }

    /// Takes a frame of the broker.
    pub(crate) fn receive(
        &mut self,
        now_ms: u64,
        frame: wire::Frame,
        events: &mut Vec<Event>,
    ) -> Result<Received, ProtocolError> {
        let Some(kind) = frame.kind else {
            // Of a later version; it cannot be an answer to what this one asks.
            return Ok(Received::Nothing);
        };
        match kind {
            Kind::Deliver(deliver) => {
                let gap = deliver.gap.map(Notice::gap);
                self.notify(deliver.consumer, gap);
                // A consumer that was just closed: its leases lapse with it.
                if let Some(subscriber) = self.consumers.get(&deliver.consumer)
                    && !subscriber.queue.push(deliver.batches)
                {
                    return Err(ProtocolError::Window);
                }
                Ok(Received::Nothing)
            }
            Kind::LeaseExpiring(expiring) => {
                self.notify(expiring.consumer, Notice::expiring(expiring));
                Ok(Received::Nothing)
            }
            Kind::CancelRequested(cancel) => {
                self.notify(cancel.consumer, Notice::cancel(cancel));
                Ok(Received::Nothing)
            }
            Kind::ConsumerEnded(ended) => {
                self.consumer_ended(ended, events);
                Ok(Received::Nothing)
            }
            Kind::Ping(_) => {
                self.out.frame(frame.correlation, Kind::Pong(wire::Pong {}));
                Ok(Received::Nothing)
            }
            Kind::Draining(draining) => {
                self.draining = true;
                let within_ms = draining.grace_ms.saturating_add(DRAIN_SLACK_MS);
                Ok(Received::Draining { within_ms })
            }
            Kind::Error(error) if frame.correlation == 0 => {
                Ok(Received::Refused(Refusal::from_wire(error)))
            }
            kind => {
                let pending = self.unanswered.remove(&frame.correlation);
                let pending = pending.ok_or(ProtocolError::Answer)?;
                self.answer(now_ms, pending, kind, events)?;
                Ok(Received::Nothing)
            }
        }
    }

    /// Tells a consumer; one that was just closed does not want to know.
    fn notify(&self, consumer: u32, notice: Option<Notice>) {
        let subscriber = self.consumers.get(&consumer);
        if let Some((subscriber, notice)) = subscriber.zip(notice) {
            subscriber.queue.notices.push(notice);
        }
    }

    fn answer(
        &mut self,
        now_ms: u64,
        pending: Pending,
        kind: Kind,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        match pending {
            Pending::Ask(ask) => {
                let answer = match kind {
                    Kind::Error(error) => Err(Refusal::from_wire(error)),
                    kind => Ok(kind),
                };
                if matches!(answer, Err(Refusal::Draining)) {
                    // Nothing was done: it waits for the next connection like one never sent.
                    self.draining = true;
                    self.waiting_asks.push_back(ask);
                } else {
                    events.push(Event::Answered(ask, answer.map_err(Error::from)));
                }
            }
            Pending::Settle(settlement) => self.settled(settlement, kind, events)?,
            Pending::Open { key } => self.producer_opened(now_ms, key, kind, events)?,
            Pending::Produce { key, number, bytes } => {
                self.in_flight_bytes = self.in_flight_bytes.saturating_sub(bytes);
                self.produced(now_ms, key, number, kind, events)?;
            }
            Pending::Subscribe { consumer } => self.subscribed(consumer, kind, events)?,
            Pending::Unsubscribe(reply) => {
                events.extend(reply.map(|reply| Event::Replied(reply, Ok(()))));
            }
            Pending::Note => {}
        }
        Ok(())
    }

    fn settled(
        &mut self,
        settlement: Settlement,
        kind: Kind,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        let result = match kind {
            Kind::Settled(settled) => Ok(parse_settled(settled)?),
            Kind::Error(error) => Err(Refusal::from_wire(error)),
            _ => return Err(ProtocolError::Answer),
        };
        match result {
            Err(refusal) if self.goes_away(&refusal) => self.waiting_settles.push(settlement),
            result => events.push(Event::Settled(settlement, result.map_err(Error::from))),
        }
        Ok(())
    }

    /// Whether a refusal says that this connection is of no more use, but the next one may be.
    fn goes_away(&mut self, refusal: &Refusal) -> bool {
        let away = matches!(refusal.code(), ErrorCode::Draining | ErrorCode::Storage);
        self.draining |= away;
        away
    }
}

/// What a frame means for the shell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Nothing.
    Nothing,
    /// The broker will close; wait no longer than this.
    Draining { within_ms: u64 },
    /// The broker says why it closes.
    Refused(Refusal),
}
