//! A session asks: looks are answered at once, changes are proposed.
//!
//! Checks here are early and advisory; what guards durable state is repeated in `apply`.

mod attach;
pub(super) mod publish;

pub(in crate::engine) use publish::publish_command;

use bytes::Bytes;
use siding_protocol::event::Answer;
use siding_protocol::refusal::Refusal;
use siding_protocol::request::{self, Action, MessageId, Request};
use siding_protocol::settings::StartAt;
use siding_protocol::types::{Address, Level, Name, Offset, Timestamp};

use super::Engine;
use super::command::{
    Cancel, Command, CreateQueue, CreateSubscription, CreateTopic, Delete, DeleteSchedule,
    DropDead, Empty, LoggedRange, Pause, Purge, Redrive, Rider, Seek, Settle, SettleKind, SiftKind,
    StopRedrive,
};
use super::effect::{Effect, Effects, Origin};
use super::seed::Seed;
use super::subscription::count;

/// What a request leads to.
enum Next {
    Reply(Answer),
    Propose(Command, Vec<Bytes>, Level),
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
            Ok(Next::Propose(command, runs, level)) => {
                let (from, urgency) = (Some(from), level.into());
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
            Request::Publish {
                name,
                ticket,
                level,
                run,
            } => {
                self.propose_publish(now, from, (&name, ticket), (level, run), effects)?;
                return Ok(Next::Nothing);
            }
            Request::Settle(settle) => Command::Settle(self.settle_command(&settle)?),
            Request::Transaction { ticket, operations } => {
                return self.propose_transaction(now, ticket, operations);
            }
            Request::Consume(consume) => return self.consume(from.session, &consume),
            Request::StopConsume { consumer } => {
                return self.stop(from.session, consumer, effects);
            }
            Request::Started {
                address,
                grant,
                ranges,
            } => return self.started(&address, grant, ranges, effects),
            Request::Receive(receive) => return self.receive(now, from, &receive, effects),
            Request::CreateSchedule {
                name,
                settings,
                run,
            } => self.create_schedule_command(now, &name, (*settings, run))?,
            Request::RunSchedule { name } => {
                let (command, runs) = self.run_schedule_command(now, &name)?;
                return Ok(Next::Propose(command, runs, Level::Synced));
            }
            change => return self.look_or_change(now, from, change, effects),
        };
        Ok(Next::Propose(command, Vec::new(), Level::Synced))
    }

    /// What is not of the hot path: looks are answered, the rest is said in full by a command.
    fn look_or_change(
        &mut self,
        now: Timestamp,
        from: Origin,
        request: Request,
        effects: &mut Effects,
    ) -> Result<Next, Refusal> {
        match request {
            Request::Purge(sieve) if !sieve.filter.is_empty() => {
                self.begin_sift(from, &sieve, (SiftKind::Purge, 0), effects)?;
                Ok(Next::Nothing)
            }
            Request::Redrive { sieve, rate } if !sieve.filter.is_empty() => {
                self.begin_sift(from, &sieve, (SiftKind::Redrive, rate), effects)?;
                Ok(Next::Nothing)
            }
            Request::DropDead(sieve) if !sieve.filter.is_empty() => {
                self.begin_sift(from, &sieve, (SiftKind::DropDead, 0), effects)?;
                Ok(Next::Nothing)
            }
            Request::Purge(sieve) if sieve.dry_run => {
                let subscription = self.looked_at(&sieve.address)?;
                let waiting = subscription.waiting_within(0..Offset::MAX).count();
                Ok(Next::Reply(Answer::Counted(sieve.at_most(waiting))))
            }
            Request::Redrive { sieve, .. } | Request::DropDead(sieve) if sieve.dry_run => {
                let chosen = self.looked_at(&sieve.address)?.first_dead(sieve.limit);
                Ok(Next::Reply(Answer::Counted(count(&chosen))))
            }
            Request::Get(id) => {
                let info = Box::new(self.job(&id)?);
                Ok(Next::Reply(Answer::Job(info)))
            }
            Request::Await { id, wait_ms } => {
                let answer = self.wait_for_end(now, from, (&id, wait_ms))?;
                Ok(answer.map_or(Next::Nothing, Next::Reply))
            }
            Request::Explain { address, about } => {
                let answer = self.explain(now, from, &address, about, effects)?;
                Ok(answer.map_or(Next::Nothing, Next::Reply))
            }
            Request::ListSchedules {
                prefix,
                after,
                limit,
            } => {
                let page = self.list_schedules(&prefix, &after, limit);
                Ok(Next::Reply(page))
            }
            Request::Describe { address } => self.describe(from, &address).map(Next::Reply),
            Request::List {
                prefix,
                after,
                limit,
            } => Ok(Next::Reply(self.list(from, &prefix, &after, limit))),
            Request::Browse {
                address,
                state,
                from_offset,
                limit,
                filter,
            } => {
                if !filter.is_empty() {
                    let (what, page) = ((address, state), (from_offset, limit));
                    self.begin_browse(from, what, page, &filter, effects)?;
                    return Ok(Next::Nothing);
                }
                let (log, found) = self.browse(&address, state, from_offset, limit)?;
                effects.push(Effect::Browsed(from, log, found));
                Ok(Next::Nothing)
            }
            change => {
                self.note_ephemeral(from.session, &change);
                let command = self.change_command(change)?;
                Ok(Next::Propose(command, Vec::new(), Level::Synced))
            }
        }
    }

    /// Requests that a command says in full.
    fn change_command(&self, request: Request) -> Result<Command, Refusal> {
        Ok(match request {
            Request::OpenProducer => Command::OpenProducer(Empty {}),
            Request::CreateQueue { name, settings } => {
                Command::CreateQueue(Box::new(CreateQueue {
                    seed: self.new_seed(&name),
                    name: name.to_string(),
                    settings: *settings,
                }))
            }
            Request::CreateTopic { name, settings } => Command::CreateTopic(CreateTopic {
                seed: self.new_seed(&name),
                name: name.to_string(),
                settings,
            }),
            Request::CreateSubscription {
                address,
                settings,
                start,
            } => self.create_subscription_command(&address, *settings, start)?,
            Request::Delete { address } => {
                let log = self.log_named(&address.name)?.id;
                let subscription = match address.subscription {
                    None => None,
                    Some(_) => Some(self.subscription_at(&address)?),
                };
                Command::Delete(Delete { log, subscription })
            }
            Request::DeleteSchedule { name } => {
                self.schedule_named(&name)?;
                let name = name.to_string();
                Command::DeleteSchedule(DeleteSchedule { name })
            }
            Request::Cancel(id) => Command::Cancel(self.cancel_command(&id)?),
            Request::Purge(sieve) => Command::Purge(Purge {
                subscription: self.subscription_at(&sieve.address)?,
                limit: sieve.limit,
            }),
            Request::Seek { address, to } => Command::Seek(Seek {
                subscription: self.subscription_at(&address)?,
                place: to.into(),
            }),
            Request::Redrive { sieve, rate } => Command::Redrive(Redrive {
                subscription: self.subscription_at(&sieve.address)?,
                limit: sieve.limit,
                rate,
            }),
            Request::StopRedrive { address } => Command::StopRedrive(StopRedrive {
                subscription: self.subscription_at(&address)?,
            }),
            Request::Pause { address, paused } => Command::Pause(Pause {
                subscription: self.subscription_at(&address)?,
                paused,
            }),
            Request::DropDead(sieve) => Command::DropDead(DropDead {
                subscription: self.subscription_at(&sieve.address)?,
                limit: sieve.limit,
            }),
            _ => {
                let why = "a request without an answer".into();
                return Err(Refusal::Protocol(why));
            }
        })
    }

    fn new_seed(&self, name: &Name) -> Seed {
        Seed::of_log(self.volatile.secret, name.as_str(), self.state.last_id)
    }

    fn settle_command(&self, settle: &request::Settle) -> Result<Settle, Refusal> {
        let (kind, delay_ms, reason) = match &settle.action {
            Action::Ack => (SettleKind::Ack, None, ""),
            Action::Nack { delay_ms, reason } => (SettleKind::Nack, *delay_ms, reason.as_str()),
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
            rider: settle.rider.as_deref().map(rider).map(Box::new),
        })
    }

    fn cancel_command(&self, id: &MessageId) -> Result<Cancel, Refusal> {
        Ok(Cancel {
            subscription: self.subscription_at(&id.address)?,
            offset: id.offset,
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
        Ok(Command::CreateSubscription(Box::new(CreateSubscription {
            log,
            name,
            settings,
            start: start.into(),
        })))
    }
}

fn rider(rider: &request::Rider) -> Rider {
    Rider {
        checkpoint: rider.checkpoint.clone(),
        result: rider.result.clone(),
        progress: rider.progress,
        note: rider.note.clone(),
    }
}

#[cfg(test)]
mod tests;
