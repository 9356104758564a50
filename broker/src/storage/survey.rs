//! Reading a journal that may be damaged, as far as it can be read: for a salvage, which changes nothing
//! until all of it is known.
//!
//! What recovery refuses at is passed over here, to the next record that is whole, and named. A torn tail
//! is none of that: nobody was told that it is durable.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Damage, StorageError};
use super::files::{
    FileId, JournalFile, JournalOptions, Name, RECORDS_START, RecordAt, parse_name,
};
use super::inventory::{find_newest, read_all};
use super::reader::{Files, Reader};
use super::recover::Recovered;
use super::scan::{Walk, damaged_bytes, look_behind};
use super::spares::Spares;

/// What a survey found, beside the records.
#[derive(Debug)]
pub struct Survey {
    /// Damages, in order of place.
    pub damages: Vec<StorageError>,
    /// Numbers of all files, rising.
    pub files: Vec<u64>,
    /// The highest term of any record.
    pub term: u64,
    /// Reads again what is whole.
    pub reader: Reader,
    /// Size of the newest file, bytes.
    pub file_bytes: Option<u64>,
}

/// Reads every record that is whole, in order of place, marks excepted. Changes nothing.
///
/// # Errors
/// The operating system refuses.
pub fn survey(
    options: &JournalOptions,
    sink: &mut dyn FnMut(Recovered),
) -> Result<Survey, StorageError> {
    let (all, mut damages) = open_all_damaged(options)?;
    let mut buffer = Vec::new();
    let newest = find_newest(&all, &mut buffer)?;
    let (last, ends) = newest.map_or((0, BTreeMap::new()), |it| (it.number, it.ends));
    let (files, table) = (all.keys().copied().collect(), Files::default());
    let file_bytes = all.values().next_back().map(|file| file.bytes);
    let mut term = 0;
    for (number, file) in all {
        let end = ends.get(&number).copied();
        read_all(&file, number == last, &mut buffer)?;
        let file = Arc::new(file);
        table.open(Arc::clone(&file));
        if number > last {
            continue;
        }
        let mut found = |record: Recovered| {
            term = term.max(record.term);
            sink(record);
        };
        let holes = read_file(&file, &buffer, end, &mut found);
        damages.extend(holes.into_iter().map(|bytes| {
            let damage = Damage::Checksum { what: "record" };
            StorageError::damaged(&file.path, bytes, damage)
        }));
    }
    Ok(Survey {
        damages,
        files,
        term,
        reader: Reader::new(table),
        file_bytes,
    })
}

/// Every file of the journal, with what is wrong with headers. What a crash left half made stays.
fn open_all_damaged(
    options: &JournalOptions,
) -> Result<(BTreeMap<u64, JournalFile>, Vec<StorageError>), StorageError> {
    let (mut all, mut damages) = (BTreeMap::new(), Vec::new());
    let names = options.fs.list(&options.directory);
    let names = names.map_err(StorageError::io("list", &options.directory))?;
    for name in names {
        if let Name::Journal(number) = parse_name(&name) {
            let (file, damage) = JournalFile::open_damaged(options, number)?;
            all.insert(number, file);
            damages.extend(damage);
        }
    }
    Ok((all, damages))
}

/// Brings what is whole; answers with what is not.
fn read_file(
    file: &JournalFile,
    bytes: &[u8],
    end: Option<u64>,
    sink: &mut dyn FnMut(Recovered),
) -> Vec<Range<u64>> {
    let (mut holes, mut walk) = (Vec::new(), Walk::new(bytes, &file.checksums));
    loop {
        while end.is_none_or(|end| walk.position < end) {
            let Some(found) = walk.next() else { break };
            let at = RecordAt {
                file: FileId::Journal(file.number),
                position: found.position,
                length: found.header.payload_bytes,
            };
            if found.header.kind.is_indexed() {
                sink(Recovered {
                    kind: found.header.kind,
                    shard: found.header.shard,
                    index: found.header.index,
                    term: found.header.term,
                    payload: Bytes::copy_from_slice(found.payload),
                    at,
                });
            }
        }
        let behind = look_behind(&walk);
        let is_short = end.is_some_and(|end| walk.position < end);
        if behind.proof.is_none() && !is_short {
            return holes;
        }
        let hole = damaged_bytes(&walk, end.unwrap_or(behind.end));
        let is_last = hole.end >= end.unwrap_or(behind.end);
        walk.position = hole.end.max(RECORDS_START);
        holes.push(hole);
        if is_last {
            return holes;
        }
    }
}

/// Makes an empty file with a number above all others, for a journal that goes on without them.
///
/// # Errors
/// The disk is full, or fails.
pub fn make_spare(options: &JournalOptions, number: u64) -> Result<(), StorageError> {
    let stock = std::collections::VecDeque::new();
    Spares::start(options, number, stock, &Files::default())?.take()?;
    Ok(())
}
