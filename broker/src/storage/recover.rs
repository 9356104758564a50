//! What a journal holds after the process that wrote it died, whatever it died of.
//!
//! ```text
//!            synced for certain                 │ last group: may be there in part
//!  file 5 ──────────────┐ file 6 ───────────────┼───────────────┐ file 7 (spare)
//!  … records … end of 5 │ … records …  durable ─┘ … whole │ torn│ nothing of its generation
//!                       │              mark               └ cut here
//! ```
//!
//! A bad record is **damage**, and refused, if anything proves that it had been synced: a record
//! behind it with a later group or a durable mark past it; or its file is not the newest that
//! holds a record, and the next one says that records reach further. Otherwise it is the **torn
//! tail** of a last group that nobody was told about: it is cut.
//!
//! What was read behind the last durable mark is written and synced again before anything of it
//! takes effect: it may so far exist in memory only, and after a failed sync the system calls it
//! clean. For the same reason the tail is read past the system's cache.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Damage, StorageError};
use super::files::{FileId, JournalFile, JournalOptions, RECORDS_START, RecordAt, Watch};
use super::inventory::{find_newest, open_all, read_all};
use super::reader::{Files, Spans};
use super::record::{HEADER_BYTES, Header, Kind};
use super::scan::{Behind, Found, Walk, damaged_bytes, look_behind};
use super::spares::Spares;
use super::writer::{self, End, Level, Writer};
use crate::planted::{self, Bug};

/// A record found by recovery, in the order in which it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// What it means.
    pub kind: Kind,
    /// The shard it belongs to.
    pub shard: u32,
    /// Its position in the shard.
    pub index: u64,
    /// The term it was proposed in.
    pub term: u64,
    /// Its payload, in memory of its own.
    pub payload: Bytes,
    /// Where it stands.
    pub at: RecordAt,
}

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that hold records.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whole records found, the skipped ones included.
    pub records: u64,
    /// Bytes behind the last durable mark, written and synced again.
    pub rewritten_bytes: u64,
    /// The torn tail, if there was one.
    pub torn: Option<Torn>,
    /// The last index of each shard that was found.
    pub last: BTreeMap<u32, u64>,
}

/// A last group that reached the disk in part: nobody was told that it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file it was cut from.
    pub path: PathBuf,
    /// The last good position: everything before it is kept.
    pub position: u64,
    /// Bytes from there to the end of the last record of which anything is left.
    pub bytes: u64,
    /// Records of which at least the header is left.
    pub records: u64,
}

/// Reads a journal, makes its tail durable and answers with the writer that continues it.
///
/// `from` says for each shard the first index that is wanted, which is one above its snapshot's
/// (1: there is none): entries below it are checked, but not handed to `sink`. Records without an
/// index always are, marks excepted. Files whose entries all lie below are kept until they are
/// retired: bodies may lie in them.
///
/// # Errors
/// Damage, the absence of all files beside a snapshot of shard 0 included. Nothing was changed then.
pub fn recover(
    options: &JournalOptions,
    from: &dyn Fn(u32) -> u64,
    sink: &mut dyn FnMut(Recovered),
) -> Result<(Writer, Report), StorageError> {
    recover_behind(options, 0, from, sink)
}

/// As [`recover`], of a journal whose files before `first_file` hold no entry that is wanted: they are kept
/// for the bodies in them, and not read. What is damaged of them is told when a body is read.
///
/// # Errors
/// As those of [`recover`].
pub fn recover_behind(
    options: &JournalOptions,
    first_file: u64,
    from: &dyn Fn(u32) -> u64,
    sink: &mut dyn FnMut(Recovered),
) -> Result<(Writer, Report), StorageError> {
    options.check()?;
    let mut all = open_all(options)?;
    if all.is_empty() && from(0) > 1 {
        // A journal that was cut still has the file that it goes on in, or a spare.
        return Err(StorageError::damaged(
            &options.directory,
            0..0,
            Damage::Missing,
        ));
    }
    let mut buffer = Vec::new();
    let newest = find_newest(&all, &mut buffer)?;
    let spares = all.split_off(
        &newest
            .as_ref()
            .map_or(0, |newest| newest.number.saturating_add(1)),
    );
    // The one it ends in is read in any case: the journal goes on behind it.
    let first_read = first_file.min(newest.as_ref().map_or(0, |newest| newest.number));
    let later = all.split_off(&first_read);
    let files = Files::default();
    for (number, file) in std::mem::replace(&mut all, later) {
        files.open(Arc::new(file));
        files.close(number, Spans::default());
    }
    let mut recovery = Recovery {
        from,
        sink,
        files,
        watch: options.watch.as_deref(),
        passed: 0,
        report: Report {
            files: all.len(),
            bytes: all.values().map(|file| file.bytes).sum(),
            ..Report::default()
        },
        ends: newest
            .as_ref()
            .map(|newest| newest.ends.clone())
            .unwrap_or_default(),
        group: 0,
    };
    let mut end = None;
    while let Some((number, file)) = all.pop_first() {
        let file = Arc::new(file);
        if all.is_empty() {
            end = Some(recovery.newest(file, &mut buffer)?);
        } else {
            let next = all.contains_key(&number.saturating_add(1));
            recovery.full(&file, next, &mut buffer)?;
        }
    }
    drop(buffer);
    let Recovery { files, report, .. } = recovery;
    let writer = continue_writing(options, files, spares, end)?;
    Ok((writer, report))
}

struct Recovery<'a> {
    from: &'a dyn Fn(u32) -> u64,
    sink: &'a mut dyn FnMut(Recovered),
    files: Files,
    watch: Option<&'a dyn Watch>,
    /// Bytes of the files that are read.
    passed: u64,
    report: Report,
    ends: BTreeMap<u64, u64>,
    /// The highest group seen.
    group: u64,
}

impl Recovery<'_> {
    /// A file that others follow: all of it was synced before they were begun.
    fn full(
        &mut self,
        file: &Arc<JournalFile>,
        has_next: bool,
        buffer: &mut Vec<u8>,
    ) -> Result<(), StorageError> {
        read_all(file, false, buffer)?;
        let end = self.ends.get(&file.number).copied().filter(|_| has_next);
        let mut spans = Spans::default();
        let mut walk = Walk::new(buffer, &file.checksums);
        while end.is_none_or(|end| walk.position < end) {
            let Some(found) = walk.next() else { break };
            self.record(file, &found, &mut spans)?;
        }
        match end {
            Some(end) if walk.position == end => {}
            Some(end) => {
                let next = file.number.saturating_add(1);
                let damage = Damage::ShortFile { next, end };
                let bytes = damaged_bytes(&walk, end);
                return Err(StorageError::damaged(&file.path, bytes, damage));
            }
            // The file after it was retired. What is missing here lies below what is wanted, or
            // the gap in the indexes will tell.
            None => {
                refuse_damage(file, &walk)?;
            }
        }
        self.passed = self.passed.saturating_add(file.bytes);
        self.files.open(Arc::clone(file));
        self.files.close(file.number, spans);
        Ok(())
    }

    /// The file the journal ends in: cuts its torn tail and makes the rest durable.
    fn newest(
        &mut self,
        file: Arc<JournalFile>,
        buffer: &mut Vec<u8>,
    ) -> Result<End, StorageError> {
        read_all(&file, true, buffer)?;
        let mut spans = Spans::default();
        let mut walk = Walk::new(buffer, &file.checksums);
        for found in walk.by_ref() {
            self.record(&file, &found, &mut spans)?;
        }
        let behind = refuse_damage(&file, &walk)?;
        let end = walk.position;
        if behind.records > 0 {
            self.report.torn = Some(Torn {
                path: file.path.clone(),
                position: end,
                bytes: behind.end.saturating_sub(end),
                records: behind.records,
            });
        }
        let durable = walk.last.map_or(end, |last| last.synced.min(end));
        if !planted::has(Bug::TailNotRewritten) {
            write_again(&file, buffer, durable, end)?;
        }
        self.report.rewritten_bytes = end.saturating_sub(durable);
        let before = walk
            .last
            .map(|last| last.before)
            .or(behind.before)
            // Nothing is left of the record that made it the newest: its sync had failed, and only
            // memory showed it. It was written all the same, so what it says is true.
            .or_else(|| self.end_before(file.number))
            .unwrap_or(0);
        let group = self.group.max(behind.group).saturating_add(1);
        Ok(End {
            file,
            spans,
            position: if planted::has(Bug::TailOverwritten) {
                durable
            } else {
                end
            },
            before,
            group,
        })
    }

    /// Where the file before this one ends, as far as anything says so.
    fn end_before(&self, number: u64) -> Option<u64> {
        let end = self.ends.get(&number.saturating_sub(1)).copied();
        end.filter(|_| !planted::has(Bug::EndBeforeForgotten))
    }

    /// Checks that a record continues its shard, and hands it on if it is wanted.
    fn record(
        &mut self,
        file: &JournalFile,
        found: &Found<'_>,
        spans: &mut Spans,
    ) -> Result<(), StorageError> {
        let Header {
            kind,
            shard,
            index,
            term,
            group,
            payload_bytes,
            ..
        } = found.header;
        self.group = self.group.max(group);
        self.report.records = self.report.records.saturating_add(1);
        if let Some(watch) = self.watch {
            let here = found.position.saturating_add(found.header.record_bytes());
            watch.read(self.passed.saturating_add(here), self.report.bytes);
        }
        let wanted = (self.from)(shard).max(1);
        if kind.is_indexed() {
            let last = self.report.last.get(&shard).copied();
            let due = last.map_or(1, |last| last.saturating_add(1));
            // Below what is wanted, whole files may have been retired.
            let expected = due.max(wanted);
            if index < due || (index >= wanted && index != expected) {
                let damage = Damage::Gap {
                    shard,
                    expected,
                    found: index,
                };
                let at = found.position..found.position;
                return Err(StorageError::damaged(&file.path, at, damage));
            }
            self.report.last.insert(shard, index);
            spans.note(shard, index);
        }
        if kind == Kind::Truncate {
            self.report.last.insert(shard, index);
        }
        if kind != Kind::Mark && (index >= wanted || !kind.is_indexed()) {
            let payload = Bytes::copy_from_slice(found.payload);
            let at = RecordAt {
                file: FileId::Journal(file.number),
                position: found.position,
                length: payload_bytes,
            };
            (self.sink)(Recovered {
                kind,
                shard,
                index,
                term,
                payload,
                at,
            });
        }
        Ok(())
    }
}

/// An error if anything behind the place where a walk ended proves that more had been synced.
fn refuse_damage(file: &JournalFile, walk: &Walk<'_>) -> Result<Behind, StorageError> {
    let behind = look_behind(walk);
    match behind.proof {
        None => Ok(behind),
        Some(_) if planted::has(Bug::DamageCut) => Ok(behind),
        Some((evidence, group)) => {
            let damage = Damage::BeforeDurable { evidence, group };
            let bytes = damaged_bytes(walk, behind.end);
            Err(StorageError::damaged(&file.path, bytes, damage))
        }
    }
}

/// Writes what lies behind the durable mark once more, with zeros where the next header would
/// stand, and syncs.
fn write_again(
    file: &JournalFile,
    bytes: &[u8],
    durable: u64,
    end: u64,
) -> Result<(), StorageError> {
    let place = usize::try_from(durable).ok().zip(usize::try_from(end).ok());
    let tail = place
        .and_then(|(durable, end)| bytes.get(durable..end))
        .unwrap_or_default();
    let room = usize::try_from(file.bytes.saturating_sub(end)).unwrap_or(usize::MAX);
    let zeros = [0; HEADER_BYTES];
    let zeros = zeros.get(..room).unwrap_or(&zeros);
    file.file
        .write_at(&[IoSlice::new(tail), IoSlice::new(zeros)], durable, false)
        .map_err(StorageError::io("write", &file.path))?;
    file.file
        .sync_data()
        .map_err(StorageError::io("sync", &file.path))
}

/// Sorts out the spares, makes all names durable and hands over to a writer, whose first record is
/// a synced mark: all that was found is durable, and the groups go on without a hole.
fn continue_writing(
    options: &JournalOptions,
    files: Files,
    spares: BTreeMap<u64, JournalFile>,
    end: Option<End>,
) -> Result<Writer, StorageError> {
    let JournalOptions { fs, directory, .. } = options;
    let mut stock = VecDeque::new();
    let mut next = end
        .as_ref()
        .map_or(1, |end| end.file.number.saturating_add(1));
    if end.is_none()
        && let Some(&first) = spares.keys().next()
    {
        next = first;
    }
    for (number, file) in spares {
        if number == next && file.bytes == options.file_bytes {
            stock.push_back(Arc::new(file));
            next = next.saturating_add(1);
        } else {
            // The size was changed, or a number is missing: nothing was ever written to it.
            fs.remove(&file.path)
                .map_err(StorageError::io("remove", &file.path))?;
        }
    }
    fs.sync_dir(directory)
        .map_err(StorageError::io("sync", directory))?;
    let mut spares = Spares::start(options, next, stock, &files)?;
    let end = match end {
        Some(end) => end,
        None => End {
            // Nothing has been taken in yet: whether another can be made is seen later.
            file: spares.take_one()?,
            spans: Spans::default(),
            position: RECORDS_START,
            before: 0,
            group: 1,
        },
    };
    let mut writer = Writer::resume(options, files, spares, end);
    writer.append(&[writer::mark()], Level::Synced, &mut Vec::new())?;
    Ok(writer)
}
