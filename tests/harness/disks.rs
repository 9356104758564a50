//! Real brokers on real file systems that are full, or lie. Linux, and allowed to mount.

pub mod full;
pub mod lying;
mod mount;
mod worker;

pub use mount::why_not;

use std::ops::AddAssign;
use std::time::Duration;

use crate::accounting::Report;

/// A broker on a small disk, in words of its command line.
const fn sizes<'a>(journal_file: &'a str, checkpoint: &'a str) -> [&'a str; 6] {
    [
        "--journal-file-bytes",
        journal_file,
        "--checkpoint-bytes",
        checkpoint,
        "--tail-bytes",
        "1MiB",
    ]
}

/// The longest of some waits, and how many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// How many.
    pub count: u64,
    /// The longest.
    pub longest: Duration,
}

impl AddAssign<Duration> for Waits {
    fn add_assign(&mut self, wait: Duration) {
        self.count += 1;
        self.longest = self.longest.max(wait);
    }
}

/// The books of several runs.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Messages given to publishers.
    pub sent: u64,
    /// Of these, confirmed.
    pub confirmed: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Of these, neither.
    pub unknown: u64,
    /// Acks that were answered.
    pub acked: u64,
    /// Broken promises, in words.
    pub broken: Vec<String>,
}

impl Books {
    fn add(&mut self, report: &Report) {
        self.sent += report.sent;
        self.confirmed += report.confirmed;
        self.refused += report.refused;
        self.unknown += report.unknown;
        self.acked += report.acked;
        let broken = report.violations.iter();
        let broken = broken.map(|(violation, times)| format!("{violation:?} {times} times"));
        self.broken.extend(broken);
        self.broken.extend(report.examples.iter().cloned());
    }
}
