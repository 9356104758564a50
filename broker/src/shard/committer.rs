//! The shell of a shard: runs behind the sessions that are ready, commits what they brought.
//!
//! ```text
//! woken ─► take all that waits ─► awaited? ─ no ─► dispatch, send
//!                                    │ yes
//!                 small, quick disk ─┴─ large or slow
//!                        │                   │
//!                 write + sync here     submit, keep reading ··· committed: submit the next first
//!                        └─────► apply ─► dispatch ─► one write per connection ◄──────┘
//! ```
//!
//! **Invariant**: no confirm leaves before its entry is committed. The first failed write or sync is
//! final: [`Committer::run`] ends with it, and nothing more is sent. What somebody was told is written
//! is synced soon after ([`Pace::flush_ms`]), whether more comes or not, and before any snapshot of it.

mod checkpointing;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use bytes::Bytes;
use siding_protocol::types::Timestamp;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::checkpoint::{Checkpoints, kept_for_bodies};
use super::clock::{Alarm, Clock};
use super::core::{Core, Input};
use super::door::{Applied, Door};
use super::fetch::{Fetcher, FetcherGone};
use super::flush::Flush;
use super::inbox::Inbox;
pub use super::machine::{Machine, Pace};
use super::memory::Memory;
use super::perform::Performer;
use super::recovery::{Recovery, RecoveryError};
use super::sessions::Sessions;
use super::shadow::Written;
use crate::engine::effect::Urgency;
use crate::planted::{self, Bug};
use crate::storage::journal::{Completion, Journal};
use crate::storage::mover::Outcome;
use crate::storage::writer::Level;
use crate::storage::{BodyReader, DataDir, RecordAt, StorageError};

/// After so much idleness the durable mark is written.
const MARK_MS: u64 = 100;
/// Messages from other threads on their way: more than there can be reads, groups and snapshots.
const OUTSIDE_MAX: usize = 32;

/// What other threads bring.
#[derive(Debug)]
pub enum Outside {
    /// A submitted group is committed, or never will be.
    Journal(Completion),
    /// A body was read.
    Fetched(RecordAt, Result<Bytes, StorageError>),
    /// Bodies have moved to segments.
    Moved(Result<Outcome, StorageError>),
    /// A snapshot was written.
    Checkpoint(Result<Written, RecoveryError>),
}

/// Why a shard stops on its own. Final for the process.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// A write or sync failed, or a thread of storage is gone.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Nothing can be read any more.
    #[error(transparent)]
    Fetcher(#[from] FetcherGone),
    /// The operating system refuses a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Runs one shard.
#[derive(Debug)]
pub struct Committer<S> {
    core: Core,
    clock: Clock,
    alarm: Alarm,
    inbox: Rc<Inbox>,
    door: Door,
    performer: Performer<S>,
    checkpoints: Checkpoints,
    memory: Memory,
    /// The last entry applied.
    applied_index: u64,
    outside: Receiver<Outside>,
    to_core: Sender<Outside>,
    /// When the journal has been idle for long enough; `None`: the mark stands.
    mark_at: Option<Timestamp>,
    flush: Flush,
    /// While the disk is full: when to look for room again.
    room_at: Option<Timestamp>,
    /// Holds the lock on the directory.
    _data_dir: DataDir,
}

impl<S: Sessions> Committer<S> {
    /// Starts a shard: writes and syncs its `Start` before anybody is served.
    ///
    /// # Errors
    /// The first write fails, or the operating system refuses a thread.
    pub fn start(
        recovery: Recovery,
        (inbox, sessions): (Rc<Inbox>, Rc<S>),
        machine: &Machine,
        pace: Pace,
    ) -> Result<Self, ShardError> {
        let Recovery {
            data_dir,
            core,
            mut bodies,
            segments,
            writer,
            last_index,
            snapshot_index,
        } = recovery;
        bodies.note_kept(kept_for_bodies(
            &writer.files(),
            snapshot_index.unwrap_or(0),
        ));
        let Machine { time, threads, .. } = machine;
        let (to_core, outside) = channel(OUTSIDE_MAX);
        let reader = BodyReader::new(writer.reader(), segments.clone());
        let kept = (data_dir.snapshots(), segments, reader.clone());
        let checkpoints = Checkpoints::new(
            kept,
            (data_dir.node(), snapshot_index),
            (machine, writer.reserve()),
            pace.checkpoint_bytes,
            &bodies,
        );
        let done = to_core.clone();
        let complete = move |completion| {
            // There is room for every group that can be on its way; the core may be gone.
            done.try_send(Outside::Journal(completion)).ok();
        };
        let journal = Journal::start(writer, Box::new(complete), threads)?;
        let done = to_core.clone();
        let fetcher = Fetcher::start(
            threads,
            move |record| reader.read(record),
            move |record, payload| {
                done.blocking_send(Outside::Fetched(record, payload)).ok();
            },
        )?;
        let clock = Clock::start(time, core.last_now());
        let mut committer = Self {
            alarm: Alarm::new(&clock),
            clock,
            core,
            inbox,
            door: Door::new(journal, time, last_index),
            performer: Performer::new(bodies, fetcher, sessions),
            checkpoints,
            memory: Memory::new(machine.memory.clone()),
            applied_index: last_index,
            outside,
            to_core,
            mark_at: None,
            flush: Flush::new(pace.flush_ms),
            room_at: None,
            _data_dir: data_dir,
        };
        committer.begin_term()?;
        Ok(committer)
    }

    /// The time as this shard sees it.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn begin_term(&mut self) -> Result<(), ShardError> {
        let now = self.clock.now();
        self.door.set_term(self.core.term() + 1);
        self.core.start(now);
        let pending = self.core.close_group(now);
        let applied = self.door.commit_here(pending, Level::Synced)?;
        self.apply(now, &applied)
    }

    /// Serves until it fails.
    ///
    /// # Errors
    /// Why it cannot go on: nothing more was or will be confirmed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: [`Self::finish`] goes on with what waits.
    pub async fn run(&mut self) -> ShardError {
        loop {
            if let Err(error) = self.turn().await {
                return error;
            }
        }
    }

    /// Waits for something to do, and does it.
    async fn turn(&mut self) -> Result<(), ShardError> {
        let wake_at = self.wake_at();
        tokio::select! {
            biased;
            Some(outside) = self.outside.recv() => self.bring(outside),
            () = self.inbox.filled() => {
                // Where several ask, more are on their way: the sockets are looked at once more. A lone
                // request is committed at once.
                if self.inbox.holds_several() {
                    tokio::task::yield_now().await;
                }
                self.work()
            }
            () = self.alarm.reach(wake_at) => self.work(),
        }
    }

    /// When there is work although nobody brings any; `None` while a group is in flight.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if self.door.is_in_flight() {
            return None;
        }
        let again_at = self.performer.again_at();
        let own = [self.core.wake_at(), self.mark_at, self.flush.at(), again_at];
        own.into_iter().flatten().min()
    }

    /// Sessions brought something, or something is due.
    fn work(&mut self) -> Result<(), ShardError> {
        let now = self.clock.now();
        self.performer.read_again(now)?;
        self.take_inputs(now)?;
        if !self.door.is_in_flight() {
            if self.mark_at.take_if(|at| *at <= now).is_some() {
                self.door.mark()?;
            }
            self.commit(now)?;
            self.flush(now)?;
            self.advance(now)?;
        }
        self.after_work()
    }

    /// Another thread brings something.
    fn bring(&mut self, outside: Outside) -> Result<(), ShardError> {
        match outside {
            Outside::Journal(completion) => {
                let applied = self.door.completed(completion)?;
                let now = self.clock.now();
                match &applied {
                    Some(applied) => self.note_level(now, applied),
                    None => self.flush.note(now, Level::Synced, Urgency::Lazy),
                }
                // The disk first: it works on the next group while this one is applied.
                self.take_inputs(now)?;
                if self.core.open().is_awaited() {
                    let level = self.level(now);
                    self.door.submit(self.core.close_group(now), level)?;
                }
                if let Some(applied) = applied {
                    self.apply(now, &applied)?;
                }
                self.advance(now)?;
            }
            Outside::Fetched(record, payload) => {
                let known = (self.clock.now(), &mut self.core);
                self.performer.fetched(record, payload, known)?;
            }
            Outside::Moved(result) => self.checkpoints.moved(result),
            Outside::Checkpoint(result) => {
                let files = self.door.journal().files();
                let kept = (self.performer.bodies_mut(), files);
                self.checkpoints.finished(result, kept);
            }
        }
        self.after_work()
    }

    /// Takes what waits, as far as the open group has room for it.
    fn take_inputs(&mut self, now: Timestamp) -> Result<(), ShardError> {
        self.look_for_room(now)?;
        while let Some(input) = self.inbox.pop_if(|input| self.core.has_room_for(input)) {
            if let Input::Closed { session } = &input {
                self.performer.closed(*session);
            }
            self.core.input(now, input);
        }
        self.inbox.notify_drained();
        Ok(self.performer.perform(self.core.deeds(), None)?)
    }

    /// Commits the open group if somebody waits for it, or it has waited long enough; hands out what
    /// can be handed out. Nothing is in flight.
    fn commit(&mut self, now: Timestamp) -> Result<(), ShardError> {
        let open = self.core.open();
        let needs_room = !open.is_empty() && !self.inbox.is_empty();
        if !open.is_awaited() && !self.core.lazy_is_due(now) && !needs_room {
            return self.dispatch(now);
        }
        let level = self.level(now);
        let is_here = self.door.is_quick(open.bytes(), level);
        let pending = self.core.close_group(now);
        if is_here && planted::has(Bug::ConfirmedUnsynced) {
            let mut applied = self.door.commit_here(pending, Level::Written)?;
            applied.level = level;
            self.note_level(now, &applied);
            self.apply(now, &applied)
        } else if is_here {
            let applied = self.door.commit_here(pending, level)?;
            self.note_level(now, &applied);
            self.apply(now, &applied)
        } else {
            Ok(self.door.submit(pending, level)?)
        }
    }

    /// At which level the open group is committed: as its most urgent command asks, and synced if
    /// what was written before waits for that.
    fn level(&self, now: Timestamp) -> Level {
        if self.core.open().urgency() == Urgency::Awaited || self.flush.is_due(now) {
            Level::Synced
        } else {
            Level::Written
        }
    }

    fn note_level(&mut self, now: Timestamp, applied: &Applied) {
        let urgency = applied.pending.urgency;
        self.flush.note(now, applied.level, urgency);
    }

    /// Syncs what was confirmed as written, if no group did that by now.
    fn flush(&mut self, now: Timestamp) -> Result<(), ShardError> {
        if self.flush.is_due(now) && !self.door.is_in_flight() && self.door.sync()? {
            self.flush.note(now, Level::Synced, Urgency::Lazy);
        }
        Ok(())
    }

    /// An entry is committed.
    fn apply(&mut self, now: Timestamp, applied: &Applied) -> Result<(), ShardError> {
        self.core.committed(now, &applied.pending, applied.level);
        self.performer.perform(self.core.deeds(), Some(applied))?;
        self.applied_index = applied.index;
        self.mark_at = Some(now.plus_ms(MARK_MS));
        self.dispatch(now)
    }

    fn dispatch(&mut self, now: Timestamp) -> Result<(), ShardError> {
        self.core.dispatch(now);
        Ok(self.performer.perform(self.core.deeds(), None)?)
    }

    /// After `dispatch`: a long poll that ends now has had its chance.
    fn advance(&mut self, now: Timestamp) -> Result<(), ShardError> {
        self.core.advance(now);
        Ok(self.performer.perform(self.core.deeds(), None)?)
    }

    /// The engine gets what it asked to read. What it asks for thereupon comes with the next turn,
    /// so that a long read lets others have theirs.
    fn bring_read(&mut self) -> Result<(), ShardError> {
        let now = self.clock.now();
        for (number, bodies) in self.performer.take_read() {
            self.core.bodies_read(now, number, &bodies);
        }
        self.performer.perform(self.core.deeds(), None)?;
        // What was kept for somebody who is gone by now is for others.
        self.dispatch(now)
    }

    /// One write for each connection that got something, whatever it got.
    fn after_work(&mut self) -> Result<(), ShardError> {
        if self.performer.has_read() {
            self.bring_read()?;
        }
        self.performer.flush();
        let is_left =
            !self.inbox.is_empty() || self.core.open().is_awaited() || self.performer.has_read();
        if is_left && !self.door.is_in_flight() {
            // What did not fit into the group, or what is due: with the next turn.
            self.inbox.wake();
        }
        self.checkpoint()
    }

    /// A clean stop: commits everything that was asked, syncs, writes a snapshot.
    ///
    /// # Errors
    /// As [`Self::run`]; what was confirmed stands.
    pub async fn finish(mut self) -> Result<(), ShardError> {
        self.performer.stop_reading();
        self.work()?;
        while !self.is_idle() {
            if self.door.is_in_flight() || self.checkpoints.is_running() {
                let outside = self.outside.recv().await;
                self.bring(outside.ok_or(StorageError::ThreadGone)?)?;
            } else {
                self.work()?;
            }
        }
        let now = self.clock.now();
        while !self.core.open().is_empty() {
            let pending = self.core.close_group(now);
            let applied = self.door.commit_here(pending, Level::Synced)?;
            self.core.committed(now, &applied.pending, Level::Synced);
            self.performer.perform(self.core.deeds(), Some(&applied))?;
            self.applied_index = applied.index;
        }
        self.performer.flush();
        let files = self.door.journal().files().clone();
        self.door.close()?;
        let places = (self.performer.bodies_mut(), &files);
        Ok(self
            .checkpoints
            .write_here(self.applied_index, &self.core, places)?)
    }

    fn is_idle(&self) -> bool {
        let is_waiting = self.door.is_in_flight() || self.checkpoints.is_running();
        let is_waiting = is_waiting || self.checkpoints.is_relocating();
        !is_waiting && self.inbox.is_empty() && !self.core.open().is_awaited()
    }

    /// Ends as a crash would: nothing is synced, nothing is marked. Only other threads are waited
    /// for, so that no hand is on the files any more.
    pub async fn abandon(mut self) {
        while self.door.is_in_flight() || self.checkpoints.is_running() {
            match self.outside.recv().await {
                Some(Outside::Journal(completion)) => drop(self.door.completed(completion)),
                Some(Outside::Moved(_) | Outside::Checkpoint(_)) => self.checkpoints.forget(),
                Some(Outside::Fetched(..)) => {}
                None => break,
            }
        }
        self.door.abandon();
    }
}
