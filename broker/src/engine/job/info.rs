//! Looking at one message, and waiting for its end.

use siding_protocol::event::{Answer, JobInfo};
use siding_protocol::limits::AWAITS_PER_CONNECTION_MAX;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::request::MessageId;
use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use crate::engine::Engine;
use crate::engine::effect::{Effect, Effects, Origin};
use crate::engine::job::{Ended, Last};
use crate::engine::look::address_of;
use crate::engine::state::gone;
use crate::engine::subscription::Subscription;

impl Engine {
    /// One message as one subscription sees it.
    ///
    /// # Errors
    /// `NotFound`: no such subscription, or the offset was never published to it.
    pub(in crate::engine) fn job(&self, id: &MessageId) -> Result<JobInfo, Refusal> {
        self.job_at(self.subscription_at(&id.address)?, id.offset)
    }

    fn job_at(&self, id: u64, offset: Offset) -> Result<JobInfo, Refusal> {
        let subscription = self.state.subscriptions.get(&id).ok_or_else(gone)?;
        let log = self.state.logs.get(&subscription.log).ok_or_else(gone)?;
        let address = address_of(log, subscription);
        if !(subscription.start..log.end).contains(&offset) {
            return Err(Refusal::NotFound {
                name: format!("{address}@{offset}"),
                nearest: Vec::new(),
            });
        }
        let state = subscription.state_of(offset);
        let mut info = JobInfo::plain(address, log.id, offset, state);
        if state == State::Settled {
            subscription.tell_ended(&mut info);
        } else {
            subscription.tell_live(&mut info);
        }
        Ok(info)
    }

    /// Answers now if the message has ended; else when it does, or when the wait is over.
    pub(in crate::engine) fn wait_for_end(
        &mut self,
        now: Timestamp,
        origin: Origin,
        (id, wait_ms): (&MessageId, u64),
    ) -> Result<Option<Answer>, Refusal> {
        let info = self.job(id)?;
        if info.has_ended() || wait_ms == 0 {
            return Ok(Some(Answer::Job(Box::new(info))));
        }
        let subscription = self.subscription_at(&id.address)?;
        let waiting = self.volatile.waits.of_session(origin.session);
        if waiting >= AWAITS_PER_CONNECTION_MAX {
            let limit = AWAITS_PER_CONNECTION_MAX as u64;
            return Err(Refusal::Busy {
                resource: "awaits".into(),
                limit,
                current: limit,
                retry_after_ms: 1_000,
            });
        }
        let until = now.plus_ms(wait_ms);
        self.volatile
            .waits
            .add(until, (subscription, id.offset), origin);
        Ok(None)
    }

    /// Messages may have ended: whoever waits for their end is answered.
    pub(in crate::engine) fn tell_ends(
        &mut self,
        ends: &[(u64, OffsetRange)],
        lasts: &[(u64, Last)],
        effects: &mut Effects,
    ) {
        for (subscription, range) in ends {
            for (offset, origins) in self.volatile.waits.within(*subscription, range.clone()) {
                let mut lasts = lasts.iter().filter(|(id, _)| id == subscription);
                let last = lasts.find_map(|(_, last)| last.get(offset));
                let answer = self.job_at(*subscription, offset).map(|mut info| {
                    if let Some((ended, report)) = last.filter(|_| info.state == State::Settled) {
                        tell_ending(ended, report, &mut info);
                    }
                    info
                });
                match answer {
                    Ok(info) if !info.has_ended() => {}
                    answer => self.end_waits((*subscription, offset), &origins, &answer, effects),
                }
            }
        }
    }

    /// Waits that are over are answered with what there is.
    pub(in crate::engine) fn end_due_waits(&mut self, now: Timestamp, effects: &mut Effects) {
        while let Some((at, origin)) = self.volatile.waits.take_due(now) {
            let answer = self.job_at(at.0, at.1);
            effects.reply(origin, answer.map(|info| Answer::Job(Box::new(info))));
        }
    }

    /// Nobody waits for what is gone.
    pub(in crate::engine) fn end_orphaned_waits(&mut self, effects: &mut Effects) {
        let known = &self.state.subscriptions;
        for origin in self
            .volatile
            .waits
            .take_orphans(|id| known.contains_key(&id))
        {
            effects.reply(origin, Err(gone()));
        }
    }

    fn end_waits(
        &mut self,
        at: (u64, Offset),
        origins: &[Origin],
        answer: &Result<JobInfo, Refusal>,
        effects: &mut Effects,
    ) {
        for origin in origins {
            self.volatile.waits.remove(at, *origin);
            let answer = answer.clone().map(|info| Answer::Job(Box::new(info)));
            effects.reply(*origin, answer);
        }
    }

    /// The consumer that holds a message is told that somebody asked to cancel it.
    pub(in crate::engine) fn tell_holder(&self, id: u64, offset: Offset, effects: &mut Effects) {
        let Some(subscription) = self.state.subscriptions.get(&id) else {
            return;
        };
        if subscription.jobs.cancels().get(offset).is_none() {
            return;
        }
        let mut leases = subscription.leases.iter();
        let holds = leases.find(|(_, lease)| lease.ranges.get(offset).is_some());
        if let Some((grant, _)) = holds
            && let Some((session, consumer)) = self.volatile.holder_of(*grant)
        {
            effects.push(Effect::CancelRequested {
                session,
                consumer,
                grant: *grant,
                offset,
            });
        }
    }
}

impl Subscription {
    fn tell_live(&self, info: &mut JobInfo) {
        let offset = info.offset;
        let exception = self.exceptions.get(offset).copied().unwrap_or_default();
        (info.attempts, info.acquires) = (exception.attempts, exception.acquires);
        info.at = exception.due;
        let mut leases = self.leases.values();
        let held = leases.find_map(|lease| Some((lease, *lease.ranges.get(offset)?)));
        if let Some((lease, deadline)) = held {
            (info.at, info.holder) = (deadline, lease.holder.clone());
        }
        info.last_error = self.words.get(offset).cloned().unwrap_or_default();
        if let Some(death) = self.dead.get(offset) {
            (info.at, info.reason) = (death.at, death.reason.name());
            info.last_error.clone_from(&death.detail);
        }
        info.generation = self.generations.get(offset).copied().unwrap_or(0);
        info.cancel_requested = self.jobs.cancels().get(offset).is_some();
        tell_report(self.jobs.report(offset), info);
    }

    fn tell_ended(&self, info: &mut JobInfo) {
        if let Some((ended, report)) = self.jobs.records.get(info.offset) {
            tell_ending(ended, report, info);
        }
    }
}

fn tell_ending(ended: &Ended, report: Option<&super::Report>, info: &mut JobInfo) {
    (info.state, info.at) = (ended.state, ended.at);
    (info.attempts, info.acquires) = (ended.attempts, ended.acquires);
    info.reason = ended.reason.map_or("", |reason| reason.name());
    info.last_error.clone_from(&ended.words);
    info.generation = ended.generation;
    tell_report(report, info);
}

fn tell_report(report: Option<&super::Report>, info: &mut JobInfo) {
    if let Some(report) = report {
        info.progress = report.progress;
        info.note.clone_from(&report.note);
        info.checkpoint.clone_from(&report.checkpoint);
        info.result.clone_from(&report.result);
    }
}
