//! A slice of the fuzzing in `tests/fuzz`: all seeds, and some thousand changes of them, on every target.

#![expect(
    clippy::expect_used,
    reason = "what a test is built from fails by panicking"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use peak_alloc::PeakAlloc;
use siding_tests::fuzz::mutator::Mutator;
use siding_tests::fuzz::{TARGETS, Target, Trial};
use siding_tests::seeds::seeds;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory is counted for the whole process: one target at a time.
static ONE: Mutex<()> = Mutex::new(());

const CHANGES: u32 = 20_000;
/// A planted bug is found long before.
const CHANGES_MAX: u32 = 1_000_000;

fn peak(work: &mut dyn FnMut()) -> usize {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    work();
    MEMORY.peak_usage().saturating_sub(before)
}

/// The first change that breaks a promise: its number, and what it is.
fn slice(target: Target, planted: bool, changes: u32) -> Option<(u32, Vec<u8>)> {
    let _one = ONE.lock();
    let trial = Trial { peak, planted };
    let seeds = seeds(target.name);
    let broken = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| target.judge(input, &trial)));
    for seed in &seeds {
        broken(seed).expect("a seed keeps every promise");
    }
    let mut mutator = Mutator::new(7, target.dictionary);
    let mut tried = (1..=changes).map(|number| (number, mutator.change(&seeds)));
    tried.find(|(_, input)| broken(input).is_err())
}

fn keeps_its_promises(name: &str) {
    let target = Target::named(name).expect("a target");
    assert_eq!(slice(target, false, CHANGES), None);
}

#[test]
fn frames_are_taken_apart_and_written_as_they_were_read() {
    keeps_its_promises("frames");
}

#[test]
fn requests_mean_the_same_when_they_are_written_again() {
    keeps_its_promises("requests");
}

#[test]
fn a_run_that_passes_the_scan_is_the_same_messages_to_everybody() {
    keeps_its_promises("runs");
}

#[test]
fn entries_and_headers_of_records_are_written_as_they_were_read() {
    keeps_its_promises("entries");
}

#[test]
fn snapshots_are_written_as_they_were_read_and_refused_with_any_bit_flipped() {
    keeps_its_promises("snapshot");
}

#[test]
fn recovery_serves_what_was_written_and_loses_nothing_that_was_not_damaged() {
    keeps_its_promises("recovery");
}

#[test]
fn every_target_finds_the_bug_that_is_planted_in_it() {
    for target in TARGETS {
        let Some((changes, _)) = slice(target, true, CHANGES_MAX) else {
            panic!("{} does not find that {}", target.name, target.planted);
        };
        println!("{}: {} (change {changes})", target.name, target.planted);
    }
}
