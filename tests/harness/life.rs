//! Random lives of an engine, watched by the naive model.
//!
//! An [`operation`] is small numbers; the [`player`] finds out what they mean when their turn comes,
//! so that a life can lose any of its steps and still be one: that is how a failing life shrinks.

#![expect(
    clippy::indexing_slicing,
    reason = "small numbers choose from tables; a failing life panics"
)]

mod choices;
mod operation;
mod player;
mod request;

use std::ops::RangeInclusive;

use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

use operation::operation;
use player::Player;

/// 100 on average; a failing life shrinks to its few that matter.
const OPERATIONS: RangeInclusive<usize> = 0..=200;

/// Plays `cases` lives, the same for the same seed.
///
/// # Panics
/// Engine and model differ: with the reason and the shortest life that shows it.
pub fn play(seed: u64, cases: u32) {
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let lives = proptest::collection::vec(operation(), OPERATIONS);
    let verdict = TestRunner::new(config).run(&lives, |operations| {
        let mut player = Player::new();
        for operation in &operations {
            player.play(operation);
        }
        player.finish();
        Ok(())
    });
    match verdict {
        Ok(()) => {}
        Err(TestError::Fail(reason, life)) => {
            let told = life.iter().map(|operation| format!("{operation:?}"));
            panic!("{reason}\n{}", told.collect::<Vec<_>>().join("\n"));
        }
        Err(abort) => panic!("{abort}"),
    }
}
