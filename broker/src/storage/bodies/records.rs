//! The records in which live pieces lie; a file is live while one of its records is.

use std::collections::BTreeMap;

use super::RecordAt;
use crate::storage::FileId;

/// A table of records: a piece names one by its row instead of by its place.
#[derive(Debug, Default)]
pub(super) struct Records {
    rows: Vec<Row>,
    free: Vec<u32>,
    /// The row of each live record.
    by_place: BTreeMap<RecordAt, u32>,
    /// What of each file is live.
    files: BTreeMap<FileId, Use>,
    /// Files whose last live piece has gone.
    emptied: Vec<FileId>,
    /// Noted last: the pieces of one record come one after the other.
    last: Option<(RecordAt, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    at: RecordAt,
    /// Live pieces in it.
    pieces: u32,
}

/// What of a file is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Live pieces in it.
    pub(super) pieces: u64,
    /// Payload bytes of its live records.
    pub(super) bytes: u64,
}

impl Records {
    /// The row of a record, a new one if it has none. It is live from its first hold on.
    pub(super) fn row(&mut self, at: RecordAt) -> u32 {
        if let Some((last, row)) = self.last
            && last == at
        {
            return row;
        }
        let row = self.by_place.get(&at).copied();
        let row = row.unwrap_or_else(|| self.insert(at));
        self.last = Some((at, row));
        row
    }

    fn insert(&mut self, at: RecordAt) -> u32 {
        let new = Row { at, pieces: 0 };
        let row = if let Some(row) = self.free.pop() {
            *self.get_mut(row) = new;
            row
        } else {
            self.rows.push(new);
            u32::try_from(self.rows.len() - 1).expect("memory ends before 2^32 records")
        };
        self.by_place.insert(at, row);
        row
    }

    /// One more piece lies in this record.
    pub(super) fn hold(&mut self, row: u32) {
        let held = self.get_mut(row);
        held.pieces += 1;
        let Row { at, pieces } = *held;
        let file = self.files.entry(at.file).or_default();
        file.pieces += 1;
        file.bytes += if pieces == 1 { u64::from(at.length) } else { 0 };
    }

    /// One piece less; the record if that was its last.
    pub(super) fn release(&mut self, row: u32) -> Option<RecordAt> {
        let held = self.get_mut(row);
        held.pieces -= 1;
        let Row { at, pieces } = *held;
        if let Some(file) = self.files.get_mut(&at.file) {
            file.pieces -= 1;
            file.bytes -= if pieces == 0 { u64::from(at.length) } else { 0 };
            if file.pieces == 0 {
                self.files.remove(&at.file);
                self.emptied.push(at.file);
            }
        }
        if pieces > 0 {
            return None;
        }
        self.by_place.remove(&at);
        self.free.push(row);
        if self.last.is_some_and(|(last, _)| last == at) {
            self.last = None;
        }
        Some(at)
    }

    /// Takes the files whose last live piece has gone.
    pub(super) fn take_emptied(&mut self) -> Vec<FileId> {
        std::mem::take(&mut self.emptied)
    }

    /// Where a live record stands.
    pub(super) fn at(&self, row: u32) -> RecordAt {
        self.rows.get(row as usize).expect(ROW).at
    }

    pub(super) fn is_live(&self, at: RecordAt) -> bool {
        self.by_place.contains_key(&at)
    }

    /// Every file in which a piece lies, and what of it is live; segments first.
    pub(super) fn files(&self) -> impl Iterator<Item = (FileId, Use)> {
        self.files.iter().map(|(file, used)| (*file, *used))
    }

    /// What of a file is live.
    pub(super) fn used(&self, file: FileId) -> Use {
        self.files.get(&file).copied().unwrap_or_default()
    }

    /// Every live record with its row, in order of place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RecordAt, u32)> {
        self.by_place.iter().map(|(at, row)| (*at, *row))
    }

    /// Rows, live or free.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Whether a piece lies in every record.
    pub(super) fn all_held(&self) -> bool {
        self.rows.iter().all(|row| row.pieces > 0)
    }

    fn get_mut(&mut self, row: u32) -> &mut Row {
        self.rows.get_mut(row as usize).expect(ROW)
    }
}

const ROW: &str = "a piece holds its record's row";
