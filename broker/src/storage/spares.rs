//! Spare journal files, made ahead of need.
//!
//! Overwriting a file that was written before syncs nearly twice as fast as growing one, so a file
//! is filled with zeros before its first use, and used again after its last. Both take time that a
//! writer must never wait for: a thread does it, and the writer takes what is ready. If it has to
//! wait after all, that is counted. The thread also keeps the reserve: while that is missing nothing new
//! is filled, unless nothing at all is ready.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use super::error::StorageError;
use super::files::{Filling, JournalFile, JournalOptions};
use super::making;
use super::reader::Files;
use super::reserve::Reserve;
use super::threads::Worker;
use crate::planted::{self, Bug};

/// Bytes of a file that are filled at once: a stop waits for no more.
const FILLED_BYTES: u64 = 1 << 20;

/// What the thread is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Make one more. A failure is not answered but shown by the gauge.
    Make,
    /// The writer waits: try again what failed, and answer a failure with this number. Only so is
    /// a failure known to be younger than everything the writer did before it asked.
    Need {
        /// Of the need, rising.
        number: u64,
        /// The writer has none left: this one is made at any cost.
        is_last: bool,
    },
    /// A file was retired or room may have come back: tidy up, try again what failed.
    Look,
}

/// How the making of spares goes; may be looked at from any thread.
#[derive(Debug)]
pub struct SpareGauge {
    ready: AtomicUsize,
    waits: AtomicU64,
    failing: AtomicBool,
    reserve: Reserve,
}

impl SpareGauge {
    /// Files ready for use. Always 0 with [`Filling::Inline`].
    pub fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    /// How often the writer had to wait for a file since the start.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// Whether the last attempt to make one failed, or the reserve is missing: the disk is full, or worse.
    /// Publishing must stop now: the files still ready are for what makes room again.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed) || self.reserve.is_missing()
    }
}

/// Where the writer takes its next file from.
#[derive(Debug)]
pub(super) struct Spares {
    /// Found at the start, older than everything made since.
    stock: VecDeque<Arc<JournalFile>>,
    source: Source,
    gauge: Arc<SpareGauge>,
}

#[derive(Debug)]
enum Source {
    Inline(Maker),
    Ahead(Ahead),
}

/// The writer's side of the thread.
#[derive(Debug)]
struct Ahead {
    /// Only this side keeps it alive; [`Files`] may prompt it. `None` once it ends.
    worker: Option<Arc<Worker<Request>>>,
    made: Receiver<Answer>,
    /// Asked for and not yet taken.
    due: usize,
    /// Number of the last need.
    need: u64,
    spares: usize,
    /// Shared with the thread: nobody wants the file at hand any more.
    stopping: Arc<AtomicBool>,
}

type Made = Result<JournalFile, StorageError>;

/// A file, or the failure of an attempt made for the need of this number.
type Answer = Result<JournalFile, (u64, StorageError)>;

impl Spares {
    /// Starts making spares; the next new file gets the number `next`. `stock` are those already
    /// there.
    pub(super) fn start(
        options: &JournalOptions,
        next: u64,
        stock: VecDeque<Arc<JournalFile>>,
        files: &Files,
    ) -> Result<Self, StorageError> {
        let fs = Arc::clone(&options.fs);
        let gauge = Arc::new(SpareGauge {
            ready: AtomicUsize::new(stock.len()),
            waits: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            reserve: Reserve::new(fs, &options.directory, options.file_bytes),
        });
        let maker = Maker {
            options: options.clone(),
            next,
            files: files.clone(),
            gauge: Arc::clone(&gauge),
            stopping: Arc::default(),
        };
        let source = match options.filling {
            Filling::Inline => Source::Inline(maker),
            Filling::Ahead => Source::Ahead(Ahead::start(maker, files)?),
        };
        let mut spares = Self {
            stock,
            source,
            gauge,
        };
        spares.order()?;
        Ok(spares)
    }

    pub(super) fn gauge(&self) -> Arc<SpareGauge> {
        Arc::clone(&self.gauge)
    }

    pub(super) fn reserve(&self) -> Reserve {
        self.gauge.reserve.clone()
    }

    /// The next file to write to.
    pub(super) fn take(&mut self) -> Result<Arc<JournalFile>, StorageError> {
        let file = self.take_one()?;
        if let Source::Ahead(ahead) = &mut self.source
            && self.gauge.ready() == 0
            && !self.gauge.is_failing()
        {
            // The last one is for what makes room: before it is begun it is known whether another can be
            // made, and publishing has stopped if not.
            let another = ahead.take(&self.gauge, false);
            self.stock.extend(another.ok().map(Arc::new));
        }
        Ok(file)
    }

    /// The next file, be it the last that can be made.
    pub(super) fn take_one(&mut self) -> Result<Arc<JournalFile>, StorageError> {
        let file = match self.stock.pop_front() {
            Some(file) => file,
            None => Arc::new(match &mut self.source {
                Source::Inline(maker) => maker.make(true),
                Source::Ahead(ahead) => ahead.take(&self.gauge, true),
            }?),
        };
        self.gauge.ready.fetch_sub(1, Ordering::Relaxed);
        self.order()?;
        Ok(file)
    }

    /// Asks for as many as should be ready.
    fn order(&mut self) -> Result<(), StorageError> {
        if let Source::Ahead(ahead) = &mut self.source {
            while self.stock.len() + ahead.due < ahead.spares {
                ahead.request(Request::Make)?;
                ahead.due += 1;
            }
        }
        Ok(())
    }
}

impl Ahead {
    fn start(mut maker: Maker, files: &Files) -> Result<Self, StorageError> {
        let spares = maker.options.spares.max(1);
        let (answers, made) = sync_channel(2 * spares + 4);
        let directory = maker.options.directory.clone();
        let threads = maker.options.threads.clone();
        let stopping = Arc::clone(&maker.stopping);
        let mut owed = 0;
        let work = move |request| maker.serve(request, &mut owed, &answers);
        let worker = threads.start("siding-spares", spares + 4, work);
        let worker = Arc::new(worker.map_err(StorageError::io(
            "start the thread that fills files for",
            &directory,
        ))?);
        files.set_maker(Arc::downgrade(&worker));
        // Where enough stands ready, nothing else is asked for before the first is used up.
        files.retry_spares();
        Ok(Self {
            worker: Some(worker),
            made,
            due: 0,
            need: 0,
            spares,
            stopping,
        })
    }

    fn take(&mut self, gauge: &SpareGauge, is_last: bool) -> Made {
        loop {
            match self.made.try_recv() {
                Ok(Ok(file)) => return Ok(self.taken(file)),
                // The answer to a need that another file has met meanwhile.
                Ok(Err(_)) => {}
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(StorageError::ThreadGone),
            }
        }
        gauge.waits.fetch_add(1, Ordering::Relaxed);
        if self.due == 0 {
            self.request(Request::Make)?;
            self.due = 1;
        }
        self.need += 1;
        let number = self.need;
        self.request(Request::Need { number, is_last })?;
        if let Some(worker) = &self.worker {
            worker.hurry();
        }
        // At least one file is due: either it is made already, or this need is answered.
        loop {
            match self.made.recv().map_err(|_| StorageError::ThreadGone)? {
                Ok(file) => return Ok(self.taken(file)),
                Err((need, error)) if need == number => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn request(&self, request: Request) -> Result<(), StorageError> {
        let sent = self.worker.as_ref().map(|worker| worker.send(request));
        sent.and_then(Result::ok).ok_or(StorageError::ThreadGone)
    }

    fn taken(&mut self, file: JournalFile) -> JournalFile {
        self.due = self.due.saturating_sub(1);
        file
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // Three files to fill are seconds on a slow disk, and a stop must not wait for them.
        self.stopping.store(true, Ordering::Relaxed);
        // If it is being prompted at this moment, it ends a moment later and is not waited for. A panic in
        // it has been reported where it happened.
        if let Some(worker) = self.worker.take().and_then(Arc::into_inner) {
            worker.end().ok();
        }
    }
}

/// Makes one file after the other.
#[derive(Debug)]
struct Maker {
    options: JournalOptions,
    next: u64,
    files: Files,
    gauge: Arc<SpareGauge>,
    /// Set when the rest of a file need not be filled.
    stopping: Arc<AtomicBool>,
}

impl Maker {
    /// Makes what is asked for, and again what failed when there may be room.
    fn serve(&mut self, request: Request, owed: &mut usize, answers: &SyncSender<Answer>) {
        match request {
            Request::Make => *owed += 1,
            Request::Need { .. } => {}
            Request::Look => self.tidy(),
        }
        if self.gauge.ready() > 0 {
            // The gauge says how it went.
            self.hold_reserve().ok();
        }
        let is_needed = matches!(request, Request::Need { is_last: true, .. });
        while *owed > 0 && !self.stopping.load(Ordering::Relaxed) {
            let answer = match (self.make(is_needed), request) {
                (Ok(file), _) => Ok(file),
                (Err(error), Request::Need { number, .. }) => Err((number, error)),
                (Err(_), _) => break,
            };
            let failed = answer.is_err();
            // There is room for every file asked for, and for more failures than can wait; and nobody
            // listens any more when it is closed.
            if answers.try_send(answer).is_err() || failed {
                break;
            }
            *owed -= 1;
        }
    }

    /// A file with the next number: a retired one with a new generation, else a new one of zeros. The
    /// reserve goes before what is only ahead of need, and after what the writer cannot do without.
    fn make(&mut self, is_needed: bool) -> Made {
        let number = self.next;
        let retired = || self.files.take_retired(self.options.file_bytes);
        let is_only_one = self.gauge.ready() == 0;
        let old = if is_only_one { retired() } else { None };
        let may_fill = is_only_one && (is_needed || !self.gauge.reserve.is_missing());
        let reserved = if old.is_some() || may_fill {
            Ok(())
        } else {
            self.hold_reserve()
        };
        let made = reserved.and_then(|()| self.try_make(number, old.or_else(retired)));
        self.gauge.failing.store(made.is_err(), Ordering::Relaxed);
        match &made {
            Ok(_) => {
                self.next += 1;
                self.gauge.ready.fetch_add(1, Ordering::Relaxed);
                self.tidy();
            }
            // Give the room back. If even that fails, the next start removes what is left.
            Err(_) => drop(self.options.fs.remove(&self.options.making_path(number))),
        }
        made.map_err(|error| StorageError::NoSpare(Box::new(error)))
    }

    /// Sees to it that the reserve stands, at the cost of retired files.
    fn hold_reserve(&self) -> Result<(), StorageError> {
        let reserve = &self.gauge.reserve;
        loop {
            match reserve.hold() {
                Err(error) if error.is_no_room() => {
                    if !self.remove_retired(0) {
                        return Err(error);
                    }
                }
                held => return held,
            }
        }
    }

    fn try_make(&self, number: u64, old: Option<JournalFile>) -> Made {
        let JournalOptions {
            fs,
            directory,
            file_bytes,
            ..
        } = &self.options;
        let (making, path) = (self.options.making_path(number), self.options.path(number));
        let file = match old {
            Some(old) => {
                fs.rename(&old.path, &making)
                    .map_err(StorageError::io("rename", &old.path))?;
                // The old name must be gone for good before the header says another number.
                if !planted::has(Bug::OldNameKept) {
                    fs.sync_dir(directory)
                        .map_err(StorageError::io("sync", directory))?;
                }
                old.file
            }
            None => self.fill(number)?,
        };
        let file = JournalFile::begin(file, number, *file_bytes, &**fs, (&making, path))?;
        fs.rename(&making, &file.path)
            .map_err(StorageError::io("rename", &making))?;
        if !planted::has(Bug::DirectorySyncForgotten) {
            fs.sync_dir(directory)
                .map_err(StorageError::io("sync", directory))?;
        }
        Ok(file)
    }

    /// A new file full of zeros. Its header and its sync follow.
    fn fill(&self, number: u64) -> Result<Box<dyn super::fs::File>, StorageError> {
        let making = self.options.making_path(number);
        let fs = &self.options.fs;
        let file = making::begin(&**fs, &making)?;
        let bytes = self.options.file_bytes;
        let mut offset = 0;
        while offset < bytes {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(StorageError::ThreadGone);
            }
            let piece = FILLED_BYTES.min(bytes - offset);
            file.write_zeros(offset, piece)
                .map_err(StorageError::io("fill", &making))?;
            offset += piece;
        }
        Ok(file)
    }

    /// Removes retired files beyond those worth keeping.
    fn tidy(&self) {
        while self.remove_retired(self.options.recycled_max) {}
    }

    /// Removes a retired file that is more than so many; whether there was one.
    fn remove_retired(&self, most: usize) -> bool {
        let JournalOptions {
            fs,
            directory,
            file_bytes,
            ..
        } = &self.options;
        let old = self.files.take_surplus(*file_bytes, most);
        if let Some(old) = &old {
            // If it cannot be removed it stays as an old file: the next start retires it again.
            drop(fs.remove(&old.path).and_then(|()| fs.sync_dir(directory)));
        }
        old.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::fs::Fs;
    use super::super::memory_fs::MemoryFs;
    use super::*;

    #[test]
    fn a_stop_does_not_wait_for_the_file_at_hand_and_leaves_nothing_of_it() {
        let fs = MemoryFs::new(1);
        fs.create_dir_all(Path::new("/j")).unwrap();
        let options = JournalOptions::new(Arc::new(fs.clone()), "/j".into(), 1);
        let spares = Spares::start(&options, 1, VecDeque::new(), &Files::default()).unwrap();
        let mut maker = Maker {
            options,
            next: 1,
            files: Files::default(),
            gauge: spares.gauge(),
            stopping: Arc::new(AtomicBool::new(true)),
        };
        assert!(maker.make(true).is_err());
        drop(spares);
        let left = fs.list(Path::new("/j")).unwrap();
        assert!(
            left.iter().all(|name| name.ends_with(".journal")),
            "{left:?}"
        );
    }
}
