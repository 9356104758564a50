//! The engine asks for bodies, and goes on when they come: filters over what was stored before.
//!
//! ```text
//! dispatch ── Read{number, log, ranges} ──► shard: memory or disk ── bodies_read ──► command
//! ```
//! Jobs are volatile and small steps: what a lost one was for is still in the durable half, and is
//! asked for again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use siding_protocol::filter::{Filter, Scope};
use siding_protocol::limits::LOOKS_PER_CONNECTION_MAX;
use siding_protocol::refusal::Refusal;
use siding_protocol::run;
use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use super::command::{Command, Judge, LoggedRange, Verdict};
use super::effect::{Delivery, Effect, Effects, Origin, SessionId, Urgency};
use super::explain::Explaining;
use super::log::{Kind, Log};
use super::runs::RangeSet;
use super::sift::{Browsing, Sifting};
use super::{Engine, PARTS_PER_COMMAND_MAX, propose};

/// Messages read in one step.
const STEP_MESSAGES_MAX: u64 = 1_000;
/// What a command says of one message, at most, and more: bytes.
const SAID_BYTES: u64 = 64;
/// Bytes read in one step; one message may be larger.
const STEP_BYTES_MAX: u64 = 1 << 20;

/// When to try again what was too much to be read at once.
const RETRY_MS: u64 = 1_000;

/// Consecutive messages with their bytes: a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Offset of the first message.
    pub first: Offset,
    /// Messages.
    pub count: u32,
    /// When they were stored.
    pub published_at: Timestamp,
    /// The run.
    pub run: Bytes,
}

/// What is being read for, and what the filters are.
#[derive(Debug)]
pub struct Reads {
    /// Bytes read in one step; one message may be larger.
    pub(super) step_bytes_max: u64,
    last_number: u64,
    jobs: BTreeMap<u64, Job>,
    /// Those that wait for a slice of theirs to be applied.
    aside: BTreeMap<u64, Sifting>,
    /// Subscriptions that wait for a step of theirs: read, or on its way to the log.
    busy: BTreeSet<u64>,
    /// Subscriptions that forward to a target without room, and when it is looked at again.
    pub(super) blocked: BTreeMap<u64, Timestamp>,
    /// By their text; only those that are in use.
    filters: BTreeMap<String, Filter>,
}

/// What bodies are read for.
#[derive(Debug)]
pub(super) enum Job {
    /// The verdict of a subscription's filter.
    Judge {
        subscription: u64,
        ranges: Vec<OffsetRange>,
    },
    /// Storing them elsewhere.
    Forward {
        subscription: u64,
        ranges: Vec<OffsetRange>,
        dead: bool,
        target: u64,
    },
    /// A purge, redrive or drop with a filter.
    Sift(Box<Sifting>, Vec<OffsetRange>),
    /// A browse with a filter.
    Browse(Box<Browsing>, Vec<OffsetRange>),
    /// Whether the filter passed a message over.
    Explain(Box<Explaining>),
    /// A hand-over that is settled first.
    Take(Box<Delivery>),
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            step_bytes_max: STEP_BYTES_MAX,
            last_number: 0,
            jobs: BTreeMap::new(),
            aside: BTreeMap::new(),
            busy: BTreeSet::new(),
            blocked: BTreeMap::new(),
            filters: BTreeMap::new(),
        }
    }
}

impl Job {
    /// Whose step it is; nobody's, if somebody waits for its answer.
    fn subscription(&self) -> Option<u64> {
        match self {
            Self::Judge { subscription, .. } | Self::Forward { subscription, .. } => {
                Some(*subscription)
            }
            Self::Take(delivery) => Some(delivery.subscription),
            Self::Sift(..) | Self::Browse(..) | Self::Explain(_) => None,
        }
    }

    /// Who waits for its answer, if anybody does.
    fn origin(&self) -> Option<Origin> {
        match self {
            Self::Judge { .. } | Self::Forward { .. } | Self::Take(_) => None,
            Self::Sift(sifting, _) => Some(sifting.origin()),
            Self::Browse(browsing, _) => Some(browsing.origin()),
            Self::Explain(explaining) => Some(explaining.origin()),
        }
    }

    fn ranges(&self) -> Vec<OffsetRange> {
        match self {
            Self::Judge { ranges, .. }
            | Self::Forward { ranges, .. }
            | Self::Sift(_, ranges)
            | Self::Browse(_, ranges) => ranges.clone(),
            Self::Explain(explaining) => vec![explaining.range()],
            Self::Take(delivery) => {
                let ranges = delivery.ranges.iter();
                ranges.map(|(range, _)| range.clone()).collect()
            }
        }
    }
}

impl Reads {
    /// A subscription's step is done, or it is gone.
    pub fn finish(&mut self, subscription: u64) {
        self.busy.remove(&subscription);
    }

    /// A subscription cannot forward before then.
    pub(super) fn block(&mut self, subscription: u64, until: Timestamp) {
        self.blocked.insert(subscription, until);
    }

    /// When a target is looked at again.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.blocked.values().min().copied()
    }

    /// Subscriptions whose targets are to be looked at again; they wait for that no more, also those
    /// that wait for a step of theirs first.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<u64> {
        if self.blocked.is_empty() {
            return Vec::new();
        }
        let due = self.blocked.extract_if(.., |_, at| *at <= now);
        due.map(|(id, _)| id).collect()
    }

    /// Forgets what concerns subscriptions that are not `known` any more.
    pub fn keep(&mut self, known: impl Fn(u64) -> bool) {
        self.busy.retain(|id| known(*id));
        self.blocked.retain(|id, _| known(*id));
        self.jobs
            .retain(|_, job| job.subscription().is_none_or(&known));
        self.filters.clear();
    }

    /// Jobs whose answers a connection waits for.
    fn of_session(&self, session: SessionId) -> usize {
        let jobs = self.jobs.values().filter_map(Job::origin);
        let all = jobs.chain(self.aside.values().map(Sifting::origin));
        all.filter(|origin| origin.session == session).count()
    }

    /// A connection closed: nobody waits for the rest of what it asked. A redrive that has begun goes on
    /// by itself.
    pub fn forget_session(&mut self, session: SessionId) {
        let waits = |sifting: &Sifting| sifting.origin().session == session && !sifting.feeds();
        self.jobs.retain(|_, job| match job {
            Job::Sift(sifting, _) => !waits(sifting),
            other => other.origin().is_none_or(|to| to.session != session),
        });
        self.aside.retain(|_, sifting| !waits(sifting));
    }

    /// A filter of a subscription; every text was parsed before it was stored.
    pub(super) fn filter(&mut self, text: &str) -> Option<&Filter> {
        if !self.filters.contains_key(text) {
            let filter = Filter::parse(text, Scope::Subscription).ok()?;
            self.filters.insert(text.to_owned(), filter);
        }
        self.filters.get(text)
    }

    /// Asks for the bodies of a job.
    pub(super) fn start(&mut self, id: u64, log: u64, job: Job, effects: &mut Effects) {
        self.busy.insert(id);
        self.ask(log, job, effects);
    }

    /// A number that nobody had since the start.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// A slice is on its way to the log: the job waits under its number.
    pub(super) fn set_aside(&mut self, number: u64, sifting: Sifting) {
        self.aside.insert(number, sifting);
    }

    /// The job that waited for a slice.
    pub(super) fn take_aside(&mut self, number: u64) -> Option<Sifting> {
        self.aside.remove(&number)
    }

    /// The hand-over that a read is for.
    pub(super) fn taking(&self, number: u64) -> Option<&Delivery> {
        match self.jobs.get(&number)? {
            Job::Take(delivery) => Some(delivery),
            _ => None,
        }
    }

    /// Asks for the bodies of a job that somebody waits for.
    pub(super) fn ask(&mut self, log: u64, job: Job, effects: &mut Effects) {
        let number = self.next_number();
        effects.push(Effect::Read {
            number,
            log,
            ranges: job.ranges(),
        });
        self.jobs.insert(number, job);
    }
}

impl Engine {
    /// What the filters of a topic's subscriptions say of a run, each asked once. Past so many parts
    /// as a command may have, the rest is judged later.
    pub(super) fn verdicts(&mut self, log: u64, run: &Bytes) -> Vec<Verdict> {
        let Some(log) = self.state.logs.get(&log) else {
            return Vec::new();
        };
        if matches!(log.kind, Kind::Queue(_)) {
            return Vec::new();
        }
        let subscriptions = &self.state.subscriptions;
        let all = log
            .subscriptions
            .iter()
            .filter_map(|id| subscriptions.get(id));
        let mut by_text: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for subscription in all.filter(|found| !found.settings.filter.is_empty()) {
            let text = subscription.settings.filter.as_str();
            by_text.entry(text).or_default().push(subscription.id);
        }
        let (mut verdicts, mut parts) = (Vec::new(), 0);
        for (text, subscriptions) in by_text {
            let Some(filter) = self.volatile.reads.filter(text) else {
                continue;
            };
            let mut matches = RangeSet::default();
            hits(filter, run).for_each(|at| matches.add(at..at + 1));
            parts += matches.pieces() + subscriptions.len();
            if parts > PARTS_PER_COMMAND_MAX {
                break;
            }
            let matches = matches.ranges().map(LoggedRange::from).collect();
            verdicts.push(Verdict {
                subscriptions,
                matches,
            });
        }
        verdicts
    }

    /// Asks for what a subscription needs to have read, a step at a time.
    pub(super) fn read_behind(&mut self, id: u64, now: Timestamp, effects: &mut Effects) {
        let Some(subscription) = self.state.subscriptions.get(&id) else {
            return;
        };
        if self.volatile.reads.busy.contains(&id) || self.is_fenced(id) {
            return;
        }
        if subscription.unjudged.is_empty() {
            return self.read_outbound(id, now, effects);
        }
        let Some(log) = self.state.logs.get(&subscription.log) else {
            return;
        };
        let unjudged = subscription.unjudged_ranges();
        let ranges = step(log, unjudged, self.volatile.reads.step_bytes_max);
        let job = Job::Judge {
            subscription: id,
            ranges,
        };
        self.volatile.reads.start(id, log.id, job, effects);
    }

    /// What a connection asks to have read at once is bounded: each job holds bodies.
    pub(super) fn refuse_more_looks(&self, session: SessionId) -> Result<(), Refusal> {
        let current = self.volatile.reads.of_session(session);
        if current < LOOKS_PER_CONNECTION_MAX {
            return Ok(());
        }
        Err(Refusal::Busy {
            resource: "looks".into(),
            limit: LOOKS_PER_CONNECTION_MAX as u64,
            current: current as u64,
            retry_after_ms: RETRY_MS,
        })
    }

    /// What one step reads must fit an entry: at most so many bytes, beside one larger message.
    pub fn limit_steps(&mut self, bytes: u64) {
        self.volatile.reads.step_bytes_max = bytes.min(STEP_BYTES_MAX);
    }

    /// The bodies that a `Read` asked for, rising; those that are gone or cannot be read are left out.
    pub fn bodies_read(
        &mut self,
        now: Timestamp,
        number: u64,
        bodies: &[Body],
        effects: &mut Effects,
    ) {
        match self.volatile.reads.jobs.remove(&number) {
            Some(Job::Judge {
                subscription,
                ranges,
            }) => self.propose_judge(subscription, &ranges, bodies, effects),
            Some(Job::Forward {
                subscription,
                ranges,
                dead,
                target,
            }) => {
                let what = (subscription, dead, target);
                self.propose_forward(now, what, &ranges, bodies, effects);
            }
            Some(Job::Sift(sifting, _)) => self.sift_read(*sifting, bodies, effects),
            Some(Job::Browse(browsing, ranges)) => {
                self.browse_read(*browsing, &ranges, bodies, effects);
            }
            Some(Job::Explain(explaining)) => self.explain_read(*explaining, bodies, effects),
            Some(Job::Take(delivery)) => self.propose_take(now, *delivery, bodies, effects),
            None => {}
        }
    }

    /// A message that cannot be read matches: better seen to be missing than passed over.
    fn propose_judge(
        &mut self,
        id: u64,
        ranges: &[OffsetRange],
        bodies: &[Body],
        effects: &mut Effects,
    ) {
        let Some(subscription) = self.state.subscriptions.get(&id) else {
            return;
        };
        let Some(filter) = self.volatile.reads.filter(&subscription.settings.filter) else {
            return;
        };
        let mut matches: RangeSet = ranges.iter().cloned().collect();
        for body in bodies {
            for (offset, message) in (body.first..).zip(run::messages(&body.run)) {
                if !filter.matches_message(message) {
                    matches.remove(offset..offset + 1);
                }
            }
        }
        let judge = Judge {
            subscription: id,
            read: ranges.iter().cloned().map(LoggedRange::from).collect(),
            matches: matches.ranges().map(LoggedRange::from).collect(),
        };
        propose(Command::Judge(judge), Urgency::Awaited, effects);
    }
}

/// The places of a run's messages that match.
fn hits<'a>(filter: &'a Filter, run: &'a Bytes) -> impl Iterator<Item = Offset> + 'a {
    let messages = (0..).zip(run::messages(run));
    messages.filter_map(|(at, message)| filter.matches_message(message).then_some(at))
}

/// The beginning of `ranges` that is read in one step.
pub(super) fn step(
    log: &Log,
    ranges: impl Iterator<Item = OffsetRange>,
    bytes_max: u64,
) -> Vec<OffsetRange> {
    // What is said of a message beside its bytes must fit a small record too.
    let most = (bytes_max / SAID_BYTES).clamp(1, STEP_MESSAGES_MAX);
    let (mut messages, mut bytes) = (most, bytes_max);
    let mut chosen = Vec::new();
    for range in ranges {
        let part = log.beginning(&range, messages, bytes);
        let cost = log.bytes_of(&part);
        if cost > bytes && !chosen.is_empty() {
            break;
        }
        messages -= part.end - part.start;
        bytes = bytes.saturating_sub(cost);
        let is_whole = part == range;
        chosen.push(part);
        if !is_whole || messages == 0 || bytes == 0 {
            break;
        }
    }
    chosen
}
