//! Bugs planted on purpose, so that the tests can show that they would be found.
//!
//! Only tests enable the feature `planted-bugs`. Without it nothing can be planted, and every question
//! is answered "no" when the code is compiled. A bug is planted in a thread: a start has no object yet.

#[cfg(feature = "planted-bugs")]
use std::cell::Cell;

/// The bugs there are to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A start gives the last index once more.
    IndexReused,
    /// A group that is written is confirmed as synced.
    ConfirmedUnsynced,
    /// A snapshot does not know of what was moved.
    MoveForgotten,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::IndexReused,
        Self::ConfirmedUnsynced,
        Self::MoveForgotten,
    ];
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in this thread, or takes it out again.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(feature = "planted-bugs")]
pub(super) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(feature = "planted-bugs"))]
pub(super) const fn has(_: Bug) -> bool {
    false
}
