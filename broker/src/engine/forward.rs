//! The broker reads on its own: what a subscription forwards, and dead letters that have a place to go.
//!
//! One command takes the messages and stores their bytes, so it happens once or not at all. While the
//! target is full or missing, it is tried again now and then.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use siding_protocol::limits::{BODY_BYTES_CEILING, MAX_BYTES_MAX, MAX_MESSAGES_MAX};
use siding_protocol::refusal::Refusal;
use siding_protocol::request::ProducerTicket;
use siding_protocol::run::{self, RunLimits, ScannedRun};
use siding_protocol::settings::Overflow;
use siding_protocol::types::{OffsetRange, Timestamp};

use super::Engine;
use super::command::{Command, Forward, LoggedRange, Publish};
use super::effect::{Effect, Effects, Urgency};
use super::handle::publish_command;
use super::judge::Asked;
use super::log::{Change, Kind, Log};
use super::read::{Body, Job, step};
use super::runs::RangeSet;
use super::state::{RunCursor, State};
use super::subscription::{Context, Subscription};
use super::touched::Touched;

/// A full or missing target is looked at again after this.
const RETRY_MS: u64 = 1_000;

impl State {
    /// All or nothing: nothing, if a message is not there any more or the target has no room.
    pub(super) fn forward(
        &mut self,
        forward: &Forward,
        runs: &mut RunCursor,
        effects: &mut Effects,
        touched: &mut Touched,
    ) {
        let run = runs.next();
        let ranges: Vec<_> = forward.ranges.iter().map(|range| (*range).into()).collect();
        let subscription = self.subscriptions.get(&forward.subscription);
        if !subscription.is_some_and(|found| found.has_all(&ranges, forward.dead)) {
            return;
        }
        let (publish, mut asked) = (&forward.publish, Asked::default());
        let Ok(judged) = self.judge_publish(publish, self.now, &mut asked) else {
            return;
        };
        self.change(forward.subscription, effects, touched, |found, context| {
            found.hand_on(&ranges, forward.dead, context);
        });
        self.make_room(publish.log, &asked, effects, touched);
        self.store(publish, judged, run, effects, touched);
    }

    /// Whether what a topic's subscription forwards would come back to the topic.
    pub(super) fn forwards_back(&self, topic: &str, target: &str) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![target]);
        while let Some(name) = next.pop() {
            if name == topic {
                return true;
            }
            let log = self.names.get(name).and_then(|id| self.logs.get(id));
            let Some(log) = log.filter(|log| seen.insert(log.id)) else {
                continue;
            };
            let readers = log.subscriptions.iter();
            let readers = readers.filter_map(|id| self.subscriptions.get(id));
            next.extend(readers.map(|found| found.settings.forward_to.as_str()));
        }
        false
    }
}

impl Subscription {
    fn has_all(&self, ranges: &[OffsetRange], dead: bool) -> bool {
        ranges.iter().all(|range| {
            let parts = range.clone();
            let held: u64 = if dead {
                let parts = self.dead.overlap(parts).map(|(part, _)| part);
                parts.map(|part| part.end - part.start).sum()
            } else {
                // One that was read may have been overtaken by a higher priority of its key meanwhile.
                let in_line = self.lanes.waiting().within(parts.clone());
                let parts = self.ready.within(parts).chain(in_line);
                parts.map(|part| part.end - part.start).sum()
            };
            held == range.end - range.start
        })
    }

    fn hand_on(&mut self, ranges: &[OffsetRange], dead: bool, context: &mut Context<'_>) {
        for range in ranges {
            if dead {
                self.bury(range.clone());
            } else {
                self.withdraw(range.clone());
            }
            self.forget(range.clone());
            self.forwarded += range.end - range.start;
            context.changes.push(if dead {
                Change::DeadGone(range.clone())
            } else {
                Change::Gone(range.clone())
            });
        }
    }

    /// What goes elsewhere on its own: to whom, and whether dead letters.
    fn outbound(&self) -> Option<(&str, bool)> {
        let settings = &self.settings;
        if !settings.forward_to.is_empty() && self.ready.count() > 0 && !self.paused {
            return Some((&settings.forward_to, false));
        }
        if !settings.dead_letter_to.is_empty() && !self.dead.is_empty() {
            return Some((&settings.dead_letter_to, true));
        }
        None
    }

    /// All that goes elsewhere, rising.
    fn outbound_ranges(&self, dead: bool) -> impl Iterator<Item = OffsetRange> {
        let letters = dead.then(|| self.dead.iter().map(|(range, _)| range));
        let ready = (!dead).then(|| self.ready.ranges());
        let letters = letters.into_iter().flatten();
        letters.chain(ready.into_iter().flatten())
    }
}

impl Engine {
    /// Asks for the bodies of what a subscription forwards, as much as its target has room for.
    pub(super) fn read_outbound(&mut self, id: u64, now: Timestamp, effects: &mut Effects) {
        let Some(subscription) = self.state.subscriptions.get(&id) else {
            return;
        };
        let Some((target, dead)) = subscription.outbound() else {
            self.volatile.reads.blocked.remove(&id);
            return;
        };
        let Some(log) = self.state.logs.get(&subscription.log) else {
            return;
        };
        let target = self.state.names.get(target);
        let target = target.and_then(|id| self.state.logs.get(id));
        let ranges = subscription.outbound_ranges(dead);
        let ranges = step(log, ranges, self.volatile.reads.step_bytes_max);
        let ranges = target.map(|target| fitting(log, target, ranges));
        let Some((ranges, target)) = ranges.filter(|ranges| !ranges.is_empty()).zip(target) else {
            return self.volatile.reads.block(id, now.plus_ms(RETRY_MS));
        };
        let job = Job::Forward {
            subscription: id,
            ranges,
            dead,
            target: target.id,
        };
        self.volatile.reads.blocked.remove(&id);
        self.volatile.reads.start(id, log.id, job, effects);
    }

    /// Proposes to move what was read. What cannot be read stays where it is, and everything behind it.
    pub(super) fn propose_forward(
        &mut self,
        now: Timestamp,
        (id, dead, target): (u64, bool, u64),
        ranges: &[OffsetRange],
        bodies: &[Body],
        effects: &mut Effects,
    ) {
        if self.is_fenced(id) {
            return self.volatile.reads.finish(id);
        }
        let wanted: RangeSet = ranges.iter().cloned().collect();
        let (mut moved, mut bytes) = (RangeSet::default(), BytesMut::new());
        let mut room = self.state.logs.get(&target).map_or((0, 0), room_of);
        for body in bodies {
            let end = body.first + u64::from(body.count);
            if wanted.within(body.first..end).next() != Some(body.first..end) {
                continue;
            }
            let (count, part) = beginning_that_fits(body, room);
            moved.add(body.first..body.first + count);
            room = (room.0 - count, room.1 - part.len() as u64);
            bytes.extend_from_slice(part);
            if body.first + count < end {
                break;
            }
        }
        let Some((publish, run)) = self.publish_again(now, target, bytes.freeze()) else {
            self.volatile.reads.finish(id);
            return self.wait_for_target(id, now, effects);
        };
        let forward = Forward {
            subscription: id,
            ranges: moved.ranges().map(LoggedRange::from).collect(),
            dead,
            publish,
        };
        let mut command = Command::Forward(Box::new(forward));
        if self.refuse_oversized(&mut command, run.len()).is_err() {
            self.volatile.reads.finish(id);
            return self.wait_for_target(id, now, effects);
        }
        effects.push(Effect::Propose {
            command,
            runs: vec![run],
            from: None,
            urgency: Urgency::Awaited,
        });
    }

    /// A forward was applied. One that moved nothing is tried again, but not at once.
    pub(super) fn follow_forward(&mut self, forward: &Forward, effects: &mut Effects) {
        let id = forward.subscription;
        self.volatile.reads.finish(id);
        let mut ranges = forward.ranges.iter().map(|range| OffsetRange::from(*range));
        let found = self.state.subscriptions.get(&id);
        if found.is_some_and(|found| ranges.any(|range| found.has_all(&[range], forward.dead))) {
            return self.wait_for_target(id, self.state.now, effects);
        }
        self.volatile.touched.insert(id);
    }

    /// A forward is tried again, but not at once; what its filter has not been asked of does not wait.
    fn wait_for_target(&mut self, id: u64, now: Timestamp, effects: &mut Effects) {
        self.volatile.reads.block(id, now.plus_ms(RETRY_MS));
        let found = self.state.subscriptions.get(&id);
        if found.is_some_and(|found| !found.unjudged.is_empty()) {
            self.read_behind(id, now, effects);
        }
    }

    /// The same messages for another log: their delay is over and their dedup id was honoured where
    /// they came from.
    fn publish_again(
        &mut self,
        now: Timestamp,
        target: u64,
        run: Bytes,
    ) -> Option<(Publish, Bytes)> {
        let limits = RunLimits {
            body_bytes_max: BODY_BYTES_CEILING,
        };
        let mut run: ScannedRun = run::scan(run, limits).ok()?;
        for special in &mut run.specials {
            (special.delay_ms, special.deliver_at_ms) = (0, 0);
            special.dedup_id = 0..0;
        }
        let nobody = ProducerTicket {
            producer: 0,
            sequence: 0,
        };
        let log = self.state.logs.get(&target)?;
        let mut publish = publish_command(now, log, nobody, &mut run).ok()?;
        publish.verdicts = self.verdicts(target, &run.bytes);
        Some((publish, run.bytes))
    }

    /// The target that a subscription's forwarding waits for; empty: it waits for none.
    pub(super) fn blocked_by(&self, subscription: &Subscription) -> String {
        let blocked = self.volatile.reads.blocked.contains_key(&subscription.id);
        let outbound = subscription.outbound().filter(|_| blocked);
        outbound.map_or(String::new(), |(target, _)| target.to_owned())
    }
}

/// The beginning of `ranges` that the target has room for now.
fn fitting(log: &Log, target: &Log, ranges: Vec<OffsetRange>) -> Vec<OffsetRange> {
    let (mut messages, mut bytes) = room_of(target);
    let mut fitting = Vec::new();
    for range in ranges {
        if messages == 0 {
            break;
        }
        let part = log.beginning(&range, messages, bytes);
        let cost = log.bytes_of(&part);
        if cost > bytes {
            break;
        }
        (messages, bytes) = (messages - (part.end - part.start), bytes - cost);
        let is_whole = part == range;
        fitting.push(part);
        if !is_whole {
            break;
        }
    }
    fitting
}

/// Messages and bytes that a target has room for; a queue that drops its oldest makes room by itself.
fn room_of(target: &Log) -> (u64, u64) {
    match &target.kind {
        Kind::Topic(_) => (MAX_MESSAGES_MAX, MAX_BYTES_MAX),
        Kind::Queue(settings) if settings.overflow() == Overflow::Reject => (
            settings.max_messages.saturating_sub(target.messages),
            settings.max_bytes.saturating_sub(target.bytes),
        ),
        Kind::Queue(settings) => (settings.max_messages, settings.max_bytes),
    }
}

/// The longest beginning of a body that fits: how many messages, and their bytes. What a log says of
/// its bytes is an average; here they are counted.
fn beginning_that_fits(body: &Body, (messages, bytes): (u64, u64)) -> (u64, &[u8]) {
    let most = u64::from(body.count).min(messages);
    let (mut count, mut end) = (0, 0);
    while count < most {
        let next = body.run.get(end..).and_then(|rest| run::skip(rest, 1));
        let Some(next) = next.filter(|next| (end + next) as u64 <= bytes) else {
            break;
        };
        (count, end) = (count + 1, end + next);
    }
    (count, body.run.get(..end).unwrap_or_default())
}

/// A subscription that forwards has the broker as its only consumer.
pub(super) fn refuse_reader(subscription: &Subscription) -> Result<(), Refusal> {
    if subscription.settings.forward_to.is_empty() {
        return Ok(());
    }
    let why = "the broker reads it, and forwards what it reads";
    Err(Refusal::malformed("address", why))
}
