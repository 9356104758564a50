//! What consumers say of messages, how messages are cancelled, and what is known once they ended.

use siding_broker::engine::command::{Cancel, Rider, Settle};
use siding_broker::engine::effect::Delivery;
use siding_broker::engine::job::{Ended, Report};
use siding_broker::engine::subscription::Subscription as EngineSubscription;
use siding_protocol::event::Answer;
use siding_protocol::refusal::{Refusal, State};

use super::names::gone;
use super::{Judged, Model, Place, Subscription};

/// What the holders of a message reported of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    progress: Option<u32>,
    note: String,
    checkpoint: Option<Vec<u8>>,
    result: Option<Vec<u8>>,
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ending {
    state: State,
    pub(super) at: u64,
    pub(super) attempts: u32,
    generation: u32,
    reason: &'static str,
    words: String,
    said: Said,
}

impl Said {
    fn hear(&mut self, rider: &Rider) {
        if let Some(checkpoint) = &rider.checkpoint {
            self.checkpoint = Some(checkpoint.to_vec());
        }
        if let Some(result) = &rider.result {
            self.result = Some(result.to_vec());
        }
        if let Some(progress) = rider.progress {
            (self.progress, self.note) = (Some(progress), rider.note.clone());
        }
    }

    fn of(report: Option<&Report>) -> Self {
        let report = report.cloned().unwrap_or_default();
        Self {
            progress: report.progress,
            note: report.note,
            checkpoint: report.checkpoint.map(|bytes| bytes.to_vec()),
            result: report.result.map(|bytes| bytes.to_vec()),
        }
    }
}

impl Model {
    pub(super) fn cancel(&mut self, cancel: &Cancel) -> Judged {
        self.judge_cancel(cancel)?;
        let now = self.now;
        let subscription = self.subscriptions.get_mut(&cancel.subscription);
        let subscription = subscription.expect("judged before");
        let Some(message) = subscription.messages.get_mut(&cancel.offset) else {
            return Ok(Answer::Done);
        };
        match message.state() {
            State::Leased => message.asked = true,
            State::Ready | State::Delayed => {
                subscription.cancelled += 1;
                subscription.end(cancel.offset, State::Cancelled, now);
            }
            // Another operation of the same transaction was first.
            _ => {}
        }
        Ok(Answer::Done)
    }

    pub(super) fn judge_cancel(&self, cancel: &Cancel) -> Result<(), Refusal> {
        let subscription = self.subscriptions.get(&cancel.subscription);
        let subscription = subscription.ok_or_else(gone)?;
        let log = self.logs.get(&subscription.log).expect("its log");
        if cancel.offset < subscription.start || cancel.offset >= log.end {
            let address = match &subscription.name {
                None => log.name.clone(),
                Some(name) => format!("{}/{name}", log.name),
            };
            return Err(Refusal::NotFound {
                name: format!("{address}@{}", cancel.offset),
                nearest: Vec::new(),
            });
        }
        let state = match subscription.messages.get(&cancel.offset) {
            Some(message) if message.state() != State::Dead => return Ok(()),
            Some(message) => message.state(),
            None => match subscription.ended.get(&cancel.offset) {
                Some(ending) if ending.state == State::Cancelled => return Ok(()),
                Some(ending) => ending.state,
                None => State::Settled,
            },
        };
        Err(Refusal::LeaseLost { state })
    }
}

impl Model {
    /// What the last attempts left behind goes with the messages, each apart.
    pub(super) fn assert_carries(&self, delivery: &Delivery) {
        let subscription = self.subscriptions.get(&delivery.subscription);
        let mut carried = delivery.checkpoints.clone();
        for (range, _) in &delivery.ranges {
            for offset in range.clone() {
                let message = subscription.and_then(|found| found.messages.get(&offset));
                let mine = message.and_then(|message| message.job.checkpoint.as_deref());
                let at = carried.iter().position(|(at, _)| *at == offset);
                let theirs = at.map(|at| carried.remove(at).1);
                assert_eq!(mine, theirs.as_deref(), "the checkpoint of {offset}");
                let alone = mine.is_none() || range.end - range.start == 1;
                assert!(alone, "{offset} is not apart");
            }
        }
        assert!(carried.is_empty(), "{carried:?} is of nothing delivered");
    }
}

impl Subscription {
    pub(super) fn hear(&mut self, offset: u64, settle: &Settle) {
        let message = self.messages.get_mut(&offset);
        if let (Some(message), Some(rider)) = (message, &settle.rider) {
            message.job.hear(rider);
        }
    }

    /// A message leaves for good, and a record is kept where that is asked for.
    pub(super) fn end(&mut self, offset: u64, state: State, now: u64) {
        let message = self.messages.remove(&offset).expect("it was here");
        if !self.settings.track || self.settings.done_retention_ms == 0 {
            return;
        }
        let (reason, words) = match message.place {
            Place::Dead { reason, detail, .. } if state == State::Dead => (reason, detail),
            _ => ("", message.words),
        };
        let ending = Ending {
            state,
            at: now,
            attempts: message.attempts,
            generation: message.generation,
            reason,
            words,
            said: message.job,
        };
        self.ended.insert(offset, ending);
    }

    pub(super) fn forget_old_records(&mut self, now: u64) {
        let kept = self.settings.done_retention_ms;
        self.ended.retain(|_, ending| ending.at + kept > now);
    }

    pub(super) fn compare_jobs(&self, found: &EngineSubscription) {
        assert_eq!(self.cancelled, found.cancelled, "cancelled");
        let nothing = Said::default();
        let messages = self.messages.iter();
        let mine = messages.filter(|(_, message)| message.job != nothing);
        let mine: Vec<_> = mine
            .map(|(at, message)| (*at, message.job.clone()))
            .collect();
        let theirs = found.jobs.reports();
        let theirs: Vec<_> = theirs
            .map(|(at, report)| (at, Said::of(Some(report))))
            .collect();
        assert_eq!(mine, theirs, "what was said");
        let messages = self.messages.iter();
        let asked = messages.filter(|(_, message)| message.asked);
        let theirs = found.jobs.cancels().ranges().flatten();
        assert!(asked.map(|(at, _)| *at).eq(theirs), "asked to cancel");
        let records = &found.jobs.records;
        let theirs = records.ended().flat_map(|(range, ended)| {
            range.map(move |at| {
                let (_, report) = records.get(at).expect("an ending");
                (at, Ending::of(ended, report))
            })
        });
        let theirs: Vec<_> = theirs.collect();
        let mine: Vec<_> = self
            .ended
            .iter()
            .map(|(at, one)| (*at, one.clone()))
            .collect();
        assert_eq!(mine, theirs, "records of what ended");
    }
}

impl Ending {
    fn of(ended: &Ended, report: Option<&Report>) -> Self {
        Self {
            state: ended.state,
            at: ended.at.0,
            attempts: ended.attempts,
            generation: ended.generation,
            reason: ended.reason.map_or("", |reason| reason.name()),
            words: ended.words.clone(),
            said: Said::of(report),
        }
    }
}
