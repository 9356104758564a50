//! A naive keeper of bodies: says at once when the engine forgets one too early, twice or never.

use std::collections::BTreeMap;

use bytes::Bytes;
use siding_broker::engine::command::Entry;
use siding_broker::engine::effect::{Delivery, Place};
use siding_broker::engine::read::Body;
use siding_broker::engine::state::State;
use siding_protocol::run::{self, MessageFields, RunBuilder, RunLimits, ScannedRun};
use siding_protocol::types::{Offset, OffsetRange, Timestamp};

/// One stored message by (log, offset): a run of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bodies(BTreeMap<(u64, Offset), (Timestamp, Bytes)>);

impl Bodies {
    /// Keeps the bodies of one place, read from the entry's bytes.
    pub fn place(&mut self, place: &Place, entry: &Entry) {
        let run = entry.runs.get(place.run as usize).expect("a run");
        let (start, end) = (place.start as usize, (place.start + place.bytes) as usize);
        let mut slice = run.slice(start..end);
        let found = run::messages(&slice).count();
        assert_eq!(found, place.count as usize, "a place holds whole messages");
        for offset in place.first..place.first + u64::from(place.count) {
            let message = slice.split_to(run::skip(&slice, 1).expect("a message"));
            let stored = (place.published_at, message);
            let before = self.0.insert((place.log, offset), stored);
            assert_eq!(
                before, None,
                "log {} offset {offset} placed twice",
                place.log
            );
        }
    }

    /// Forgets bodies, which it has.
    pub fn discard(&mut self, log: u64, range: OffsetRange) {
        for offset in range {
            let before = self.0.remove(&(log, offset));
            assert!(
                before.is_some(),
                "log {log} offset {offset} discarded twice"
            );
        }
    }

    /// Which messages have a body.
    pub fn held(&self) -> impl Iterator<Item = (u64, Offset)> {
        self.0.keys().copied()
    }

    /// What a shard would read of these ranges.
    pub fn read(&self, log: u64, ranges: &[OffsetRange]) -> Vec<Body> {
        let ranges = ranges
            .iter()
            .map(|range| (log, range.start)..(log, range.end));
        let kept = ranges.flat_map(|range| self.0.range(range));
        let bodies = kept.map(|((_, first), (published_at, run))| Body {
            first: *first,
            count: 1,
            published_at: *published_at,
            run: run.clone(),
        });
        bodies.collect()
    }

    /// Every message of the range has its body.
    pub fn assert_holds(&self, log: u64, range: OffsetRange) {
        for offset in range {
            let held = self.0.contains_key(&(log, offset));
            assert!(held, "log {log} offset {offset} has no body any more");
        }
    }

    /// Whatever a subscription may still hand over has its body.
    pub fn assert_whole(&self, state: &State) {
        for subscription in state.subscriptions.values() {
            let leased = subscription.leases.values();
            let leased = leased.flat_map(|lease| lease.ranges.iter().map(|(range, _)| range));
            let all = subscription.ready.ranges();
            let all = all.chain(subscription.held_back());
            let all = all.chain(subscription.delayed.iter().map(|(_, range)| range));
            let all = all.chain(subscription.dead.iter().map(|(range, _)| range));
            for range in all.chain(leased) {
                self.assert_holds(subscription.log, range);
            }
        }
    }
}

/// What was read for a delivery is its messages, in its order.
pub fn assert_bodies_of(delivery: &Delivery, read: &[Body]) {
    let handed = delivery.ranges.iter().flat_map(|(range, _)| range.clone());
    let came = read
        .iter()
        .flat_map(|body| body.first..body.first + u64::from(body.count));
    assert!(handed.eq(came), "{:?} with {read:?}", delivery.ranges);
}

/// A scanned run of `count` messages, each with a body of so many bytes.
pub fn run_of(count: u32, body_bytes: usize) -> ScannedRun {
    let body = vec![b'x'; body_bytes];
    let fields = MessageFields {
        body: &body,
        ..MessageFields::default()
    };
    run_like((0..count).map(|_| fields))
}

/// A scanned run of these messages.
pub fn run_like<'a>(messages: impl Iterator<Item = MessageFields<'a>>) -> ScannedRun {
    let mut builder = RunBuilder::new(RunLimits::default());
    for fields in messages {
        builder.push(&fields).expect("within the limits");
    }
    run::scan(builder.take().0, RunLimits::default()).expect("built, so it passes")
}
