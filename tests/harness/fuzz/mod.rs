//! What every parser of foreign or damaged bytes promises, as plain functions of the bytes.
//!
//! `cargo test` tries each with its seeds and some thousand changes of them (`tests/slice`);
//! `tests/fuzz` lets libFuzzer look for what neither thinks of. Both judge by these functions, so what
//! one finds becomes a seed of the other. Nothing here knows another module of this crate.

mod entries;
mod frames;
pub mod mutator;
mod recovery;
mod requests;
mod runs;
mod snapshot;

pub use recovery::{Forged, Place, Step};

/// One parser under attack.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Of its program, its dictionary and its folder of seeds.
    pub name: &'static str,
    /// Words that its formats consist of, as libFuzzer reads them.
    pub dictionary: &'static str,
    /// What is wrong while [`Trial::planted`] is set.
    pub planted: &'static str,
    judge: fn(&[u8], &Trial),
}

/// How a trial is made.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Runs some work; answers with the most bytes that were allocated at once, above what was
    /// before. 0: nobody counts.
    pub peak: fn(&mut dyn FnMut()) -> usize,
    /// With a bug that must be found.
    pub planted: bool,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "frames",
        dictionary: include_str!("../../fuzz/dictionaries/frames.dict"),
        planted: "a correlation id over 32 bits is cut when it is written",
        judge: frames::judge,
    },
    Target {
        name: "requests",
        dictionary: include_str!("../../fuzz/dictionaries/requests.dict"),
        planted: "the last character of a filter is taken for one byte",
        judge: requests::judge,
    },
    Target {
        name: "runs",
        dictionary: include_str!("../../fuzz/dictionaries/runs.dict"),
        planted: "a message with a key and a time to live, but without a body, is dropped",
        judge: runs::judge,
    },
    Target {
        name: "entries",
        dictionary: include_str!("../../fuzz/dictionaries/entries.dict"),
        planted: "a delay of 0 in a settle is written as none",
        judge: entries::judge,
    },
    Target {
        name: "snapshot",
        dictionary: include_str!("../../fuzz/dictionaries/snapshot.dict"),
        planted: "the time between the first and the last message of an extent may be negative, and overflows",
        judge: snapshot::judge,
    },
    Target {
        name: "recovery",
        dictionary: include_str!("../../fuzz/dictionaries/recovery.dict"),
        planted: "the checksum of a payload over 13,000 bytes is not looked at",
        judge: recovery::judge,
    },
];

impl Target {
    /// The target of that name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Tries these bytes.
    ///
    /// # Panics
    /// A promise is broken.
    pub fn judge(&self, input: &[u8], trial: &Trial) {
        (self.judge)(input, trial);
    }
}

impl Trial {
    /// Does some work; answers with its result and with [`Self::peak`].
    fn measure<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        let (mut work, mut done) = (Some(work), None);
        let peak = (self.peak)(&mut || done = work.take().map(|work| work()));
        (done.expect("whoever counts does the work"), peak)
    }
}

/// What a parser may allocate at once for so many bytes, as TRUST has it.
fn modest(input_bytes: usize) -> usize {
    4 * input_bytes + (64 << 10)
}

/// Bytes of a vector of so many elements while it grows: the old and the new half are there at once.
fn growing<T>(elements: usize) -> usize {
    3 * elements * size_of::<T>()
}
