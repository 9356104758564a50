//! Producers in a session: opening them, sending within the broker's limits, judging answers.

use siding_protocol::error_code::ErrorCode;
use siding_protocol::limits::{IN_FLIGHT_BYTES_MAX, PRODUCER_REQUESTS_MAX};
use siding_protocol::refusal::Refusal;
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

use super::event::{Cargo, Event};
use super::producer::Producer;
use super::{Pending, Session};
use crate::error::ProtocolError;
use crate::publisher::OnBusy;
use crate::shared::Reply;

impl Session {
    /// Opens the producer of a key; done already if it is open.
    pub(crate) fn open_producer(
        &mut self,
        key: u64,
        on_busy: OnBusy,
        reply: Reply<()>,
        events: &mut Vec<Event>,
    ) {
        let producer = self.producers.entry(key);
        let producer = producer.or_insert_with(|| Producer::new(on_busy));
        if producer.id.is_some() {
            events.push(Event::Replied(reply, Ok(())));
            return;
        }
        producer.openers.push(reply);
        producer.refused = None;
        self.pump(key);
    }

    /// Forgets a producer that has nothing unanswered; `false` if it has.
    pub(crate) fn forget_producer(&mut self, key: u64) -> bool {
        let busy = |producer: &Producer| producer.unanswered() > 0;
        if self.producers.get(&key).is_some_and(busy) {
            return false;
        }
        self.producers.remove(&key);
        true
    }

    /// Whether a producer can send a run of so many bytes now.
    pub(crate) fn can_produce(&self, key: u64) -> bool {
        let span_max = self.span_max();
        let ready = |producer: &Producer| producer.is_ready(span_max);
        self.is_open()
            && self.in_flight_bytes < self.in_flight_max()
            && self.producers.get(&key).is_some_and(ready)
    }

    /// Requests of a producer that were not answered yet.
    pub(crate) fn unanswered(&self, key: u64) -> usize {
        self.producers.get(&key).map_or(0, Producer::unanswered)
    }

    /// Sends a producer's request as soon as that is possible, until it is answered.
    pub(crate) fn produce(&mut self, key: u64, cargo: Cargo, events: &mut Vec<Event>) {
        let producer = self.producers.entry(key);
        let producer = producer.or_insert_with(|| Producer::new(OnBusy::Wait));
        if let Some(refusal) = producer.refused.take() {
            events.push(Event::Produced(cargo, Err(refusal.into())));
            return;
        }
        producer.add(cargo);
        self.pump(key);
    }

    /// Sends what a producer may send now.
    pub(super) fn pump(&mut self, key: u64) {
        if !self.is_open() {
            return;
        }
        let (span_max, in_flight_max) = (self.span_max(), self.in_flight_max());
        let producer = self.producers.get_mut(&key);
        if let Some(producer) = producer.filter(|producer| producer.wants_opening()) {
            producer.opening = true;
            let correlation = self.expect(Pending::Open { key });
            let open = Kind::OpenProducer(wire::OpenProducer {});
            self.out.frame(correlation, open);
            return;
        }
        while let Some((number, bytes)) = self
            .producers
            .get(&key)
            .and_then(|producer| producer.next_to_send(span_max))
        {
            // One request always fits, however large.
            if self.in_flight_bytes > 0 && self.in_flight_bytes + bytes > in_flight_max {
                self.blocked = true;
                return;
            }
            let correlation = self.expect(Pending::Produce { key, number, bytes });
            self.in_flight_bytes += bytes;
            if let Some(producer) = self.producers.get_mut(&key) {
                producer.send(number, correlation, &mut self.out);
            }
        }
    }

    /// Sends what any producer may send now.
    pub(super) fn pump_all(&mut self) {
        let keys: Vec<_> = self.producers.keys().copied().collect();
        for key in keys {
            self.pump(key);
        }
    }

    fn span_max(&self) -> u64 {
        match self.limits.producer_requests_max {
            0 => PRODUCER_REQUESTS_MAX.into(),
            max => max.into(),
        }
    }

    fn in_flight_max(&self) -> usize {
        match usize::try_from(self.limits.in_flight_bytes_max) {
            Ok(0) | Err(_) => IN_FLIGHT_BYTES_MAX,
            Ok(max) => max,
        }
    }

    pub(super) fn producer_opened(
        &mut self,
        now_ms: u64,
        key: u64,
        kind: Kind,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        let refusal = match kind {
            Kind::ProducerOpened(opened) => {
                let openers = self.producers.get_mut(&key);
                let openers = openers.map(|producer| producer.opened(opened.producer));
                let openers = openers.into_iter().flatten();
                events.extend(openers.map(|reply| Event::Replied(reply, Ok(()))));
                self.pump(key);
                return Ok(());
            }
            Kind::Error(error) => Refusal::from_wire(error),
            _ => return Err(ProtocolError::Answer),
        };
        if self.goes_away(&refusal) {
            return Ok(());
        }
        let Some(producer) = self.producers.get_mut(&key) else {
            return Ok(());
        };
        let openers = producer.not_opened(&refusal, now_ms, &mut self.random);
        for reply in openers {
            events.push(Event::Replied(reply, Err(refusal.clone().into())));
        }
        if producer.refused.is_some() {
            for (cargo, _) in producer.abort() {
                events.push(Event::Produced(cargo, Err(refusal.clone().into())));
            }
        }
        Ok(())
    }

    pub(super) fn produced(
        &mut self,
        now_ms: u64,
        key: u64,
        number: u64,
        kind: Kind,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        if let Kind::Error(error) = &kind {
            self.draining |= [ErrorCode::Draining, ErrorCode::Storage]
                .iter()
                .any(|code| u32::from(code.number()) == error.code);
        }
        let producer = self.producers.get_mut(&key).ok_or(ProtocolError::Answer)?;
        let finished = producer.answered(number, kind, now_ms, &mut self.random)?;
        events.extend(finished.map(|(cargo, result)| Event::Produced(cargo, result)));
        if std::mem::take(&mut self.blocked) {
            self.pump_all();
        } else {
            self.pump(key);
        }
        Ok(())
    }

    /// Time passed: ends pauses whose time has come.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        if self.next_due_ms().is_none_or(|due| due > now_ms) {
            return;
        }
        for producer in self.producers.values_mut() {
            producer.resume(now_ms);
        }
        self.pump_all();
    }

    /// When `advance` next has work.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let producers = self.producers.values();
        producers
            .filter_map(|producer| producer.paused_until_ms)
            .min()
    }
}
