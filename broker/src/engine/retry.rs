//! From attempts to a backoff: one policy for nack, expiry and a closed connection.

use siding_protocol::types::Offset;

/// The backoff after this many charged attempts, in ms, with ± 10 % jitter from a hash, so that a
/// replay waits exactly as long. The last step repeats.
pub fn backoff_ms(steps: &[u64], attempts: u32, subscription: u64, first: Offset) -> u64 {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let step = steps.get(index).or(steps.last()).copied().unwrap_or(0);
    let spread = step / 5;
    if spread == 0 {
        return step;
    }
    let hash = mix(mix(mix(subscription) ^ first) ^ u64::from(attempts));
    step - spread / 2 + hash % (spread + 1)
}

/// `SplitMix64`'s finaliser (Steele, Lea, Flood 2014): every bit of the input moves every bit out.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_follows_its_steps_within_a_tenth_and_the_last_repeats() {
        let steps = [1_000, 5_000];
        for offset in 0..1_000 {
            assert!((900..=1_100).contains(&backoff_ms(&steps, 1, 1, offset)));
            for attempts in 2..5 {
                assert!((4_500..=5_500).contains(&backoff_ms(&steps, attempts, 1, offset)));
            }
        }
        assert_ne!(backoff_ms(&steps, 2, 1, 7), backoff_ms(&steps, 2, 1, 8));
    }

    #[test]
    fn a_backoff_of_nothing_is_nothing() {
        assert_eq!(backoff_ms(&[0], 3, 1, 1), 0);
        assert_eq!(backoff_ms(&[4], 3, 1, 1), 4);
    }
}
