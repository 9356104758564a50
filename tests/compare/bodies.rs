//! What is sent, and what came back of it.

use std::time::Duration;

/// Bytes of the number, or of one of the two stamps, that a body begins with.
const NUMBER_BYTES: usize = 8;
/// No body is smaller: it has room for both stamps.
const SIZE_MIN: usize = 2 * NUMBER_BYTES;

/// Bodies of one size that begin with consecutive numbers.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    body: Vec<u8>,
    next: u64,
    end: u64,
}

impl Bodies {
    /// Of these numbers.
    pub(crate) fn new(size: usize, numbers: std::ops::Range<u64>) -> Self {
        Self {
            body: vec![b'x'; size.max(SIZE_MIN)],
            next: numbers.start,
            end: numbers.end,
        }
    }

    /// The next one, in a buffer that is used again.
    #[inline]
    pub(crate) fn next_body(&mut self) -> Option<&[u8]> {
        if self.next == self.end {
            return None;
        }
        if let Some(start) = self.body.first_chunk_mut::<NUMBER_BYTES>() {
            *start = self.next.to_be_bytes();
        }
        self.next += 1;
        Some(&self.body)
    }
}

/// Splits so many numbers into shares, as even as can be.
pub(crate) fn shares(count: u64, parts: usize) -> Vec<std::ops::Range<u64>> {
    let parts = parts.max(1) as u64;
    let (each, more) = (count / parts, count % parts);
    let mut start = 0;
    let share = |index| {
        let end = start + each + u64::from(index < more);
        std::ops::Range {
            start: std::mem::replace(&mut start, end),
            end,
        }
    };
    (0..parts).map(share).collect()
}

/// What was consumed: so many bodies, the sum of their numbers, and how many had another size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    sum: u64,
    misshapen: u64,
}

impl Tally {
    /// What comes back when each of the numbers below `count` comes back once.
    pub(crate) fn whole(count: u64) -> Self {
        let pairs = u128::from(count) * u128::from(count.saturating_sub(1)) / 2;
        Self {
            count,
            // Numbers are summed up by wrapping.
            sum: u64::try_from(pairs & u128::from(u64::MAX)).unwrap_or_default(),
            misshapen: 0,
        }
    }

    #[inline]
    pub(crate) fn note(&mut self, body: &[u8], size: usize) {
        self.count += 1;
        self.misshapen += u64::from(body.len() != size);
        if let Some(number) = body.first_chunk() {
            self.sum = self.sum.wrapping_add(u64::from_be_bytes(*number));
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.misshapen += other.misshapen;
    }
}

/// Writes two stamps where another body has its number.
pub(crate) fn stamp(body: &mut [u8], stamps: [Duration; 2]) {
    for (place, stamp) in body.chunks_exact_mut(NUMBER_BYTES).zip(stamps) {
        let nanos = u64::try_from(stamp.as_nanos()).unwrap_or(u64::MAX);
        place.copy_from_slice(&nanos.to_be_bytes());
    }
}

/// The stamps of a body; `None`: it is too short.
pub(crate) fn stamps(body: &[u8]) -> Option<[Duration; 2]> {
    let (first, rest) = body.split_first_chunk()?;
    let second = rest.first_chunk()?;
    Some([first, second].map(|place| Duration::from_nanos(u64::from_be_bytes(*place))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stamps_travel_in_the_body() {
        let both = [1_000, 1_040].map(Duration::from_micros);
        let mut body = vec![0; 100];
        stamp(&mut body, both);
        assert_eq!(stamps(&body), Some(both));
        assert_eq!(stamps(b"short"), None);
    }

    #[test]
    fn the_shares_make_the_whole() {
        assert_eq!(shares(10, 3), [0..4, 4..7, 7..10]);
        assert_eq!(shares(1, 2), [0..1, 1..1]);
    }

    #[test]
    fn what_comes_back_whole_is_known_beforehand() {
        let mut tally = Tally::default();
        for share in shares(1_000, 3) {
            let mut bodies = Bodies::new(100, share);
            while let Some(body) = bodies.next_body() {
                tally.note(body, 100);
            }
        }
        assert_eq!(tally, Tally::whole(1_000));
        assert_eq!(Tally::default(), Tally::whole(0));
    }

    #[test]
    fn a_message_that_comes_twice_for_another_is_seen() {
        let mut tally = Tally::default();
        let mut bodies = Bodies::new(100, 0..1_000);
        let first = bodies.next_body().unwrap().to_vec();
        bodies.next_body().unwrap();
        tally.note(&first, 100);
        tally.note(&first, 100);
        while let Some(body) = bodies.next_body() {
            tally.note(body, 100);
        }
        assert_eq!(tally.count, 1_000);
        assert_ne!(tally, Tally::whole(1_000));
    }
}
