//! Random lives of an engine, watched by the naive model.

#![expect(clippy::panic, reason = "a life that fails panics with its story")]

mod planted;

use siding_tests::life::{self, Plan};
use siding_tests::volume::volume;

/// Lives of the full volume.
const CASES: u64 = 20_000;
/// Lives are shared out, so that the cores play at once.
const PLAYERS: u64 = 4;

fn play(seed: u64) {
    let cases = volume(CASES).div_ceil(PLAYERS);
    let mut plan = Plan::new(seed, u32::try_from(cases).expect("fewer"));
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
