//! All or nothing: every operation is judged against the state before it, then all are done.

use std::collections::{BTreeMap, BTreeSet};

use siding_protocol::event::{Answer, OperationDone, Settled};
use siding_protocol::refusal::Refusal;

use super::command::{Operation, Settle, Transaction};
use super::effect::Effects;
use super::judge::{Asked, Judged};
use super::planted::Bug;
use super::producer::{Remembered, Seen};
use super::publish::is_of;
use super::settle::Standing;
use super::state::{RunCursor, State, gone};
use super::subscription::Subscription;
use super::touched::Touched;

/// What becomes of a transaction's publishes.
#[derive(Debug, Default)]
struct Plan {
    /// In order.
    publishes: Vec<Judged>,
    /// What they ask of each log together.
    asked: BTreeMap<u64, Asked>,
}

/// Whether what is remembered may answer these operations: each of the same kind, each publish of the same log.
fn are_of(done: &[OperationDone], operations: &[Operation]) -> bool {
    let is_one = |(done, asked): (&OperationDone, &Operation)| match done {
        OperationDone::Publish(confirm) => {
            let publish = asked.publish.as_ref();
            publish.is_some_and(|publish| is_of(confirm, publish))
        }
        OperationDone::Settle(_) => asked.settle.is_some(),
        OperationDone::Cancelled => asked.cancel.is_some(),
    };
    done.len() == operations.len() && done.iter().zip(operations).all(is_one)
}

impl State {
    pub(super) fn transaction(
        &mut self,
        transaction: &Transaction,
        runs: &mut RunCursor,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Result<Answer, Refusal> {
        let first_run = *runs;
        let publishes = transaction
            .operations
            .iter()
            .filter(|op| op.publish.is_some());
        for _ in publishes {
            runs.next();
        }
        match self
            .producers
            .seen(transaction.producer, transaction.sequence)
        {
            Seen::Fresh => {}
            Seen::Before(Remembered::Transaction(done))
                if are_of(&done, &transaction.operations) =>
            {
                return Ok(Answer::TransactionDone(done));
            }
            Seen::Before(_) | Seen::Unknown => return Err(Refusal::ProducerUnknown),
        }
        let plan = self.judge(&transaction.operations).inspect_err(|_| {
            if self.planted.has(Bug::TransactionHalfApplied) {
                let first = transaction
                    .operations
                    .first()
                    .and_then(|op| op.settle.as_ref());
                drop(first.map(|settle| self.settle(settle, effects, touched)));
            }
        })?;
        let done = self.act(&transaction.operations, plan, first_run, effects, touched)?;
        // Lateness is told once; a repeat gets the counts.
        let answer = Remembered::Transaction(done.iter().map(without_outcomes).collect());
        self.producers
            .remember(transaction.producer, transaction.sequence, answer, self.now);
        Ok(Answer::TransactionDone(done))
    }

    fn judge(&self, operations: &[Operation]) -> Result<Plan, Refusal> {
        let (mut plan, mut riders) = (Plan::default(), BTreeMap::new());
        for (index, operation) in (0..).zip(operations) {
            let verdict = match (&operation.publish, &operation.settle, &operation.cancel) {
                (Some(publish), _, _) => {
                    let asked = plan.asked.entry(publish.log).or_default();
                    let judged = self.judge_publish(publish, self.now, asked);
                    judged.map(|judged| plan.publishes.push(judged))
                }
                (None, Some(settle), _) => self.judge_settle(settle, &mut riders),
                (None, None, Some(cancel)) => self.judge_cancel(*cancel),
                (None, None, None) => Ok(()),
            };
            let refused = |refusal| Refusal::Operation {
                index,
                refusal: Box::new(refusal),
            };
            verdict.map_err(refused)?;
        }
        Ok(plan)
    }

    /// `riders` sums up what the operations before this one made the same subscription carry.
    fn judge_settle(
        &self,
        settle: &Settle,
        riders: &mut BTreeMap<u64, u64>,
    ) -> Result<(), Refusal> {
        let subscription = self
            .subscriptions
            .get(&settle.subscription)
            .ok_or_else(gone)?;
        let parts = subscription.classify(settle);
        let lost = parts.iter().find_map(|(_, standing)| match standing {
            Standing::Lost(state) => Some(*state),
            _ => None,
        });
        lost.map_or(Ok(()), |state| Err(Refusal::LeaseLost { state }))?;
        subscription.judge_hold(settle, self.now)?;
        subscription.judge_rider(settle, riders.entry(settle.subscription).or_default())
    }

    /// Settles and cancels first: what makes room for its publishes, or for dead letters, must not be
    /// what it settles.
    fn act(
        &mut self,
        operations: &[Operation],
        plan: Plan,
        mut runs: RunCursor,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Result<Vec<OperationDone>, Refusal> {
        let mut done = Vec::with_capacity(operations.len());
        let mut died = BTreeSet::new();
        for operation in operations {
            done.push(match (&operation.settle, &operation.cancel) {
                (Some(settle), _) => {
                    let settled = self.settle_judged(settle, effects, touched);
                    died.insert(settle.subscription);
                    Some(OperationDone::Settle(settled.ok_or_else(gone)?))
                }
                (None, Some(cancel)) => {
                    self.cancel_judged(*cancel, effects, touched);
                    Some(OperationDone::Cancelled)
                }
                (None, None) => None,
            });
        }
        for id in died {
            self.drop_excess(id, effects, touched);
        }
        for (log, asked) in &plan.asked {
            self.make_room(*log, asked, effects, touched);
        }
        let mut judged = plan.publishes.into_iter();
        for (done, operation) in done.iter_mut().zip(operations) {
            if let Some(publish) = &operation.publish {
                let judged = judged.next().unwrap_or_default();
                let confirm = self.store(publish, judged, runs.next(), effects, touched);
                *done = Some(OperationDone::Publish(confirm.ok_or_else(gone)?));
            }
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// Settles of one grant, on their own.
    pub(super) fn settle(
        &mut self,
        settle: &Settle,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Result<Settled, Refusal> {
        if let Some(subscription) = self.subscriptions.get(&settle.subscription) {
            subscription.judge_hold(settle, self.now)?;
            subscription.judge_rider(settle, &mut 0)?;
        }
        let settled = self.settle_judged(settle, effects, touched);
        self.drop_excess(settle.subscription, effects, touched);
        settled.ok_or_else(gone)
    }

    fn drop_excess(&mut self, id: u64, effects: &mut Effects, touched: &mut Touched) {
        let found = self.subscriptions.get(&id);
        if found.is_some_and(Subscription::has_excess) {
            self.change(id, effects, touched, Subscription::drop_excess);
        }
    }

    fn settle_judged(
        &mut self,
        settle: &Settle,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Option<Settled> {
        self.change(
            settle.subscription,
            effects,
            touched,
            |subscription, context| {
                context.keeps_excess = true;
                subscription.settle(settle, context)
            },
        )
    }
}

fn without_outcomes(done: &OperationDone) -> OperationDone {
    match done {
        OperationDone::Publish(_) | OperationDone::Cancelled => done.clone(),
        OperationDone::Settle(settled) => OperationDone::Settle(Settled {
            settled: settled.settled,
            outcomes: Vec::new(),
        }),
    }
}
