//! Offset ranges with a value: the type everything stands on.
//!
//! Equal neighbours are always merged and pieces never overlap, so two maps that say the same are
//! the same, piece by piece. Cost is per piece, not per message.

use std::collections::{BTreeMap, btree_map};

use siding_protocol::types::{Offset, OffsetRange};

/// Offsets without a value.
pub type RangeSet = RangeMap<()>;

/// Offset ranges, each with a value; equal neighbours merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeMap<V> {
    pieces: BTreeMap<Offset, (Offset, V)>,
    count: u64,
}

impl<V> Default for RangeMap<V> {
    fn default() -> Self {
        Self {
            pieces: BTreeMap::new(),
            count: 0,
        }
    }
}

impl<V: Clone + PartialEq> RangeMap<V> {
    /// How many offsets it holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many pieces it takes to say so.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// All pieces, rising.
    pub fn iter(&self) -> impl Iterator<Item = (OffsetRange, &V)> {
        self.pieces
            .iter()
            .map(|(start, (end, value))| (*start..*end, value))
    }

    /// Whether it is plain that all it holds lies before `start`: what arrives is behind everything, and
    /// to see that costs a tenth of a search, unless there are so few pieces that a search costs nothing.
    fn ends_before(&self, start: Offset) -> bool {
        const FEW: usize = 12;
        match self.pieces.len() {
            0 => true,
            1..FEW => false,
            _ => {
                let last = self.pieces.last_key_value();
                last.is_none_or(|(_, (end, _))| *end <= start)
            }
        }
    }

    /// The value at `offset`.
    pub fn get(&self, offset: Offset) -> Option<&V> {
        if self.ends_before(offset) {
            return None;
        }
        let (_, (end, value)) = self.pieces.range(..=offset).next_back()?;
        (*end > offset).then_some(value)
    }

    /// The parts of its pieces that lie within `range`, rising.
    pub fn overlap(&self, range: OffsetRange) -> impl Iterator<Item = (OffsetRange, &V)> {
        Overlap {
            pieces: (!self.ends_before(range.start)).then(|| self.touching(&range)),
            range,
        }
    }

    /// The pieces of which `range` has a part.
    fn touching(&self, range: &OffsetRange) -> btree_map::Range<'_, Offset, (Offset, V)> {
        let before = self.pieces.range(..range.start).next_back();
        let before = before.filter(|(_, (end, _))| *end > range.start);
        let first = before.map_or(range.start, |(start, _)| *start);
        self.pieces.range(first..range.end.max(first))
    }

    /// The parts of `range` that it does not hold, rising.
    pub fn gaps(&self, range: OffsetRange) -> Vec<OffsetRange> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for (held, _) in self.overlap(range.clone()) {
            if held.start > at {
                gaps.push(at..held.start);
            }
            at = held.end;
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    /// Sets every offset of `range` to `value`.
    pub fn insert(&mut self, range: OffsetRange, value: V) {
        if range.is_empty() {
            return;
        }
        let Some(value) = self.append(&range, value) else {
            return;
        };
        self.remove(range.clone());
        self.count += range.end - range.start;
        let (mut start, mut end) = (range.start, range.end);
        if let Some((before, (before_end, before_value))) = self.pieces.range(..start).next_back()
            && *before_end == start
            && *before_value == value
        {
            start = *before;
        }
        if self
            .pieces
            .get(&end)
            .is_some_and(|(_, after)| *after == value)
            && let Some((after_end, _)) = self.pieces.remove(&end)
        {
            end = after_end;
        }
        self.pieces.insert(start, (end, value));
    }

    /// The usual insert: behind the last piece. Publishing does nothing else. Gives back the value of
    /// what belongs elsewhere.
    fn append(&mut self, range: &OffsetRange, value: V) -> Option<V> {
        if let Some(mut last) = self.pieces.last_entry() {
            let (end, last_value) = last.get_mut();
            if *end > range.start {
                return Some(value);
            }
            if *end == range.start && *last_value == value {
                *end = range.end;
                self.count += range.end - range.start;
                return None;
            }
        }
        self.count += range.end - range.start;
        self.pieces.insert(range.start, (range.end, value));
        None
    }

    /// Takes every offset of `range` out; says how many there were.
    pub fn remove(&mut self, range: OffsetRange) -> u64 {
        let before = self.count;
        if range.is_empty() || self.ends_before(range.start) {
            return 0;
        }
        // From the last of them to the first: usually there is but one, and one search finds it.
        while let Some((start, (piece_end, value))) = self.pieces.range_mut(..range.end).next_back()
            && *piece_end > range.start
        {
            let (start, end) = (*start, *piece_end);
            if start < range.start {
                let value = (end > range.end).then(|| value.clone());
                *piece_end = range.start;
                self.count -= end - range.start;
                if let Some(value) = value {
                    self.put_back(range.end, end, value);
                }
                break;
            }
            if let Some((_, value)) = self.pieces.remove(&start) {
                self.count -= end - start;
                self.put_back(range.end, end, value);
            }
            if start == range.start {
                break;
            }
        }
        before - self.count
    }

    fn put_back(&mut self, start: Offset, end: Offset, value: V) {
        if start < end {
            self.count += end - start;
            self.pieces.insert(start, (end, value));
        }
    }
}

/// The parts of pieces that lie within a range.
struct Overlap<'a, V> {
    /// `None`: it is plain that there are none.
    pieces: Option<btree_map::Range<'a, Offset, (Offset, V)>>,
    range: OffsetRange,
}

impl<'a, V> Iterator for Overlap<'a, V> {
    type Item = (OffsetRange, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let (start, (end, value)) = self.pieces.as_mut()?.next()?;
        let part = (*start).max(self.range.start)..(*end).min(self.range.end);
        Some((part, value))
    }
}

impl RangeSet {
    /// Adds every offset of `range`.
    pub fn add(&mut self, range: OffsetRange) {
        self.insert(range, ());
    }

    /// The parts within `range`, rising.
    pub fn within(&self, range: OffsetRange) -> impl Iterator<Item = OffsetRange> {
        self.overlap(range).map(|(range, ())| range)
    }

    /// The lowest `most` offsets.
    #[must_use]
    pub fn first(&self, most: u64) -> Self {
        let mut left = most;
        let parts = self.ranges().map_while(|range| {
            let part = range.start..range.end.min(range.start.saturating_add(left));
            left -= part.end - part.start;
            (!part.is_empty()).then_some(part)
        });
        parts.collect()
    }

    /// All ranges, rising.
    pub fn ranges(&self) -> impl Iterator<Item = OffsetRange> {
        self.iter().map(|(range, ())| range)
    }
}

impl<V: Clone + PartialEq> FromIterator<(OffsetRange, V)> for RangeMap<V> {
    fn from_iter<I: IntoIterator<Item = (OffsetRange, V)>>(pieces: I) -> Self {
        let mut map = Self::default();
        pieces
            .into_iter()
            .for_each(|(range, value)| map.insert(range, value));
        map
    }
}

impl FromIterator<OffsetRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = OffsetRange>>(ranges: I) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|range| set.add(range));
        set
    }
}

/// Ranges of several sources, each rising and all apart, in one rising order; taken as far as they are
/// asked for: who wants a few of millions pays for a few.
pub fn rising<I: Iterator<Item = OffsetRange>>(
    sources: impl Iterator<Item = I>,
) -> impl Iterator<Item = OffsetRange> {
    let mut sources: Vec<_> = sources.map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let starts = sources.iter_mut().map(|source| source.peek());
        let starts = (0..).zip(starts.map(|range| range.map(|range| range.start)));
        let firsts = starts.filter_map(|(at, start): (usize, _)| Some((start?, at)));
        let (_, first) = firsts.min()?;
        sources.get_mut(first)?.next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every short sequence of operations over a few offsets, against a plain vector.
    #[test]
    fn a_range_map_says_what_a_plain_vector_says() {
        const SPAN: u64 = 12;
        let mut seed = 7_u64;
        let mut next = |bound: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % bound
        };
        for _ in 0..2_000 {
            let mut map = RangeMap::default();
            let mut plain = vec![None; usize::try_from(SPAN).unwrap()];
            for _ in 0..12 {
                let start = next(SPAN);
                let end = start + next(SPAN - start + 1);
                let value = (next(3) < 2).then(|| next(2));
                match value {
                    Some(value) => map.insert(start..end, value),
                    None => {
                        map.remove(start..end);
                    }
                }
                (start..end).for_each(|at| plain[usize::try_from(at).unwrap()] = value);
                check(&map, &plain);
            }
        }
    }

    #[test]
    fn what_rises_is_taken_from_its_sources_as_far_as_it_is_asked_for() {
        let (mut odd, mut even) = (0, 0);
        let odds = (0..).map(|n| {
            odd += 1;
            4 * n + 2..4 * n + 3
        });
        let evens = (0..).map(|n| {
            even += 1;
            4 * n..4 * n + 1
        });
        let sources: [Box<dyn Iterator<Item = OffsetRange>>; 2] = [Box::new(odds), Box::new(evens)];
        let first: Vec<_> = rising(sources.into_iter()).take(4).collect();
        assert_eq!(first, [0..1, 2..3, 4..5, 6..7]);
        assert!(odd <= 3 && even <= 3, "{odd} and {even} of very many");
    }

    fn check(map: &RangeMap<u64>, plain: &[Option<u64>]) {
        let all = 0..plain.len() as u64;
        for at in all.clone() {
            assert_eq!(map.get(at), plain[usize::try_from(at).unwrap()].as_ref());
        }
        assert_eq!(map.count(), plain.iter().flatten().count() as u64);
        let pieces: Vec<_> = map.iter().collect();
        assert!(pieces.iter().all(|(range, _)| range.start < range.end));
        for pair in pieces.windows(2) {
            let ((a, x), (b, y)) = (&pair[0], &pair[1]);
            assert!(
                a.end < b.start || (a.end == b.start && x != y),
                "merged and apart"
            );
        }
        for start in all.clone() {
            for end in start..=all.end {
                let held: u64 = map.overlap(start..end).map(|(r, _)| r.end - r.start).sum();
                let free: u64 = map.gaps(start..end).iter().map(|r| r.end - r.start).sum();
                assert_eq!(held + free, end - start);
            }
        }
    }
}
