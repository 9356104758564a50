//! How long to wait before trying again: full jitter, so that clients spread out.

/// The first wait is a random part of this.
const FIRST_MS: u64 = 50;
/// And of no more than this, however often it failed.
const MOST_MS: u64 = 15_000;

/// A wait in ms before attempt `failures + 1`: evenly between 0 and 50 ms doubled `failures` times,
/// 15 s at most.
pub(crate) fn full_jitter_ms(failures: u32, random: &mut fastrand::Rng) -> u64 {
    random.u64(0..=ceiling_ms(failures))
}

fn ceiling_ms(failures: u32) -> u64 {
    // Doubling nine times is past the most.
    (FIRST_MS << failures.min(9)).min(MOST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_from_50_ms_to_15_s() {
        let ceilings: Vec<_> = (0..10).map(ceiling_ms).collect();
        let expected = [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000];
        assert_eq!(ceilings, expected);
        assert_eq!(ceiling_ms(u32::MAX), 15_000);
    }

    #[test]
    fn waits_spread_over_the_whole_range() {
        let mut random = fastrand::Rng::with_seed(7);
        let waits: Vec<_> = (0..1_000)
            .map(|_| full_jitter_ms(20, &mut random))
            .collect();
        assert!(waits.iter().all(|wait| *wait <= 15_000));
        assert!(waits.iter().any(|wait| *wait < 1_500));
        assert!(waits.iter().any(|wait| *wait > 13_500));
    }
}
