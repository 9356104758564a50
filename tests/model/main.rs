//! Random lives of an engine, watched by the naive model; `PROPTEST_CASES` scales them.

#![expect(clippy::panic, reason = "a life that fails panics with its story")]

mod planted;

use std::env;

use siding_tests::life::{self, Plan};

const CASES: u32 = 20_000;
/// Lives are shared out, so that the cores play at once.
const PLAYERS: u32 = 4;

fn play(seed: u64) {
    let cases = env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let mut plan = Plan::new(seed, cases.unwrap_or(CASES).div_ceil(PLAYERS));
    plan.regressions = Some("model/regressions.txt");
    if let Err(divergence) = life::play(&plan) {
        panic!("{divergence}");
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
