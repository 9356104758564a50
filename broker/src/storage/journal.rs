//! The journal's door: commit here, or hand over and be told.
//!
//! A small group on a fast disk is committed by the caller itself ([`Journal::commit_here`]): a
//! hand-over would cost more than it saves. A large group, or any on a slow disk, goes to the
//! journal thread ([`Journal::submit`]), and the caller goes on. There is one [`Writer`], and it
//! is owned by whoever writes: it moves with the messages, so no lock is ever held around IO.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::error::StorageError;
use super::files::RecordAt;
use super::reader::{Files, Reader};
use super::spares::SpareGauge;
use super::threads::{Threads, Worker};
use super::writer::{Append, Level, Writer, mark};

/// Groups that may wait for the journal thread; `submit` blocks beyond. A caller that pipelines
/// has two on their way: one that syncs and one that waits.
const SUBMITTED_MAX: usize = 8;

/// Records to be committed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The records, in order. An empty group only syncs what was written before.
    pub records: Vec<Append>,
    /// When they count as committed.
    pub level: Level,
    /// The caller's own; comes back as it was.
    pub tag: u64,
    /// Where each record stands, once committed; empty before.
    pub places: Vec<RecordAt>,
}

impl Group {
    /// An empty group.
    pub fn new(level: Level, tag: u64) -> Self {
        Self {
            records: Vec::new(),
            level,
            tag,
            places: Vec::new(),
        }
    }
}

/// A group after its commit: `places` is filled, and its buffers may be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The group as it was given.
    pub group: Group,
}

/// What became of a submitted group.
#[derive(Debug)]
pub struct Completion {
    /// The group's tag.
    pub tag: u64,
    /// The commit, or why there is none.
    pub result: Result<Committed, StorageError>,
}

/// Is called on the journal thread for each submitted group, in the order of submission. It must
/// not block.
pub type Complete = Box<dyn Fn(Completion) + Send>;

#[derive(Debug)]
enum Message {
    /// The writer, for the groups that follow.
    Writer(Box<Writer>),
    Group(Group),
    /// Nothing more to write for now: give the writer back.
    GiveBack,
}

/// A journal, open for writing. Dropping it without [`Journal::close`] leaves what a crash would.
#[derive(Debug)]
pub struct Journal {
    /// Here, or with the thread.
    writer: Option<Box<Writer>>,
    worker: Worker<Message>,
    returned: Receiver<Box<Writer>>,
    /// Groups submitted whose completion the owner has not taken in yet.
    in_flight: usize,
    files: Files,
    reader: Reader,
    gauge: Arc<SpareGauge>,
    record_bytes_max: u64,
}

impl Journal {
    /// Opens the door to a recovered journal. `complete` learns what became of submitted groups.
    pub fn start(
        writer: Writer,
        complete: Complete,
        threads: &Threads,
    ) -> Result<Self, StorageError> {
        let (give_back, returned) = sync_channel(1);
        let mut seat = None;
        let work = move |message| take(message, &mut seat, &give_back, &complete);
        let worker = threads
            .start("siding-journal", SUBMITTED_MAX, work)
            .map_err(StorageError::io(
                "start the thread of",
                Path::new("journal"),
            ))?;
        Ok(Self {
            worker,
            returned,
            in_flight: 0,
            files: writer.files(),
            reader: writer.reader(),
            gauge: writer.spare_gauge(),
            record_bytes_max: writer.record_bytes_max(),
            writer: Some(Box::new(writer)),
        })
    }

    /// Commits a group on this thread: blocks for one write and, at [`Level::Synced`], one sync.
    ///
    /// # Errors
    /// [`StorageError::InFlight`] while submitted groups are on their way: the order of the
    /// groups would be lost. Otherwise as [`Writer::append`].
    pub fn commit_here(&mut self, group: Group) -> Result<Committed, StorageError> {
        commit(self.writer_here()?, group)
    }

    /// Hands a group to the journal thread; `complete` is called when it is done, and the owner
    /// answers with [`Journal::completed`]. Blocks only while 8 others wait already.
    pub fn submit(&mut self, group: Group) -> Result<(), StorageError> {
        if let Some(writer) = self.writer.take() {
            self.send(Message::Writer(writer))?;
        }
        self.send(Message::Group(group))?;
        self.in_flight += 1;
        Ok(())
    }

    /// The owner has taken in one completion, in order. The owner says so, not the thread: a
    /// completion that still waits in the owner's mailbox must come before any later commit.
    pub fn completed(&mut self) {
        debug_assert!(self.in_flight > 0, "one call for each completion");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Groups submitted and not yet taken in again.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Writes the durable mark, un-synced; for when the journal has been idle for 100 ms. Nothing
    /// happens while groups are on their way, or if the mark stands there already.
    pub fn mark(&mut self) -> Result<(), StorageError> {
        match self.writer_here() {
            Err(StorageError::InFlight { .. }) => Ok(()),
            writer => writer?.mark(),
        }
    }

    /// Syncs what was written un-synced, on this thread. With groups on their way: submit an empty
    /// synced group instead.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.writer_here()?.sync()
    }

    /// Reads records again, from any thread.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The table of files: which may be recycled, and giving them back.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// How the making of spare files goes.
    pub fn spare_gauge(&self) -> &SpareGauge {
        &self.gauge
    }

    /// Largest payload of one record, in bytes; request limits follow it.
    pub fn record_bytes_max(&self) -> u64 {
        self.record_bytes_max
    }

    /// A clean end: waits for what was submitted, syncs, writes a last mark, and gives the writer
    /// back.
    pub fn close(mut self) -> Result<Writer, StorageError> {
        self.fetch_writer()?;
        let mut writer = self.writer.take().ok_or(StorageError::ThreadGone)?;
        self.worker.end().map_err(|_| StorageError::ThreadGone)?;
        writer.append(&[], Level::Synced, &mut Vec::new())?;
        writer.append(&[mark()], Level::Synced, &mut Vec::new())?;
        Ok(*writer)
    }

    fn writer_here(&mut self) -> Result<&mut Writer, StorageError> {
        if self.writer.is_none() {
            let in_flight = self.in_flight;
            if in_flight > 0 {
                return Err(StorageError::InFlight { in_flight });
            }
            self.fetch_writer()?;
        }
        self.writer.as_deref_mut().ok_or(StorageError::ThreadGone)
    }

    /// Waits until the thread has written everything and gives the writer back.
    fn fetch_writer(&mut self) -> Result<(), StorageError> {
        if self.writer.is_none() {
            self.send(Message::GiveBack)?;
            self.worker.hurry();
            self.writer = Some(self.returned.recv().map_err(|_| StorageError::ThreadGone)?);
        }
        Ok(())
    }

    fn send(&self, message: Message) -> Result<(), StorageError> {
        self.worker
            .send(message)
            .map_err(|_| StorageError::ThreadGone)
    }
}

/// The journal thread takes a message. It owns the writer from the one that brings it to the one that
/// asks for it back.
fn take(
    message: Message,
    seat: &mut Option<Box<Writer>>,
    give_back: &SyncSender<Box<Writer>>,
    complete: &Complete,
) {
    match message {
        Message::Writer(writer) => *seat = Some(writer),
        Message::Group(group) => {
            let tag = group.tag;
            let writer = seat.as_deref_mut().ok_or(StorageError::ThreadGone);
            let result = writer.and_then(|writer| commit(writer, group));
            complete(Completion { tag, result });
        }
        Message::GiveBack => {
            if let Some(writer) = seat.take() {
                // The door waits for it, or is gone.
                give_back.send(writer).ok();
            }
        }
    }
}

fn commit(writer: &mut Writer, mut group: Group) -> Result<Committed, StorageError> {
    group.places.clear();
    writer.append(&group.records, group.level, &mut group.places)?;
    Ok(Committed { group })
}
