//! The dedup ids of one log: what was stored under each of them, until its window has passed.
//!
//! An id is kept as a keyed hash and a body as a shorter one, first in, first out. What is older than
//! the window is never found; it is thrown away a few at a time by whoever remembers something new,
//! and by a timer when nobody does.

mod index;

use std::collections::VecDeque;

use siding_protocol::types::{Offset, Timestamp};

use index::{Index, behind, number_of};

/// The keyed hash of a dedup id.
pub type DedupId = [u64; 2];

/// Past its window an id lies about for so long, unless somebody makes room earlier: an idle log is
/// cleaned now and then, not for each id.
const IDLE_MS: u64 = 60_000;
/// A publish throws out so many old ids besides two for each that it brings.
const CLEANED_MIN: usize = 32;

/// What was stored under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its id.
    pub id: DedupId,
    /// Where.
    pub offset: Offset,
    /// The hash of its body.
    pub body: u64,
    /// When.
    pub at: Timestamp,
}

/// What is remembered of dedup ids.
#[derive(Clone, Debug, Default)]
pub struct Dedup {
    /// In the order of their storing; an id that came again behind its window is there twice.
    originals: VecDeque<Original>,
    /// How many have left at the front: what the index counts from.
    left: u64,
    /// The newest of each id: derived.
    index: Index,
}

/// Two that remember the same are the same, however they came to it.
impl PartialEq for Dedup {
    fn eq(&self, other: &Self) -> bool {
        self.originals == other.originals
    }
}

impl Eq for Dedup {}

impl Dedup {
    /// What was stored under the id within the window.
    pub fn find(&self, id: DedupId, window_ms: u64, now: Timestamp) -> Option<&Original> {
        let number = self
            .index
            .find(hash_of(id), |number| self.is_of(number, id))?;
        let original = self.originals.get(behind(number, self.left))?;
        is_fresh(original, window_ms, now).then_some(original)
    }

    /// How many are within the window.
    pub fn count(&self, window_ms: u64, now: Timestamp) -> usize {
        self.originals.len() - self.passed(window_ms, now)
    }

    /// When `more` of those within the window will have left it.
    pub fn room_at(&self, more: usize, window_ms: u64, now: Timestamp) -> Option<Timestamp> {
        let last = (self.passed(window_ms, now) + more).checked_sub(1)?;
        let original = self.originals.get(last)?;
        Some(original.at.plus_ms(window_ms))
    }

    fn passed(&self, window_ms: u64, now: Timestamp) -> usize {
        self.originals
            .partition_point(|original| !is_fresh(original, window_ms, now))
    }

    /// Remembers what was just stored.
    pub fn remember(&mut self, fresh: &[Original], window_ms: u64, now: Timestamp) {
        self.clean(CLEANED_MIN + 2 * fresh.len(), window_ms, now);
        for original in fresh {
            self.push(*original);
        }
    }

    /// Throws out at most `most` of those that are past the window.
    pub fn clean(&mut self, most: usize, window_ms: u64, now: Timestamp) {
        for _ in 0..most {
            let old = self
                .originals
                .pop_front_if(|original| !is_fresh(original, window_ms, now));
            let Some(old) = old else { return };
            // It is there unless its id came again.
            self.index.remove(hash_of(old.id), number_of(self.left));
            self.left += 1;
        }
    }

    fn push(&mut self, original: Original) {
        let number = number_of(self.left + self.originals.len() as u64);
        let (originals, left) = (&self.originals, self.left);
        let is_same = |other| {
            let other = originals.get(behind(other, left));
            other.is_some_and(|other| other.id == original.id)
        };
        self.index.insert(hash_of(original.id), number, is_same);
        self.originals.push_back(original);
    }

    fn is_of(&self, number: u32, id: DedupId) -> bool {
        let original = self.originals.get(behind(number, self.left));
        original.is_some_and(|original| original.id == id)
    }

    /// When an idle log is cleaned next.
    pub fn next_due(&self, window_ms: u64) -> Option<Timestamp> {
        let first = self.originals.front()?;
        Some(first.at.plus_ms(window_ms).plus_ms(IDLE_MS))
    }

    /// All there are, in order.
    pub fn originals(&self) -> impl ExactSizeIterator<Item = &Original> {
        self.originals.iter()
    }
}

impl FromIterator<Original> for Dedup {
    fn from_iter<I: IntoIterator<Item = Original>>(originals: I) -> Self {
        let mut dedup = Self::default();
        originals.into_iter().for_each(|one| dedup.push(one));
        dedup
    }
}

/// What the index is asked by: bits of the id, which is a hash itself.
fn hash_of([first, _]: DedupId) -> u32 {
    let [a, b, c, d, ..] = first.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// An id is remembered from the instant of its storing until just before the window's end.
fn is_fresh(original: &Original, window_ms: u64, now: Timestamp) -> bool {
    now < original.at.plus_ms(window_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 1_000;

    fn original(id: u64, offset: Offset, at: u64) -> Original {
        Original {
            id: [id, 0],
            offset,
            body: 7,
            at: Timestamp(at),
        }
    }

    fn offset(dedup: &Dedup, id: u64, now: u64) -> Option<Offset> {
        let found = dedup.find([id, 0], WINDOW, Timestamp(now));
        found.map(|original| original.offset)
    }

    #[test]
    fn an_id_is_found_until_its_window_ends_and_may_then_come_again() {
        let mut dedup = Dedup::default();
        dedup.remember(&[original(1, 10, 0)], WINDOW, Timestamp(0));
        assert_eq!(offset(&dedup, 1, 999), Some(10));
        assert_eq!(offset(&dedup, 1, 1_000), None);
        dedup.remember(&[original(1, 20, 1_500)], WINDOW, Timestamp(1_500));
        assert_eq!(offset(&dedup, 1, 2_499), Some(20));
        assert_eq!(dedup.count(WINDOW, Timestamp(2_500)), 0);
    }

    #[test]
    fn what_is_old_leaves_a_few_at_a_time_and_the_rest_is_never_found() {
        let all: Vec<_> = (0..1_000).map(|id| original(id, id, 0)).collect();
        let mut dedup = Dedup::default();
        dedup.remember(&all, WINDOW, Timestamp(0));
        assert_eq!(
            dedup.room_at(3, WINDOW, Timestamp(5)),
            Some(Timestamp(WINDOW))
        );
        let again = original(999, 5_000, 2_000);
        dedup.remember(&[again], WINDOW, Timestamp(2_000));
        assert_eq!(dedup.originals().len(), 1_001 - CLEANED_MIN - 2);
        assert_eq!(offset(&dedup, 500, 2_000), None);
        assert_eq!(dedup.count(WINDOW, Timestamp(2_000)), 1);
        dedup.clean(usize::MAX, WINDOW, Timestamp(2_000));
        assert_eq!(dedup.originals().collect::<Vec<_>>(), [&again]);
        assert_eq!(offset(&dedup, 999, 2_999), Some(5_000));
        let restored: Dedup = dedup.originals().copied().collect();
        assert_eq!(offset(&restored, 999, 2_999), Some(5_000));
    }
}
