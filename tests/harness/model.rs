//! The naive reference model: what every operation means, one entry a message, no ranges.
//!
//! It watches a stage: every logged command is judged a second time, from the text of the semantics
//! alone, and answers, states, books, charges and bodies are compared after every entry; whoever is
//! handed something is checked against the documented policy ([`readers`]).

pub mod again;
mod compare;
mod coverage;
mod dead;
mod dedup;
mod explain;
pub mod filters;
mod forward;
mod job;
mod kept;
mod line;
mod names;
mod overflow;
pub mod readers;
mod retain;
mod retries;
mod schedule;
mod settle;
mod sift;
mod store;
mod take;
mod time;
mod witness;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use siding_broker::engine::command::{Command, Entry, Lease};
use siding_protocol::event::{Answer, OperationDone};
use siding_protocol::refusal::Refusal;
use siding_protocol::settings::{DeliverySettings, QueueSettings, TopicSettings};
use siding_protocol::types::{Grant, Timestamp};

use crate::stage::Outcome;
pub use coverage::Coverage;
use dedup::Asked;
use readers::Readers;

/// Everything that the log says, and who is attached.
#[derive(Clone, Debug, Default)]
pub struct Model {
    now: u64,
    term: u64,
    last_id: u64,
    logs: BTreeMap<u64, Log>,
    subscriptions: BTreeMap<u64, Subscription>,
    producers: BTreeMap<u64, Producer>,
    schedules: BTreeMap<String, schedule::Schedule>,
    /// Of the publishes of the command being judged that are still to be stored.
    runs: VecDeque<Bytes>,
    /// Hand-overs that are settled first: chosen, and told to leave.
    taking: take::Taking,
    /// Who waits for what, and holds what.
    pub readers: Readers,
    /// Messages asked about.
    explained: u64,
    /// What was tried so far, restarts included.
    pub coverage: Coverage,
}

#[derive(Clone, Debug)]
struct Log {
    name: String,
    queue: Option<QueueSettings>,
    topic: Option<TopicSettings>,
    extents: Vec<Extent>,
    start: u64,
    end: u64,
    /// Every dedup id ever stored.
    known: Vec<dedup::Known>,
    /// What every message ever stored says.
    routing_keys: BTreeMap<u64, String>,
}

#[derive(Clone, Debug)]
struct Extent {
    first: u64,
    count: u64,
    bytes: u64,
    /// When its first and last message were published.
    first_at: u64,
    last_at: u64,
    /// Of a queue that keeps what has left: since when it has none that anybody waits for.
    left_at: Option<u64>,
}

#[derive(Clone, Debug)]
struct Subscription {
    log: u64,
    name: Option<String>,
    settings: DeliverySettings,
    start: u64,
    /// What has not left.
    messages: BTreeMap<u64, Message>,
    /// Who settled what how.
    done: Vec<(Grant, u64, i32)>,
    /// What is known of messages that ended.
    ended: BTreeMap<u64, job::Ending>,
    redriving: Option<Redriving>,
    paused: bool,
    settled: u64,
    expired: u64,
    cancelled: u64,
    purged: u64,
    evicted: u64,
    /// Dead letters past their limits stay until all that was judged together is done.
    keeps_excess: bool,
    filtered: u64,
    forwarded: u64,
    /// What retention took, and was not told yet.
    gaps: BTreeSet<u64>,
}

/// A redrive that goes on.
#[derive(Clone, Debug, PartialEq)]
struct Redriving {
    /// What it has before it; some may have left by another way.
    left: BTreeSet<u64>,
    rate: u64,
    next_at: u64,
    /// Whose filter still chooses.
    fed_by: u64,
}

#[derive(Clone, Debug)]
struct Message {
    place: Place,
    /// 9 goes first.
    priority: u32,
    /// 0: never.
    expires_at: u64,
    /// Of a ready message.
    ready_since: u64,
    /// Where its subscription goes by key.
    key: Option<u64>,
    /// No other of its key may go.
    holds_key: bool,
    attempts: u32,
    /// Lost with a connection before they were begun.
    acquires: u32,
    /// May still settle late.
    lapsed: Option<Grant>,
    /// Of the last nack that had any.
    words: String,
    /// Times redriven.
    generation: u32,
    /// What its holders reported.
    job: job::Said,
    /// Leased: somebody asked to cancel it.
    asked: bool,
}

impl Default for Message {
    fn default() -> Self {
        Self {
            place: Place::Ready,
            priority: 4,
            expires_at: 0,
            ready_since: 0,
            key: None,
            holds_key: false,
            attempts: 0,
            acquires: 0,
            lapsed: None,
            words: String::new(),
            generation: 0,
            job: job::Said::default(),
            asked: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Ready,
    /// Waits for the verdict of a filter; until when it is delayed then.
    Unjudged(u64),
    /// At the earliest and latest instant that the policy allows; the engine's choice is adopted.
    Delayed(u64, u64),
    Leased {
        grant: Grant,
        deadline: u64,
        visibility_timeout_ms: u64,
        /// 0: no limit.
        hold_until: u64,
        holder: String,
        begun: bool,
    },
    Dead {
        at: u64,
        reason: &'static str,
        detail: String,
        bytes: u64,
    },
}

#[derive(Clone, Debug)]
struct Producer {
    last_used: u64,
    answers: BTreeMap<u64, Answer>,
}

type Judged = Result<Answer, Refusal>;

impl Model {
    fn apply(&mut self, entry: &Entry) -> Vec<Outcome> {
        let before = self.now;
        self.now = entry.now.0.max(before);
        let mut outcomes = Vec::new();
        let mut runs = entry.runs.iter();
        for (position, command) in entry.commands.iter().enumerate() {
            if let Command::Start(start) = command {
                self.term = start.term;
                self.subscriptions
                    .retain(|_, found| !found.settings.ephemeral);
                self.lengthen_leases(self.now - before);
                for subscription in self.subscriptions.values_mut() {
                    subscription.end_feeding();
                }
            }
            if position == 0 {
                self.pass_time();
                self.skim();
            }
            self.note_before(command);
            let publishes = command.publishes().count();
            self.runs = runs.by_ref().take(publishes).cloned().collect();
            if let Some(outcome) = self.command(command) {
                let outcome = (position, outcome);
                self.coverage.note_answer(command, &outcome);
                outcomes.push(outcome);
            }
            self.skim();
        }
        outcomes
    }

    #[expect(clippy::too_many_lines, reason = "an arm a command")]
    fn command(&mut self, command: &Command) -> Option<Judged> {
        Some(match command {
            // A salvage is no part of a life.
            Command::Start(_) | Command::Tick(_) | Command::Lose(_) => return None,
            Command::Lease(lease) => {
                self.lease(lease);
                return None;
            }
            Command::Take(take) => self.take(take).map(Answer::Settled),
            Command::Judge(judge) => {
                self.judge_stored(judge);
                return None;
            }
            Command::Mark(mark) => {
                self.mark(mark);
                return None;
            }
            Command::Return(returned) => {
                let marks = returned.marks_started;
                for grant in returned.grants() {
                    self.lapse(returned.subscription, marks, |held, _| held == grant);
                }
                return None;
            }
            Command::OpenProducer(_) => Ok(Answer::ProducerOpened(self.open_producer())),
            Command::Publish(publish) => {
                let ticket = (publish.producer, publish.sequence);
                let run = self.runs.pop_front().expect("a run");
                self.once(
                    ticket,
                    |answer| retries::is_of(answer, publish),
                    |model| {
                        let mut asked = Asked::default();
                        let accepted = model.accept(publish, &run, &mut asked)?;
                        model.make_room(publish.log, &asked);
                        Ok(Answer::Confirm(model.store(publish, &accepted)))
                    },
                )
            }
            Command::Transaction(transaction) => {
                let ticket = (transaction.producer, transaction.sequence);
                let runs = dedup::runs_of(&transaction.operations, &mut self.runs);
                let operations = &transaction.operations;
                let is_repeat = |answer: &Answer| retries::are_of(answer, operations);
                let done = self.once(ticket, is_repeat, |model| {
                    model.transaction(operations, runs)
                });
                let settles = transaction.operations.iter();
                for settle in settles.filter_map(|operation| operation.settle.as_ref()) {
                    let lost = |(_, fate): &(u64, settle::Fate)| fate.is_lost();
                    if done.is_ok() {
                        self.readers.free(settle, settle::offsets(settle));
                    } else {
                        let fates = self.fates(settle).into_iter().filter(lost);
                        let fates: Vec<_> = fates.map(|(offset, _)| offset).collect();
                        self.readers.free(settle, fates.into_iter());
                    }
                }
                done
            }
            Command::Settle(settle) => {
                self.readers.free(settle, settle::offsets(settle));
                self.settle(settle).map(Answer::Settled)
            }
            Command::CreateQueue(create) => self.create_queue(create),
            Command::CreateTopic(create) => self.create_topic(create),
            Command::CreateSubscription(create) => self.create_subscription(create),
            Command::Cancel(cancel) => self.cancel(cancel),
            Command::CreateSchedule(create) => self.create_schedule(create),
            Command::DeleteSchedule(delete) => self.delete_schedule(delete),
            Command::Fire(fire) => self.fire(fire),
            Command::Delete(delete) => self.delete(delete),
            Command::Sift(sift) => self.sift(sift),
            Command::Seek(seek) => self.seek(seek),
            Command::Forward(forward) => {
                self.forward(forward);
                return None;
            }
            Command::Purge(purge) => self.purge(purge.subscription, purge.limit),
            Command::Redrive(redrive) => self.redrive(redrive),
            Command::StopRedrive(stop) => self.stop_redrive(stop.subscription),
            Command::Pause(pause) => self.pause(pause.subscription, pause.paused),
            Command::DropDead(drop) => self.drop_dead(drop.subscription, drop.limit),
        })
    }

    /// The same (producer, sequence) is done once; a refused one is still free.
    fn once(
        &mut self,
        (producer, sequence): (u64, u64),
        is_repeat: impl Fn(&Answer) -> bool,
        act: impl FnOnce(&mut Self) -> Judged,
    ) -> Judged {
        let known = self.producers.get(&producer);
        let known = known.ok_or(Refusal::ProducerUnknown)?;
        let newest = known.answers.keys().last().copied().unwrap_or(0);
        if newest >= sequence + 1_024 {
            return Err(Refusal::ProducerUnknown);
        }
        if let Some(answer) = known.answers.get(&sequence) {
            return is_repeat(answer)
                .then(|| answer.clone())
                .ok_or(Refusal::ProducerUnknown);
        }
        let answer = act(self)?;
        let mut again = answer.clone();
        if let Answer::TransactionDone(done) = &mut again {
            for one in done {
                if let OperationDone::Settle(settled) = one {
                    settled.outcomes.clear();
                }
            }
        }
        let now = self.now;
        if let Some(known) = self.producers.get_mut(&producer) {
            known.last_used = now;
            known.answers.insert(sequence, again);
        }
        Ok(answer)
    }

    fn open_producer(&mut self) -> u64 {
        let now = self.now;
        self.producers
            .retain(|_, producer| now - producer.last_used <= 86_400_000);
        self.last_id += 1;
        let producer = Producer {
            last_used: now,
            answers: BTreeMap::new(),
        };
        self.producers.insert(self.last_id, producer);
        self.last_id
    }

    fn lease(&mut self, lease: &Lease) {
        if let Some(gap) = lease.gap
            && let Some(subscription) = self.subscriptions.get_mut(&lease.subscription)
        {
            for offset in gap.first..gap.first + gap.count {
                subscription.gaps.remove(&offset);
                self.readers.forget_told(lease.subscription, offset);
            }
        }
        self.readers.given.lease(lease, self.now);
        let ranges = lease.ranges.iter();
        let offsets = ranges.flat_map(|range| range.first..range.first + range.count);
        for offset in offsets {
            self.readers.unreserve(lease.subscription, offset);
            let Some(subscription) = self.subscriptions.get_mut(&lease.subscription) else {
                continue;
            };
            let key = subscription
                .messages
                .get(&offset)
                .and_then(|found| found.key);
            let held = key.is_some_and(|key| subscription.holder(key).is_some());
            let message = subscription.messages.get_mut(&offset);
            let Some(message) = message.filter(|one| one.place == Place::Ready && !held) else {
                continue;
            };
            message.lapsed = None;
            message.holds_key = true;
            let handed_over = lease.deadline_ms - lease.visibility_timeout_ms;
            let max_hold = subscription.settings.max_hold_ms;
            message.place = Place::Leased {
                hold_until: match max_hold {
                    0 => 0,
                    _ => handed_over + max_hold,
                },
                grant: lease.grant(),
                deadline: lease.deadline_ms,
                visibility_timeout_ms: lease.visibility_timeout_ms,
                holder: lease.holder.clone(),
                begun: false,
            };
        }
    }
}

/// The clock of the model.
impl Model {
    /// Of the last entry.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }
}
