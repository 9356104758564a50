//! What waits for a consumer: one set of offsets for each level of priority.
//!
//! A level is named by its *rank*, 0 to 9, the first served first; the rank of a priority is
//! [`rank_of`]. Messages of the default priority are all in one level, and where there is no other,
//! everything here costs what one range set costs.

use std::collections::BTreeMap;

use siding_protocol::limits::{PRIORITY_DEFAULT, PRIORITY_MAX};
use siding_protocol::types::{Offset, OffsetRange};

use super::runs::{RangeSet, rising};

/// Rank of the default priority.
pub const DEFAULT_RANK: u8 = rank_of(PRIORITY_DEFAULT);

/// The rank of a priority: 9 is served first.
#[expect(clippy::cast_possible_truncation, reason = "at most 9")]
pub const fn rank_of(priority: u32) -> u8 {
    PRIORITY_MAX.saturating_sub(priority) as u8
}

/// Ranges of the one level that there is, or of several.
enum Within<P, M> {
    Plain(P),
    Merged(M),
}

impl<P, M> Iterator for Within<P, M>
where
    P: Iterator<Item = OffsetRange>,
    M: Iterator<Item = OffsetRange>,
{
    type Item = OffsetRange;

    fn next(&mut self) -> Option<OffsetRange> {
        match self {
            Self::Plain(plain) => plain.next(),
            Self::Merged(merged) => merged.next(),
        }
    }
}

/// Ready offsets by level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    plain: RangeSet,
    /// The other levels by rank; none of them is empty.
    others: BTreeMap<u8, RangeSet>,
    others_count: u64,
}

impl Ready {
    /// How many offsets it holds.
    pub fn count(&self) -> u64 {
        self.plain.count() + self.others_count
    }

    /// How many pieces it takes to say so.
    pub fn pieces(&self) -> usize {
        let others = self.others.values().map(RangeSet::pieces);
        self.plain.pieces() + others.sum::<usize>()
    }

    /// The level that holds `offset`.
    pub fn get(&self, offset: Offset) -> Option<u8> {
        if self.plain.get(offset).is_some() {
            return Some(DEFAULT_RANK);
        }
        let mut others = self.others.iter();
        others
            .find(|(_, set)| set.get(offset).is_some())
            .map(|(rank, _)| *rank)
    }

    /// Adds `range`, which no level holds, to a level.
    pub fn add(&mut self, range: OffsetRange, rank: u8) {
        if rank == DEFAULT_RANK {
            return self.plain.add(range);
        }
        self.others_count += range.end.saturating_sub(range.start);
        self.others.entry(rank).or_default().add(range);
    }

    /// Takes every offset of `range` out; says how many there were.
    pub fn remove(&mut self, range: OffsetRange) -> u64 {
        let plain = self.plain.remove(range.clone());
        if self.others.is_empty() {
            return plain;
        }
        let others = self.others.values_mut();
        let others = others.map(|set| set.remove(range.clone())).sum::<u64>();
        self.others_count -= others;
        self.others.retain(|_, set| !set.is_empty());
        plain + others
    }

    /// The parts within `range`, rising; neighbours of different levels stay apart.
    pub fn within(&self, range: OffsetRange) -> impl Iterator<Item = OffsetRange> {
        if self.others.is_empty() {
            Within::Plain(self.plain.within(range))
        } else {
            Within::Merged(self.merge(range))
        }
    }

    fn merge(&self, range: OffsetRange) -> impl Iterator<Item = OffsetRange> {
        let levels = self.levels();
        rising(levels.map(move |(_, set)| set.within(range.clone())))
    }

    /// All ranges, rising; neighbours of different levels stay apart.
    pub fn ranges(&self) -> impl Iterator<Item = OffsetRange> {
        self.within(0..Offset::MAX)
    }

    /// The levels that hold something, the first served first.
    pub fn levels(&self) -> impl Iterator<Item = (u8, &RangeSet)> {
        let others = |ranks| self.others.range(ranks).map(|(rank, set)| (*rank, set));
        let plain = (!self.plain.is_empty()).then_some((DEFAULT_RANK, &self.plain));
        let before = others(0..DEFAULT_RANK);
        before.chain(plain).chain(others(DEFAULT_RANK + 1..u8::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_levels_say_together_what_one_set_says_and_the_highest_is_first() {
        let mut ready = Ready::default();
        ready.add(0..10, DEFAULT_RANK);
        assert_eq!((ready.count(), ready.pieces()), (10, 1));
        assert_eq!(ready.remove(3..5), 2);
        ready.add(3..5, rank_of(9));
        ready.add(10..12, rank_of(0));
        assert_eq!(
            (ready.get(3), ready.get(11), ready.get(12)),
            (Some(0), Some(9), None)
        );
        let ranges: Vec<_> = ready.ranges().collect();
        assert_eq!(ranges, [0..3, 3..5, 5..10, 10..12]);
        let ranks: Vec<_> = ready.levels().map(|(rank, _)| rank).collect();
        assert_eq!(ranks, [0, DEFAULT_RANK, 9]);
        assert_eq!(ready.remove(4..11), 7);
        assert_eq!(ready.within(2..9).collect::<Vec<_>>(), [2..3, 3..4]);
        assert_eq!(
            (ready.count(), ready.remove(0..20), ready.count()),
            (5, 5, 0)
        );
        assert_eq!(ready, Ready::default());
    }
}
