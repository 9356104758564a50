//! Offset ranges by instant: what falls due when, or died when. Equal neighbours are merged.

use std::collections::BTreeMap;

use siding_protocol::types::{Offset, OffsetRange, Timestamp};

/// Ranges ordered by (instant, offset).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    entries: BTreeMap<(Timestamp, Offset), Offset>,
    count: u64,
}

impl Timeline {
    /// How many offsets it holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first instant with its lowest range.
    pub fn first(&self) -> Option<(Timestamp, OffsetRange)> {
        let ((at, start), end) = self.entries.first_key_value()?;
        Some((*at, *start..*end))
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, OffsetRange)> {
        self.entries
            .iter()
            .map(|((at, start), end)| (*at, *start..*end))
    }

    /// Adds a range that it does not hold at `at`.
    pub fn insert(&mut self, at: Timestamp, range: OffsetRange) {
        self.count += range.end - range.start;
        let (mut start, mut end) = (range.start, range.end);
        if let Some(((before_at, before), before_end)) =
            self.entries.range(..(at, start)).next_back()
            && *before_at == at
            && *before_end == start
        {
            start = *before;
        }
        if let Some(after_end) = self.entries.remove(&(at, end)) {
            end = after_end;
        }
        self.entries.insert((at, start), end);
    }

    /// Takes out what it holds of `range` at `at`.
    pub fn remove(&mut self, at: Timestamp, range: &OffsetRange) {
        let before = self.entries.range(..=(at, range.start)).next_back();
        let before = before.map(|((at, start), end)| (*at, *start, *end));
        if let Some((_, start, end)) =
            before.filter(|(found, _, end)| *found == at && *end > range.start)
        {
            self.cut(at, start..end, range);
        }
        while let Some(((_, start), end)) = self
            .entries
            .range((at, range.start)..(at, range.end))
            .next()
        {
            let held = *start..*end;
            self.cut(at, held, range);
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
