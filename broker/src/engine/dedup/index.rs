//! Finds what was stored under an id: open addressing over keyed hashes.
//!
//! The ids are keyed hashes already, so their bits are spread evenly whatever strangers choose. A slot
//! holds the number of an original and bits of its id, eight bytes; the original itself says its whole
//! id. Nobody sees the order of the slots.

use std::num::NonZeroU32;

/// Numbers of originals by hashes of their ids; a number counts from 0 and wraps.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// A power of two of them, or none; `None`: free.
    slots: Vec<Option<Slot>>,
    used: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// Its low bits say where it wants to be.
    hash: u32,
    /// One more than the number.
    number: NonZeroU32,
}

/// Slots of an index that holds anything.
const SLOTS_MIN: usize = 16;
/// One number is never given: it says that a slot is free.
const NUMBERS: u64 = u32::MAX as u64;

impl Index {
    /// The number that `is_it` says yes to, among those of this hash.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let at = self.slot_of(hash, is_it)?;
        self.slot(at).map(Slot::number)
    }

    /// Puts a number in, in the place of one of this hash that `is_same` says yes to.
    pub(super) fn insert(&mut self, hash: u32, number: u32, is_same: impl Fn(u32) -> bool) {
        if self.used * 4 >= self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(SLOTS_MIN));
        }
        let Some(slot) = Slot::new(hash, number) else {
            return;
        };
        match self.slot_of(hash, is_same) {
            Some(at) => self.set(at, Some(slot)),
            None => self.add(slot),
        }
    }

    /// Takes a number of this hash out, if it is there.
    pub(super) fn remove(&mut self, hash: u32, number: u32) {
        let Some(mut free) = self.slot_of(hash, |other| other == number) else {
            return;
        };
        self.used -= 1;
        // Whoever stands behind the gap and began before it moves up.
        let mut at = self.next(free);
        while let Some(other) = self.slot(at) {
            let from_home = self.distance(self.home(other.hash), at);
            if from_home >= self.distance(free, at) {
                self.set(free, Some(other));
                free = at;
            }
            at = self.next(at);
        }
        self.set(free, None);
        if self.slots.len() > SLOTS_MIN && self.used * 8 < self.slots.len() {
            self.resize(self.slots.len() / 2);
        }
    }

    fn slot_of(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        let mut at = self.home(hash);
        while let Some(slot) = self.slot(at) {
            if slot.hash == hash && is_it(slot.number()) {
                return Some(at);
            }
            at = self.next(at);
        }
        None
    }

    fn add(&mut self, slot: Slot) {
        let mut at = self.home(slot.hash);
        while self.slot(at).is_some() {
            at = self.next(at);
        }
        self.set(at, Some(slot));
        self.used += 1;
    }

    fn resize(&mut self, slots: usize) {
        let before = std::mem::replace(&mut self.slots, vec![None; slots]);
        self.used = 0;
        before.into_iter().flatten().for_each(|slot| self.add(slot));
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & self.mask()
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & self.mask()
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.mask()
    }

    fn mask(&self) -> usize {
        self.slots.len().saturating_sub(1)
    }

    fn slot(&self, at: usize) -> Option<Slot> {
        self.slots.get(at).copied().flatten()
    }

    fn set(&mut self, at: usize, slot: Option<Slot>) {
        if let Some(there) = self.slots.get_mut(at) {
            *there = slot;
        }
    }
}

impl Slot {
    /// `None` of the one number that is never given.
    fn new(hash: u32, number: u32) -> Option<Self> {
        let number = NonZeroU32::new(number.wrapping_add(1))?;
        Some(Self { hash, number })
    }

    fn number(self) -> u32 {
        self.number.get() - 1
    }
}

/// The number of the original at so many behind the first ever.
pub(super) fn number_of(position: u64) -> u32 {
    u32::try_from(position % NUMBERS).unwrap_or(0)
}

/// How many behind the original number `left` the original of that number stands.
pub(super) fn behind(number: u32, left: u64) -> usize {
    let distance = (u64::from(number) + NUMBERS - left % NUMBERS) % NUMBERS;
    usize::try_from(distance).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Few homes, near the end of the slots, so that they collide and wrap all the time.
    fn hash_of(key: u32) -> u32 {
        key % 7 * 5 + 11 + (key % 2) * 0x8000_0000
    }

    #[test]
    fn an_index_finds_what_a_plain_map_finds() {
        // Keys by their newest number; a number stands for the key it was put in for.
        let (mut index, mut plain) = (Index::default(), BTreeMap::new());
        let mut keys = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = u32::try_from((seed >> 33) % 60).unwrap();
            if seed >> 63 == 0 {
                let number = u32::try_from(keys.len()).unwrap();
                index.insert(hash_of(key), number, |other| keys[other as usize] == key);
                keys.push(key);
                plain.insert(key, number);
            } else if let Some(number) = plain.remove(&key) {
                index.remove(hash_of(key), number);
                // What is not there is not taken out, nor anything else for it.
                index.remove(hash_of(key), number);
            }
            for key in 0..60 {
                let found = index.find(hash_of(key), |other| keys[other as usize] == key);
                assert_eq!(found, plain.get(&key).copied(), "{key}");
            }
            assert_eq!(index.used, plain.len());
        }
    }

    #[test]
    fn an_index_grows_and_shrinks_with_what_it_holds() {
        let mut index = Index::default();
        for number in 0..1_000 {
            index.insert(number * 37, number, |_| false);
        }
        assert_eq!(index.slots.len(), 2_048);
        assert_eq!(size_of::<Option<Slot>>(), 8);
        for number in 0..1_000 {
            assert_eq!(index.find(number * 37, |_| true), Some(number));
            index.remove(number * 37, number);
        }
        assert_eq!((index.slots.len(), index.used), (SLOTS_MIN, 0));
    }

    #[test]
    fn numbers_wrap_without_meeting() {
        for left in [0, 5, NUMBERS - 2, NUMBERS, 3 * NUMBERS - 1] {
            for more in [0, 1, 4, 10_000_000] {
                assert_eq!(behind(number_of(left + more), left) as u64, more);
            }
        }
    }
}
