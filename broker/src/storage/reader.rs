//! The files that are kept, and reading one record of them again.
//!
//! The table is shared between whoever writes, whoever reads and whoever retires. Its lock is held
//! for a look-up, never for IO. A file that is retired leaves the table at once and is recycled
//! only when no read holds it any more.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::error::StorageError;
use super::files::{FileId, JournalFile, RecordAt};
use super::replay::Replay;
use super::segments::Segments;
use super::spares::Request;
use super::threads::Worker;

/// The indexes of one shard that stand in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The shard.
    pub shard: u32,
    /// Its first index in the file.
    pub first: u64,
    /// Its last index in the file.
    pub last: u64,
}

/// Which indexes of which shards stand in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// Notes one more record.
    pub(super) fn note(&mut self, shard: u32, index: u64) {
        // Shards are few: looking through them is cheaper than any map.
        match self.0.iter_mut().find(|span| span.shard == shard) {
            Some(span) => span.last = index,
            None => self.0.push(Span {
                shard,
                first: index,
                last: index,
            }),
        }
    }

    /// One span per shard.
    pub fn iter(&self) -> impl Iterator<Item = &Span> {
        self.0.iter()
    }
}

/// The files of a journal that hold records.
#[derive(Clone, Debug, Default)]
pub struct Files(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    kept: BTreeMap<u64, Kept>,
    /// Out of the table, waiting for their last reader and then for recycling.
    retired: Vec<Arc<JournalFile>>,
    /// The thread that makes spares: it has work when a file is retired.
    maker: Option<Weak<Worker<Request>>>,
}

#[derive(Debug)]
struct Kept {
    file: Arc<JournalFile>,
    /// `None` while the file is written to.
    spans: Option<Spans>,
}

impl Files {
    /// Puts the file that is now written to into the table.
    pub(super) fn open(&self, file: Arc<JournalFile>) {
        self.table()
            .kept
            .insert(file.number, Kept { file, spans: None });
    }

    /// The file is full: from now on it may be retired.
    pub(super) fn close(&self, number: u64, spans: Spans) {
        if let Some(kept) = self.table().kept.get_mut(&number) {
            kept.spans = Some(spans);
        }
    }

    pub(super) fn set_maker(&self, maker: Weak<Worker<Request>>) {
        self.table().maker = Some(maker);
    }

    /// A retired file of this size that nobody reads, if there is one.
    pub(super) fn take_retired(&self, bytes: u64) -> Option<JournalFile> {
        self.table().take_free(|file| file.bytes == bytes)
    }

    /// A retired file that nobody reads and that is not worth keeping: of another size, or one
    /// more than `most`.
    pub(super) fn take_surplus(&self, bytes: u64, most: usize) -> Option<JournalFile> {
        let mut table = self.table();
        let too_many = table.retired.len() > most;
        table.take_free(|file| too_many || file.bytes != bytes)
    }

    /// Numbers of the full files in which no shard has an index above what `passed` answers for
    /// it, oldest first. They may be retired once nothing else in them is needed.
    pub fn recyclable(&self, passed: &dyn Fn(u32) -> u64) -> Vec<u64> {
        let is_passed = |spans: &Spans| spans.iter().all(|span| span.last <= passed(span.shard));
        let table = self.table();
        let full = table
            .kept
            .iter()
            .filter(|(_, kept)| kept.spans.as_ref().is_some_and(is_passed));
        full.map(|(number, _)| *number).collect()
    }

    /// The first file that holds, or may come to hold, an entry that a shard has not passed; those before it
    /// are kept for the bodies in them.
    pub fn first_unpassed(&self, passed: &dyn Fn(u32) -> u64) -> u64 {
        let passed = self.recyclable(passed);
        let table = self.table();
        let mut kept = table.kept.keys().copied();
        kept.find(|number| passed.binary_search(number).is_err())
            .unwrap_or(0)
    }

    /// Bytes of a file that is kept.
    pub fn bytes(&self, number: u64) -> u64 {
        self.table()
            .kept
            .get(&number)
            .map_or(0, |kept| kept.file.bytes)
    }

    /// Every kept file with what stands in it, oldest first; the one written to without spans.
    pub fn kept(&self) -> Vec<(u64, Option<Spans>)> {
        let table = self.table();
        table
            .kept
            .iter()
            .map(|(number, kept)| (*number, kept.spans.clone()))
            .collect()
    }

    /// The entries of a shard with these indexes, to be read again from any thread, whatever is written and
    /// retired meanwhile.
    pub fn replay(&self, shard: u32, indexes: RangeInclusive<u64>) -> Replay {
        let holds = |span: &Span| span.shard == shard && span.last >= *indexes.start();
        let table = self.table();
        let files = table.kept.values().filter(|kept| {
            let spans = kept.spans.as_ref();
            spans.is_none_or(|spans| spans.iter().any(holds))
        });
        let files = files.map(|kept| Arc::clone(&kept.file)).collect();
        Replay {
            files,
            shard,
            indexes,
        }
    }

    /// Gives a full file back for recycling. Its records cannot be read from now on; a read that
    /// runs may finish. The caller knows that a durable snapshot has passed it and that no body in
    /// it is needed. Files between older and newer ones may go.
    pub fn retire(&self, number: u64) -> Result<(), StorageError> {
        let mut table = self.table();
        if table
            .kept
            .get(&number)
            .is_none_or(|kept| kept.spans.is_none())
        {
            return Err(StorageError::Retired {
                file: FileId::Journal(number),
            });
        }
        if let Some(kept) = table.kept.remove(&number) {
            table.retired.push(kept.file);
        }
        table.prompt();
        Ok(())
    }

    /// Tries again to make the spares that could not be made, now that there may be room.
    pub fn retry_spares(&self) {
        self.table().prompt();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn take_free(&mut self, wanted: impl Fn(&JournalFile) -> bool) -> Option<JournalFile> {
        // Nobody can get at a retired file anew: one holder now is one holder for good.
        let is_free = |file: &Arc<JournalFile>| Arc::strong_count(file) == 1 && wanted(file);
        let free = self.retired.iter().position(is_free)?;
        Arc::into_inner(self.retired.swap_remove(free))
    }

    fn prompt(&self) {
        if let Some(maker) = self.maker.as_ref().and_then(Weak::upgrade) {
            // Full: the thread has requests before it and looks after each of them.
            maker.try_send(Request::Look).ok();
        }
    }
}

/// Reads records again. Clones are cheap and may go to other threads; every read blocks.
#[derive(Clone, Debug)]
pub struct Reader {
    files: Files,
}

impl Reader {
    pub(super) fn new(files: Files) -> Self {
        Self { files }
    }

    /// The payload of a record, after both of its checks.
    ///
    /// # Errors
    /// [`StorageError::Retired`] if its file is no longer kept, [`StorageError::Damaged`] if the
    /// bytes are not what was written.
    pub fn read(&self, at: RecordAt) -> Result<Bytes, StorageError> {
        let retired = StorageError::Retired { file: at.file };
        let FileId::Journal(number) = at.file else {
            return Err(retired);
        };
        let held = self
            .files
            .table()
            .kept
            .get(&number)
            .map(|it| Arc::clone(&it.file));
        held.ok_or(retired)?.read(at)
    }
}

/// Reads records wherever bodies lie. Clones are cheap and may go to other threads; every read blocks.
#[derive(Clone, Debug)]
pub struct BodyReader {
    journal: Reader,
    segments: Segments,
}

impl BodyReader {
    /// Of a journal, and of the segments beside it.
    pub fn new(journal: Reader, segments: Segments) -> Self {
        Self { journal, segments }
    }

    /// As [`Reader::read`] and [`Segments::read`].
    ///
    /// # Errors
    /// As those.
    pub fn read(&self, at: RecordAt) -> Result<Bytes, StorageError> {
        match at.file {
            FileId::Journal(_) => self.journal.read(at),
            FileId::Segment(_) => self.segments.read(at),
        }
    }
}
