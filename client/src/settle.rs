//! Settles on their way: gathered as ranges, one frame a grant and wake-up, answered to each asker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use siding_protocol::event::{SettleOutcome, SettleOutcomeKind, Settled, range_to_wire};
use siding_protocol::limits::SETTLE_RANGES_MAX;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::request::{Action, Rider};
use siding_protocol::types::{Grant, OffsetRange};
use siding_protocol::wire;
use tokio::sync::{Notify, oneshot};

use crate::error::{Error, ProtocolError};

/// How far back a settle looks for one it can join. Deliveries are settled about in the order they
/// came, so the right one is among the last few; missing it costs a frame, not correctness.
const LOOK_BACK: usize = 8;

/// Settles that no frame carries yet, in the order asked.
#[derive(Debug, Default)]
pub(crate) struct SettleQueue {
    settlements: Vec<Settlement>,
}

/// One settle frame to be: ranges of one grant that share an action.
#[derive(Debug)]
pub(crate) struct Settlement {
    address: Arc<str>,
    grant: Grant,
    action: Action,
    rider: Option<Box<Rider>>,
    ranges: Vec<OffsetRange>,
    waiters: Vec<Waiter>,
    detached: Vec<(Arc<Tally>, u64)>,
}

/// Somebody who wants to know what became of a range.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) range: OffsetRange,
    pub(crate) reply: oneshot::Sender<Result<Settled, Error>>,
}

/// Who hears of the answer.
#[derive(Debug)]
pub(crate) enum Listener {
    /// One who waits.
    Waiter(oneshot::Sender<Result<Settled, Error>>),
    /// Nobody now; failures are counted.
    Detached(Arc<Tally>),
    /// Nobody: given back because it was dropped.
    Nobody,
}

/// Counts the settles of one consumer that nobody waits for.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pending: AtomicU64,
    failed: AtomicU64,
    progress: Notify,
}

/// What one settle asks.
#[derive(Debug)]
pub(crate) struct Settling {
    pub(crate) address: Arc<str>,
    pub(crate) grant: Grant,
    pub(crate) action: Action,
    /// What it carries besides; of one message then. Boxed: hardly any settle has one.
    pub(crate) rider: Option<Box<Rider>>,
    pub(crate) range: OffsetRange,
    pub(crate) listener: Listener,
}

impl SettleQueue {
    /// Adds a settle to one like it, or as a new one.
    pub(crate) fn push(&mut self, settling: Settling) {
        let mut recent = self.settlements.iter_mut().rev().take(LOOK_BACK);
        if let Some(settlement) = recent.find(|settlement| settlement.takes(&settling)) {
            settlement.join(settling.range, settling.listener);
            return;
        }
        self.settlements.push(Settlement::new(settling));
    }

    /// Takes everything gathered.
    pub(crate) fn take(&mut self) -> Vec<Settlement> {
        std::mem::take(&mut self.settlements)
    }
}

impl Settlement {
    pub(crate) fn new(settling: Settling) -> Self {
        let mut settlement = Self {
            address: settling.address,
            grant: settling.grant,
            action: settling.action,
            rider: settling.rider,
            ranges: Vec::with_capacity(1),
            waiters: Vec::new(),
            detached: Vec::new(),
        };
        settlement.join(settling.range, settling.listener);
        settlement
    }

    fn takes(&self, settling: &Settling) -> bool {
        self.grant == settling.grant
            && self.ranges.len() < SETTLE_RANGES_MAX
            && self.rider.is_none()
            && settling.rider.is_none()
            && self.action == settling.action
            && self.address == settling.address
    }

    fn join(&mut self, range: OffsetRange, listener: Listener) {
        match listener {
            Listener::Waiter(reply) => {
                let range = range.clone();
                self.waiters.push(Waiter { range, reply });
            }
            Listener::Detached(tally) => {
                let count = range.end - range.start;
                tally.pending.fetch_add(count, Ordering::Relaxed);
                match self.detached.last_mut() {
                    Some((last, total)) if Arc::ptr_eq(last, &tally) => *total += count,
                    _ => self.detached.push((tally, count)),
                }
            }
            Listener::Nobody => {}
        }
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    /// As on the wire; sorts its ranges: rising and apart.
    pub(crate) fn as_wire(&mut self) -> wire::Settle {
        self.ranges.sort_unstable_by_key(|range| range.start);
        self.ranges.dedup_by(|next, last| {
            let touches = next.start <= last.end;
            if touches {
                last.end = last.end.max(next.end);
            }
            touches
        });
        let mut settle = wire::Settle {
            address: self.address.to_string(),
            grant: Some(wire::Grant {
                term: self.grant.term,
                counter: self.grant.counter,
            }),
            ranges: self.ranges.iter().map(range_to_wire).collect(),
            ..wire::Settle::default()
        };
        let (action, delay_ms) = match &self.action {
            Action::Ack => (wire::Action::Ack, None),
            Action::Nack { delay_ms, reason } => {
                settle.reason.clone_from(reason);
                (wire::Action::Nack, *delay_ms)
            }
            Action::Release { delay_ms } => (wire::Action::Release, Some(*delay_ms)),
            Action::Reject { reason } => {
                settle.reason.clone_from(reason);
                (wire::Action::Reject, None)
            }
            Action::Extend { remaining_ms } => (wire::Action::Extend, Some(*remaining_ms)),
        };
        settle.set_action(action);
        settle.delay_ms = delay_ms;
        if let Some(rider) = &self.rider {
            settle.checkpoint.clone_from(&rider.checkpoint);
            settle.result.clone_from(&rider.result);
            settle.progress = rider.progress;
            settle.note.clone_from(&rider.note);
        }
        settle
    }

    /// Tells everybody who listens.
    pub(crate) fn finish(self, result: &Result<Settled, Error>) {
        let failed = match result {
            Ok(settled) => settled.outcomes.iter().map(lost_messages).sum(),
            Err(_) => u64::MAX,
        };
        for (tally, count) in self.detached {
            tally.finish(count, failed.min(count));
        }
        for waiter in self.waiters {
            let part = match result {
                Ok(settled) => Ok(restrict(settled, &waiter.range)),
                Err(Error::Refused(Refusal::LeaseLost { state })) => {
                    Ok(all_lost(waiter.range, *state))
                }
                Err(error) => Err(error.clone()),
            };
            // Whoever stopped waiting does not want to know.
            drop(waiter.reply.send(part));
        }
    }
}

impl Tally {
    fn finish(&self, count: u64, failed: u64) {
        self.failed.fetch_add(failed, Ordering::Relaxed);
        if self.pending.fetch_sub(count, Ordering::AcqRel) == count {
            self.progress.notify_waiters();
        }
    }

    /// Messages whose detached settle did not take effect.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until nothing is pending.
    pub(crate) async fn settled(&self) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            progress.await;
        }
    }
}

fn lost_messages(outcome: &SettleOutcome) -> u64 {
    match outcome.kind {
        SettleOutcomeKind::Late | SettleOutcomeKind::CancelRequested => 0,
        SettleOutcomeKind::LeaseLost(_) => outcome.range.end - outcome.range.start,
    }
}

fn all_lost(range: OffsetRange, state: State) -> Settled {
    Settled {
        settled: 0,
        outcomes: vec![SettleOutcome {
            range,
            kind: SettleOutcomeKind::LeaseLost(state),
        }],
    }
}

/// What an answer says about one range of it.
fn restrict(settled: &Settled, range: &OffsetRange) -> Settled {
    let outcomes: Vec<_> = settled
        .outcomes
        .iter()
        .filter_map(|outcome| {
            let start = outcome.range.start.max(range.start);
            let end = outcome.range.end.min(range.end);
            let kind = outcome.kind;
            (start < end).then_some(SettleOutcome {
                range: start..end,
                kind,
            })
        })
        .collect();
    let lost: u64 = outcomes.iter().map(lost_messages).sum();
    Settled {
        settled: (range.end - range.start).saturating_sub(lost),
        outcomes,
    }
}

/// Parses the broker's answer to a settle.
pub(crate) fn parse_settled(settled: wire::Settled) -> Result<Settled, ProtocolError> {
    let outcomes = settled.outcomes.into_iter().map(|outcome| {
        let range = outcome.range.ok_or(ProtocolError::Answer)?;
        let end = range.first.checked_add(range.count);
        let kind = if outcome.lost {
            let state = State::from_wire(outcome.state).unwrap_or(State::Settled);
            SettleOutcomeKind::LeaseLost(state)
        } else if outcome.cancel_requested {
            SettleOutcomeKind::CancelRequested
        } else {
            SettleOutcomeKind::Late
        };
        Ok::<_, ProtocolError>(SettleOutcome {
            range: range.first..end.ok_or(ProtocolError::Answer)?,
            kind,
        })
    });
    Ok(Settled {
        settled: settled.settled,
        outcomes: outcomes.collect::<Result<_, ProtocolError>>()?,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const GRANT: Grant = Grant {
        term: 1,
        counter: 7,
    };

    fn settling(range: OffsetRange, action: Action, listener: Listener) -> Settling {
        Settling {
            address: "jobs".into(),
            grant: GRANT,
            action,
            rider: None,
            range,
            listener,
        }
    }

    #[test]
    fn acks_of_one_grant_become_one_settle_of_rising_ranges() {
        let mut queue = SettleQueue::default();
        for range in [5..6, 6..7, 0..1, 7..9] {
            queue.push(settling(range, Action::Ack, Listener::Nobody));
        }
        let nack = Action::Nack {
            delay_ms: None,
            reason: String::new(),
        };
        queue.push(settling(1..2, nack, Listener::Nobody));
        let mut settlements = queue.take();
        assert!(queue.take().is_empty());
        assert_eq!(settlements.len(), 2);
        let ranges: Vec<_> = settlements[0]
            .as_wire()
            .ranges
            .iter()
            .map(|range| (range.first, range.count))
            .collect();
        assert_eq!(ranges, [(0, 1), (5, 4)]);
    }

    #[test]
    fn what_carries_something_travels_alone() {
        let mut queue = SettleQueue::default();
        queue.push(settling(0..1, Action::Ack, Listener::Nobody));
        let result = Some(Bytes::from_static(b"42"));
        queue.push(Settling {
            rider: Some(Box::new(Rider {
                result: result.clone(),
                ..Rider::default()
            })),
            ..settling(1..2, Action::Ack, Listener::Nobody)
        });
        queue.push(settling(2..3, Action::Ack, Listener::Nobody));
        let settles: Vec<_> = queue.take().iter_mut().map(Settlement::as_wire).collect();
        let results: Vec<_> = settles.iter().map(|settle| &settle.result).collect();
        assert_eq!(results, [&None, &result]);
        assert_eq!(settles[0].ranges.len(), 2);
    }

    #[test]
    fn each_who_waits_hears_of_its_own_range_only() {
        let mut queue = SettleQueue::default();
        let (first, mut first_answer) = oneshot::channel();
        let (second, mut second_answer) = oneshot::channel();
        let tally = Arc::new(Tally::default());
        queue.push(settling(0..2, Action::Ack, Listener::Waiter(first)));
        queue.push(settling(2..3, Action::Ack, Listener::Waiter(second)));
        let detached = Listener::Detached(Arc::clone(&tally));
        queue.push(settling(3..5, Action::Ack, detached));
        let settlement = queue.take().remove(0);
        let outcome = SettleOutcome {
            range: 1..2,
            kind: SettleOutcomeKind::LeaseLost(State::Ready),
        };
        settlement.finish(&Ok(Settled {
            settled: 4,
            outcomes: vec![outcome.clone()],
        }));
        let first = first_answer.try_recv().expect("answered").expect("settled");
        assert_eq!((first.settled, first.outcomes), (1, vec![outcome]));
        let second = second_answer.try_recv().expect("answered");
        assert_eq!(second.expect("settled").settled, 1);
    }
}
