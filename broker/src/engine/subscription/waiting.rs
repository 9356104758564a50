//! Ready and delayed: how messages come to wait, and how they stop.

use siding_protocol::types::{Grant, OffsetRange, Timestamp};

use super::{Context, Subscription};
use crate::engine::planted::Bug;
use crate::engine::ready::{DEFAULT_RANK, rank_of};
use crate::engine::retry::backoff_ms;

/// How messages come back from a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comeback {
    /// Whether an attempt is charged.
    pub charged: bool,
    /// ms; `None`: the backoff of the attempts.
    pub delay_ms: Option<u64>,
    /// The grant that may still settle late.
    pub lapsed: Option<Grant>,
}

impl Subscription {
    /// Messages in nobody's hands come back: to ready, delayed or the dead letters.
    pub fn come_back(&mut self, range: OffsetRange, comeback: Comeback, context: &mut Context<'_>) {
        for part in self.end_asked(range, context) {
            self.come_back_all(part, comeback, context);
        }
    }

    fn come_back_all(&mut self, range: OffsetRange, comeback: Comeback, context: &mut Context<'_>) {
        match comeback.lapsed {
            Some(grant) => self.lapsed.insert(range.clone(), grant),
            None => drop(self.lapsed.remove(range.clone())),
        }
        for (part, mut exception) in self.exceptions_of(range) {
            exception.attempts += u32::from(comeback.charged);
            exception.due = Timestamp(0);
            if comeback.charged && exception.attempts >= self.settings.max_attempts {
                self.set_exception(part.clone(), exception);
                self.die_of_attempts(part, context);
                continue;
            }
            let delay_ms = comeback.delay_ms.unwrap_or_else(|| {
                let steps = &self.settings.backoff_ms;
                backoff_ms(steps, exception.attempts, self.id, part.start)
            });
            if delay_ms > 0 {
                exception.due = context.now.plus_ms(delay_ms);
            }
            self.set_exception(part.clone(), exception);
            if self.planted.has(Bug::PriorityLostOnRetry) && delay_ms == 0 {
                self.ready.add(part, DEFAULT_RANK);
                continue;
            }
            self.wait(part, exception.due, context);
        }
    }

    /// Messages in nobody's hands wait until they are due, then for a consumer.
    fn wait(&mut self, range: OffsetRange, due: Timestamp, context: &mut Context<'_>) {
        if self.attributes.is_empty() {
            return self.begin_waiting(range, due, context.now);
        }
        for part in self.end_expired(range, context) {
            self.watch(part.clone());
            self.begin_waiting(part, due, context.now);
        }
    }

    fn begin_waiting(&mut self, range: OffsetRange, due: Timestamp, now: Timestamp) {
        if due > now {
            self.delayed.insert(due, range);
        } else {
            self.make_ready(range, now);
        }
    }

    /// Messages in nobody's hands wait for a consumer from now on.
    pub fn make_ready(&mut self, range: OffsetRange, now: Timestamp) {
        if self.settings.age_step_ms > 0 {
            self.arrivals.insert(range.clone(), now);
        }
        self.line_up(range);
    }

    /// Those with a key behind others of their key, all others each in its level.
    fn line_up(&mut self, range: OffsetRange) {
        let mut at = range.start;
        for (offset, lane) in self.keyed(range.clone()) {
            self.fill(at..offset);
            self.join_lane(offset, lane);
            at = offset + 1;
        }
        self.fill(at..range.end);
    }

    /// Each in its level.
    pub(in crate::engine) fn fill(&mut self, range: OffsetRange) {
        if range.is_empty() {
            return;
        }
        if self.attributes.is_empty() {
            return self.ready.add(range, DEFAULT_RANK);
        }
        for plain in self.attributes.gaps(range.clone()) {
            self.ready.add(plain, DEFAULT_RANK);
        }
        for (part, attributes) in self.attributes.overlap(range) {
            self.ready.add(part, rank_of(attributes.priority.into()));
        }
    }

    /// Makes what is due ready; one entry of the timeline.
    pub fn ripen(&mut self, due: Timestamp, range: OffsetRange, now: Timestamp) {
        self.delayed.remove(due, &range);
        self.edit_exceptions(range.clone(), |exception| exception.due = Timestamp(0));
        self.make_ready(range, now);
        if self.planted.has(Bug::DelayFiredEarly)
            && let Some((next, range)) = self.delayed.first()
            && next < due.plus_ms(1_000)
        {
            self.ripen(next, range, now);
        }
    }

    /// Takes what of `range` is ready out; says how many there were.
    pub(super) fn unready(&mut self, range: OffsetRange) -> u64 {
        if !self.arrivals.is_empty() {
            self.arrivals.remove(range.clone());
        }
        self.ready.remove(range)
    }

    /// Takes messages in nobody's hands out of ready and delayed.
    pub fn withdraw(&mut self, range: OffsetRange) {
        self.unready(range.clone());
        self.unjudged.remove(range.clone());
        self.lanes.leave_all(range.clone());
        self.unwatch(range.clone());
        if self.delayed.count() == 0 {
            return;
        }
        let delayed = self.exceptions.overlap(range);
        for (part, exception) in delayed.filter(|(_, exception)| exception.is_delayed()) {
            self.delayed.remove(exception.due, &part);
        }
    }
}
