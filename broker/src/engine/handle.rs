//! A session asks: looks are answered at once, changes are proposed.
//!
//! Checks here are early and advisory; what guards durable state is repeated in `apply`.

use std::collections::BTreeMap;

use bytes::Bytes;
use siding_protocol::event::Answer;
use siding_protocol::limits::{
    CONSUMERS_PER_CONNECTION_MAX, CREDIT_BYTES_PER_CONNECTION_MAX, RECEIVES_PER_CONNECTION_MAX,
};
use siding_protocol::refusal::Refusal;
use siding_protocol::request::{self, Action, ProducerTicket, Request};
use siding_protocol::run::ScannedRun;
use siding_protocol::settings::StartAt;
use siding_protocol::types::{Address, Name, Timestamp};

use super::command::{
    Command, CreateQueue, CreateSubscription, CreateTopic, Delete, Empty, LoggedRange, Operation,
    Piece, Publish, Purge, Redrive, Return, Settle, SettleKind, Transaction,
};
use super::consumer::{Attached, Consumer, Poll};
use super::effect::{Effect, Effects, Origin, SessionId, Urgency};
use super::producer::Seen;
use super::runs::RangeSet;
use super::{Engine, PARTS_PER_COMMAND_MAX, propose};

/// When to try again what a full disk refused.
const DISK_RETRY_MS: u64 = 1_000;

/// What a request leads to.
enum Next {
    Reply(Answer),
    Propose(Command, Vec<Bytes>),
    /// The answer comes later, or was pushed already.
    Nothing,
}

impl Engine {
    /// A session asks. Leader-local; may propose a command. A refusal is a value.
    pub fn handle(
        &mut self,
        now: Timestamp,
        from: Origin,
        request: Request,
        effects: &mut Effects,
    ) {
        match self.decide(now, from, request, effects) {
            Ok(Next::Reply(answer)) => effects.reply(from, Ok(answer)),
            Ok(Next::Propose(command, runs)) => {
                let (from, urgency) = (Some(from), Urgency::Awaited);
                effects.push(Effect::Propose {
                    command,
                    runs,
                    from,
                    urgency,
                });
            }
            Ok(Next::Nothing) => {}
            Err(refusal) => effects.reply(from, Err(refusal)),
        }
    }

    fn decide(
        &mut self,
        now: Timestamp,
        from: Origin,
        request: Request,
        effects: &mut Effects,
    ) -> Result<Next, Refusal> {
        let command = match request {
            Request::Publish { name, ticket, run } => {
                return self.propose_publish(&name, ticket, run);
            }
            Request::Settle(settle) => Command::Settle(self.settle_command(&settle)?),
            Request::Transaction { ticket, operations } => {
                return self.propose_transaction(ticket, operations);
            }
            Request::Consume(consume) => return self.consume(from.session, &consume),
            Request::StopConsume { consumer } => {
                let stopped = self.stop_consumer(from.session, consumer, effects);
                let name = || format!("consumer {consumer}");
                let missing = || Refusal::NotFound {
                    name: name(),
                    nearest: Vec::new(),
                };
                return stopped
                    .map(|()| Next::Reply(Answer::Done))
                    .ok_or_else(missing);
            }
            Request::Receive(receive) => return self.receive(now, from, &receive),
            Request::Describe { address } => return self.describe(from, &address).map(Next::Reply),
            Request::List {
                prefix,
                after,
                limit,
            } => {
                return Ok(Next::Reply(self.list(from, &prefix, &after, limit)));
            }
            Request::Browse {
                address,
                state,
                from_offset,
                limit,
            } => {
                let (log, found) = self.browse(&address, state, from_offset, limit)?;
                effects.push(Effect::Browsed(from, log, found));
                return Ok(Next::Nothing);
            }
            change => self.change_command(change)?,
        };
        Ok(Next::Propose(command, Vec::new()))
    }

    /// Requests that a command says in full.
    fn change_command(&self, request: Request) -> Result<Command, Refusal> {
        Ok(match request {
            Request::OpenProducer => Command::OpenProducer(Empty {}),
            Request::CreateQueue { name, settings } => Command::CreateQueue(CreateQueue {
                name: name.to_string(),
                settings,
            }),
            Request::CreateTopic { name, settings } => Command::CreateTopic(CreateTopic {
                name: name.to_string(),
                settings,
            }),
            Request::CreateSubscription {
                address,
                settings,
                start,
            } => self.create_subscription_command(&address, settings, start)?,
            Request::Delete { address } => {
                let log = self.log_named(&address.name)?.id;
                let subscription = match address.subscription {
                    None => None,
                    Some(_) => Some(self.subscription_at(&address)?),
                };
                Command::Delete(Delete { log, subscription })
            }
            Request::Purge { address } => Command::Purge(Purge {
                subscription: self.subscription_at(&address)?,
            }),
            Request::Redrive { address, limit } => {
                let subscription = self.subscription_at(&address)?;
                Command::Redrive(Redrive {
                    subscription,
                    limit,
                })
            }
            _ => return Err(Refusal::Internal("a request without a command".into())),
        })
    }

    fn propose_publish(
        &mut self,
        name: &Name,
        ticket: ProducerTicket,
        run: ScannedRun,
    ) -> Result<Next, Refusal> {
        let log = self.log_named(name)?;
        let publish = publish_command(log.id, ticket, &run);
        // A full queue or disk refuses before the bytes are logged, unless this is the retry of a
        // request that was stored or is about to be.
        if let Err(mut refusal) = log.has_room(publish.count().into(), publish.bytes())
            && self.is_new(ticket)
        {
            self.meters.hint(&mut refusal, log.id);
            return Err(refusal);
        }
        self.refuse_on_a_full_disk(ticket)?;
        self.volatile.in_flight.push_back(ticket);
        Ok(Next::Propose(Command::Publish(publish), vec![run.bytes]))
    }

    fn is_new(&self, ticket: ProducerTicket) -> bool {
        self.state.producers.seen(ticket.producer, ticket.sequence) == Seen::Fresh
            && !self.volatile.in_flight.contains(&ticket)
    }

    fn refuse_on_a_full_disk(&self, ticket: ProducerTicket) -> Result<(), Refusal> {
        if self.volatile.disk_is_full && self.is_new(ticket) {
            return Err(Refusal::Busy {
                resource: "disk".into(),
                limit: 0,
                current: 0,
                retry_after_ms: DISK_RETRY_MS,
            });
        }
        Ok(())
    }

    fn propose_transaction(
        &mut self,
        ticket: ProducerTicket,
        operations: Vec<request::Operation>,
    ) -> Result<Next, Refusal> {
        refuse_twice(&operations)?;
        let mut runs = Vec::new();
        let mut logged = Vec::with_capacity(operations.len());
        for (index, operation) in (0..).zip(operations) {
            let at = |refusal| Refusal::Operation {
                index,
                refusal: Box::new(refusal),
            };
            logged.push(match operation {
                request::Operation::Publish { name, run } => {
                    let log = self.log_named(&name).map_err(at)?.id;
                    let none = ProducerTicket {
                        producer: 0,
                        sequence: 0,
                    };
                    let publish = Some(publish_command(log, none, &run));
                    runs.push(run.bytes);
                    Operation {
                        publish,
                        settle: None,
                    }
                }
                request::Operation::Settle(settle) => {
                    let settle = Some(self.settle_command(&settle).map_err(at)?);
                    Operation {
                        publish: None,
                        settle,
                    }
                }
            });
        }
        if !runs.is_empty() {
            self.refuse_on_a_full_disk(ticket)?;
        }
        self.volatile.in_flight.push_back(ticket);
        let ProducerTicket { producer, sequence } = ticket;
        let transaction = Transaction {
            producer,
            sequence,
            operations: logged,
        };
        Ok(Next::Propose(Command::Transaction(transaction), runs))
    }

    fn settle_command(&self, settle: &request::Settle) -> Result<Settle, Refusal> {
        let (kind, delay_ms, reason) = match &settle.action {
            Action::Ack => (SettleKind::Ack, None, ""),
            Action::Nack { delay_ms } => (SettleKind::Nack, *delay_ms, ""),
            Action::Release { delay_ms } => (SettleKind::Release, Some(*delay_ms), ""),
            Action::Reject { reason } => (SettleKind::Reject, None, reason.as_str()),
            Action::Extend { remaining_ms } => (SettleKind::Extend, Some(*remaining_ms), ""),
        };
        Ok(Settle {
            subscription: self.subscription_at(&settle.address)?,
            term: settle.grant.term,
            counter: settle.grant.counter,
            ranges: settle
                .ranges
                .iter()
                .map(|range| LoggedRange::from(range.clone()))
                .collect(),
            kind: kind.into(),
            delay_ms,
            reason: reason.to_owned(),
        })
    }

    fn create_subscription_command(
        &self,
        address: &Address,
        settings: siding_protocol::settings::DeliverySettings,
        start: StartAt,
    ) -> Result<Command, Refusal> {
        let name = address
            .subscription
            .as_ref()
            .map(Name::to_string)
            .unwrap_or_default();
        let log = self.log_named(&address.name)?.id;
        let start = match start {
            StartAt::Earliest => Some(0),
            StartAt::Latest => None,
            StartAt::Offset(offset) => Some(offset),
        };
        Ok(Command::CreateSubscription(CreateSubscription {
            log,
            name,
            settings,
            start,
        }))
    }

    fn consume(&mut self, session: SessionId, consume: &request::Consume) -> Result<Next, Refusal> {
        let subscription = self.subscription_at(&consume.address)?;
        let Some(open) = self.volatile.sessions.get_mut(&session) else {
            return Ok(Next::Nothing);
        };
        if open.consumers.contains_key(&consume.consumer) {
            return Err(Refusal::Exists {
                name: format!("consumer {}", consume.consumer),
            });
        }
        if open.consumers.len() >= CONSUMERS_PER_CONNECTION_MAX {
            return Err(full("consumers", CONSUMERS_PER_CONNECTION_MAX));
        }
        let (current, more) = (open.credit_bytes(), consume.credit_bytes);
        if current + more > CREDIT_BYTES_PER_CONNECTION_MAX {
            return Err(Refusal::Busy {
                resource: "credit_bytes".into(),
                limit: CREDIT_BYTES_PER_CONNECTION_MAX,
                current,
                retry_after_ms: 1_000,
            });
        }
        let credit_bytes = consume.credit_bytes;
        let attached = Attached {
            subscription,
            credit_bytes,
        };
        open.consumers.insert(consume.consumer, attached);
        self.volatile
            .readers
            .entry(subscription)
            .or_default()
            .consumers
            .push_back(Consumer {
                session,
                number: consume.consumer,
                credit_messages: consume.credit_messages.into(),
                credit_bytes: consume.credit_bytes,
                held_messages: 0,
                held_bytes: 0,
                visibility_timeout_ms: consume.visibility_timeout_ms,
            });
        self.volatile.touched.insert(subscription);
        Ok(Next::Reply(Answer::Done))
    }

    /// Ends a consumer; what it holds lapses.
    pub(super) fn stop_consumer(
        &mut self,
        session: SessionId,
        number: u32,
        effects: &mut Effects,
    ) -> Option<()> {
        let (subscription, grants) = self.volatile.remove_consumer(session, number)?;
        for grants in grants.chunks(PARTS_PER_COMMAND_MAX) {
            let (terms, counters) = grants
                .iter()
                .map(|grant| (grant.term, grant.counter))
                .unzip();
            let returned = Return {
                subscription,
                terms,
                counters,
            };
            propose(Command::Return(returned), Urgency::Awaited, effects);
        }
        Some(())
    }

    fn receive(
        &mut self,
        now: Timestamp,
        origin: Origin,
        receive: &request::Receive,
    ) -> Result<Next, Refusal> {
        let subscription = self.subscription_at(&receive.address)?;
        let Some(open) = self.volatile.sessions.get_mut(&origin.session) else {
            return Ok(Next::Nothing);
        };
        if open.polls >= RECEIVES_PER_CONNECTION_MAX {
            return Err(full("receives", RECEIVES_PER_CONNECTION_MAX));
        }
        let until = now.plus_ms(receive.wait_ms);
        if !self.volatile.polls.insert((until, subscription, origin)) {
            // The number of a request that is not answered yet names that one.
            return Ok(Next::Nothing);
        }
        open.polls += 1;
        self.volatile
            .readers
            .entry(subscription)
            .or_default()
            .polls
            .push_back(Poll {
                origin,
                max_messages: receive.max_messages.into(),
                max_bytes: receive.max_bytes,
                until,
                visibility_timeout_ms: receive.visibility_timeout_ms,
            });
        self.volatile.touched.insert(subscription);
        Ok(Next::Nothing)
    }
}

/// One connection has as many as it may.
fn full(resource: &'static str, limit: usize) -> Refusal {
    let limit = limit as u64;
    Refusal::Busy {
        resource: resource.into(),
        limit,
        current: limit,
        retry_after_ms: 1_000,
    }
}

fn publish_command(log: u64, ticket: ProducerTicket, run: &ScannedRun) -> Publish {
    let pieces = run.pieces.iter().map(|piece| Piece {
        count: piece.count,
        bytes: piece.bytes,
    });
    let ProducerTicket { producer, sequence } = ticket;
    Publish {
        log,
        producer,
        sequence,
        pieces: pieces.collect(),
    }
}

/// Naming a message twice in one transaction is refused: its second settle could not be judged.
fn refuse_twice(operations: &[request::Operation]) -> Result<(), Refusal> {
    let mut named: BTreeMap<&Address, RangeSet> = BTreeMap::new();
    for operation in operations {
        let request::Operation::Settle(settle) = operation else {
            continue;
        };
        let named = named.entry(&settle.address).or_default();
        for range in &settle.ranges {
            if named.within(range.clone()).next().is_some() {
                return Err(Refusal::malformed("ranges", "a message is named twice"));
            }
            named.add(range.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
