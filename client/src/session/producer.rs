//! One producer: its requests in order, each sent until it is answered, each stored once.

use std::collections::VecDeque;

use siding_protocol::error_code::ErrorCode;
use siding_protocol::frame::Outgoing;
use siding_protocol::refusal::Refusal;
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

use super::event::Cargo;
use crate::backoff::full_jitter_ms;
use crate::error::{Error, ProtocolError};
use crate::publisher::OnBusy;
use crate::shared::Reply;

/// A producer of this client.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(super) on_busy: OnBusy,
    /// As the broker named it; `None` until it did, or once it forgot.
    pub(super) id: Option<u64>,
    /// `OpenProducer` is under way.
    pub(super) opening: bool,
    /// Who waits for the opening.
    pub(super) openers: Vec<Reply<()>>,
    next_sequence: u64,
    next_number: u64,
    /// Unanswered requests, by number.
    requests: VecDeque<Request>,
    /// How many of them are not under way.
    waiting: usize,
    busy_rounds: u32,
    pub(super) paused_until_ms: Option<u64>,
    /// Why it could not be opened again: the next request fails with it, the one after tries again.
    pub(super) refused: Option<Refusal>,
}

#[derive(Debug)]
struct Request {
    /// Rising within the client's producer, unlike the sequence, which starts anew with each id.
    number: u64,
    /// Producer and sequence, from the first sending on.
    ticket: Option<(u64, u64)>,
    /// How often it was sent under this ticket without having been refused.
    sends: u32,
    under_way: bool,
    cargo: Cargo,
}

/// A request that is finished, and how.
type Finished = (Cargo, Result<Kind, Error>);

impl Producer {
    pub(super) const fn new(on_busy: OnBusy) -> Self {
        Self {
            on_busy,
            id: None,
            opening: false,
            openers: Vec::new(),
            next_sequence: 1,
            next_number: 0,
            requests: VecDeque::new(),
            waiting: 0,
            busy_rounds: 0,
            paused_until_ms: None,
            refused: None,
        }
    }

    pub(super) fn opened(&mut self, id: u64) -> Vec<Reply<()>> {
        self.opening = false;
        self.id = Some(id);
        self.next_sequence = 1;
        std::mem::take(&mut self.openers)
    }

    /// The broker did not open it: later, if it may, else never. Gives who waited for it.
    pub(super) fn not_opened(
        &mut self,
        refusal: &Refusal,
        now_ms: u64,
        random: &mut fastrand::Rng,
    ) -> Vec<Reply<()>> {
        self.opening = false;
        if refusal.code().is_retryable() {
            self.pause(refusal, now_ms, random);
            return Vec::new();
        }
        // Whoever waits hears of it; if nobody does, the next request will.
        self.refused = Some(refusal.clone());
        std::mem::take(&mut self.openers)
    }

    /// Whether the broker is to be asked for an id.
    pub(super) const fn wants_opening(&self) -> bool {
        self.id.is_none()
            && !self.opening
            && self.refused.is_none()
            && self.paused_until_ms.is_none()
    }

    /// Whether a fresh request could be sent at once, or fail at once.
    pub(super) fn is_ready(&self, span_max: u64) -> bool {
        let open = self.id.is_some() && self.paused_until_ms.is_none();
        self.refused.is_some() || (open && self.all_under_way() && self.has_sequence(span_max))
    }

    /// Requests that were not answered yet.
    pub(super) fn unanswered(&self) -> usize {
        self.requests.len()
    }

    /// Whether every request is under way.
    const fn all_under_way(&self) -> bool {
        self.waiting == 0
    }

    pub(super) fn add(&mut self, cargo: Cargo) {
        self.requests.push_back(Request {
            number: self.next_number,
            ticket: None,
            sends: 0,
            under_way: false,
            cargo,
        });
        self.next_number += 1;
        self.waiting += 1;
    }

    /// Whether a request that was never sent keeps the broker's window: sequences of unanswered
    /// requests span less than `span_max`.
    fn has_sequence(&self, span_max: u64) -> bool {
        let ours = |request: &&Request| request.ticket.is_some_and(|(id, _)| Some(id) == self.id);
        let oldest = self.requests.iter().find(ours);
        let oldest = oldest.and_then(|request| request.ticket);
        oldest.is_none_or(|(_, oldest)| self.next_sequence - oldest < span_max)
    }

    /// The next request to send: its number and bytes.
    pub(super) fn next_to_send(&self, span_max: u64) -> Option<(u64, usize)> {
        if self.waiting == 0 || self.id.is_none() || self.paused_until_ms.is_some() {
            return None;
        }
        // The usual one is the newest.
        let newest = self.requests.back().filter(|_| self.waiting == 1);
        let mut waiting = newest.into_iter().chain(&self.requests);
        let next = waiting.find(|request| !request.under_way)?;
        let retry = next.ticket.is_some_and(|(_, sequence)| sequence > 0);
        (retry || self.has_sequence(span_max)).then(|| (next.number, next.cargo.bytes()))
    }

    /// Writes a request; the same producer and sequence as before if it was sent before.
    pub(super) fn send(&mut self, number: u64, correlation: u64, out: &mut Outgoing) {
        let (Some(id), Ok(at)) = (self.id, self.find(number)) else {
            return;
        };
        let Some(request) = self.requests.get_mut(at) else {
            return;
        };
        let (producer, sequence) = *request.ticket.get_or_insert_with(|| {
            self.next_sequence += 1;
            (id, self.next_sequence - 1)
        });
        request.sends += 1;
        request.under_way = true;
        self.waiting -= 1;
        match &request.cargo {
            Cargo::Run { publisher, run } => {
                let publish = wire::Publish {
                    name: publisher.name.to_string(),
                    producer,
                    sequence,
                    level: publisher.level.into(),
                    run: run.run.clone(),
                };
                out.publish(correlation, publish);
            }
            Cargo::Transaction { transaction, .. } => {
                let transaction = wire::Transaction {
                    producer,
                    sequence,
                    ..wire::Transaction::clone(transaction)
                };
                out.frame(correlation, Kind::Transaction(transaction));
            }
        }
    }

    /// Judges the answer to a request; `None`: it will be sent again.
    pub(super) fn answered(
        &mut self,
        number: u64,
        kind: Kind,
        now_ms: u64,
        random: &mut fastrand::Rng,
    ) -> Result<Option<Finished>, ProtocolError> {
        let Ok(at) = self.find(number) else {
            return Err(ProtocolError::Answer);
        };
        let refusal = match kind {
            Kind::Error(error) => Refusal::from_wire(error),
            kind => {
                self.busy_rounds = 0;
                return Ok(self.finish(at, Ok(kind)));
            }
        };
        let sends = self.requests.get(at).map_or(0, |request| request.sends);
        let code = refusal.code();
        match code {
            // The broker goes away; the next connection carries it.
            ErrorCode::Draining | ErrorCode::Storage => self.hold(at),
            ErrorCode::ProducerUnknown if sends == 1 => self.renew(at),
            _ if code.is_retryable() && self.on_busy == OnBusy::Wait => {
                self.pause(&refusal, now_ms, random);
                self.hold(at);
                // Nothing was stored, so the next sending is the first again.
                if let Some(request) = self.requests.get_mut(at).filter(|_| sends == 1) {
                    request.sends = 0;
                }
            }
            _ => return Ok(self.finish(at, Err(refusal.into()))),
        }
        Ok(None)
    }

    /// The connection is gone: everything unanswered will be sent again, in order.
    pub(super) fn disconnected(&mut self) {
        self.opening = false;
        for request in &mut self.requests {
            request.under_way = false;
        }
        self.waiting = self.requests.len();
    }

    /// Ends the pause if its time has come.
    pub(super) fn resume(&mut self, now_ms: u64) {
        self.paused_until_ms = self.paused_until_ms.filter(|until| *until > now_ms);
    }

    /// Gives up: every request with whether it was ever sent.
    pub(super) fn abort(&mut self) -> impl Iterator<Item = (Cargo, bool)> {
        self.waiting = 0;
        let requests = std::mem::take(&mut self.requests);
        requests
            .into_iter()
            .map(|request| (request.cargo, request.sends > 0))
    }

    fn find(&self, number: u64) -> Result<usize, usize> {
        self.requests
            .binary_search_by_key(&number, |request| request.number)
    }

    fn finish(&mut self, at: usize, result: Result<Kind, Error>) -> Option<Finished> {
        let request = self.requests.remove(at)?;
        Some((request.cargo, result))
    }

    fn hold(&mut self, at: usize) {
        if let Some(request) = self.requests.get_mut(at) {
            request.under_way = false;
            self.waiting += 1;
        }
    }

    /// The broker forgot the producer, and never saw this request: a new producer may send it.
    fn renew(&mut self, at: usize) {
        self.hold(at);
        if let Some(request) = self.requests.get_mut(at) {
            request.sends = 0;
            let ticket = request.ticket.take();
            self.id = self
                .id
                .filter(|id| ticket.is_none_or(|(forgotten, _)| forgotten != *id));
        }
    }

    /// One pause a round, however many requests of it were refused.
    fn pause(&mut self, refusal: &Refusal, now_ms: u64, random: &mut fastrand::Rng) {
        if self.paused_until_ms.is_some() {
            return;
        }
        let named_ms = match refusal {
            Refusal::Busy { retry_after_ms, .. } => *retry_after_ms,
            _ => 0,
        };
        let wait_ms = named_ms.saturating_add(full_jitter_ms(self.busy_rounds, random));
        self.busy_rounds = self.busy_rounds.saturating_add(1);
        self.paused_until_ms = Some(now_ms.saturating_add(wait_ms));
    }
}
