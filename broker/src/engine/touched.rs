//! Which subscriptions are to be looked at. Usually it is one or two, named again and again: a vector
//! that is put in order when it is taken costs less than a tree.

/// Ids of subscriptions, in any order until they are taken.
#[derive(Clone, Debug, Default)]
pub struct Touched(Vec<u64>);

impl Touched {
    /// Adds one.
    pub fn insert(&mut self, id: u64) {
        if self.0.last() == Some(&id) {
            return;
        }
        // It never takes more room than twice what it says.
        if self.0.len() == self.0.capacity() {
            self.tidy();
        }
        self.0.push(id);
    }

    /// Takes all, rising, each once.
    pub fn take(&mut self) -> Vec<u64> {
        self.tidy();
        std::mem::take(&mut self.0)
    }

    /// Forgets all; the room stays.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All; some may come twice.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is one of them.
    pub fn contains(&self, id: u64) -> bool {
        self.0.contains(&id)
    }

    fn tidy(&mut self) {
        if self.0.len() > 1 {
            self.0.sort_unstable();
            self.0.dedup();
        }
    }
}

impl Extend<u64> for Touched {
    fn extend<I: IntoIterator<Item = u64>>(&mut self, ids: I) {
        ids.into_iter().for_each(|id| self.insert(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_in_order_however_often_it_was_named() {
        let mut touched = Touched::default();
        for round in 0..1_000 {
            touched.extend([3, 1, 3, 2, 2, round % 5]);
        }
        assert!(touched.0.capacity() < 64, "as much room as five ids take");
        assert_eq!(touched.take(), [0, 1, 2, 3, 4]);
        assert!(touched.is_empty());
    }
}
