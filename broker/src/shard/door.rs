//! The shard's side of the journal's door: groups become records, records become applied entries.
//!
//! Committed here or by the journal's thread (later by a majority), an entry comes back the same
//! way: as [`Applied`].

use std::time::Duration;

use bytes::Bytes;

use super::clock::{Stopwatch, TimeSource};
use super::group::Pending;
use crate::engine::command::Command;
use crate::planted::{self, Bug};
use crate::storage::journal::{Completion, Group, Journal};
use crate::storage::record::Kind;
use crate::storage::writer::{Append, Level};
use crate::storage::{RecordAt, StorageError};

/// Larger groups go to the journal's thread: writing them would hold up the sessions.
const HERE_BYTES_MAX: usize = 16 << 10;
/// So does every group while a sync takes longer than this: a slow disk must not freeze sessions.
const HERE_SYNC_MAX: Duration = Duration::from_micros(300);
/// The one shard there is.
const SHARD: u32 = 0;

/// A committed entry, to be applied.
#[derive(Debug)]
pub struct Applied {
    /// The entry, and who waits for it.
    pub pending: Pending,
    /// Its position in the shard.
    pub index: u64,
    /// Where it stands.
    pub record: RecordAt,
    /// Where its runs begin in the payload, bytes.
    pub runs_start: u32,
    /// Reached.
    pub level: Level,
}

/// The journal as one shard uses it.
#[derive(Debug)]
pub struct Door {
    journal: Journal,
    time: TimeSource,
    term: u64,
    next_index: u64,
    /// Where a head is laid out; the room stays.
    head: Vec<u8>,
    sync: SyncTime,
    /// With the journal's thread.
    submitted: Option<Submitted>,
    written_bytes: u64,
}

#[derive(Debug)]
struct Submitted {
    /// `None`: only a sync of what was written before.
    group: Option<(Pending, u32)>,
    stopwatch: Stopwatch,
}

impl Door {
    /// Continues behind the entry `last_index`.
    pub fn new(journal: Journal, time: &TimeSource, last_index: u64) -> Self {
        Self {
            journal,
            time: time.clone(),
            term: 0,
            next_index: last_index + u64::from(!planted::has(Bug::IndexReused)),
            head: Vec::new(),
            sync: SyncTime::default(),
            submitted: None,
            written_bytes: 0,
        }
    }

    /// The term of the entries that follow.
    pub fn set_term(&mut self, term: u64) {
        self.term = term;
    }

    /// Bytes of entries written since the last call of [`Self::take_written_bytes`].
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Starts to count anew.
    pub fn take_written_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.written_bytes)
    }

    /// Whether a group is with the journal's thread.
    pub fn is_in_flight(&self) -> bool {
        self.submitted.is_some()
    }

    /// Whether a group of `bytes` is committed faster here than by handing it over.
    pub fn is_quick(&self, bytes: usize, level: Level) -> bool {
        let syncs_fast = level == Level::Written || self.sync.average() <= HERE_SYNC_MAX;
        !self.is_in_flight() && bytes <= HERE_BYTES_MAX && syncs_fast
    }

    /// Writes a group on this thread and, at [`Level::Synced`], syncs it.
    ///
    /// # Errors
    /// Final: nothing more may be confirmed.
    pub fn commit_here(&mut self, pending: Pending, level: Level) -> Result<Applied, StorageError> {
        let (group, runs_start) = self.group(&pending, level);
        let stopwatch = Stopwatch::start(&self.time);
        let committed = self.journal.commit_here(group)?;
        if level == Level::Synced {
            self.sync.note(stopwatch.elapsed());
        }
        applied((pending, runs_start), &committed.group)
    }

    /// Hands a group to the journal's thread; one at a time.
    ///
    /// # Errors
    /// Final.
    pub fn submit(&mut self, pending: Pending, level: Level) -> Result<(), StorageError> {
        let (group, runs_start) = self.group(&pending, level);
        self.send(group, Some((pending, runs_start)))
    }

    /// Syncs what was written before: here if that is quick, else by the journal's thread. Whether
    /// it is done.
    ///
    /// # Errors
    /// Final.
    pub fn sync(&mut self) -> Result<bool, StorageError> {
        if !self.is_quick(0, Level::Synced) {
            self.send(Group::new(Level::Synced, 0), None)?;
            return Ok(false);
        }
        let stopwatch = Stopwatch::start(&self.time);
        self.journal.sync()?;
        self.sync.note(stopwatch.elapsed());
        Ok(true)
    }

    fn send(&mut self, group: Group, pending: Option<(Pending, u32)>) -> Result<(), StorageError> {
        debug_assert!(!self.is_in_flight(), "one group at a time");
        self.journal.submit(group)?;
        let stopwatch = Stopwatch::start(&self.time);
        self.submitted = Some(Submitted {
            group: pending,
            stopwatch,
        });
        Ok(())
    }

    /// What became of the group that was submitted; `None`: it was only a sync.
    ///
    /// # Errors
    /// Final.
    pub fn completed(&mut self, completion: Completion) -> Result<Option<Applied>, StorageError> {
        self.journal.completed();
        let committed = completion.result?;
        let Submitted { group, stopwatch } =
            self.submitted.take().ok_or(StorageError::ThreadGone)?;
        let bytes = group.as_ref().map_or(0, |(pending, _)| pending.bytes);
        if bytes <= HERE_BYTES_MAX && committed.group.level == Level::Synced {
            self.sync.note(stopwatch.elapsed());
        }
        let applied = group.map(|group| applied(group, &committed.group));
        applied.transpose()
    }

    /// The journal falls idle.
    ///
    /// # Errors
    /// Final.
    pub fn mark(&mut self) -> Result<(), StorageError> {
        self.journal.mark()
    }

    /// The journal itself.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// A clean end: everything is synced.
    ///
    /// # Errors
    /// The last sync failed.
    pub fn close(self) -> Result<(), StorageError> {
        self.journal.close().map(drop)
    }

    /// An end without sync or mark, as a crash would leave it; only the thread is waited for.
    pub fn abandon(mut self) {
        // Nothing is written: this fetches the writer from the thread, so that no hand is on the
        // files once this returns. A failure leaves no writer, which is as good.
        let empty = Group::new(Level::Written, 0);
        drop(self.journal.commit_here(empty));
    }

    fn group(&mut self, pending: &Pending, level: Level) -> (Group, u32) {
        let entry = &pending.entry;
        self.head.clear();
        entry.encode_head(&mut self.head);
        let head = Bytes::copy_from_slice(&self.head);
        let runs_start = u32::try_from(head.len()).expect("an entry is far below 4 GiB");
        let runs = entry.runs.iter().cloned();
        let payload: Vec<Bytes> = std::iter::once(head).chain(runs).collect();
        let starts = entry
            .commands
            .iter()
            .any(|it| matches!(it, Command::Start(_)));
        let record = Append {
            kind: if starts { Kind::Start } else { Kind::Entry },
            shard: SHARD,
            index: self.next_index,
            term: self.term,
            payload,
        };
        self.written_bytes += record
            .payload
            .iter()
            .map(|part| part.len() as u64)
            .sum::<u64>();
        let mut group = Group::new(level, self.next_index);
        self.next_index += 1;
        group.records.push(record);
        (group, runs_start)
    }
}

fn applied((pending, runs_start): (Pending, u32), group: &Group) -> Result<Applied, StorageError> {
    let record = *group.places.first().ok_or(StorageError::ThreadGone)?;
    Ok(Applied {
        pending,
        index: group.tag,
        record,
        runs_start,
        level: group.level,
    })
}

/// How long a small write and its sync take: a moving average over about eight.
#[derive(Clone, Copy, Debug, Default)]
struct SyncTime {
    average_ns: u64,
}

impl SyncTime {
    fn note(&mut self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.average_ns = (self.average_ns.saturating_mul(7).saturating_add(took)) / 8;
    }

    fn average(self) -> Duration {
        Duration::from_nanos(self.average_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_is_noticed_within_a_few_syncs_and_so_is_its_recovery() {
        let mut sync = SyncTime::default();
        assert!(sync.average() <= HERE_SYNC_MAX, "trusted until it is known");
        let after = |sync: &mut SyncTime, took| {
            (1..100).find(|_| {
                let was_quick = sync.average() <= HERE_SYNC_MAX;
                sync.note(took);
                was_quick != (sync.average() <= HERE_SYNC_MAX)
            })
        };
        assert!(after(&mut sync, Duration::from_millis(2)) <= Some(2));
        assert!(after(&mut sync, Duration::from_micros(90)) <= Some(8));
        assert_eq!(after(&mut sync, Duration::from_micros(90)), None);
    }
}
