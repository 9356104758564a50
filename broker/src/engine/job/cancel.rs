//! Cancelling: a message that nobody holds ends; the holder of a leased one is told.

use siding_protocol::event::Answer;
use siding_protocol::refusal::{Refusal, State as Standing};
use siding_protocol::types::{Offset, OffsetRange};

use crate::engine::command::Cancel;
use crate::engine::effect::Effects;
use crate::engine::log::Change;
use crate::engine::look::address_of;
use crate::engine::state::{State, gone};
use crate::engine::subscription::{Context, Subscription};
use crate::engine::touched::Touched;

impl State {
    pub(in crate::engine) fn cancel(
        &mut self,
        cancel: Cancel,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Result<Answer, Refusal> {
        self.judge_cancel(cancel)?;
        self.cancel_judged(cancel, effects, touched);
        Ok(Answer::Done)
    }

    /// Whether a message can be cancelled, or is.
    ///
    /// # Errors
    /// `NotFound` for one that was never published, `LeaseLost` with the state of one that has ended
    /// otherwise.
    pub(in crate::engine) fn judge_cancel(&self, cancel: Cancel) -> Result<(), Refusal> {
        let subscription = self.subscriptions.get(&cancel.subscription);
        let subscription = subscription.ok_or_else(gone)?;
        let log = self.logs.get(&subscription.log).ok_or_else(gone)?;
        if !(subscription.start..log.end).contains(&cancel.offset) {
            return Err(Refusal::NotFound {
                name: format!("{}@{}", address_of(log, subscription), cancel.offset),
                nearest: Vec::new(),
            });
        }
        match subscription.standing_of(cancel.offset) {
            Standing::Ready | Standing::Delayed | Standing::Leased | Standing::Cancelled => Ok(()),
            state => Err(Refusal::LeaseLost { state }),
        }
    }

    pub(in crate::engine) fn cancel_judged(
        &mut self,
        cancel: Cancel,
        effects: &mut Effects,
        touched: &mut Touched,
    ) {
        self.change(
            cancel.subscription,
            effects,
            touched,
            |subscription, context| subscription.cancel(cancel.offset, context),
        );
    }
}

impl Subscription {
    /// Where a message is, or how it has ended as far as is known.
    pub(in crate::engine) fn standing_of(&self, offset: Offset) -> Standing {
        match self.state_of(offset) {
            Standing::Settled => {
                let record = self.jobs.records.get(offset);
                record.map_or(Standing::Settled, |(ended, _)| ended.state)
            }
            state => state,
        }
    }

    /// Cancels a message that nobody holds; marks one that somebody does. A judged one.
    pub(in crate::engine) fn cancel(&mut self, offset: Offset, context: &mut Context<'_>) {
        let range = offset..offset + 1;
        match self.state_of(offset) {
            Standing::Ready | Standing::Delayed => {
                self.withdraw(range.clone());
                self.end_cancelled(range, context);
            }
            Standing::Leased => self.jobs.cancels.add(range),
            _ => {}
        }
    }

    /// Of messages that come back from a lease, ends those that somebody asked to cancel; the others
    /// are left to come back.
    pub(in crate::engine) fn end_asked(
        &mut self,
        range: OffsetRange,
        context: &mut Context<'_>,
    ) -> Vec<OffsetRange> {
        if self.jobs.cancels.is_empty() {
            return vec![range];
        }
        let others = self.jobs.cancels.gaps(range.clone());
        let asked: Vec<_> = self.jobs.cancels.within(range).collect();
        for part in asked {
            self.end_cancelled(part, context);
        }
        others
    }

    fn end_cancelled(&mut self, range: OffsetRange, context: &mut Context<'_>) {
        self.cancelled += range.end - range.start;
        self.conclude(range.clone(), Standing::Cancelled, context);
        context.changes.push(Change::Gone(range));
    }
}
