//! The records in which live pieces lie; a journal file is live while one of its records is.

use std::collections::BTreeMap;

use super::RecordAt;

/// A table of records: a piece names one by its row instead of by its place.
#[derive(Debug, Default)]
pub(super) struct Records {
    rows: Vec<Row>,
    free: Vec<u32>,
    /// The row of each live record.
    by_place: BTreeMap<RecordAt, u32>,
    /// Noted last: the pieces of one record come one after the other.
    last: Option<(RecordAt, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    at: RecordAt,
    /// Live pieces in it.
    pieces: u32,
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
        self.get_mut(row).pieces += 1;
    }

    /// One piece less; the record if that was its last.
    pub(super) fn release(&mut self, row: u32) -> Option<RecordAt> {
        let found = self.get_mut(row);
        found.pieces -= 1;
        if found.pieces > 0 {
            return None;
        }
        let at = found.at;
        self.by_place.remove(&at);
        self.free.push(row);
        if self.last.is_some_and(|(last, _)| last == at) {
            self.last = None;
        }
        Some(at)
    }

    /// Where a live record stands.
    pub(super) fn at(&self, row: u32) -> RecordAt {
        self.rows.get(row as usize).expect(ROW).at
    }

    pub(super) fn is_live(&self, at: RecordAt) -> bool {
        self.by_place.contains_key(&at)
    }

    /// Rising. A look-up per file, however many records it holds.
    pub(super) fn live_files(&self) -> impl Iterator<Item = u64> {
        let next = |file: &u64| file.checked_add(1).and_then(|next| self.first_from(next));
        std::iter::successors(self.first_from(0), next)
    }

    fn first_from(&self, file: u64) -> Option<u64> {
        let lowest = RecordAt {
            file,
            position: 0,
            length: 0,
        };
        let mut from = self.by_place.range(lowest..);
        from.next().map(|(at, _)| at.file)
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
