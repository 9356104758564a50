//! From the ranges that the engine hands over to the bytes that are sent.
//!
//! Pure: [`Resolver`] asks [`Bodies`], builds wire batches, and keeps what must wait for a read. Reads
//! are taken from it ([`Resolver::next_read`]) by whoever does them (`fetch.rs`) and brought back
//! ([`Resolver::fetched`]); nothing here waits.
//!
//! **Invariant**: what goes to one consumer leaves in the order it came in. A delivery that waits for
//! a read holds back the later ones of its consumer, and nobody else's.

#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use siding_protocol::frame::BatchParts;
use siding_protocol::types::{Offset, OffsetRange};
use siding_protocol::wire;

use self::work::{Lane, Work};
use crate::engine::effect::{DeliverTo, Delivery, Found, Origin, SessionId};
use crate::engine::read::Body;
use crate::storage::bodies::{Lookup, Slice};
use crate::storage::{Bodies, RecordAt, StorageError};

/// Reads that may be on their way at once.
pub const READS_MAX: usize = 8;
/// Payload bytes that may be on their way at once; one record alone may be larger.
pub const READ_BYTES_MAX: u64 = 16 << 20;
/// Records to be read ahead that may wait for their turn; more are dropped.
const AHEAD_MAX: usize = 64;
/// What the disk refuses to read so often in a row cannot be read.
const TRIES_MAX: u32 = 5;

/// A delivery or a browse with its bytes.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// Send as `Deliver` or `Received`. Messages that are gone by now are left out, and what comes behind
    /// one that could not be read; a push of nothing is not given out, an empty answer is.
    Delivery {
        /// Whom to.
        to: DeliverTo,
        /// What retention took before the subscription read it.
        gap: Option<OffsetRange>,
        /// In order of offset.
        batches: Vec<BatchParts>,
    },
    /// Answer a browse. It ends with the message that brings it to 8 MiB: what is left out is asked
    /// for again from the offset after the last.
    Browsed {
        /// Who asked.
        to: Origin,
        /// One message each.
        answer: wire::Browsed,
    },
    /// Bring to the engine. What is gone by now, or could not be read, is left out.
    Read {
        /// The engine's number for it.
        number: u64,
        /// In order of offset.
        bodies: Vec<Body>,
    },
}

/// A record that was not read, though somebody may ask for what lies in it.
#[derive(Debug)]
pub struct Unread {
    /// Why.
    pub error: StorageError,
    /// It cannot be read. Otherwise it is tried again, by [`Resolver::read_again`].
    pub is_final: bool,
}

#[derive(Debug)]
struct Job {
    work: Work,
    /// The range, or the found message, that is being resolved.
    index: usize,
    /// Everything before it in that range is resolved or left out. The next range may lie before it:
    /// what goes first is chosen by priority.
    from: Offset,
    /// The record that holds the next message.
    waits_for: Option<RecordAt>,
}

/// Deliveries and browses on their way from ranges to bytes.
#[derive(Debug, Default)]
pub struct Resolver {
    /// The first job of each lane waits for a read.
    waiting: BTreeMap<(SessionId, Lane), VecDeque<Job>>,
    /// To be read because a job waits for it, then what is likely to be needed soon.
    needed: VecDeque<RecordAt>,
    ahead: VecDeque<RecordAt>,
    in_flight: Vec<RecordAt>,
    /// Not read, and to be tried again; and how often each was tried in vain.
    failed: Vec<RecordAt>,
    tries: BTreeMap<RecordAt, u32>,
    slices: Vec<Slice>,
}

impl Resolver {
    /// Resolves a delivery into `out`, at once or after the reads it needs. How many wait is bounded
    /// by the credit of their consumers.
    pub fn deliver(&mut self, bodies: &mut Bodies, delivery: Delivery, out: &mut Vec<Resolved>) {
        let batches = Vec::with_capacity(delivery.ranges.len());
        self.submit(bodies, Work::Delivery { delivery, batches }, out);
    }

    /// Gives a delivery out with the bodies that were read for it, behind those that its consumer waits
    /// for.
    pub fn deliver_read(
        &mut self,
        bodies: &mut Bodies,
        (delivery, read): (Delivery, Vec<Body>),
        out: &mut Vec<Resolved>,
    ) {
        self.submit(bodies, Work::read_before(delivery, read), out);
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

    /// Reads bodies of `log` for the engine into `out`, at once or after the reads it needs.
    pub fn read(
        &mut self,
        bodies: &mut Bodies,
        (number, log): (u64, u64),
        ranges: Vec<OffsetRange>,
        out: &mut Vec<Resolved>,
    ) {
        let work = Work::Read {
            number,
            log,
            ranges,
            bodies: Vec::new(),
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
        let queue = if self.needed.is_empty() {
            &mut self.ahead
        } else {
            &mut self.needed
        };
        let next = *queue.front()?;
        let on_their_way: u64 = self.in_flight.iter().map(|at| u64::from(at.length)).sum();
        let has_room = self.in_flight.len() < READS_MAX
            && on_their_way + u64::from(next.length) <= READ_BYTES_MAX;
        if !has_room && !self.in_flight.is_empty() {
            return None;
        }
        queue.pop_front();
        self.in_flight.push(next);
        Some(next)
    }

    /// A read came back: resolves into `out` what waited for it.
    ///
    /// # Errors
    /// What the read failed with, to be reported. While it may go well another time, what waits for it waits
    /// on; then a delivery that waited for it ends before the messages in that record, everything else leaves
    /// them out. A failure that concerns no live message any more is none.
    pub fn fetched(
        &mut self,
        bodies: &mut Bodies,
        record: RecordAt,
        payload: Result<Bytes, StorageError>,
        out: &mut Vec<Resolved>,
    ) -> Result<(), Unread> {
        self.in_flight.retain(|other| *other != record);
        let failure = match payload {
            Err(error) if bodies.needs(record) => Some(self.judge(record, error)),
            Err(_) => None,
            Ok(payload) => {
                bodies.fill(record, payload);
                None
            }
        };
        if failure.as_ref().is_some_and(|unread| !unread.is_final) {
            self.failed.push(record);
            return failure.map_or(Ok(()), Err);
        }
        self.tries.remove(&record);
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
                if first.work.ends_at_a_hole() {
                    first.index = usize::MAX;
                }
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

    /// What the disk refuses may go well another time; what it gave and is damaged does not.
    fn judge(&mut self, record: RecordAt, error: StorageError) -> Unread {
        let tries = self.tries.entry(record).or_default();
        *tries += 1;
        let is_refused = matches!(error, StorageError::Io { .. });
        let may_pass = error.is_passing() || is_refused && *tries < TRIES_MAX;
        Unread {
            error,
            is_final: !may_pass,
        }
    }

    /// Some time has passed: what was not read is wanted again.
    pub fn read_again(&mut self) {
        self.needed.extend(self.failed.drain(..));
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
            job.from = 0;
        }
        true
    }

    /// The first of these is needed, the others are likely to be.
    fn want(&mut self, reads: &[RecordAt]) {
        let Some((first, others)) = reads.split_first() else {
            return;
        };
        let is_wanted = [&self.in_flight, &self.failed]
            .iter()
            .any(|on| on.contains(first));
        if !is_wanted && !self.needed.contains(first) {
            self.ahead.retain(|other| other != first);
            self.needed.push_back(*first);
        }
        for read in others {
            let queues = [&self.needed, &self.ahead];
            let is_known = queues.iter().any(|queue| queue.contains(read));
            let is_wanted = [&self.in_flight, &self.failed]
                .iter()
                .any(|on| on.contains(read));
            if !is_known && !is_wanted && self.ahead.len() < AHEAD_MAX {
                self.ahead.push_back(*read);
            }
        }
    }
}
