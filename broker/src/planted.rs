//! Bugs planted on purpose, so that the tests can show that they would be found.
//!
//! Only tests enable the feature `planted-bugs`. Without it nothing can be planted, and every question
//! is answered "no" when the code is compiled. A bug of the storage or the shard is planted in a thread: writer,
//! recovery, spares and snapshots have no object in common, and a start has none yet. Those of the engine have
//! one: `engine/planted.rs`.

#[cfg(feature = "planted-bugs")]
use std::cell::Cell;

/// The bugs there are to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A synced group is confirmed when it is written.
    ConfirmedBeforeSync,
    /// A sync that failed is tried again, and believed.
    FailedSyncRetried,
    /// Un-synced writes have a group number each: the next one is begun before the sync of the last.
    GroupBeforeItsSync,
    /// The durable mark of a record covers the rest of its group.
    MarkTooHigh,
    /// A write with `dsync` is taken for a sync of what was written before it.
    DsyncTakenForAll,
    /// A full file is left before all of it is synced.
    FileLeftUnsynced,
    /// A new file is used before its name is durable.
    DirectorySyncForgotten,
    /// A new file is used before its header is durable.
    FileHeaderUnsynced,
    /// A recycled file gets its new header while its old name may come back.
    OldNameKept,
    /// A recycled file keeps its generation.
    GenerationReused,
    /// A length is trusted without the check of its header.
    LengthTrustedUnchecked,
    /// A payload is trusted without its check.
    PayloadTrustedUnchecked,
    /// Damage in the middle is cut like a torn tail.
    DamageCut,
    /// Where a file ends is forgotten when its successor lost everything.
    EndBeforeForgotten,
    /// What recovery found behind the durable mark is not written again.
    TailNotRewritten,
    /// Recovery goes on at the durable mark, over what it found: positions are used again.
    TailOverwritten,
    /// A snapshot gets its name before it is synced.
    SnapshotNamedUnsynced,
    /// The snapshots before go before the name of the new one is durable.
    OldSnapshotGoneFirst,
    /// A snapshot names a segment that is not synced.
    SegmentUnsynced,
    /// A snapshot names a segment whose own name is not durable.
    SegmentNameUnsynced,
    /// A start gives the last index once more.
    IndexReused,
    /// A group that is written is confirmed as synced.
    ConfirmedUnsynced,
    /// A snapshot does not know of what was moved.
    MoveForgotten,
}

impl Bug {
    /// Those of the storage.
    pub const STORAGE: [Self; 20] = [
        Self::ConfirmedBeforeSync,
        Self::FailedSyncRetried,
        Self::GroupBeforeItsSync,
        Self::MarkTooHigh,
        Self::DsyncTakenForAll,
        Self::FileLeftUnsynced,
        Self::DirectorySyncForgotten,
        Self::FileHeaderUnsynced,
        Self::OldNameKept,
        Self::GenerationReused,
        Self::LengthTrustedUnchecked,
        Self::PayloadTrustedUnchecked,
        Self::DamageCut,
        Self::EndBeforeForgotten,
        Self::TailNotRewritten,
        Self::TailOverwritten,
        Self::SnapshotNamedUnsynced,
        Self::OldSnapshotGoneFirst,
        Self::SegmentUnsynced,
        Self::SegmentNameUnsynced,
    ];

    /// Those of the shard.
    pub const SHARD: [Self; 3] = [
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
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}
