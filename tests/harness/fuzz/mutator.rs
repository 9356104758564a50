//! A small mutator with a seed: what a slice of fuzzing in `cargo test` is made with, and what helps
//! libFuzzer past lengths: it knows that bytes before a place may count the bytes around it.

use fastrand::Rng;

/// No input grows beyond this.
const INPUT_BYTES_MAX: usize = 64 << 10;
const EDITS_MAX: usize = 5;

/// Changes seeds at random, with words of a dictionary.
#[derive(Debug)]
pub struct Mutator {
    rng: Rng,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// The same changes for the same seed and dictionary.
    pub fn new(seed: u64, dictionary: &str) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            words: words(dictionary),
        }
    }

    /// One of these, changed in a few places.
    pub fn change(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.rng.choice(seeds).cloned().unwrap_or_default();
        for _ in 0..self.rng.usize(1..=EDITS_MAX) {
            self.edit(&mut input, seeds);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    /// Changes one place; may take a part of one of the seeds.
    pub fn edit(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let rng = &mut self.rng;
        let (from, to) = (rng.usize(0..=input.len()), rng.usize(0..=input.len()));
        let few = from..(from + rng.usize(0..16)).min(input.len());
        match rng.u8(0..12) {
            0 | 1 => {
                let bit = 1 << rng.u8(0..8);
                input
                    .get_mut(from)
                    .into_iter()
                    .for_each(|byte| *byte ^= bit);
            }
            2 => {
                let value = *rng.choice(&[0, 1, 0x7F, 0x80, 0xFF]).expect("five of them");
                input
                    .get_mut(from)
                    .into_iter()
                    .for_each(|byte| *byte = value);
            }
            3 => drop(input.drain(few)),
            4 => {
                let again = input.get(few).unwrap_or_default().to_vec();
                input.splice(to..to, again);
            }
            5 => {
                let number = rng.u64(..) >> rng.u32(0..64);
                let number = number.to_le_bytes();
                let number = number.get(..1 << rng.u32(0..4)).unwrap_or_default();
                let to = (from + number.len()).min(input.len());
                input.splice(from..to, number.iter().copied());
            }
            6 => {
                let other = rng.choice(seeds).cloned().unwrap_or_default();
                let cut = rng.usize(0..=other.len());
                input.truncate(from);
                input.extend(other.get(cut..).unwrap_or_default());
            }
            7 => {
                let word = rng.choice(&self.words).cloned().unwrap_or_default();
                resize(input, from, word.len(), 0);
                input.splice(from..from, word);
            }
            8 => {
                resize(input, few.end, 0, few.len());
                drop(input.drain(few));
            }
            9 => {
                let again = input.get(few.clone()).unwrap_or_default().to_vec();
                resize(input, few.end, again.len(), 0);
                input.splice(few.end..few.end, again);
            }
            how => {
                let word = rng.choice(&self.words).cloned().unwrap_or_default();
                let over = if how == 10 { word.len() } else { 0 };
                input.splice(from..(from + over).min(input.len()), word);
            }
        }
    }
}

/// The lengths of one byte before `at` that reach to it or beyond, as if bytes were added there or taken.
fn resize(input: &mut [u8], at: usize, more: usize, fewer: usize) {
    for place in 0..at.min(input.len()) {
        let bytes = input.get(..=place).unwrap_or_default();
        let start = match bytes {
            // A field that is counted; a frame; the head of an entry.
            [.., tag, _] if tag & 7 == 2 => place + 1,
            [0, 0, 0, _] => place + 1,
            [_] => 4,
            _ => continue,
        };
        if let Some(length) = input.get_mut(place)
            && *length < 0x80
            && start + usize::from(*length) >= at
            && start <= at
        {
            let changed = (usize::from(*length) + more).saturating_sub(fewer);
            *length = u8::try_from(changed.min(0x7F)).unwrap_or(0x7F);
        }
    }
}

/// The words of a dictionary as libFuzzer reads it: `name="text with \xAB"`, a line each.
fn words(dictionary: &str) -> Vec<Vec<u8>> {
    let lines = dictionary.lines().filter(|line| !line.starts_with('#'));
    let quoted = lines.filter_map(|line| line.split_once('"')?.1.rsplit_once('"'));
    quoted.map(|(word, _)| unescape(word)).collect()
}

fn unescape(word: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), word.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (value, length) = match rest {
            [b'x', digits @ ..] => {
                let digits = digits.get(..2).unwrap_or_default();
                let digits = std::str::from_utf8(digits).expect("two digits");
                (u8::from_str_radix(digits, 16).expect("two digits"), 3)
            }
            [escaped, ..] => (*escaped, 1),
            [] => panic!("a word ends in an escape: {word}"),
        };
        bytes.push(value);
        rest = rest.get(length..).unwrap_or_default();
    }
    bytes
}
