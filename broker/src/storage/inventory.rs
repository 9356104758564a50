//! Which files a journal left, and which of them is the newest that holds a record.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use std::collections::BTreeMap;

use super::error::StorageError;
use super::files::{JournalFile, JournalOptions, Name, parse_name};
use super::scan::{Walk, look_behind};

/// Opens every file of the journal, and removes what a crash left half made.
pub(super) fn open_all(
    options: &JournalOptions,
) -> Result<BTreeMap<u64, JournalFile>, StorageError> {
    let JournalOptions { fs, directory, .. } = options;
    let mut all = BTreeMap::new();
    for name in fs
        .list(directory)
        .map_err(StorageError::io("list", directory))?
    {
        match parse_name(&name) {
            Name::Journal(number) => {
                all.insert(number, JournalFile::open(options, number)?);
            }
            Name::Making => {
                let path = directory.join(name);
                fs.remove(&path)
                    .map_err(StorageError::io("remove", &path))?;
            }
            Name::Foreign => {}
        }
    }
    Ok(all)
}

/// The newest file in which a record stands.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) number: u64,
    /// Where files end, by number, as far as the file after them says so.
    pub(super) ends: BTreeMap<u64, u64>,
}

/// Files are begun in the order of their numbers, and only when the one before is synced. So the
/// newest is the last one that starts with a record, or a later one whose first record was torn.
pub(super) fn find_newest(
    all: &BTreeMap<u64, JournalFile>,
    buffer: &mut Vec<u8>,
) -> Result<Option<Newest>, StorageError> {
    let mut ends = BTreeMap::new();
    let mut newest = None;
    for (&number, file) in all {
        if let Some(first) = file.first_record()? {
            ends.insert(number.saturating_sub(1), first.before);
            newest = Some(number);
        }
    }
    for (&number, file) in all.range(newest.map_or(0, |number| number.saturating_add(1))..) {
        read_all(file, true, buffer)?;
        let behind = look_behind(&Walk::new(buffer, &file.checksums));
        let Some(before) = behind.before else { break };
        ends.insert(number.saturating_sub(1), before);
        newest = Some(number);
    }
    Ok(newest.map(|number| Newest { number, ends }))
}

/// Reads a whole file; if asked, the disk's own bytes instead of what memory holds of them.
pub(super) fn read_all(
    file: &JournalFile,
    uncached: bool,
    buffer: &mut Vec<u8>,
) -> Result<(), StorageError> {
    if uncached {
        // Only clean memory can be dropped. Should this sync succeed falsely, then what it left
        // out is what the drop throws away.
        file.file
            .sync_data()
            .map_err(StorageError::io("sync", &file.path))?;
        file.file
            .drop_cache()
            .map_err(StorageError::io("drop the cache of", &file.path))?;
    }
    buffer.resize(usize::try_from(file.bytes).unwrap_or(usize::MAX), 0);
    let read = file
        .file
        .read_at(buffer, 0)
        .map_err(StorageError::io("read", &file.path))?;
    buffer.truncate(read);
    Ok(())
}
