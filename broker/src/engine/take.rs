//! At most once: messages are settled before their bytes leave.
//!
//! ```text
//! dispatch: reserve ── Read ──► bodies_read ── Take, awaited ──► apply: settled ──► handed over
//! ```
//! The bodies are read first and held, because what is settled is kept no longer. Until the command is
//! applied nothing has happened; from then on the messages are that consumer's, and if it is gone,
//! nobody's.

use siding_protocol::event::Answer;
use siding_protocol::refusal::Refusal;
use siding_protocol::run;
use siding_protocol::types::{Grant, OffsetRange, Timestamp};

use super::Engine;
use super::command::{Command, Lease, LoggedRange, Take};
use super::effect::{DeliverTo, Delivery, Effect, Effects, Urgency};
use super::planted::Bug;
use super::propose;
use super::read::{Body, Job};
use super::runs::RangeSet;
use super::state::{State, gone};
use super::touched::Touched;

/// A hand-over whose settle is on its way to the log.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Taking {
    delivery: Delivery,
    /// In the order of its ranges.
    bodies: Vec<Body>,
}

impl State {
    pub(super) fn take(
        &mut self,
        take: &Take,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Result<Answer, Refusal> {
        let id = take.subscription;
        let taken = self.change(id, effects, touched, |found, context| {
            found.take(take, context)
        });
        taken.map(Answer::Settled).ok_or_else(gone)
    }
}

impl Engine {
    /// What a `Read` of this number is for, if it is a hand-over that is settled first.
    pub fn taking(&self, number: u64) -> Option<&Delivery> {
        self.volatile.reads.taking(number)
    }

    /// Asks for the bodies of a hand-over that is settled first.
    pub(super) fn read_to_take(&mut self, delivery: Delivery, effects: &mut Effects) {
        self.volatile.mark_taken(delivery.grant);
        let (log, job) = (delivery.log, Job::Take(Box::new(delivery)));
        self.volatile.reads.ask(log, job, effects);
    }

    /// The bodies have come: proposes to settle, unless the consumer is gone, its name paused or its
    /// log fenced. What cannot be read for now is leased instead, as for any other consumer.
    pub(super) fn propose_take(
        &mut self,
        now: Timestamp,
        mut delivery: Delivery,
        bodies: &[Body],
        effects: &mut Effects,
    ) {
        let (id, grant) = (delivery.subscription, delivery.grant);
        let found = self.state.subscriptions.get(&id);
        let is_open = found.is_some_and(|it| !it.paused && !self.volatile.fences.hold(it.log));
        let is_wanted = self.volatile.held(grant).is_some() && is_open;
        let bodies = if is_wanted { bodies } else { &[] };
        let came: RangeSet = bodies.iter().map(Body::range).collect();
        let chosen = delivery.ranges.iter();
        let missing: RangeSet = chosen
            .flat_map(|(range, _)| came.gaps(range.clone()))
            .collect();
        self.volatile.free(grant, missing.ranges());
        let unread: RangeSet = match found.filter(|_| is_wanted) {
            Some(found) => missing
                .ranges()
                .flat_map(|range| found.ready.within(range).collect::<Vec<_>>())
                .collect(),
            None => RangeSet::default(),
        };
        let given_up = missing.ranges().flat_map(|range| unread.gaps(range));
        let given_up: Vec<_> = given_up.collect();
        delivery.keep(&came);
        let told = delivery.gap.clone().filter(|_| delivery.ranges.is_empty());
        self.unreserve(id, given_up.into_iter(), told);
        if !unread.is_empty() {
            self.lease_unread(now, &delivery, &unread, effects);
        }
        if delivery.ranges.is_empty() {
            return;
        }
        let ranges = delivery.ranges.iter().map(|(range, _)| range.clone());
        let ranges: RangeSet = ranges.collect();
        let take = Take {
            subscription: id,
            term: grant.term,
            counter: grant.counter,
            ranges: ranges.ranges().map(LoggedRange::from).collect(),
            gap: delivery.gap.clone().map(LoggedRange::from),
        };
        let bodies = bodies.to_vec();
        if self.state.planted.has(Bug::HandedOverBeforeItsAck) {
            effects.push(Effect::DeliverRead(delivery.clone(), bodies.clone()));
        }
        self.volatile
            .takes
            .insert(grant, Taking { delivery, bodies });
        propose(Command::Take(take), Urgency::Awaited, effects);
    }

    fn lease_unread(
        &mut self,
        now: Timestamp,
        delivery: &Delivery,
        unread: &RangeSet,
        effects: &mut Effects,
    ) {
        let id = delivery.subscription;
        let Some(found) = self.state.subscriptions.get(&id) else {
            return;
        };
        let visibility_timeout_ms = found.settings.visibility_timeout_ms;
        let grant = self.next_grant();
        let DeliverTo::Consumer { session, .. } = delivery.to else {
            return;
        };
        let command = Command::Lease(Lease {
            subscription: id,
            term: grant.term,
            counter: grant.counter,
            ranges: unread.ranges().map(LoggedRange::from).collect(),
            deadline_ms: now.plus_ms(visibility_timeout_ms).0,
            visibility_timeout_ms,
            holder: self.volatile.holder(session).to_owned(),
            ..Lease::default()
        });
        propose(command, Urgency::Lazy, effects);
    }

    /// Others may have these messages, and be told this gap.
    fn unreserve(
        &mut self,
        id: u64,
        ranges: impl Iterator<Item = OffsetRange>,
        told: Option<OffsetRange>,
    ) {
        if let Some(readers) = self.volatile.readers.get_mut(&id) {
            for range in ranges {
                readers.reserved.remove(range);
            }
            if let Some(gap) = told {
                readers.told.remove(gap);
            }
        }
        self.volatile.touched.insert(id);
    }

    /// Settled: what of it was still there goes to its consumer, if that is there too.
    pub(super) fn follow_take(&mut self, take: &Take, lost: &RangeSet, effects: &mut Effects) {
        let ranges = take.ranges.iter().map(|range| (*range).into());
        let gap = take.gap.map(OffsetRange::from);
        self.unreserve(take.subscription, ranges, gap);
        self.volatile.free(take.grant(), lost.ranges());
        let Some(taking) = self.volatile.takes.remove(&take.grant()) else {
            return;
        };
        let Taking {
            mut delivery,
            bodies,
        } = taking;
        let ranges = take.ranges.iter().map(|range| OffsetRange::from(*range));
        let mut taken: RangeSet = ranges.collect();
        for range in lost.ranges() {
            taken.remove(range);
        }
        delivery.keep(&taken);
        if !delivery.ranges.is_empty() || delivery.gap.is_some() {
            let bodies = bodies.iter().flat_map(|body| body.within(&taken));
            let bodies = bodies.collect();
            effects.push(Effect::DeliverRead(delivery, bodies));
        }
    }

    pub(super) fn next_grant(&mut self) -> Grant {
        self.volatile.last_counter += 1;
        Grant {
            term: self.state.term,
            counter: self.volatile.last_counter,
        }
    }
}

impl Delivery {
    /// Only these messages stay in it.
    fn keep(&mut self, kept: &RangeSet) {
        let ranges = std::mem::take(&mut self.ranges).into_iter();
        let parts = ranges.flat_map(|(range, attempt)| {
            let parts = kept.within(range);
            parts.map(move |part| (part, attempt))
        });
        self.ranges = parts.collect();
        self.checkpoints
            .retain(|(offset, _)| kept.get(*offset).is_some());
    }
}

impl Body {
    fn range(&self) -> OffsetRange {
        self.first..self.first + u64::from(self.count)
    }

    /// The parts of it that are wanted, rising.
    fn within(&self, wanted: &RangeSet) -> Vec<Self> {
        let parts = wanted.within(self.range());
        parts.filter_map(|part| self.cut(&part)).collect()
    }

    /// Some of its messages.
    fn cut(&self, part: &OffsetRange) -> Option<Self> {
        if *part == self.range() {
            return Some(self.clone());
        }
        let count = |messages| u32::try_from(messages).ok();
        let before = count(part.start - self.first)?;
        let kept = count(part.end - part.start)?;
        let from = run::skip(&self.run, before)?;
        let rest = self.run.slice(from..);
        let bytes = run::skip(&rest, kept)?;
        Some(Self {
            first: part.start,
            count: kept,
            published_at: self.published_at,
            run: rest.slice(..bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use siding_protocol::run::{MessageFields, RunBuilder, RunLimits, messages};

    use super::*;

    #[test]
    fn a_body_is_cut_at_the_messages_that_are_wanted() {
        let mut builder = RunBuilder::new(RunLimits::default());
        for body in [&b"a"[..], b"bcd", b"ef", b"", b"ghij"] {
            let fields = MessageFields {
                body,
                ..MessageFields::default()
            };
            builder.push(&fields).expect("within the limits");
        }
        let body = Body {
            first: 10,
            count: 5,
            published_at: Timestamp(7),
            run: builder.take().0,
        };
        let wanted: RangeSet = [0..11, 12..14, 20..30].into_iter().collect();
        let parts = body.within(&wanted);
        let bodies: Vec<Vec<_>> = parts
            .iter()
            .map(|part| {
                messages(&part.run)
                    .map(|message| message.body().to_vec())
                    .collect()
            })
            .collect();
        assert_eq!(
            bodies,
            [vec![b"a".to_vec()], vec![b"ef".to_vec(), Vec::new()]]
        );
        let ranges: Vec<_> = parts.iter().map(Body::range).collect();
        assert_eq!(ranges, [10..11, 12..14]);
        let whole: RangeSet = std::iter::once(0..100).collect();
        assert_eq!(body.within(&whole), std::slice::from_ref(&body));
    }
}
