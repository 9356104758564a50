//! From the ranges that the engine hands over to the bytes that are sent.
//!
//! Pure: [`Resolver`] asks [`Bodies`], builds wire batches, and keeps what must wait for a read. Reads
//! are taken from it ([`Resolver::next_read`]) by whoever does them (`fetch.rs`) and brought back
//! ([`Resolver::fetched`]); nothing here waits.
//!
//! **Invariant**: what goes to one consumer leaves in the order it came in. A delivery that waits for
//! a read holds back the later ones of its consumer, and nobody else's.

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use siding_protocol::frame::BatchParts;
use siding_protocol::limits::OUTBOUND_BYTES_MAX;
use siding_protocol::types::{Offset, OffsetRange};
use siding_protocol::wire;

use crate::engine::effect::{DeliverTo, Delivery, Found, Origin, SessionId};
use crate::storage::bodies::{Lookup, Slice};
use crate::storage::{Bodies, RecordAt, StorageError};

/// Reads that may be on their way at once.
pub const READS_MAX: usize = 8;
/// Payload bytes that may be on their way at once; one record alone may be larger.
pub const READ_BYTES_MAX: u64 = 16 << 20;
/// Reads that may wait for their turn beside those that somebody waits for: read-ahead is dropped
/// past it.
const AHEAD_MAX: usize = 64;

/// A delivery or a browse with its bytes.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// Send as `Deliver` or `Received`. Messages that are gone by now, or could not be read, are
    /// left out; a push of nothing is not given out, an empty answer is.
    Delivery {
        /// Whom to.
        to: DeliverTo,
        /// In order of offset.
        batches: Vec<BatchParts>,
    },
    /// Answer a browse. The runs end at 8 MiB together: what is left out is asked for again from the
    /// offset after the last.
    Browsed {
        /// Who asked.
        to: Origin,
        /// One message each.
        answer: wire::Browsed,
    },
}

/// What waits for one receiver, in order. Answers are each for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Consumer(u32),
    Answer(u64),
}

/// What is to be resolved, with what is resolved of it.
#[derive(Debug)]
enum Work {
    Delivery {
        delivery: Delivery,
        batches: Vec<BatchParts>,
    },
    Browse {
        to: Origin,
        log: u64,
        found: Vec<Found>,
        answer: wire::Browsed,
        bytes: usize,
    },
}

#[derive(Debug)]
struct Job {
    work: Work,
    /// The range, or the found message, that is being resolved.
    index: usize,
    /// Everything before it is resolved or left out.
    from: Offset,
    /// The record that holds the next message.
    waits_for: Option<RecordAt>,
}

/// Deliveries and browses on their way from ranges to bytes.
#[derive(Debug, Default)]
pub struct Resolver {
    /// The first job of each lane waits for a read.
    waiting: BTreeMap<(SessionId, Lane), VecDeque<Job>>,
    wanted: VecDeque<RecordAt>,
    in_flight: Vec<RecordAt>,
    slices: Vec<Slice>,
}

impl Resolver {
    /// Resolves a delivery into `out`, at once or after the reads it needs. How many wait is bounded
    /// by the credit of their consumers.
    pub fn deliver(&mut self, bodies: &mut Bodies, delivery: Delivery, out: &mut Vec<Resolved>) {
        let batches = Vec::with_capacity(delivery.ranges.len());
        self.submit(bodies, Work::Delivery { delivery, batches }, out);
    }

    /// Resolves a browse of `log` into `out`, at once or after the reads it needs.
    pub fn browse(
        &mut self,
        bodies: &mut Bodies,
        (to, log): (Origin, u64),
        found: Vec<Found>,
        out: &mut Vec<Resolved>,
    ) {
        let answer = wire::Browsed::default();
        let work = Work::Browse {
            to,
            log,
            found,
            answer,
            bytes: 0,
        };
        self.submit(bodies, work, out);
    }

    fn submit(&mut self, bodies: &mut Bodies, work: Work, out: &mut Vec<Resolved>) {
        let target = work.target();
        let mut job = Job {
            work,
            index: 0,
            from: 0,
            waits_for: None,
        };
        if let Some(before) = self.waiting.get_mut(&target) {
            before.push_back(job);
        } else if self.advance(bodies, &mut job) {
            out.extend(job.work.finish());
        } else {
            self.waiting.insert(target, VecDeque::from([job]));
        }
    }

    /// The next record to read, while few enough reads are on their way.
    pub fn next_read(&mut self) -> Option<RecordAt> {
        let next = *self.wanted.front()?;
        let on_their_way: u64 = self.in_flight.iter().map(|at| u64::from(at.length)).sum();
        let has_room = self.in_flight.len() < READS_MAX
            && on_their_way + u64::from(next.length) <= READ_BYTES_MAX;
        if !has_room && !self.in_flight.is_empty() {
            return None;
        }
        self.wanted.pop_front();
        self.in_flight.push(next);
        Some(next)
    }

    /// A read came back: resolves into `out` what waited for it.
    ///
    /// # Errors
    /// What the read failed with, to be reported; the messages in that record are left out of the
    /// deliveries that waited for it. A failure that concerns no live message any more is none.
    pub fn fetched(
        &mut self,
        bodies: &mut Bodies,
        record: RecordAt,
        payload: Result<Bytes, StorageError>,
        out: &mut Vec<Resolved>,
    ) -> Result<(), StorageError> {
        self.in_flight.retain(|other| *other != record);
        let failure = match payload {
            Ok(payload) => {
                bodies.fill(record, payload);
                None
            }
            Err(error) => Some(error).filter(|_| bodies.needs(record)),
        };
        let waits = |jobs: &VecDeque<Job>| {
            jobs.front()
                .is_some_and(|job| job.waits_for == Some(record))
        };
        let waiting = self.waiting.iter().filter(|(_, jobs)| waits(jobs));
        let woken: Vec<_> = waiting.map(|(target, _)| *target).collect();
        for target in woken {
            let Some(mut jobs) = self.waiting.remove(&target) else {
                continue;
            };
            if let Some(first) = jobs.front_mut().filter(|_| failure.is_some()) {
                first.from = bodies.after(first.work.log(), first.from, record);
            }
            while let Some(mut job) = jobs.pop_front() {
                if self.advance(bodies, &mut job) {
                    out.extend(job.work.finish());
                } else {
                    jobs.push_front(job);
                    self.waiting.insert(target, jobs);
                    break;
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// A connection closed: nothing is resolved for it any more.
    pub fn closed(&mut self, session: SessionId) {
        let first = (session, Lane::Consumer(0));
        let last = (session, Lane::Answer(u64::MAX));
        let gone: Vec<_> = self
            .waiting
            .range(first..=last)
            .map(|(target, _)| *target)
            .collect();
        for target in gone {
            self.waiting.remove(&target);
        }
    }

    /// Deliveries and browses that wait for a read, or behind one that does.
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Goes on with a job; false if it must wait for a read, which is then wanted.
    fn advance(&mut self, bodies: &mut Bodies, job: &mut Job) -> bool {
        while let Some(range) = job.work.range(job.index) {
            let rest = range.start.max(job.from)..range.end;
            let lookup = bodies.lookup(job.work.log(), &rest, &mut self.slices);
            for slice in self.slices.drain(..) {
                job.work.take(job.index, slice);
            }
            if let Lookup::Missing { at, reads } = lookup {
                job.from = at;
                job.waits_for = reads.first().copied();
                self.want(&reads);
                return false;
            }
            job.index += 1;
        }
        true
    }

    /// The first of these is needed, the others are likely to be.
    fn want(&mut self, reads: &[RecordAt]) {
        for (index, read) in reads.iter().enumerate() {
            let is_known = self.in_flight.contains(read) || self.wanted.contains(read);
            if !is_known && (index == 0 || self.wanted.len() < AHEAD_MAX) {
                self.wanted.push_back(*read);
            }
        }
    }
}

impl Work {
    fn target(&self) -> (SessionId, Lane) {
        match self {
            Self::Delivery { delivery, .. } => match delivery.to {
                DeliverTo::Consumer { session, consumer } => (session, Lane::Consumer(consumer)),
                DeliverTo::Receive(to) => (to.session, Lane::Answer(to.correlation)),
            },
            Self::Browse { to, .. } => (to.session, Lane::Answer(to.correlation)),
        }
    }

    fn log(&self) -> u64 {
        match self {
            Self::Delivery { delivery, .. } => delivery.log,
            Self::Browse { log, .. } => *log,
        }
    }

    /// The offsets to look up next; `None`: nothing more is to be found.
    fn range(&self, index: usize) -> Option<OffsetRange> {
        match self {
            Self::Delivery { delivery, .. } => {
                delivery.ranges.get(index).map(|(range, _)| range.clone())
            }
            Self::Browse { found, bytes, .. } => {
                let offset = found
                    .get(index)
                    .filter(|_| *bytes < OUTBOUND_BYTES_MAX)?
                    .offset;
                Some(offset..offset + 1)
            }
        }
    }

    /// Adds a slice of the range at `index`.
    fn take(&mut self, index: usize, slice: Slice) {
        match self {
            Self::Delivery { delivery, batches } => {
                let attempt = delivery
                    .ranges
                    .get(index)
                    .map_or(1, |(_, attempt)| *attempt);
                append(batches, delivery, attempt, slice);
            }
            Self::Browse {
                log,
                found,
                answer,
                bytes,
                ..
            } => {
                *bytes += slice.bytes.len();
                answer.messages.extend(
                    found
                        .get_mut(index)
                        .map(|found| browsed(*log, found, slice)),
                );
            }
        }
    }

    fn finish(self) -> Option<Resolved> {
        match self {
            Self::Delivery { delivery, batches } => {
                let to = delivery.to;
                let is_push = matches!(to, DeliverTo::Consumer { .. });
                (!is_push || !batches.is_empty()).then_some(Resolved::Delivery { to, batches })
            }
            Self::Browse { to, answer, .. } => Some(Resolved::Browsed { to, answer }),
        }
    }
}

/// Joins a slice to the last batch if all that a batch says holds for it too; else begins one.
fn append(batches: &mut Vec<BatchParts>, delivery: &Delivery, attempt: u32, slice: Slice) {
    if let Some(BatchParts { head, run }) = batches.last_mut()
        && head.first_offset + u64::from(head.count) == slice.first
        && head.published_at_ms == slice.published_at.0
        && head.attempt == attempt
    {
        head.count += slice.count;
        run.push(slice.bytes);
        return;
    }
    let head = wire::Batch {
        log_id: delivery.log,
        first_offset: slice.first,
        count: slice.count,
        published_at_ms: slice.published_at.0,
        attempt,
        grant: Some(wire::Grant {
            term: delivery.grant.term,
            counter: delivery.grant.counter,
        }),
        deadline_ms: delivery.deadline.0,
        run: Bytes::new(),
    };
    let run = vec![slice.bytes];
    batches.push(BatchParts { head, run });
}

/// Takes the texts out of `found`: each is given out once.
fn browsed(log: u64, found: &mut Found, slice: Slice) -> wire::BrowsedMessage {
    let batch = wire::Batch {
        log_id: log,
        first_offset: slice.first,
        count: slice.count,
        published_at_ms: slice.published_at.0,
        run: slice.bytes,
        ..wire::Batch::default()
    };
    wire::BrowsedMessage {
        batch: Some(batch),
        state: found.state.to_wire().into(),
        attempts: found.attempts,
        at_ms: found.at.0,
        reason: found.reason.to_owned(),
        detail: std::mem::take(&mut found.detail),
        holder: std::mem::take(&mut found.holder),
    }
}
