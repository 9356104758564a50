//! The volume of what is random: `cargo test` plays a slice of it, `.ci/run` all of it, `siding-lab` more.

/// Percent of the full volume if nobody says otherwise.
const SLICE_PERCENT: u64 = 10;

/// So much of a full volume as `SIDING_VOLUME` says, in percent from 1; 10 if it is not set.
///
/// # Panics
/// It says something else.
pub fn volume(full: u64) -> u64 {
    let percent = match std::env::var("SIDING_VOLUME") {
        Err(_) => SLICE_PERCENT,
        Ok(said) => match said.parse() {
            Ok(percent @ 1..) => percent,
            _ => {
                panic!("SIDING_VOLUME is {said:?}: percent of the full volume, from 1, are wanted")
            }
        },
    };
    (full.saturating_mul(percent) / 100).max(1)
}
