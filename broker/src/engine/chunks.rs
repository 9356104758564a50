//! A sorted map of small entries without the room a B-tree leaves free: entries that come in rising
//! order fill it nearly whole, where a B-tree's nodes stay half empty.

use std::collections::BTreeMap;

/// Entries of one chunk, at most.
const CHUNK_MAX: usize = 128;
/// A chunk grows and shrinks by so many.
const STEP: usize = 16;

/// Sorted entries in chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks<K, V> {
    /// By a key that is not behind any of theirs; none is empty.
    chunks: BTreeMap<K, Vec<(K, V)>>,
}

impl<K, V> Default for Chunks<K, V> {
    fn default() -> Self {
        let chunks = BTreeMap::new();
        Self { chunks }
    }
}

impl<K: Ord + Copy, V: Copy> Chunks<K, V> {
    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> {
        self.chunks.values().flatten().copied()
    }

    /// The first entry.
    pub fn first(&self) -> Option<(K, V)> {
        let (_, chunk) = self.chunks.first_key_value()?;
        chunk.first().copied()
    }

    /// The last entry whose key is not behind `key`.
    pub fn up_to(&self, key: &K) -> Option<(K, V)> {
        // In the last of these all may be behind it: it is known by a key that may have left.
        self.chunks.range(..=key).rev().find_map(|(_, chunk)| {
            let end = chunk.partition_point(|(other, _)| other <= key);
            chunk.get(end.checked_sub(1)?).copied()
        })
    }

    /// The first entry whose key is not before `key`.
    pub fn from(&self, key: &K) -> Option<(K, V)> {
        let before = self.chunks.range(..=key).next_back();
        let found = before.and_then(|(_, chunk)| {
            let start = chunk.partition_point(|(other, _)| other < key);
            chunk.get(start).copied()
        });
        found.or_else(|| self.next_chunk(key))
    }

    fn next_chunk(&self, key: &K) -> Option<(K, V)> {
        let behind = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
        let (_, chunk) = self.chunks.range(behind).next()?;
        chunk.first().copied()
    }

    /// Adds an entry, or replaces its value.
    pub fn insert(&mut self, key: K, value: V) {
        let Some(mut at) = self.chunk_of(&key) else {
            self.chunks.insert(key, Self::begun(key, value));
            return;
        };
        if key < at {
            // It becomes the first of all.
            if let Some(chunk) = self.chunks.remove(&at) {
                self.chunks.insert(key, chunk);
                at = key;
            }
        }
        let Some(chunk) = self.chunks.get_mut(&at) else {
            return;
        };
        match chunk.binary_search_by_key(&key, |(other, _)| *other) {
            Ok(found) => {
                if let Some(entry) = chunk.get_mut(found) {
                    entry.1 = value;
                }
            }
            Err(place) if chunk.len() < CHUNK_MAX => {
                if chunk.len() == chunk.capacity() {
                    chunk.reserve_exact(STEP);
                }
                chunk.insert(place, (key, value));
            }
            // Rising entries leave full chunks behind.
            Err(CHUNK_MAX) => drop(self.chunks.insert(key, Self::begun(key, value))),
            Err(_) => {
                let behind = chunk.split_off(CHUNK_MAX / 2);
                chunk.shrink_to_fit();
                if let Some((first, _)) = behind.first() {
                    self.chunks.insert(*first, behind);
                }
                self.insert(key, value);
            }
        }
    }

    fn begun(key: K, value: V) -> Vec<(K, V)> {
        let mut chunk = Vec::with_capacity(STEP);
        chunk.push((key, value));
        chunk
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.chunk_of(key)?;
        let chunk = self.chunks.get_mut(&at)?;
        let place = chunk.binary_search_by_key(key, |(other, _)| *other).ok()?;
        let (_, value) = chunk.remove(place);
        if chunk.is_empty() {
            self.chunks.remove(&at);
        } else if chunk.capacity() - chunk.len() >= 2 * STEP {
            chunk.shrink_to(chunk.len() + STEP);
        }
        Some(value)
    }

    /// The chunk that has, or would have, the key.
    fn chunk_of(&self, key: &K) -> Option<K> {
        let before = self.chunks.range(..=key).next_back();
        let found = before.or_else(|| self.chunks.first_key_value());
        found.map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_say_what_a_b_tree_says() {
        let mut seed = 7_u64;
        let mut next = |bound: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % bound
        };
        let (mut chunks, mut tree) = (Chunks::default(), BTreeMap::new());
        for step in 0..60_000_u64 {
            // Rising first, then at random, then fewer and fewer.
            let key = if step < 5_000 { step } else { next(8_000) };
            if next(10) < if step < 40_000 { 7 } else { 2 } {
                chunks.insert(key, step);
                tree.insert(key, step);
            } else {
                assert_eq!(chunks.remove(&key), tree.remove(&key));
            }
            let probe = next(8_001);
            let pair = |(key, value): (&u64, &u64)| (*key, *value);
            assert_eq!(
                chunks.up_to(&probe),
                tree.range(..=probe).next_back().map(pair)
            );
            assert_eq!(chunks.from(&probe), tree.range(probe..).next().map(pair));
            assert_eq!(chunks.first(), tree.first_key_value().map(pair));
        }
        assert!(chunks.iter().eq(tree.into_iter()));
    }

    #[test]
    fn rising_entries_leave_no_room_behind_them() {
        let mut chunks = Chunks::default();
        (0..10_000_u64).for_each(|key| chunks.insert(key, key));
        let room: usize = chunks.chunks.values().map(Vec::capacity).sum();
        assert!(room < 10_100, "{room}");
    }
}
