//! The model against the engine, after every entry.

use std::collections::{BTreeMap, BTreeSet};

use siding_broker::engine::command::Entry;
use siding_broker::engine::log::Kind;
use siding_broker::engine::state::State as EngineState;
use siding_broker::engine::subscription::Subscription as EngineSubscription;
use siding_protocol::event::Answer;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::types::Grant;

use super::{Model, Place, Subscription};
use crate::bodies::Bodies;
use crate::stage::Outcome;

/// What is compared of one message.
#[derive(Clone, Debug, PartialEq)]
struct View {
    state: State,
    attempts: u32,
    lapsed: Option<Grant>,
    /// Due, deadline or time of death.
    at: u64,
    /// Grant and holder, or reason and detail.
    more: String,
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
            }
        }
        let ids: Vec<_> = self.subscriptions.keys().collect();
        assert_eq!(ids, state.subscriptions.keys().collect::<Vec<_>>());
        for (id, subscription) in &mut self.subscriptions {
            subscription.compare(state.subscriptions.get(id).expect("same ids"));
        }
    }

    /// A body stays as long as its extent has a message that somebody may get, and no longer; a
    /// topic keeps what retention allows besides.
    pub(super) fn compare_bodies(&self, bodies: &Bodies) {
        let mut kept = BTreeSet::new();
        for (id, log) in &self.logs {
            for extent in &log.extents {
                let retained = log.topic.is_some() && extent.first >= log.start;
                if retained || self.count(*id, extent, |_| true) > 0 {
                    let offsets = extent.first..extent.first + extent.count;
                    kept.extend(offsets.map(|offset| (*id, offset)));
                }
            }
        }
        assert_eq!(kept, bodies.held().collect(), "bodies kept");
    }
}

impl Subscription {
    fn compare(&mut self, found: &EngineSubscription) {
        let counted = (self.start, self.settled, self.purged, self.evicted);
        let theirs = (found.start, found.settled, found.purged, found.evicted);
        assert_eq!(counted, theirs, "start, settled, purged, evicted");
        let views = views(found);
        for (offset, message) in &mut self.messages {
            // The jitter of a backoff is the engine's choice, within its tenth.
            if let (Place::Delayed(low, high), Some(view)) = (&mut message.place, views.get(offset))
                && (*low..=*high).contains(&view.at)
            {
                (*low, *high) = (view.at, view.at);
            }
        }
        let mine = self.messages.iter().map(|(offset, message)| {
            let (at, more) = match &message.place {
                Place::Ready => (0, String::new()),
                Place::Delayed(due, _) => (*due, String::new()),
                Place::Leased {
                    grant,
                    deadline,
                    holder,
                    ..
                } => (*deadline, format!("{grant} {holder}")),
                Place::Dead { at, reason, detail } => (*at, format!("{reason} {detail}")),
            };
            let view = View {
                state: message.state(),
                attempts: message.attempts,
                lapsed: message.lapsed,
                at,
                more,
            };
            (*offset, view)
        });
        assert_eq!(mine.collect::<BTreeMap<_, _>>(), views);
    }
}

/// Every message that has not left, one by one.
fn views(found: &EngineSubscription) -> BTreeMap<u64, View> {
    let mut views = BTreeMap::new();
    let mut add = |range: std::ops::Range<u64>, state, at, more: String| {
        for offset in range {
            let exception = found.exceptions.get(offset).copied().unwrap_or_default();
            let view = View {
                state,
                attempts: exception.attempts,
                lapsed: found.lapsed.get(offset).copied(),
                at,
                more: more.clone(),
            };
            assert_eq!(
                views.insert(offset, view),
                None,
                "{offset} is in two states"
            );
        }
    };
    for range in found.ready.ranges() {
        add(range, State::Ready, 0, String::new());
    }
    for (due, range) in found.delayed.iter() {
        add(range, State::Delayed, due.0, String::new());
    }
    for (grant, lease) in &found.leases {
        for (range, deadline) in lease.ranges.iter() {
            let more = format!("{grant} {}", lease.holder);
            add(range, State::Leased, deadline.0, more);
        }
    }
    for (range, death) in found.dead.iter() {
        let more = format!("{} {}", death.reason.name(), death.detail);
        add(range, State::Dead, death.at.0, more);
    }
    views
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
        Refusal::Invalid { field, .. } => Refusal::Invalid {
            field,
            min: 0,
            max: 0,
            why: "".into(),
        },
        other => other,
    }
}
