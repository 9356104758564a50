//! The durable half: everything that the log decides, and nothing else.
//!
//! Rebuilt exactly by replaying entries through [`State::apply`]; it never looks at a consumer.

use std::collections::{BTreeMap, BTreeSet};

use siding_protocol::event::Answer;
use siding_protocol::limits::REQUEST_ID_MS;
use siding_protocol::refusal::Refusal;
use siding_protocol::types::Timestamp;

use super::command::{Command, Entry};
use super::effect::{Effect, Effects};
use super::job::Last;
use super::log::{Change, Kind, Log};
use super::planted::{Bug, Planted};
use super::producer::Producers;
use super::runs::RangeSet;
use super::schedule::Schedules;
use super::subscription::{Asked, Context, Lease, Subscription};
use super::touched::Touched;

/// Leases and delays that may end with one entry; the rest with the next.
const TRANSITIONS_MAX: usize = 10_000;

/// The engine's durable half.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Of the last start.
    pub term: u64,
    /// Of the last entry.
    pub now: Timestamp,
    /// The last id given to a log, subscription or producer.
    pub last_id: u64,
    /// By id.
    pub logs: BTreeMap<u64, Log>,
    /// By id, those of queues and topics alike.
    pub subscriptions: BTreeMap<u64, Subscription>,
    /// Name of a queue or topic to its log.
    pub names: BTreeMap<String, u64>,
    /// Whose requests are stored once.
    pub producers: Producers,
    /// Messages that are published by the clock.
    pub schedules: Schedules,
    /// When time next changes each log or subscription: derived. Their ids differ.
    timers: BTreeSet<(Timestamp, u64)>,
    armed: BTreeMap<u64, Timestamp>,
    /// Queues that keep more than they may; none between commands.
    brimming: BTreeSet<u64>,
    pub(super) planted: Planted,
}

/// Where the next publish of an entry finds its run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunCursor(pub(super) u32);

/// Answer of a command that nobody waits for.
pub(super) type Outcome = Option<Result<Answer, Refusal>>;

impl State {
    /// The log says. Cannot fail: a command about something gone is a no-op with an answer.
    /// Subscriptions whose messages moved are added to `touched`.
    pub fn apply(&mut self, entry: &Entry, effects: &mut Effects, touched: &mut Touched) {
        let before = self.now;
        self.now = before.max(entry.now);
        let mut runs = RunCursor::default();
        for (position, command) in entry.commands.iter().enumerate() {
            // A start lengthens leases by the time nobody was there, before that time counts.
            if let Command::Start(start) = command {
                self.start(start.term, self.now.ms_since(before), effects);
            }
            if position == 0 {
                self.pass_time(effects, touched);
                self.skim(effects);
            }
            if let Some(answer) = self.command(command, &mut runs, effects, touched) {
                effects.push(Effect::Outcome(position, answer));
            }
            self.skim(effects);
        }
    }

    fn start(&mut self, term: u64, downtime_ms: u64, effects: &mut Effects) {
        self.term = term;
        self.end_ephemerals(effects);
        let ids: Vec<_> = self.subscriptions.keys().copied().collect();
        for id in ids {
            if let Some(subscription) = self.subscriptions.get_mut(&id) {
                subscription.lengthen_leases(downtime_ms);
                subscription.end_feeding();
                if self.planted.has(Bug::AttemptLostOnRestart) {
                    subscription.edit_exceptions(0..u64::MAX, |exception| exception.attempts = 0);
                }
            }
            self.rearm(id);
        }
    }

    fn command(
        &mut self,
        command: &Command,
        runs: &mut RunCursor,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Outcome {
        Some(match command {
            Command::Start(_) | Command::Tick(_) => return None,
            Command::OpenProducer(_) => {
                let id = self.next_id();
                self.producers.open(id, self.now);
                Ok(Answer::ProducerOpened(id))
            }
            Command::Publish(publish) => self.publish(publish, runs, effects, touched),
            Command::Transaction(transaction) => {
                self.transaction(transaction, runs, effects, touched)
            }
            Command::Settle(settle) => self.settle(settle, effects, touched).map(Answer::Settled),
            Command::Lease(lease) => {
                self.lease(lease);
                return None;
            }
            Command::Take(take) => self.take(take, effects, touched),
            Command::Lose(lose) => return self.lose(lose, effects, touched),
            Command::Judge(judge) => {
                let id = judge.subscription;
                self.change(id, effects, touched, |found, context| {
                    found.judge(judge, context.now);
                });
                return None;
            }
            Command::Mark(mark) => {
                if let Some(subscription) = self.subscriptions.get_mut(&mark.subscription) {
                    let ranges = mark.ranges.iter().map(|range| (*range).into());
                    subscription.mark(mark.grant(), ranges);
                }
                return None;
            }
            Command::Return(returned) => {
                let grants = returned.grants();
                self.change(
                    returned.subscription,
                    effects,
                    touched,
                    |subscription, context| {
                        for grant in grants {
                            subscription.lose(grant, returned.marks_started, context);
                        }
                    },
                );
                return None;
            }
            Command::Cancel(cancel) => self.cancel(*cancel, effects, touched),
            Command::CreateSchedule(create) => self.create_schedule(create),
            Command::DeleteSchedule(delete) => self.delete_schedule(delete),
            Command::Fire(fire) => self.fire(fire, runs, effects, touched),
            Command::CreateQueue(create) => self.create_queue(create),
            Command::CreateTopic(create) => self.create_topic(create),
            Command::CreateSubscription(create) => {
                self.create_subscription(create, effects, touched)
            }
            Command::Delete(delete) => self.delete(*delete, effects),
            Command::Forward(forward) => {
                self.forward(forward, runs, effects, touched);
                return None;
            }
            Command::Sift(sift) => self.sift(sift, effects, touched),
            Command::Purge(_)
            | Command::Seek(_)
            | Command::Redrive(_)
            | Command::StopRedrive(_)
            | Command::DropDead(_)
            | Command::Pause(_) => return self.tend(command, effects, touched),
        })
    }

    /// When time alone changes something next.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Lets everything due happen, in order of time, then of log or subscription.
    fn pass_time(&mut self, effects: &mut Effects, touched: &mut Touched) {
        for _ in 0..TRANSITIONS_MAX {
            let due = self
                .timers
                .first()
                .copied()
                .filter(|(at, _)| *at <= self.now);
            let Some((due, id)) = due else { return };
            if self.logs.contains_key(&id) {
                self.age(id, due, effects, touched);
                continue;
            }
            self.change(id, effects, touched, |subscription, context| {
                subscription.pass_time(due, context);
            });
        }
    }

    /// Changes one subscription: what is charged, the timers and the bodies follow.
    pub(super) fn change<T>(
        &mut self,
        id: u64,
        effects: &mut Effects,
        touched: &mut Touched,
        change: impl FnOnce(&mut Subscription, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let subscription = self.subscriptions.get_mut(&id)?;
        let log = self.logs.get(&subscription.log)?;
        let mut context = Context {
            now: self.now,
            log,
            changes: Vec::new(),
            last: Last::default(),
            keeps_excess: false,
        };
        let done = change(subscription, &mut context);
        let (log, changes) = (log.id, context.changes);
        effects.note_last(id, context.last);
        for change in &changes {
            if let Change::Gone(range) | Change::DeadGone(range) | Change::Died(range) = change {
                effects.note_end(id, range.clone());
            }
        }
        touched.insert(id);
        self.rearm(id);
        self.charge(log, &changes, effects);
        Some(done)
    }

    fn charge(&mut self, id: u64, changes: &[Change], effects: &mut Effects) {
        let Some(log) = self.logs.get_mut(&id) else {
            return;
        };
        match log.kind {
            Kind::Queue(_) => changes
                .iter()
                .for_each(|change| log.charge(change, self.now, effects)),
            Kind::Topic(_) => {
                let left = changes.iter().filter_map(|change| match change {
                    Change::Gone(range) | Change::DeadGone(range) => Some(range.clone()),
                    Change::Died(_) | Change::Revived(_) => None,
                });
                log.sweep(left, &self.subscriptions, effects);
            }
        }
        if log.retain_settled_ms() > 0 {
            self.note_kept(id);
        }
    }

    /// A queue may keep something since, or keep more.
    pub(super) fn note_kept(&mut self, log: u64) {
        if self.logs.get(&log).is_some_and(Log::keeps_too_much) {
            self.brimming.insert(log);
        }
        self.rearm(log);
    }

    /// What queues keep past their limit goes.
    fn skim(&mut self, effects: &mut Effects) {
        while let Some(id) = self.brimming.pop_first() {
            if let Some(log) = self.logs.get_mut(&id) {
                log.let_go(Timestamp(0), effects);
            }
            self.rearm(id);
        }
    }

    fn lease(&mut self, lease: &super::command::Lease) {
        let Some(subscription) = self.subscriptions.get_mut(&lease.subscription) else {
            return;
        };
        let ranges = lease.ranges.iter().map(|range| (*range).into());
        let handed_over_ms = lease
            .deadline_ms
            .saturating_sub(lease.visibility_timeout_ms);
        let held = Lease {
            ranges: super::runs::RangeMap::default(),
            visibility_timeout_ms: lease.visibility_timeout_ms,
            hold_until: match subscription.settings.max_hold_ms {
                0 => Timestamp(0),
                most => Timestamp(handed_over_ms).plus_ms(most),
            },
            holder: lease.holder.clone(),
            begun: RangeSet::default(),
            asked: (!lease.request_id.is_empty()).then(|| {
                Box::new(Asked {
                    request_id: lease.request_id.clone(),
                    until: self.now.plus_ms(REQUEST_ID_MS),
                    gap: lease.gap.map(Into::into),
                })
            }),
        };
        if let Some(gap) = lease.gap {
            subscription.gaps.remove(gap.into());
        }
        subscription.lease(lease.grant(), ranges, Timestamp(lease.deadline_ms), held);
        self.rearm(lease.subscription);
    }

    /// Keeps the timer of a subscription or log true after any change of it.
    pub(super) fn rearm(&mut self, id: u64) {
        let log = || self.logs.get(&id).and_then(Log::next_due);
        let subscription = self.subscriptions.get(&id);
        let due = subscription.map_or_else(log, Subscription::next_due);
        let armed = self.armed.get(&id).copied();
        if due == armed {
            return;
        }
        if let Some(at) = armed {
            self.timers.remove(&(at, id));
            self.armed.remove(&id);
        }
        if let Some(at) = due {
            self.timers.insert((at, id));
            self.armed.insert(id, at);
        }
    }

    /// The log of a subscription with everything a check of the books needs.
    pub fn books_balance(&self) -> bool {
        self.subscriptions.values().all(|subscription| {
            let log = self.logs.get(&subscription.log);
            let end = log.map_or(0, |log| log.end);
            let charged = match log.map(|log| (&log.kind, log.messages)) {
                Some((Kind::Queue(_), messages)) => {
                    let books = subscription.books(end);
                    messages == books.ready + books.delayed + books.leased
                }
                _ => true,
            };
            charged && subscription.books(end).balance() && subscription.states_are_apart()
        })
    }
}

/// The name was deleted after the request was proposed.
pub(super) fn gone() -> Refusal {
    Refusal::NotFound {
        name: "(deleted)".into(),
        nearest: Vec::new(),
    }
}
