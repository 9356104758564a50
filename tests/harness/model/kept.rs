//! What a queue keeps of messages that have left.

use super::{Extent, Log, Model};

impl Log {
    fn retain_settled_ms(&self) -> u64 {
        let settings = self.queue.as_ref();
        settings.map_or(0, |settings| settings.retain_settled_ms)
    }

    /// What is kept, the first to go first.
    fn kept(&self) -> Vec<&Extent> {
        let left = |extent: &&Extent| extent.left_at.is_some();
        let mut kept: Vec<_> = self.extents.iter().filter(left).collect();
        kept.sort_by_key(|extent| (extent.left_at, extent.first));
        kept
    }

    pub(super) fn kept_bytes(&self) -> u64 {
        self.kept().iter().map(|extent| extent.bytes).sum()
    }

    /// What emptied last, if it takes more at the log's end: for an eighth of the time it is kept.
    pub(super) fn open_again(&self, now: u64) -> Option<&Extent> {
        let last = *self.kept().last()?;
        let is_open = last.first_at + self.retain_settled_ms() / 8 >= now;
        (is_open && last.first + last.count == self.end).then_some(last)
    }

    fn let_go(&mut self, goes: impl Fn(&Self, &Extent) -> bool) {
        while let Some(first) = self
            .kept()
            .first()
            .filter(|oldest| goes(self, oldest))
            .map(|oldest| oldest.first)
        {
            self.extents.retain(|extent| extent.first != first);
        }
    }
}

impl Model {
    /// Extents that nobody waits for any more are kept from now on, where that is asked for.
    pub(super) fn note_left(&mut self) {
        let ids: Vec<_> = self.logs.keys().copied().collect();
        for id in ids {
            let log = self.logs.get(&id).expect("a log");
            if log.retain_settled_ms() == 0 {
                continue;
            }
            let mut extents = log.extents.clone();
            for extent in &mut extents {
                let is_left = self.count(id, extent, |_| true) == 0;
                let since = extent.left_at.unwrap_or(self.now);
                extent.left_at = is_left.then_some(since);
            }
            self.logs.get_mut(&id).expect("a log").extents = extents;
        }
    }

    pub(super) fn let_go_by_age(&mut self) {
        let now = self.now;
        for log in self.logs.values_mut() {
            let kept = log.retain_settled_ms();
            log.let_go(|_, oldest| oldest.left_at.is_some_and(|at| at + kept <= now));
        }
    }

    /// What is kept has at most the bytes that its queue may have.
    pub(super) fn skim(&mut self) {
        self.note_left();
        for log in self.logs.values_mut() {
            let most = log.queue.as_ref().map_or(u64::MAX, |queue| queue.max_bytes);
            log.let_go(|log, _| log.kept_bytes() > most);
        }
    }
}
