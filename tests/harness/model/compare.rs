//! The model against the engine, after every entry.

use std::collections::BTreeMap;

use siding_broker::engine::command::Entry;
use siding_broker::engine::log::Kind;
use siding_broker::engine::state::State as EngineState;
use siding_broker::engine::subscription::Subscription as EngineSubscription;
use siding_protocol::event::Answer;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::types::{Grant, OffsetRange};

use super::{Message, Model, Place, Redriving, Subscription};
use crate::bodies::Bodies;
use crate::stage::Outcome;

/// What is compared of one message; cheap to make, as all are compared after every entry.
#[derive(Clone, Copy, Debug, PartialEq)]
struct View<'a> {
    state: State,
    priority: u32,
    expires_at: u64,
    attempts: u32,
    acquires: u32,
    begun: bool,
    lapsed: Option<Grant>,
    said: Words<'a>,
    generation: u32,
    /// Due, deadline or time of death.
    at: u64,
    grant: Option<Grant>,
    /// Holder, or reason and detail.
    words: (Words<'a>, Words<'a>),
}

/// Most messages have none, and the comparison of two empty ones was half of a life's time.
#[derive(Clone, Copy, Debug)]
struct Words<'a>(&'a str);

const NONE: (Words<'static>, Words<'static>) = (Words(""), Words(""));

impl PartialEq for Words<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && (self.0.is_empty() || self.0 == other.0)
    }
}

impl Model {
    pub(super) fn compare_outcomes(&self, judged: &[Outcome], found: &[Outcome], entry: &Entry) {
        let plain = |outcomes: &[Outcome]| -> Vec<(usize, Result<Answer, Refusal>)> {
            let outcomes = outcomes.iter().cloned();
            outcomes.map(|(at, one)| (at, one.map_err(plain))).collect()
        };
        let (judged, found) = (plain(judged), plain(found));
        assert_eq!(
            judged, found,
            "answers to {:?} at {}",
            entry.commands, self.now
        );
    }

    pub(super) fn compare_state(&mut self, state: &EngineState) {
        assert_eq!((self.term, self.last_id), (state.term, state.last_id));
        let names: BTreeMap<_, _> = self.logs.iter().map(|(id, log)| (&log.name, id)).collect();
        assert_eq!(names, state.names.iter().collect());
        for (id, log) in &self.logs {
            let found = state.logs.get(id).expect("a log");
            assert_eq!(
                (log.start, log.end),
                (found.start, found.end),
                "{}",
                log.name
            );
            if let Kind::Queue(_) = found.kind {
                let charged = (found.messages, found.bytes);
                assert_eq!(self.charged(*id), charged, "charged to {}", log.name);
                let kept = found.kept.bytes();
                assert_eq!(log.kept_bytes(), kept, "kept by {}", log.name);
            }
        }
        let ids: Vec<_> = self.subscriptions.keys().collect();
        assert_eq!(ids, state.subscriptions.keys().collect::<Vec<_>>());
        for (id, subscription) in &mut self.subscriptions {
            subscription.compare(state.subscriptions.get(id).expect("same ids"));
        }
    }

    /// A body stays as long as its extent has a message that somebody may get, and no longer; a
    /// topic keeps what retention allows besides, and so does a queue that can be sought back.
    pub(super) fn compare_bodies(&self, bodies: &Bodies) {
        let mut kept = Vec::new();
        for (id, log) in &self.logs {
            for extent in &log.extents {
                let retained = log.topic.is_some() && extent.first >= log.start;
                if retained || extent.left_at.is_some() || self.count(*id, extent, |_| true) > 0 {
                    let offsets = extent.first..extent.first + extent.count;
                    kept.extend(offsets.map(|offset| (*id, offset)));
                }
            }
        }
        if !bodies.held().eq(kept.iter().copied()) {
            assert_eq!(kept, bodies.held().collect::<Vec<_>>(), "bodies kept");
        }
    }
}

impl Subscription {
    fn compare(&mut self, found: &EngineSubscription) {
        let counted = (self.start, self.settled, self.purged, self.evicted);
        let theirs = (found.start, found.settled, found.purged, found.evicted);
        self.compare_jobs(found);
        assert_eq!(counted, theirs, "start, settled, purged, evicted");
        assert_eq!(self.filtered, found.filtered, "filtered");
        assert_eq!(self.forwarded, found.forwarded, "forwarded");
        assert_eq!(self.expired, found.expired, "expired");
        let gaps = found.gaps.ranges().flatten();
        assert!(gaps.eq(self.gaps.iter().copied()), "gaps {:?}", found.gaps);
        let redriving = found.redriving.as_ref().map(|found| Redriving {
            left: found.left.ranges().flatten().collect(),
            rate: found.rate,
            next_at: found.next_at.0,
            fed_by: found.fed_by,
        });
        assert_eq!((&self.redriving, self.paused), (&redriving, found.paused));
        let theirs = views(found);
        let due = |offset: &u64| {
            let at = theirs.binary_search_by_key(offset, |(offset, _)| *offset);
            at.ok()
                .and_then(|at| theirs.get(at))
                .map(|(_, view)| view.at)
        };
        for (offset, message) in &mut self.messages {
            // The jitter of a backoff is the engine's choice, within its tenth.
            if let Place::Delayed(low, high) = &mut message.place
                && low < high
                && let Some(due) = due(offset).filter(|due| (*low..=*high).contains(due))
            {
                (*low, *high) = (due, due);
            }
        }
        let mine = self.messages.iter();
        let mine = mine.map(|(offset, message)| (*offset, message.view()));
        if !mine.clone().eq(theirs.iter().copied()) {
            assert_eq!(mine.collect::<Vec<_>>(), theirs);
        }
    }
}

impl Message {
    fn view(&self) -> View<'_> {
        let (at, grant, words) = match &self.place {
            Place::Ready => (0, None, NONE),
            Place::Unjudged(due) => (*due, None, (Words("unjudged"), NONE.1)),
            Place::Delayed(due, _) => (*due, None, NONE),
            Place::Leased {
                grant,
                deadline,
                holder,
                ..
            } => (*deadline, Some(*grant), (Words(holder), NONE.1)),
            Place::Dead {
                at, reason, detail, ..
            } => (*at, None, (Words(reason), Words(detail))),
        };
        View {
            state: self.state(),
            priority: self.priority,
            expires_at: self.expires_at,
            attempts: self.attempts,
            acquires: self.acquires,
            begun: matches!(self.place, Place::Leased { begun: true, .. }),
            lapsed: self.lapsed,
            said: Words(&self.words),
            generation: self.generation,
            at,
            grant,
            words,
        }
    }
}

/// Every message that has not left, one by one.
fn views(found: &EngineSubscription) -> Vec<(u64, View<'_>)> {
    let mut views = Vec::new();
    for range in found.ready.ranges().chain(found.lanes.waiting().ranges()) {
        add(&mut views, found, range, (State::Ready, 0, None, NONE));
    }
    for (range, due) in found.unjudged.iter() {
        let place = (State::Ready, due.0, None, (Words("unjudged"), NONE.1));
        add(&mut views, found, range, place);
    }
    for (due, range) in found.delayed.iter() {
        add(
            &mut views,
            found,
            range,
            (State::Delayed, due.0, None, NONE),
        );
    }
    for (grant, lease) in &found.leases {
        for (range, deadline) in lease.ranges.iter() {
            let words = (Words(&lease.holder), NONE.1);
            add(
                &mut views,
                found,
                range,
                (State::Leased, deadline.0, Some(*grant), words),
            );
        }
    }
    for (range, death) in found.dead.iter() {
        let words = (Words(death.reason.name()), Words(&death.detail));
        add(
            &mut views,
            found,
            range,
            (State::Dead, death.at.0, None, words),
        );
    }
    views.sort_unstable_by_key(|(offset, _)| *offset);
    for (one, next) in views.iter().zip(views.iter().skip(1)) {
        assert_ne!(one.0, next.0, "in two states: {one:?}, {next:?}");
    }
    views
}

fn add<'a>(
    views: &mut Vec<(u64, View<'a>)>,
    found: &'a EngineSubscription,
    range: OffsetRange,
    (state, at, grant, words): (State, u64, Option<Grant>, (Words<'a>, Words<'a>)),
) {
    for offset in range {
        let exception = found.exceptions.get(offset).copied().unwrap_or_default();
        let attributes = found.attributes.get(offset).copied().unwrap_or_default();
        let view = View {
            state,
            priority: attributes.priority.into(),
            expires_at: attributes.expires_at.0,
            attempts: exception.attempts,
            acquires: exception.acquires,
            begun: is_begun(found, grant, offset),
            lapsed: found.lapsed.get(offset).copied(),
            said: Words(found.words.get(offset).map_or("", String::as_str)),
            generation: found.generations.get(offset).copied().unwrap_or_default(),
            at,
            grant,
            words,
        };
        views.push((offset, view));
    }
}

fn is_begun(found: &EngineSubscription, grant: Option<Grant>, offset: u64) -> bool {
    let lease = grant.and_then(|grant| found.leases.get(&grant));
    lease.is_some_and(|lease| lease.begun.get(offset).is_some())
}

/// A refusal without words and hints.
fn plain(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Operation { index, refusal } => Refusal::Operation {
            index,
            refusal: Box::new(plain(*refusal)),
        },
        Refusal::Busy {
            resource,
            limit,
            current,
            ..
        } => Refusal::Busy {
            resource,
            limit,
            current,
            retry_after_ms: 0,
        },
        Refusal::Invalid {
            field, min, max, ..
        } => {
            // Where what is allowed depends on the moment, it is part of the answer.
            let told = field == "remaining_ms";
            let (min, max) = if told { (min, max) } else { (0, 0) };
            Refusal::Invalid {
                field,
                min,
                max,
                why: "".into(),
            }
        }
        other => other,
    }
}
