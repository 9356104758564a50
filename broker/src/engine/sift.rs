//! Looks and repairs with a filter: bodies are read a step at a time, and what matches is acted on in
//! logged slices.
//!
//! The job that leads from slice to slice is volatile: if the broker stops or the connection closes,
//! what was done is done, and nobody waits for the rest.

use siding_protocol::event::Answer;
use siding_protocol::filter::{Candidate, Filter, Scope};
use siding_protocol::limits::PAGE_MAX;
use siding_protocol::refusal::{Refusal, State as MessageState};
use siding_protocol::request::Sieve;
use siding_protocol::run;
use siding_protocol::types::{Address, Offset, OffsetRange};

use super::command::{Command, LoggedRange, Sift, SiftKind};
use super::effect::{Effect, Effects, Found, Origin, Urgency};
use super::log::Change;
use super::read::{Body, Job, step};
use super::runs::{RangeSet, rising};
use super::state::{State, gone};
use super::subscription::{Context, Subscription};
use super::touched::Touched;
use super::{Engine, propose};

/// A purge, redrive or drop under way.
#[derive(Clone, Debug)]
pub(super) struct Sifting {
    origin: Origin,
    subscription: u64,
    kind: SiftKind,
    filter: Filter,
    dry_run: bool,
    /// Redrive: at most so many a second; 0: all at once.
    rate: u64,
    /// Of its slices; 0: there was none yet.
    job: u64,
    /// Its last slice was logged.
    has_ended: bool,
    /// Messages it may still take.
    left: u64,
    counted: u64,
    /// Where it goes on.
    from: Offset,
}

/// A browse under way.
#[derive(Clone, Debug)]
pub(super) struct Browsing {
    origin: Origin,
    address: Address,
    state: Option<MessageState>,
    filter: Filter,
    limit: usize,
    found: Vec<Found>,
    /// What is being read.
    page: Vec<Found>,
}

impl Sifting {
    /// Whether it has begun a redrive at a rate.
    pub(super) fn feeds(&self) -> bool {
        self.rate > 0 && self.job > 0
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }
}

impl Browsing {
    pub(super) fn origin(&self) -> Origin {
        self.origin
    }
}

impl State {
    pub(super) fn sift(
        &mut self,
        sift: &Sift,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Result<Answer, Refusal> {
        let ranges: Vec<_> = sift.ranges.iter().map(|range| (*range).into()).collect();
        let done = self.change(sift.subscription, effects, touched, |found, context| {
            found.sift(sift, &ranges, context)
        });
        done.ok_or_else(gone).flatten().map(Answer::Counted)
    }
}

impl Subscription {
    fn sift(
        &mut self,
        sift: &Sift,
        ranges: &[OffsetRange],
        context: &mut Context<'_>,
    ) -> Result<u64, Refusal> {
        let kind = sift.kind();
        let chosen = ranges
            .iter()
            .flat_map(|range| self.sifted(kind, range.clone()));
        let chosen: RangeSet = chosen.collect();
        if kind == SiftKind::Redrive && sift.rate > 0 {
            return self.feed_redrive(sift, &chosen, context);
        }
        for range in chosen.ranges() {
            match kind {
                SiftKind::Purge => {
                    self.withdraw(range.clone());
                    self.forget(range.clone());
                    context.changes.push(Change::Gone(range));
                }
                SiftKind::Redrive => self.revive(range, context),
                SiftKind::DropDead => self.remove_dead(range, context),
            }
        }
        if kind != SiftKind::Redrive {
            self.purged += chosen.count();
        }
        Ok(chosen.count())
    }

    /// The messages of `range` that it could be about.
    fn sifted(&self, kind: SiftKind, range: OffsetRange) -> impl Iterator<Item = OffsetRange> {
        let sources: Vec<Box<dyn Iterator<Item = OffsetRange> + '_>> = if kind == SiftKind::Purge {
            let delayed = self.exceptions.overlap(range.clone());
            let delayed = delayed.filter(|(_, exception)| exception.is_delayed());
            let in_line = self.lanes.waiting().within(range.clone());
            vec![
                Box::new(self.ready.within(range)),
                Box::new(in_line),
                Box::new(delayed.map(|(part, _)| part)),
            ]
        } else {
            vec![Box::new(self.dead.overlap(range).map(|(part, _)| part))]
        };
        rising(sources.into_iter())
    }
}

impl Engine {
    /// Begins a purge, redrive or drop with a filter; a redrive at a rate, if there is one.
    pub(super) fn begin_sift(
        &mut self,
        origin: Origin,
        sieve: &Sieve,
        (kind, rate): (SiftKind, u64),
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let sifting = Sifting {
            origin,
            subscription: self.subscription_at(&sieve.address)?,
            kind,
            filter: Filter::parse(&sieve.filter, Scope::Look)?,
            dry_run: sieve.dry_run,
            rate,
            job: 0,
            has_ended: false,
            left: if sieve.limit == 0 {
                u64::MAX
            } else {
                sieve.limit
            },
            counted: 0,
            from: 0,
        };
        self.refuse_more_looks(origin.session)?;
        self.go_on_sifting(sifting, effects);
        Ok(())
    }

    /// Reads on, or answers.
    fn go_on_sifting(&mut self, mut sifting: Sifting, effects: &mut Effects) {
        let subscription = self.state.subscriptions.get(&sifting.subscription);
        let log = subscription.and_then(|found| self.state.logs.get(&found.log));
        let Some((subscription, log)) = subscription.zip(log) else {
            return effects.reply(sifting.origin, Err(gone()));
        };
        let redriving = subscription.redriving.as_ref();
        let is_fed = redriving.is_some_and(|found| found.fed_by == sifting.job);
        if sifting.has_ended || (sifting.feeds() && !is_fed) {
            let counted = Answer::Counted(sifting.counted);
            return effects.reply(sifting.origin, Ok(counted));
        }
        let rest = sifting.from..Offset::MAX;
        let candidates = subscription.sifted(sifting.kind, rest);
        let ranges = step(log, candidates, self.volatile.reads.step_bytes_max);
        let Some(last) = ranges.last().filter(|_| sifting.left > 0) else {
            return self.end_sift(sifting, effects);
        };
        sifting.from = last.end;
        let job = Job::Sift(Box::new(sifting), ranges);
        self.volatile.reads.ask(log.id, job, effects);
    }

    /// Nothing more is to be read.
    fn end_sift(&mut self, mut sifting: Sifting, effects: &mut Effects) {
        if sifting.feeds() {
            sifting.has_ended = true;
            return self.propose_slice(sifting, &RangeSet::default(), effects);
        }
        let counted = Answer::Counted(sifting.counted);
        effects.reply(sifting.origin, Ok(counted));
    }

    fn propose_slice(&mut self, mut sifting: Sifting, matches: &RangeSet, effects: &mut Effects) {
        let begins = sifting.job == 0;
        if begins {
            sifting.job = self.volatile.reads.next_number();
        }
        let sift = Sift {
            subscription: sifting.subscription,
            kind: sifting.kind.into(),
            ranges: matches.ranges().map(LoggedRange::from).collect(),
            job: sifting.job,
            rate: sifting.rate,
            begins,
            ends: sifting.has_ended,
        };
        self.volatile.reads.set_aside(sifting.job, sifting);
        propose(Command::Sift(sift), Urgency::Awaited, effects);
    }

    /// What was read is sifted: a slice is logged, or only counted.
    pub(super) fn sift_read(
        &mut self,
        mut sifting: Sifting,
        bodies: &[Body],
        effects: &mut Effects,
    ) {
        let Some(subscription) = self.state.subscriptions.get(&sifting.subscription) else {
            return effects.reply(sifting.origin, Err(gone()));
        };
        let mut matches = RangeSet::default();
        for (offset, message) in messages(bodies) {
            let death = subscription.dead.get(offset);
            let candidate = Candidate {
                message,
                reason: death.map_or("", |death| death.reason.name()),
                detail: death.map_or("", |death| death.detail.as_str()),
            };
            if sifting.left > 0 && sifting.filter.matches(&candidate) {
                matches.add(offset..offset + 1);
                sifting.left -= 1;
            }
        }
        if sifting.dry_run || matches.is_empty() {
            sifting.counted += matches.count();
            return self.go_on_sifting(sifting, effects);
        }
        self.propose_slice(sifting, &matches, effects);
    }

    /// A slice was applied, or refused.
    pub(super) fn follow_sift(
        &mut self,
        sift: &Sift,
        counted: Result<u64, Refusal>,
        effects: &mut Effects,
    ) {
        let Some(mut sifting) = self.volatile.reads.take_aside(sift.job) else {
            return;
        };
        match counted {
            Ok(counted) => {
                sifting.counted += counted;
                self.go_on_sifting(sifting, effects);
            }
            Err(refusal) => effects.reply(sifting.origin, Err(refusal)),
        }
    }

    /// Begins a browse with a filter.
    pub(super) fn begin_browse(
        &mut self,
        origin: Origin,
        (address, state): (Address, Option<MessageState>),
        (from, limit): (Offset, u32),
        filter: &str,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let browsing = Browsing {
            origin,
            address,
            state,
            filter: Filter::parse(filter, Scope::Look)?,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            found: Vec::new(),
            page: Vec::new(),
        };
        self.refuse_more_looks(origin.session)?;
        self.go_on_browsing(browsing, from, effects)
    }

    fn go_on_browsing(
        &mut self,
        mut browsing: Browsing,
        from: Offset,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let (log, page) = self.browse(&browsing.address, browsing.state, from, PAGE_MAX)?;
        if page.is_empty() || browsing.found.len() >= browsing.limit {
            effects.push(Effect::Browsed(browsing.origin, log, browsing.found));
            return Ok(());
        }
        let offsets = page.iter().map(|found| found.offset..found.offset + 1);
        let offsets: RangeSet = offsets.collect();
        browsing.page = page;
        let found = self.state.logs.get(&log).ok_or_else(gone)?;
        let bytes = self.volatile.reads.step_bytes_max;
        let ranges = step(found, offsets.ranges(), bytes);
        let job = Job::Browse(Box::new(browsing), ranges);
        self.volatile.reads.ask(log, job, effects);
        Ok(())
    }

    /// What was read is looked through.
    pub(super) fn browse_read(
        &mut self,
        mut browsing: Browsing,
        ranges: &[OffsetRange],
        bodies: &[Body],
        effects: &mut Effects,
    ) {
        let mut page = std::mem::take(&mut browsing.page).into_iter().peekable();
        for (offset, message) in messages(bodies) {
            while page.next_if(|found| found.offset < offset).is_some() {}
            let Some(found) = page.next_if(|found| found.offset == offset) else {
                continue;
            };
            let candidate = Candidate {
                message,
                reason: found.reason,
                detail: &found.detail,
            };
            if browsing.found.len() < browsing.limit && browsing.filter.matches(&candidate) {
                browsing.found.push(found);
            }
        }
        let from = ranges.last().map_or(Offset::MAX, |range| range.end);
        let origin = browsing.origin;
        if let Err(refusal) = self.go_on_browsing(browsing, from, effects) {
            effects.reply(origin, Err(refusal));
        }
    }
}

/// Every message that was read, with its offset.
pub(super) fn messages(bodies: &[Body]) -> impl Iterator<Item = (Offset, run::MessageView<'_>)> {
    let bodies = bodies.iter();
    bodies.flat_map(|body| (body.first..).zip(run::messages(&body.run)))
}
