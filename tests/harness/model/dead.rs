//! What redriving and dropping dead letters mean, and pausing.

use std::collections::BTreeSet;

use siding_broker::engine::command::{Redrive, Sift};
use siding_protocol::event::Answer;
use siding_protocol::refusal::{Refusal, State};

use super::filters::offsets;
use super::names::gone;
use super::{Judged, Model, Redriving, Subscription};

impl Model {
    pub(super) fn drop_dead(&mut self, id: u64, limit: u64) -> Judged {
        let now = self.now;
        let subscription = self.subscriptions.get_mut(&id).ok_or_else(gone)?;
        let dropped = subscription.first_dead(limit);
        for offset in &dropped {
            subscription.end(*offset, State::Dead, now);
        }
        subscription.purged += dropped.len() as u64;
        subscription.forget_redriven();
        Ok(Answer::Counted(dropped.len() as u64))
    }

    pub(super) fn redrive(&mut self, redrive: &Redrive) -> Judged {
        let now = self.now;
        let subscription = self.subscriptions.get_mut(&redrive.subscription);
        let subscription = subscription.ok_or_else(gone)?;
        let chosen = subscription.first_dead(redrive.limit);
        let count = chosen.len() as u64;
        if redrive.rate == 0 {
            for offset in chosen {
                subscription.revive(offset, now);
            }
            subscription.forget_redriven();
        } else if subscription.redriving.is_some() {
            let name = "a redrive that goes on".into();
            return Err(Refusal::Exists { name });
        } else if count > 0 {
            subscription.redriving = Some(Redriving {
                left: chosen,
                rate: redrive.rate,
                next_at: now,
                fed_by: 0,
            });
            subscription.redrive_slice(now);
        }
        Ok(Answer::Counted(count))
    }

    pub(super) fn stop_redrive(&mut self, id: u64) -> Judged {
        let subscription = self.subscriptions.get_mut(&id).ok_or_else(gone)?;
        let left = subscription.redriving.take();
        let left = left.map_or(0, |redriving| redriving.left.len() as u64);
        Ok(Answer::Counted(left))
    }

    pub(super) fn pause(&mut self, id: u64, paused: bool) -> Judged {
        let subscription = self.subscriptions.get_mut(&id).ok_or_else(gone)?;
        subscription.paused = paused;
        Ok(Answer::Done)
    }
}

impl Subscription {
    fn first_dead(&self, limit: u64) -> BTreeSet<u64> {
        let most = if limit == 0 { u64::MAX } else { limit };
        let messages = self.messages.iter();
        let dead = messages.filter(|(_, message)| message.state() == State::Dead);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        dead.map(|(offset, _)| *offset).take(most).collect()
    }

    /// What a filter has chosen for a redrive at a rate.
    pub(super) fn feed_redrive(&mut self, sift: &Sift, now: u64) -> Judged {
        if sift.begins && self.redriving.is_some() {
            let name = "a redrive that goes on".into();
            return Err(Refusal::Exists { name });
        }
        if sift.begins {
            self.redriving = Some(Redriving {
                left: BTreeSet::new(),
                rate: sift.rate,
                next_at: now,
                fed_by: sift.job,
            });
        }
        let dead = |offset: &u64| {
            let message = self.messages.get(offset);
            message.is_some_and(|message| message.state() == State::Dead)
        };
        let chosen: Vec<_> = offsets(&sift.ranges).filter(dead).collect();
        let fed = self.redriving.as_mut();
        let Some(redriving) = fed.filter(|found| found.fed_by == sift.job) else {
            return Ok(Answer::Counted(0));
        };
        redriving.left.extend(&chosen);
        if sift.ends {
            self.end_feeding();
        }
        if sift.begins {
            self.redrive_slice(now);
        }
        Ok(Answer::Counted(chosen.len() as u64))
    }

    pub(super) fn end_feeding(&mut self) {
        if let Some(redriving) = &mut self.redriving {
            redriving.fed_by = 0;
        }
        self.forget_redriven();
    }

    fn revive(&mut self, offset: u64, now: u64) {
        let message = self.messages.get_mut(&offset).expect("a dead letter");
        message.revive(now);
    }

    /// A tenth of the rate ten times a second, or one more seldom.
    pub(super) fn redrive_slice(&mut self, now: u64) {
        let Some(redriving) = &mut self.redriving else {
            return;
        };
        let step = (redriving.rate / 10).max(1);
        redriving.next_at = now + 1_000_u64.div_ceil(redriving.rate / step);
        let slice = redriving.left.iter().copied();
        let slice: Vec<_> = slice.take(usize::try_from(step).expect("small")).collect();
        for offset in slice {
            self.revive(offset, now);
        }
        self.forget_redriven();
    }

    /// A redrive waits for nobody who is not dead any more.
    pub(super) fn forget_redriven(&mut self) {
        let messages = &self.messages;
        let dead = |offset: &u64| {
            let message = messages.get(offset);
            message.is_some_and(|message| message.state() == State::Dead)
        };
        if let Some(redriving) = &mut self.redriving {
            redriving.left.retain(dead);
            if redriving.left.is_empty() && redriving.fed_by == 0 {
                self.redriving = None;
            }
        }
    }

    /// Whether the next slice is due by then.
    pub(super) fn slice_due(&self, until: u64) -> bool {
        let redriving = self.redriving.as_ref();
        redriving.is_some_and(|found| !found.left.is_empty() && found.next_at <= until)
    }
}
