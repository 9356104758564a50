//! Each deed to its place: answers and deliveries to the sessions, places of bodies to `bodies`.

use std::rc::Rc;

use bytes::Bytes;
use siding_protocol::event::Answer;
use siding_protocol::refusal::Refusal;
use siding_protocol::types::Timestamp;
use tracing::warn;

use super::core::{Core, Deed};
use super::door::Applied;
use super::fetch::{Fetcher, FetcherGone};
use super::resolve::{Resolved, Resolver, Unread};
use super::sessions::Sessions;
use super::touches::fence;
use crate::engine::command::Entry;
use crate::engine::effect::{Place, SessionId};
use crate::engine::read::Body;
use crate::storage::bodies::{Bodies, Placed};
use crate::storage::{RecordAt, StorageError};

/// What was not read is tried again after so long.
const READ_AGAIN_MS: u64 = 1_000;

/// Does deeds.
#[derive(Debug)]
pub struct Performer<S> {
    bodies: Bodies,
    resolver: Resolver,
    fetcher: Fetcher,
    sessions: Rc<S>,
    resolved: Vec<Resolved>,
    /// What the engine asked to read, with its numbers for it.
    read: Vec<(u64, Vec<Body>)>,
    /// When what was not read is tried again.
    again_at: Option<Timestamp>,
    stopping: bool,
}

/// Where an entry's runs lie: in its record, and in memory. Places come in the order of the runs, so
/// a cursor finds each at once.
#[derive(Debug)]
pub struct Runs<'a> {
    record: RecordAt,
    entry: &'a Entry,
    /// The run that the last place named, and where it begins in the payload.
    at: (usize, u32),
    first_start: u32,
}

impl<'a> Runs<'a> {
    /// `first_start`: where the runs begin in the record's payload, bytes.
    pub fn new(record: RecordAt, entry: &'a Entry, first_start: u32) -> Self {
        Self {
            record,
            entry,
            at: (0, first_start),
            first_start,
        }
    }

    /// What a place says, in the words of storage, and the bytes it speaks of.
    pub fn placed(&mut self, place: &Place) -> (Placed, Bytes) {
        let run = place.run as usize;
        if run < self.at.0 {
            self.at = (0, self.first_start);
        }
        for passed in self.entry.runs.iter().take(run).skip(self.at.0) {
            self.at = (self.at.0 + 1, self.at.1 + u32_len(passed));
        }
        let bytes = self
            .entry
            .runs
            .get(run)
            .expect("a place names a run of its entry");
        let (from, to) = (place.start as usize, (place.start + place.bytes) as usize);
        (placed(place, self.record, self.at.1), bytes.slice(from..to))
    }
}

/// What a place says, in the words of storage; its run begins there in the payload of the record.
pub fn placed(place: &Place, record: RecordAt, run_start: u32) -> Placed {
    Placed {
        log: place.log,
        first: place.first,
        count: place.count,
        published_at: place.published_at,
        record,
        start: run_start + place.start,
        bytes: place.bytes,
    }
}

fn u32_len(run: &Bytes) -> u32 {
    u32::try_from(run.len()).expect("an entry is far below 4 GiB")
}

impl<S: Sessions> Performer<S> {
    /// With what recovery found.
    pub fn new(bodies: Bodies, fetcher: Fetcher, sessions: Rc<S>) -> Self {
        let resolver = Resolver::default();
        Self {
            bodies,
            resolver,
            fetcher,
            sessions,
            resolved: Vec::new(),
            read: Vec::new(),
            again_at: None,
            stopping: false,
        }
    }

    /// When a message was published is known where its body lies.
    fn dated(&self, mut answer: Result<Answer, Refusal>) -> Result<Answer, Refusal> {
        if let Ok(Answer::Job(info)) = &mut answer {
            let known = self.bodies.published_at(info.log_id, info.offset);
            info.published_at = known.unwrap_or(info.published_at);
        }
        answer
    }

    /// Does deeds, in order. `applied` is the entry that they come from, if they place anything.
    ///
    /// # Errors
    /// Nothing can be read any more.
    pub fn perform(
        &mut self,
        deeds: impl Iterator<Item = Deed>,
        applied: Option<&Applied>,
    ) -> Result<(), FetcherGone> {
        let mut runs = applied
            .map(|applied| Runs::new(applied.record, &applied.pending.entry, applied.runs_start));
        for deed in deeds {
            match deed {
                Deed::Answer(to, answer) => self.sessions.answer(to, self.dated(answer)),
                Deed::Release(session, bytes) => self.sessions.release(session, bytes),
                Deed::Deliver(delivery) => {
                    self.resolver
                        .deliver(&mut self.bodies, delivery, &mut self.resolved);
                    self.send_resolved();
                }
                Deed::DeliverRead(delivery, read) => {
                    let delivery = (delivery, read);
                    self.resolver
                        .deliver_read(&mut self.bodies, delivery, &mut self.resolved);
                    self.send_resolved();
                }
                Deed::EndConsumer(session, consumer, why) => {
                    self.sessions.end_consumer(session, consumer, &why);
                }
                Deed::CancelRequested(session, consumer, grant, offset) => {
                    let told = (consumer, grant, offset);
                    self.sessions.cancel_requested(session, told);
                }
                Deed::Browsed(to, log, found) => {
                    let to = (to, log);
                    self.resolver
                        .browse(&mut self.bodies, to, found, &mut self.resolved);
                    self.send_resolved();
                }
                // It is asked for again at the next start.
                Deed::Read(..) if self.stopping => {}
                Deed::Read(number, log, ranges) => {
                    let for_what = (number, log);
                    self.resolver
                        .read(&mut self.bodies, for_what, ranges, &mut self.resolved);
                    self.send_resolved();
                }
                Deed::Expiring(expiring) => self.sessions.lease_expiring(&expiring),
                Deed::Place(place) => {
                    let runs = runs.as_mut().expect("only an applied entry places bodies");
                    let (placed, bytes) = runs.placed(&place);
                    self.bodies.place(placed, Some(bytes));
                }
                Deed::Discard(log, range) => self.bodies.discard(log, &range),
            }
        }
        self.fetcher.feed(&mut self.resolver)
    }

    /// A read came back. If it failed and a message that is needed lies there, it is tried again; in the end
    /// its queue is fenced.
    ///
    /// # Errors
    /// Nothing can be read any more.
    pub fn fetched(
        &mut self,
        record: RecordAt,
        payload: Result<Bytes, StorageError>,
        (now, core): (Timestamp, &mut Core),
    ) -> Result<(), FetcherGone> {
        let fetched = self
            .resolver
            .fetched(&mut self.bodies, record, payload, &mut self.resolved);
        match fetched {
            Err(Unread { error, is_final }) if is_final => {
                fence(core, &self.bodies, record, &error);
            }
            Err(Unread { error, .. }) => {
                warn!(%error, "bodies cannot be read now; they are tried again");
                self.again_at.get_or_insert(now.plus_ms(READ_AGAIN_MS));
            }
            Ok(()) => {}
        }
        self.send_resolved();
        self.fetcher.feed(&mut self.resolver)
    }

    /// When what was not read is tried again.
    pub fn again_at(&self) -> Option<Timestamp> {
        self.again_at
    }

    /// Reads what was not read, if it is time.
    ///
    /// # Errors
    /// Nothing can be read any more.
    pub fn read_again(&mut self, now: Timestamp) -> Result<(), FetcherGone> {
        if self.again_at.take_if(|at| *at <= now).is_none() {
            return Ok(());
        }
        self.resolver.read_again();
        self.fetcher.feed(&mut self.resolver)
    }

    /// A connection closed.
    pub fn closed(&mut self, session: SessionId) {
        self.resolver.closed(session);
    }

    /// The broker stops: the engine's own reads go no further.
    pub fn stop_reading(&mut self) {
        self.stopping = true;
        self.read.clear();
    }

    /// Whether something has come that the engine asked for.
    pub fn has_read(&self) -> bool {
        !self.read.is_empty()
    }

    /// What the engine asked for and has come.
    pub fn take_read(&mut self) -> Vec<(u64, Vec<Body>)> {
        std::mem::take(&mut self.read)
    }

    /// Writes to every session that got something.
    pub fn flush(&self) {
        self.sessions.flush();
    }

    /// Where the bodies are.
    pub fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    /// Where the bodies are, for a checkpoint that moves them.
    pub fn bodies_mut(&mut self) -> &mut Bodies {
        &mut self.bodies
    }

    fn send_resolved(&mut self) {
        for resolved in self.resolved.drain(..) {
            match resolved {
                Resolved::Delivery { to, gap, batches } => {
                    self.sessions.deliver(to, gap.as_ref(), &batches);
                }
                Resolved::Browsed { to, answer } => self.sessions.browsed(to, answer),
                Resolved::Read { number, bodies } => self.read.push((number, bodies)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileId;

    #[test]
    fn a_place_points_into_its_run_in_memory_and_in_the_record() {
        let runs = [&b"abc"[..], b"defgh", b"ij"].map(Bytes::from_static);
        let entry = Entry {
            runs: runs.to_vec(),
            ..Entry::default()
        };
        let record = RecordAt {
            file: FileId::Journal(1),
            position: 4096,
            length: 110,
        };
        let mut runs = Runs::new(record, &entry, 100);
        let place = |run, start, bytes| Place {
            log: 1,
            first: 0,
            count: 1,
            published_at: Timestamp(1),
            run,
            start,
            bytes,
        };
        for (run, start, bytes, expected_start, expected) in [
            (0, 1, 2, 101, &b"bc"[..]),
            (1, 0, 2, 103, b"de"),
            (1, 2, 3, 105, b"fgh"),
            (2, 0, 2, 108, b"ij"),
            (0, 0, 1, 100, b"a"),
        ] {
            let (placed, found) = runs.placed(&place(run, start, bytes));
            assert_eq!((placed.start, &found[..]), (expected_start, expected));
        }
    }
}
