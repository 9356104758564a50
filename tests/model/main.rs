//! Random lives of an engine, watched by the naive model; `PROPTEST_CASES` scales them.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "small numbers choose from tables; a failing life panics"
)]

mod operation;
mod player;

use std::env;
use std::ops::RangeInclusive;

use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

use operation::operation;
use player::Player;

/// 100 on average; a failing life shrinks to its few that matter.
const OPERATIONS: RangeInclusive<usize> = 0..=200;
const CASES: u32 = 2_000;
/// Lives are shared out, so that the cores play at once.
const PLAYERS: u32 = 4;

fn play(seed: u64) {
    let cases = env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(CASES).div_ceil(PLAYERS),
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

#[test]
fn the_engine_does_what_the_model_says_first_quarter() {
    play(1);
}

#[test]
fn the_engine_does_what_the_model_says_second_quarter() {
    play(2);
}

#[test]
fn the_engine_does_what_the_model_says_third_quarter() {
    play(3);
}

#[test]
fn the_engine_does_what_the_model_says_fourth_quarter() {
    play(4);
}
