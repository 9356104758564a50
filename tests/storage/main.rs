//! The journal, its recovery and its snapshots on a disk that loses, tears and refuses.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod crash;
mod crash_states;
mod damage;
mod faults;
mod files;
mod golden;
mod planted;
mod snapshot;
