//! What was said with the last nack of messages.
//!
//! Every message may be nacked with words of its own, so their bytes have a limit: past it what is said
//! is not kept.

use siding_protocol::limits::NACK_WORDS_BYTES_MAX;
use siding_protocol::types::{Offset, OffsetRange};

use crate::engine::runs::RangeMap;

/// Words by message; none where nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    said: RangeMap<String>,
    /// Of all messages together: derived.
    bytes: u64,
}

impl Words {
    /// What was said of a message.
    pub fn get(&self, offset: Offset) -> Option<&String> {
        self.said.get(offset)
    }

    /// All of them, rising.
    pub fn iter(&self) -> impl Iterator<Item = (OffsetRange, &String)> {
        self.said.iter()
    }

    /// What was said of parts of `range`, rising.
    pub fn overlap(&self, range: OffsetRange) -> impl Iterator<Item = (OffsetRange, &String)> {
        self.said.overlap(range)
    }

    /// The parts of `range` of which nothing was said, rising.
    pub fn gaps(&self, range: OffsetRange) -> Vec<OffsetRange> {
        self.said.gaps(range)
    }

    /// Something is said of messages, instead of what was said before.
    pub fn say(&mut self, range: OffsetRange, words: String) {
        self.forget(range.clone());
        let more = bytes_of(&range, &words);
        if !words.is_empty() && self.bytes + more <= NACK_WORDS_BYTES_MAX {
            self.bytes += more;
            self.said.insert(range, words);
        }
    }

    /// Nothing of it is kept.
    pub fn forget(&mut self, range: OffsetRange) {
        if self.said.is_empty() {
            return;
        }
        let gone = self.said.overlap(range.clone());
        self.bytes -= gone
            .map(|(part, words)| bytes_of(&part, words))
            .sum::<u64>();
        self.said.remove(range);
    }
}

fn bytes_of(range: &OffsetRange, words: &str) -> u64 {
    words.len() as u64 * (range.end - range.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_past_their_limit_are_not_kept_until_others_are_forgotten() {
        let mut words = Words::default();
        let long = "x".repeat(1_024);
        let most = NACK_WORDS_BYTES_MAX / 1_024;
        words.say(0..most, long.clone());
        words.say(most..most + 1, "more".into());
        assert_eq!(words.get(most), None);
        // Nor does what was said before stand for what is said now.
        words.say(5..6, "y".repeat(1_025));
        assert_eq!(words.get(5), None);
        words.say(most..most + 1, "more".into());
        assert_eq!(words.get(most).map(String::as_str), Some("more"));
        words.forget(0..most + 1);
        assert_eq!(words, Words::default());
    }
}
