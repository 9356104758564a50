//! The pure heart: every rule of delivery, as a deterministic state machine.
//!
//! It must not know: IO, async, clocks, randomness, locks, logs, the order of a hash map. The same
//! log gives the same durable state, byte for byte, on any machine. Its doors are the methods of
//! [`Engine`]; what it answers are [`effect`]s; what is logged are [`command`]s. The durable half
//! is [`state`], the delivery state machine [`subscription`], the volatile half [`consumer`].

pub mod chunks;
pub mod command;
pub mod consumer;
pub mod dedup;
mod dispatch;
pub mod effect;
pub mod entry;
mod ephemeral;
mod explain;
pub mod fence;
mod forward;
mod handle;
pub mod job;
mod judge;
pub mod kept;
pub mod lanes;
pub mod log;
mod look;
mod lose;
mod meter;
mod names;
pub mod notices;
mod overflow;
pub mod planted;
pub mod producer;
mod publish;
pub mod read;
pub mod ready;
mod retain;
pub mod retry;
pub mod runs;
pub mod schedule;
pub mod seed;
mod seek;
pub mod select;
mod settle;
pub mod shortage;
mod sift;
pub mod snapshot;
pub mod special;
pub mod state;
pub mod subscription;
mod take;
mod tend;
pub mod timeline;
pub mod touched;
mod transaction;

use std::collections::BTreeSet;

use siding_protocol::event::Answer;
use siding_protocol::refusal::Refusal;
use siding_protocol::types::Timestamp;

use command::{Command, Empty, Entry, SettleKind, Sift, Start, Take};
use consumer::{Session, Volatile};
use effect::{Effect, Effects, SessionId, Urgency};
use meter::Meters;
use runs::RangeSet;
use seed::Seed;
use settle::Standing;
use shortage::Shortage;
use state::State;
use touched::Touched;

/// Most ranges, or grants, that one command proposed by the engine itself names: it fits the smallest
/// journal record. The rest goes with the next command.
const PARTS_PER_COMMAND_MAX: usize = 1_000;

/// All rules of one shard.
#[derive(Debug, Default)]
pub struct Engine {
    state: State,
    volatile: Volatile,
    meters: Meters,
    /// What the last entry touched: empty, but its room stays.
    moved: Touched,
}

/// What the volatile half must know of the answers to an entry's commands.
#[derive(Default)]
struct Told<'a> {
    /// Places of the commands that were refused.
    refused: BTreeSet<usize>,
    sifted: Vec<(&'a Sift, Result<u64, Refusal>)>,
    /// What of each is lost.
    taken: Vec<(&'a Take, RangeSet)>,
}

impl Engine {
    /// An engine that has seen no entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The durable half.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Of the last start.
    pub fn term(&self) -> u64 {
        self.state.term
    }

    /// Of the last entry: the next one must not be earlier.
    pub fn last_now(&self) -> Timestamp {
        self.state.now
    }

    /// What the seeds of new logs are drawn from; nobody outside may know it.
    pub fn set_secret(&mut self, secret: Seed) {
        self.volatile.secret = secret;
    }

    /// No command that is asked for may take more than so many bytes of an entry, its runs included.
    pub fn limit_entries(&mut self, bytes: usize) {
        self.volatile.entry_bytes_max = Some(bytes);
    }

    /// A broker starts: proposes the next term. Grants are given only once it is applied.
    pub fn start(&mut self, effects: &mut Effects) {
        self.volatile.starting = true;
        let command = Command::Start(Start {
            term: self.state.term + 1,
        });
        propose(command, Urgency::Awaited, effects);
    }

    /// A connection has said hello; `marks_started`: it says what it begins.
    pub fn open_session(&mut self, session: SessionId, holder: &str, marks_started: bool) {
        let open = Session::new(holder, marks_started);
        self.volatile.sessions.insert(session, open);
    }

    /// A connection closed: what its consumers hold lapses. What it received by long poll stays
    /// leased until its deadline.
    pub fn close_session(&mut self, session: SessionId, effects: &mut Effects) {
        let numbers: Vec<u32> = match self.volatile.sessions.get(&session) {
            Some(open) => open.consumers.keys().copied().collect(),
            None => return,
        };
        for number in numbers {
            self.stop_consumer(session, number, effects);
        }
        self.end_ephemerals(session, effects);
        self.volatile.reads.forget_session(session);
        self.volatile.forget_polls(session);
        self.volatile.sessions.remove(&session);
    }

    /// Something is scarce, or is there again: meanwhile publishes are refused before they are logged, and
    /// everything else goes on.
    pub fn note_shortage(&mut self, shortage: Shortage) {
        self.volatile.shortage = shortage;
    }

    /// A connection's outbound buffer is full, or has room again: nothing is handed over meanwhile.
    pub fn pause_session(&mut self, session: SessionId, paused: bool) {
        if let Some(open) = self.volatile.sessions.get_mut(&session) {
            open.paused = paused;
            let read = open.consumers.values().map(|each| each.subscription);
            self.volatile.touched.extend(read);
            let polls = self.volatile.polls.iter();
            let mine = polls.filter(|(_, _, origin)| origin.session == session);
            self.volatile.touched.extend(mine.map(|(_, id, _)| *id));
        }
    }

    /// The log says. The only door through which durable state changes. Cannot fail.
    pub fn apply(&mut self, entry: &Entry, effects: &mut Effects) {
        let first = effects.len();
        let mut touched = std::mem::take(&mut self.moved);
        self.state.apply(entry, effects, &mut touched);
        self.meters.measure(&self.state, &touched);
        self.volatile.touched.extend(touched.iter());
        let told = self.hear(entry, effects.since(first));
        for (position, command) in entry.commands.iter().enumerate() {
            let refused = told.as_ref();
            let refused = refused.is_some_and(|told| told.refused.contains(&position));
            self.follow(command, refused, effects);
        }
        if let Some(told) = told {
            self.follow_told(told, effects);
        }
        if self.state.schedules.is_keeping() {
            self.release_kept(Some(&touched));
        }
        touched.clear();
        self.moved = touched;
        if self.volatile.waits.is_empty() {
            effects.forget_ends();
        } else {
            let (ends, lasts) = (effects.take_ends(), effects.take_lasts());
            self.tell_ends(&ends, &lasts, effects);
        }
    }

    /// What the volatile half must know of the answers, if there is anything; those that say when to try
    /// again are completed.
    fn hear<'a, 'e>(
        &self,
        entry: &'a Entry,
        effects: impl Iterator<Item = &'e mut Effect>,
    ) -> Option<Told<'a>> {
        let mut told: Option<Told<'_>> = None;
        for effect in effects {
            let Effect::Outcome(position, answer) = effect else {
                continue;
            };
            match (entry.commands.get(*position), answer) {
                (Some(Command::Sift(sift)), Ok(Answer::Counted(counted))) => {
                    let told = told.get_or_insert_default();
                    told.sifted.push((sift, Ok(*counted)));
                }
                (Some(Command::Take(take)), Ok(Answer::Settled(settled))) => {
                    let lost = settled.outcomes.iter().map(|part| part.range.clone());
                    let told = told.get_or_insert_default();
                    told.taken.push((take, lost.collect()));
                }
                (_, Ok(_)) => {}
                (command, Err(refusal)) => {
                    let told = told.get_or_insert_default();
                    told.refused.insert(*position);
                    if let Some(Command::Sift(sift)) = command {
                        told.sifted.push((sift, Err(refusal.clone())));
                    }
                    let publish = command.and_then(|command| command.refused_publish(refusal));
                    let log = publish.map_or(0, |publish| publish.log);
                    self.meters.hint(self.state.now, refusal, log);
                }
            }
        }
        told
    }

    fn follow_told(&mut self, told: Told<'_>, effects: &mut Effects) {
        for (sift, counted) in told.sifted {
            self.follow_sift(sift, counted, effects);
        }
        for (take, lost) in told.taken {
            self.follow_take(take, &lost, effects);
        }
    }

    /// The volatile half follows what was applied.
    fn follow(&mut self, command: &Command, refused: bool, effects: &mut Effects) {
        match command {
            Command::Start(_) => {
                self.volatile.last_counter = 0;
                self.wind_all();
                self.volatile.starting = false;
                self.volatile
                    .touched
                    .extend(self.state.subscriptions.keys().copied());
            }
            Command::Tick(_) => self.volatile.ticking = false,
            Command::Lease(lease) => {
                if let Some(readers) = self.volatile.readers.get_mut(&lease.subscription) {
                    for range in &lease.ranges {
                        readers.reserved.remove((*range).into());
                    }
                    if let Some(gap) = lease.gap {
                        readers.told.remove(gap.into());
                    }
                }
                self.volatile.note_leased(lease);
            }
            Command::Settle(settle) => {
                self.free(settle);
                self.follow_extend(settle);
            }
            Command::Publish(_) => {
                self.volatile.in_flight.pop_front();
            }
            Command::Transaction(transaction) => {
                self.volatile.in_flight.pop_front();
                let operations = transaction.operations.iter();
                for cancel in operations.clone().filter_map(|op| op.cancel) {
                    self.tell_holder(cancel.subscription, cancel.offset, effects);
                }
                for settle in operations.filter_map(|op| op.settle.as_ref()) {
                    if refused {
                        self.free_lost(settle);
                    } else {
                        self.free(settle);
                        self.follow_extend(settle);
                    }
                }
            }
            Command::Forward(forward) => self.follow_forward(forward, effects),
            Command::CreateSubscription(create) => self.follow_creation(create, effects),
            Command::CreateSchedule(_) | Command::DeleteSchedule(_) | Command::Fire(_) => {
                self.follow_schedule(command, refused);
            }
            Command::Cancel(cancel) => {
                self.tell_holder(cancel.subscription, cancel.offset, effects);
            }
            Command::Judge(judge) => {
                self.volatile.reads.finish(judge.subscription);
                self.volatile.touched.insert(judge.subscription);
            }
            Command::Delete(_) => {
                let known = &self.state.subscriptions;
                self.volatile.reads.keep(|id| known.contains_key(&id));
                self.volatile
                    .ephemerals
                    .retain(|id, _| known.contains_key(id));
                self.end_orphaned_waits(effects);
                self.meters.keep(|log| self.state.logs.contains_key(&log));
                self.end_readers(effects);
            }
            _ => {}
        }
    }

    /// Tells whoever waits for messages of a subscription that is gone. What they hold is gone too.
    fn end_readers(&mut self, effects: &mut Effects) {
        let known = &self.state.subscriptions;
        for (consumers, polls) in self.volatile.take_orphans(|id| known.contains_key(&id)) {
            for consumer in consumers {
                effects.push(Effect::EndConsumer {
                    session: consumer.session,
                    consumer: consumer.number,
                    why: state::gone(),
                });
            }
            for poll in polls {
                effects.reply(poll.origin, Err(state::gone()));
            }
        }
    }

    fn free(&mut self, settle: &command::Settle) {
        if settle.kind() != SettleKind::Extend {
            let ranges = settle.ranges.iter().map(|range| (*range).into());
            self.volatile.free(settle.grant(), ranges);
        }
    }

    /// A refused transaction settles nothing; but what its grants no longer hold takes no credit.
    fn free_lost(&mut self, settle: &command::Settle) {
        let subscription = self.state.subscriptions.get(&settle.subscription);
        let Some(subscription) = subscription.filter(|_| settle.kind() != SettleKind::Extend)
        else {
            return;
        };
        let parts = subscription.classify(settle).into_iter();
        let lost = parts.filter(|(_, standing)| matches!(standing, Standing::Lost(_)));
        self.volatile
            .free(settle.grant(), lost.map(|(range, _)| range));
    }

    /// Time passed: proposes a `Tick` when something is due and none is on its way. Changes no
    /// durable state.
    pub fn advance(&mut self, now: Timestamp, effects: &mut Effects) {
        let due = self.state.next_due().is_some_and(|due| due <= now);
        if due && !self.volatile.ticking {
            self.volatile.ticking = true;
            propose(Command::Tick(Empty {}), Urgency::Awaited, effects);
        }
        self.end_polls(now, effects);
        self.end_due_waits(now, effects);
        self.fire_due(now, effects);
        self.tell_expiring(now, effects);
    }

    /// When `advance` next has work. `None`: nothing waits on time.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let durable = if self.volatile.ticking {
            None
        } else {
            self.state.next_due()
        };
        let poll = self.volatile.polls.first().map(|(until, _, _)| *until);
        let wait = self.volatile.waits.first_due();
        let blocked = self.volatile.reads.next_due();
        let clock = self.volatile.clock.first();
        let clock = clock.filter(|_| !self.volatile.starting);
        let notice = self.volatile.notices.next();
        let waiting = poll.into_iter().chain(wait).chain(notice);
        let volatile = waiting.chain(blocked).chain(clock);
        durable.into_iter().chain(volatile).min()
    }
}

fn propose(command: Command, urgency: Urgency, effects: &mut Effects) {
    effects.push(Effect::Propose {
        command,
        runs: Vec::new(),
        from: None,
        urgency,
    });
}
