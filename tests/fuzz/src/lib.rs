//! The targets of `tests/harness/fuzz`, for libFuzzer, with memory counted.
//!
//! With `SIDING_PLANTED` set each has the bug that it must find.

#[path = "../../harness/fuzz/mod.rs"]
pub mod fuzz;

use std::sync::OnceLock;

use fuzz::{Target, Trial};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fn peak(work: &mut dyn FnMut()) -> usize {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    work();
    MEMORY.peak_usage().saturating_sub(before)
}

/// Tries these bytes on the target of that name.
///
/// # Panics
/// A promise is broken.
pub fn judge(target: &str, input: &[u8]) {
    static TRIAL: OnceLock<(Target, Trial)> = OnceLock::new();
    let (target, trial) = TRIAL.get_or_init(|| {
        let planted = std::env::var_os("SIDING_PLANTED").is_some();
        let target = Target::named(target).expect("a target");
        (target, Trial { peak, planted })
    });
    target.judge(input, trial);
}
