//! What a consumer does that acks and publishes in one transaction: both happen, or neither.

use std::collections::BTreeMap;

use siding::Grant;
use siding_broker::engine::effect::SessionId;
use siding_protocol::event::{Answer, OperationDone};
use siding_protocol::refusal::Refusal;
use siding_protocol::request::{Action, Operation, ProducerTicket, Request, Settle};
use siding_protocol::run::{self, MessageFields, RunBuilder, RunLimits, ScannedRun};
use siding_protocol::types::{Address, Name};

use super::consumer::Held;
use super::context::Context;
use super::ledger::Line;
use crate::accounting::{Event, Tag};

/// Transactions of one consumer.
#[derive(Debug)]
pub struct Mover {
    /// Its number as a publisher.
    number: u32,
    from: (Address, Line),
    to: (Name, Vec<Line>),
    producer: Option<u64>,
    opening: Option<u64>,
    sequence: u64,
    open: BTreeMap<u64, Moving>,
    asked: BTreeMap<u64, u64>,
    /// Of which nothing was done.
    undone: Option<Held>,
}

#[derive(Debug)]
struct Moving {
    held: Held,
    run: ScannedRun,
    /// It names something that nobody holds, and must be refused.
    is_spoilt: bool,
}

impl Mover {
    /// Takes from one subscription to one name.
    pub fn new(number: u32, from: (Address, Line), to: (Name, Vec<Line>)) -> Self {
        Self {
            number,
            from,
            to,
            producer: None,
            opening: None,
            sequence: 0,
            open: BTreeMap::new(),
            asked: BTreeMap::new(),
            undone: None,
        }
    }

    /// On a new connection: what was not answered is asked again.
    pub fn connect(&mut self, context: &mut Context, session: SessionId) {
        self.asked.clear();
        self.opening = None;
        if self.producer.is_none() {
            self.opening = Some(context.ask(session, Request::OpenProducer, 100));
        }
        for sequence in self.open.keys().copied().collect::<Vec<_>>() {
            self.ask(context, session, sequence);
        }
    }

    /// Whether it can.
    pub fn is_ready(&self) -> bool {
        self.producer.is_some()
    }

    /// Whether it waits for nothing.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// Acks what is held and publishes one message.
    pub fn start(&mut self, context: &mut Context, session: SessionId, held: Held) {
        self.sequence += 1;
        let tag = self.tag(self.sequence);
        let (grant, at) = (held.grant, context.now().ms);
        for offset in held.range.clone() {
            let asked = Event::AckAsked { offset, grant, at };
            context.ledger.note(&[self.from.1], asked);
        }
        context.ledger.note(&self.to.1, Event::Sent(tag));
        let mut builder = RunBuilder::new(RunLimits::default());
        let fields = MessageFields {
            body: &context.ledger.body(tag),
            ..MessageFields::default()
        };
        builder.push(&fields).expect("within the limits");
        let run = run::scan(builder.take().0, RunLimits::default()).expect("built, so it passes");
        let is_spoilt = !context.is_closing && context.rng.u32(0..8) == 0;
        let moving = Moving {
            held,
            run,
            is_spoilt,
        };
        self.open.insert(self.sequence, moving);
        self.ask(context, session, self.sequence);
    }

    fn ask(&mut self, context: &mut Context, session: SessionId, sequence: u64) {
        let (Some(producer), Some(moving)) = (self.producer, self.open.get(&sequence)) else {
            return;
        };
        let ack = |grant, range| {
            Operation::Settle(Settle {
                address: self.from.0.clone(),
                grant,
                ranges: vec![range],
                action: Action::Ack,
                rider: None,
            })
        };
        let mut operations = vec![
            ack(moving.held.grant, moving.held.range.clone()),
            Operation::Publish {
                name: self.to.0.clone(),
                run: moving.run.clone(),
            },
        ];
        if moving.is_spoilt {
            let nobodys = Grant {
                term: 0,
                counter: 1,
            };
            let end = moving.held.range.end;
            operations.push(ack(nobodys, end..end + 1));
        }
        let request = Request::Transaction {
            ticket: ProducerTicket { producer, sequence },
            operations,
        };
        let charge = moving.run.bytes.len() + 200;
        self.asked
            .insert(context.ask(session, request, charge), sequence);
    }

    fn tag(&self, number: u64) -> Tag {
        Tag {
            publisher: self.number,
            number,
        }
    }

    /// Whether the answer is its own.
    pub fn hear(
        &mut self,
        context: &mut Context,
        correlation: u64,
        answer: &Result<Answer, Refusal>,
    ) -> bool {
        if self.opening == Some(correlation) {
            self.opening = None;
            if let Ok(Answer::ProducerOpened(producer)) = answer {
                self.producer = Some(*producer);
            }
            return true;
        }
        let Some(sequence) = self.asked.remove(&correlation) else {
            return false;
        };
        if let Some(moving) = self.open.remove(&sequence) {
            self.answered(context, &moving, self.tag(sequence), answer);
            let refused = matches!(
                answer,
                Err(Refusal::Operation { .. } | Refusal::Busy { .. })
            );
            self.undone = refused.then_some(moving.held);
        }
        true
    }

    /// What a refused transaction was to ack.
    pub fn take_undone(&mut self) -> Option<Held> {
        self.undone.take()
    }

    fn answered(
        &self,
        context: &mut Context,
        moving: &Moving,
        tag: Tag,
        answer: &Result<Answer, Refusal>,
    ) {
        let (grant, at) = (moving.held.grant, context.now().ms);
        match answer {
            Ok(Answer::TransactionDone(done)) if !moving.is_spoilt => {
                for offset in moving.held.range.clone() {
                    let acked = Event::Acked { offset, grant, at };
                    context.ledger.note(&[self.from.1], acked);
                }
                if let Some(OperationDone::Publish(confirm)) = done.get(1) {
                    context.messages += 1;
                    let confirmed = Event::Confirmed(tag, confirm.first_offset);
                    context.ledger.note(&self.to.1, confirmed);
                }
            }
            Err(Refusal::ProducerUnknown) => context.ledger.note(&self.to.1, Event::Unknown(tag)),
            // Nothing of it was done: what it held comes back when its lease has ended.
            Err(Refusal::Operation { .. } | Refusal::Busy { .. }) => {
                for offset in moving.held.range.clone() {
                    let undone = Event::AckUndone { offset, grant };
                    context.ledger.note(&[self.from.1], undone);
                }
                context.ledger.note(&self.to.1, Event::Refused(tag));
            }
            other => context.astonished(format!("a transaction is answered with {other:?}")),
        }
    }
}
