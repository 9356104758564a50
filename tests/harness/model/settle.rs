//! What a settle means, message by message.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use siding_broker::engine::command::{Operation, Settle, SettleKind};
use siding_protocol::event::{Answer, OperationDone, SettleOutcome, SettleOutcomeKind, Settled};
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::settings::{OnDead, OnExpired};
use siding_protocol::types::Grant;

use super::dedup::{Accepted, Asked};
use super::{Extent, Judged, Log, Message, Model, Place, Subscription};
use crate::model::names::gone;

/// How one message stands to the grant that settles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Live,
    Late,
    Repeated,
    Lost(State),
}

impl Fate {
    pub(super) fn is_lost(self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

/// How a message comes back from a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Back {
    pub(super) charged: bool,
    pub(super) delay_ms: Option<u64>,
    pub(super) lapsed: Option<Grant>,
}

/// The offsets a settle names.
pub(super) fn offsets(settle: &Settle) -> impl Iterator<Item = u64> {
    let ranges = settle.ranges.iter();
    ranges.flat_map(|range| range.first..range.first + range.count)
}

impl Model {
    pub(super) fn transaction(
        &mut self,
        operations: &[Operation],
        runs: VecDeque<Bytes>,
    ) -> Judged {
        let (accepted, asked) = self.judge(operations, runs)?;
        let mut done = Vec::new();
        for operation in operations {
            done.push(match (&operation.settle, &operation.cancel) {
                (Some(settle), _) => Some(OperationDone::Settle(self.settle_judged(settle)?)),
                (None, Some(cancel)) => {
                    self.cancel(cancel)?;
                    Some(OperationDone::Cancelled)
                }
                (None, None) => None,
            });
        }
        for settle in operations.iter().filter_map(|one| one.settle.as_ref()) {
            self.drop_excess(settle.subscription);
        }
        for (log, asked) in &asked {
            self.make_room(*log, asked);
        }
        let mut accepted = accepted.into_iter();
        for (done, operation) in done.iter_mut().zip(operations) {
            if let Some(publish) = &operation.publish {
                let accepted = accepted.next().expect("one a publish");
                *done = Some(OperationDone::Publish(self.store(publish, &accepted)));
            }
        }
        let done = done.into_iter().flatten().collect();
        Ok(Answer::TransactionDone(done))
    }

    /// Every operation against the state before the first.
    fn judge(
        &self,
        operations: &[Operation],
        mut runs: VecDeque<Bytes>,
    ) -> Result<(Vec<Accepted>, BTreeMap<u64, Asked>), Refusal> {
        let mut asked = BTreeMap::<u64, Asked>::new();
        let mut accepted = Vec::new();
        for (index, operation) in (0..).zip(operations) {
            let at = |refusal| Refusal::Operation {
                index,
                refusal: Box::new(refusal),
            };
            if let Some(publish) = &operation.publish {
                let run = runs.pop_front().expect("a run");
                let asked = asked.entry(publish.log).or_default();
                accepted.push(self.accept(publish, &run, asked).map_err(at)?);
            }
            if let Some(cancel) = &operation.cancel {
                self.judge_cancel(cancel).map_err(at)?;
            }
            if let Some(settle) = &operation.settle {
                if !self.subscriptions.contains_key(&settle.subscription) {
                    return Err(at(gone()));
                }
                for (_, fate) in self.fates(settle) {
                    if let Fate::Lost(state) = fate {
                        return Err(at(Refusal::LeaseLost { state }));
                    }
                }
                self.judge_hold(settle).map_err(at)?;
            }
        }
        Ok((accepted, asked))
    }

    pub(super) fn fates(&self, settle: &Settle) -> Vec<(u64, Fate)> {
        let subscription = self.subscriptions.get(&settle.subscription);
        let fates = subscription.map(|found| {
            offsets(settle)
                .map(|offset| (offset, found.fate(offset, settle.grant(), settle.kind())))
        });
        fates.into_iter().flatten().collect()
    }

    /// Nothing is held longer than it may be, from its hand-over.
    fn judge_hold(&self, settle: &Settle) -> Result<(), Refusal> {
        let subscription = self.subscriptions.get(&settle.subscription);
        let asked = settle.delay_ms.unwrap_or(0);
        for (offset, fate) in self.fates(settle) {
            let message = subscription.and_then(|found| found.messages.get(&offset));
            if settle.kind() == SettleKind::Extend
                && fate == Fate::Live
                && let Some(Place::Leased { hold_until, .. }) = message.map(|one| &one.place)
                && *hold_until > 0
                && self.now + asked > *hold_until
            {
                let left = hold_until.saturating_sub(self.now);
                return Err(Refusal::out_of_range("remaining_ms", left.min(1_000), left));
            }
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, settle: &Settle) -> Result<Settled, Refusal> {
        self.judge_hold(settle)?;
        let done = self.settle_judged(settle);
        self.drop_excess(settle.subscription);
        done
    }

    fn drop_excess(&mut self, id: u64) {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.keeps_excess = false;
            subscription.drop_excess(self.now);
            subscription.forget_redriven();
        }
    }

    fn settle_judged(&mut self, settle: &Settle) -> Result<Settled, Refusal> {
        let now = self.now;
        let fates = self.fates(settle);
        let subscription = self.subscriptions.get_mut(&settle.subscription);
        let subscription = subscription.ok_or_else(gone)?;
        let log = self.logs.get(&subscription.log).expect("its log");
        subscription.keeps_excess = true;
        let mut done = Settled::default();
        for (offset, fate) in fates {
            let kind = match fate {
                Fate::Lost(state) => Some(SettleOutcomeKind::LeaseLost(state)),
                Fate::Late => Some(SettleOutcomeKind::Late),
                Fate::Live if settle.kind() == SettleKind::Extend => {
                    let message = subscription.messages.get(&offset);
                    let asked = message.is_some_and(|message| message.asked);
                    asked.then_some(SettleOutcomeKind::CancelRequested)
                }
                Fate::Live | Fate::Repeated => None,
            };
            done.settled += u64::from(!fate.is_lost());
            if matches!(fate, Fate::Live | Fate::Late) {
                subscription.act(offset, settle, fate == Fate::Late, log, now);
            }
            if let Some(kind) = kind {
                note(&mut done.outcomes, offset, kind);
            }
        }
        subscription.forget_redriven();
        Ok(done)
    }
}

/// Adds one offset to the last range that says the same.
fn note(outcomes: &mut Vec<SettleOutcome>, offset: u64, kind: SettleOutcomeKind) {
    match outcomes.last_mut() {
        Some(last) if last.kind == kind && last.range.end == offset => last.range.end += 1,
        _ => outcomes.push(SettleOutcome {
            range: offset..offset + 1,
            kind,
        }),
    }
}

impl Subscription {
    fn fate(&self, offset: u64, grant: Grant, kind: SettleKind) -> Fate {
        let message = self.messages.get(&offset);
        if let Some(message) = message {
            if matches!(message.place, Place::Leased { grant: held, .. } if held == grant) {
                return Fate::Live;
            }
            if message.lapsed == Some(grant) && kind != SettleKind::Extend {
                return Fate::Late;
            }
        }
        if self.done.contains(&(grant, offset, kind.into())) {
            return Fate::Repeated;
        }
        Fate::Lost(message.map_or(State::Settled, Message::state))
    }

    fn act(&mut self, offset: u64, settle: &Settle, late: bool, log: &Log, now: u64) {
        let kind = settle.kind();
        self.hear(offset, settle);
        let message = self.messages.get_mut(&offset).expect("live or lapsed");
        let dead = message.state() == State::Dead;
        if kind == SettleKind::Extend {
            if let Place::Leased { deadline, .. } = &mut message.place {
                *deadline = now + settle.delay_ms.unwrap_or(0);
            }
            return;
        }
        message.lapsed = None;
        if dead
            && matches!(kind, SettleKind::Ack | SettleKind::Reject)
            && let Some(redriving) = &mut self.redriving
        {
            redriving.left.remove(&offset);
        }
        match kind {
            SettleKind::Ack => {
                self.end(offset, State::Settled, now);
                self.settled += 1;
            }
            // Only a redrive brings a dead letter back.
            SettleKind::Nack | SettleKind::Release if dead => {}
            SettleKind::Nack => {
                if !settle.reason.is_empty() {
                    message.words.clone_from(&settle.reason);
                }
                let back = Back {
                    charged: !late,
                    delay_ms: settle.delay_ms,
                    lapsed: None,
                };
                self.come_back(offset, back, log, now);
            }
            SettleKind::Release => {
                let back = Back {
                    charged: false,
                    delay_ms: Some(settle.delay_ms.unwrap_or(0)),
                    lapsed: None,
                };
                self.come_back(offset, back, log, now);
            }
            _ => self.die(offset, "rejected", &settle.reason, log, now),
        }
        self.done.push((settle.grant(), offset, kind.into()));
    }

    /// Lost before it was begun; whether that was once too often.
    pub(super) fn acquired(&mut self, offset: u64, grant: Grant, log: &Log, now: u64) -> bool {
        let message = self.messages.get_mut(&offset).expect("it was leased");
        if message.asked {
            return false;
        }
        message.acquires += 1;
        let too_many = message.acquires >= 100;
        if too_many {
            message.lapsed = Some(grant);
            self.die(offset, "too_many_acquires", "", log, now);
        }
        too_many
    }

    /// To ready, delayed, or the dead letters if the attempts are used up.
    pub(super) fn come_back(&mut self, offset: u64, back: Back, log: &Log, now: u64) {
        let turn = self.is_turn(offset);
        let message = self.messages.get_mut(&offset).expect("it was leased");
        if message.asked {
            self.cancelled += 1;
            return self.end(offset, State::Cancelled, now);
        }
        message.attempts += u32::from(back.charged);
        message.lapsed = back.lapsed;
        if back.charged && message.attempts >= self.settings.max_attempts {
            let words = message.words.clone();
            return self.die(offset, "max_attempts", &words, log, now);
        }
        let (low, high) = if let Some(delay) = back.delay_ms {
            (delay, delay)
        } else {
            let steps = &self.settings.backoff_ms;
            let last = steps.len() - 1;
            let index = (message.attempts.max(1) - 1) as usize;
            let step = steps.get(index.min(last)).copied().unwrap_or(0);
            (step - step / 10, step + step / 10)
        };
        message.place = match high {
            0 => Place::Ready,
            _ => Place::Delayed(now + low, now + high),
        };
        message.ready_since = now;
        message.holds_key = turn && high > 0;
        if (1..=now).contains(&message.expires_at) {
            // As it came back, not as it waits.
            message.holds_key = turn;
            self.end_expired(offset, log, now);
        }
    }

    /// What waits and is due to expire leaves, or is dead.
    pub(super) fn expire(&mut self, due: u64, log: &Log, now: u64) {
        let waits = self.messages.iter().filter(|(_, one)| one.waits());
        let ends = waits.filter(|(_, one)| (1..=due).contains(&one.expires_at));
        let mut ended: Vec<_> = ends
            .map(|(offset, one)| (one.expires_at, *offset))
            .collect();
        ended.sort_unstable();
        for (_, offset) in ended {
            self.end_expired(offset, log, now);
        }
    }

    fn end_expired(&mut self, offset: u64, log: &Log, now: u64) {
        if self.settings.on_expired() == OnExpired::Dead {
            self.die(offset, "expired", "", log, now);
        } else {
            self.end(offset, State::Expired, now);
            self.expired += 1;
        }
    }

    /// Dead letters leave that were kept long enough.
    pub(super) fn outlive(&mut self, due: u64, now: u64) {
        let kept = self.settings.dead_retention_ms;
        let dead = self.messages.iter();
        let outlived =
            dead.filter(|(_, one)| matches!(one.place, Place::Dead { at, .. } if at + kept <= due));
        for offset in outlived.map(|(at, _)| *at).collect::<Vec<_>>() {
            self.end(offset, State::Dead, now);
            self.evicted += 1;
        }
    }

    /// When the first thing that is due by `now` is.
    pub(super) fn due(&self, now: u64) -> Option<u64> {
        let kept = self.settings.dead_retention_ms;
        let dues = self.messages.values().flat_map(|one| {
            let place = match one.place {
                Place::Leased { deadline, .. } => Some(deadline),
                Place::Delayed(due, _) => Some(due),
                Place::Dead { at, .. } => Some(at + kept),
                Place::Ready | Place::Unjudged(_) => None,
            };
            let ends = one.waits() && one.expires_at > 0;
            [place, ends.then_some(one.expires_at)]
        });
        let slice = self.redriving.as_ref();
        let slice = slice
            .filter(|found| !found.left.is_empty())
            .map(|found| found.next_at);
        let dues = dues.flatten().chain(slice);
        dues.filter(|due| *due <= now).min()
    }

    pub(super) fn die(
        &mut self,
        offset: u64,
        reason: &'static str,
        detail: &str,
        log: &Log,
        now: u64,
    ) {
        let halts = self.settings.on_dead() == OnDead::HaltKey && self.is_turn(offset);
        let message = self.messages.get_mut(&offset).expect("it was here");
        message.words.clear();
        message.asked = false;
        message.holds_key = halts;
        message.place = Place::Dead {
            at: now,
            reason,
            detail: detail.to_owned(),
            bytes: log.average(offset),
        };
        if !self.keeps_excess {
            self.drop_excess(now);
        }
    }

    fn drop_excess(&mut self, now: u64) {
        let dead = self.messages.iter().filter_map(|(offset, message)| {
            let Place::Dead { at, bytes, .. } = message.place else {
                return None;
            };
            Some((at, *offset, bytes))
        });
        let mut dead: Vec<_> = dead.collect();
        dead.sort_unstable();
        let mut count = dead.len() as u64;
        let mut sum: u64 = dead.iter().map(|(_, _, bytes)| bytes).sum();
        for (_, oldest, bytes) in dead {
            if count > self.settings.max_dead || sum > self.settings.max_dead_bytes {
                self.end(oldest, State::Dead, now);
                self.evicted += 1;
                (count, sum) = (count - 1, sum - bytes);
            }
        }
    }
}

impl Log {
    /// Bytes of one message, by the average of its extent.
    fn average(&self, offset: u64) -> u64 {
        let holds =
            |extent: &&Extent| (extent.first..extent.first + extent.count).contains(&offset);
        let extent = self.extents.iter().find(holds).expect("its extent");
        extent.bytes.div_ceil(extent.count)
    }
}

impl Message {
    pub(super) fn waits(&self) -> bool {
        matches!(self.state(), State::Ready | State::Delayed)
    }

    pub(super) fn state(&self) -> State {
        match self.place {
            Place::Ready | Place::Unjudged(_) => State::Ready,
            Place::Delayed(..) => State::Delayed,
            Place::Leased { .. } => State::Leased,
            Place::Dead { .. } => State::Dead,
        }
    }
}
