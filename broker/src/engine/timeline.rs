//! Offset ranges by instant: what falls due when, or died when. Equal neighbours are merged.

use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use super::chunks::Chunks;

/// Ranges ordered by (instant, offset).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// By instant and lowest offset: the offset behind the last.
    entries: Chunks<(Timestamp, Offset), Offset>,
    count: u64,
}

impl Timeline {
    /// How many offsets it holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first instant with its lowest range.
    pub fn first(&self) -> Option<(Timestamp, OffsetRange)> {
        let ((at, start), end) = self.entries.first()?;
        Some((at, start..end))
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, OffsetRange)> {
        let entries = self.entries.iter();
        entries.map(|((at, start), end)| (at, start..end))
    }

    /// The last range of an instant that begins at `offset` or before it.
    fn up_to(&self, at: Timestamp, offset: Offset) -> Option<OffsetRange> {
        let ((found, start), end) = self.entries.up_to(&(at, offset))?;
        (found == at).then_some(start..end)
    }

    /// Adds a range that it does not hold at `at`.
    pub fn insert(&mut self, at: Timestamp, range: OffsetRange) {
        self.count += range.end - range.start;
        let (mut start, mut end) = (range.start, range.end);
        if let Some(before) = self.up_to(at, start)
            && before.end == start
        {
            start = before.start;
        }
        if let Some(after_end) = self.entries.remove(&(at, end)) {
            end = after_end;
        }
        self.entries.insert((at, start), end);
    }

    /// Takes out what it holds of `range` at `at`.
    pub fn remove(&mut self, at: Timestamp, range: &OffsetRange) {
        if let Some(held) = self.up_to(at, range.start)
            && held.end > range.start
        {
            self.cut(at, held, range);
        }
        while let Some(((found, start), end)) = self.entries.from(&(at, range.start))
            && found == at
            && start < range.end
        {
            self.cut(at, start..end, range);
        }
    }

    /// Takes `range` out of an entry.
    fn cut(&mut self, at: Timestamp, held: OffsetRange, range: &OffsetRange) {
        self.entries.remove(&(at, held.start));
        self.count -= held.end.min(range.end) - held.start.max(range.start);
        if held.start < range.start {
            self.entries.insert((at, held.start), range.start);
        }
        if range.end < held.end {
            self.entries.insert((at, range.end), held.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_merges_neighbours_of_one_instant_and_splits_on_removal() {
        let (early, late) = (Timestamp(1), Timestamp(2));
        let mut line = Timeline::default();
        line.insert(late, 0..5);
        line.insert(early, 5..8);
        line.insert(early, 8..9);
        line.insert(early, 4..5);
        assert_eq!(line.first(), Some((early, 4..9)));
        line.remove(early, &(5..6));
        let all: Vec<_> = line.iter().collect();
        assert_eq!(all, [(early, 4..5), (early, 6..9), (late, 0..5)]);
        assert_eq!(line.count(), 9);
        line.remove(early, &(0..7));
        assert_eq!(line.first(), Some((early, 7..9)));
        line.remove(early, &(20..30));
        assert_eq!(line.count(), 7);
    }
}
