//! What a settle means, message by message.

use siding_broker::engine::command::{Operation, Settle, SettleKind};
use siding_protocol::event::{Answer, OperationDone, SettleOutcome, SettleOutcomeKind, Settled};
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::types::Grant;

use super::{Judged, Message, Model, Place, Subscription};
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

/// The offsets a settle names.
pub(super) fn offsets(settle: &Settle) -> impl Iterator<Item = u64> {
    let ranges = settle.ranges.iter();
    ranges.flat_map(|range| range.first..range.first + range.count)
}

impl Model {
    pub(super) fn transaction(&mut self, operations: &[Operation]) -> Judged {
        self.judge(operations)?;
        let done = operations.iter().map(|operation| {
            Ok(match (&operation.publish, &operation.settle) {
                (Some(publish), _) => OperationDone::Publish(self.store(publish)),
                (None, Some(settle)) => OperationDone::Settle(self.settle(settle)?),
                (None, None) => unreachable!("an operation is one or the other"),
            })
        });
        done.collect::<Result<_, _>>().map(Answer::TransactionDone)
    }

    /// Every operation against the state before the first.
    fn judge(&self, operations: &[Operation]) -> Result<(), Refusal> {
        let mut asked = Vec::<(u64, u64, u64)>::new();
        for (index, operation) in (0..).zip(operations) {
            let at = |refusal| Refusal::Operation {
                index,
                refusal: Box::new(refusal),
            };
            if let Some(publish) = &operation.publish {
                let same = asked.iter().filter(|(log, _, _)| *log == publish.log);
                let more = same.fold((0, 0), |sum, one| (sum.0 + one.1, sum.1 + one.2));
                self.has_room(publish, more).map_err(at)?;
                asked.push((publish.log, publish.count().into(), publish.bytes()));
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
            }
        }
        Ok(())
    }

    pub(super) fn fates(&self, settle: &Settle) -> Vec<(u64, Fate)> {
        let subscription = self.subscriptions.get(&settle.subscription);
        let fates = subscription.map(|found| {
            offsets(settle)
                .map(|offset| (offset, found.fate(offset, settle.grant(), settle.kind())))
        });
        fates.into_iter().flatten().collect()
    }

    pub(super) fn settle(&mut self, settle: &Settle) -> Result<Settled, Refusal> {
        let now = self.now;
        let fates = self.fates(settle);
        let subscription = self.subscriptions.get_mut(&settle.subscription);
        let subscription = subscription.ok_or_else(gone)?;
        let mut done = Settled::default();
        for (offset, before) in fates {
            // A dead letter may be pushed out by what the settle did so far.
            let fate = match before {
                Fate::Late => subscription.fate(offset, settle.grant(), settle.kind()),
                other => other,
            };
            let kind = match fate {
                Fate::Lost(state) => Some(SettleOutcomeKind::LeaseLost(state)),
                Fate::Late => Some(SettleOutcomeKind::Late),
                Fate::Live | Fate::Repeated => None,
            };
            done.settled += u64::from(!fate.is_lost());
            if matches!(fate, Fate::Live | Fate::Late) {
                subscription.act(offset, settle, fate == Fate::Late, now);
            }
            if let Some(kind) = kind {
                note(&mut done.outcomes, offset, kind);
            }
        }
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

    fn act(&mut self, offset: u64, settle: &Settle, late: bool, now: u64) {
        let kind = settle.kind();
        let message = self.messages.get_mut(&offset).expect("live or lapsed");
        let dead = message.state() == State::Dead;
        if kind == SettleKind::Extend {
            if let Place::Leased { deadline, .. } = &mut message.place {
                *deadline = now + settle.delay_ms.unwrap_or(0);
            }
            return;
        }
        message.lapsed = None;
        match kind {
            SettleKind::Ack => {
                self.messages.remove(&offset);
                self.settled += 1;
            }
            // Only a redrive brings a dead letter back.
            SettleKind::Nack | SettleKind::Release if dead => {}
            SettleKind::Nack => self.come_back(offset, !late, settle.delay_ms, None, now),
            SettleKind::Release => {
                let delay = settle.delay_ms.unwrap_or(0);
                self.come_back(offset, false, Some(delay), None, now);
            }
            _ => self.die(offset, "rejected", &settle.reason, now),
        }
        self.done.push((settle.grant(), offset, kind.into()));
    }

    /// To ready, delayed, or the dead letters if the attempts are used up.
    pub(super) fn come_back(
        &mut self,
        offset: u64,
        charged: bool,
        delay_ms: Option<u64>,
        lapsed: Option<Grant>,
        now: u64,
    ) {
        let message = self.messages.get_mut(&offset).expect("it was leased");
        message.attempts += u32::from(charged);
        message.lapsed = lapsed;
        if charged && message.attempts >= self.settings.max_attempts {
            return self.die(offset, "max_attempts", "", now);
        }
        let (low, high) = if let Some(delay) = delay_ms {
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
    }

    fn die(&mut self, offset: u64, reason: &'static str, detail: &str, now: u64) {
        let message = self.messages.get_mut(&offset).expect("it was here");
        message.place = Place::Dead {
            at: now,
            reason,
            detail: detail.to_owned(),
        };
        let dead = self.messages.iter().filter_map(|(offset, message)| {
            let Place::Dead { at, .. } = message.place else {
                return None;
            };
            Some((at, *offset))
        });
        let mut dead: Vec<_> = dead.collect();
        dead.sort_unstable();
        let most = usize::try_from(self.settings.max_dead).expect("a small limit");
        for (_, oldest) in dead.iter().take(dead.len().saturating_sub(most)) {
            self.messages.remove(oldest);
            self.evicted += 1;
        }
    }
}

impl Message {
    pub(super) fn state(&self) -> State {
        match self.place {
            Place::Ready => State::Ready,
            Place::Delayed(..) => State::Delayed,
            Place::Leased { .. } => State::Leased,
            Place::Dead { .. } => State::Dead,
        }
    }
}
