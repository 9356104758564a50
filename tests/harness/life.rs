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

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;

use bytes::Bytes;
use proptest::arbitrary::any;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestError, TestRunner};
use siding_broker::engine::Engine;

use crate::model::Coverage;
use operation::{Operation, operation};
use player::Player;

/// 100 on average; a failing life shrinks to its few that matter.
const OPERATIONS: RangeInclusive<usize> = 0..=200;
/// Read at once.
const STEP_BYTES: u64 = 60;
const SHRINKS_MAX: u32 = 20_000;

/// Which lives to play.
#[derive(Clone)]
pub struct Plan {
    /// The same lives for the same seed.
    pub seed: u64,
    /// How many.
    pub cases: u32,
    /// Whether a failing life is shrunk to the steps that matter.
    pub shrinks: bool,
    /// Keeps the seeds of failing lives; they are played first.
    pub regressions: Option<&'static str>,
    /// Done to every engine before it sees an entry.
    pub prepare: Rc<dyn Fn(&mut Engine)>,
}

impl Plan {
    /// So many lives.
    pub fn new(seed: u64, cases: u32) -> Self {
        Self {
            seed,
            cases,
            shrinks: true,
            regressions: None,
            // A few small messages a step, so that jobs with a filter take several slices.
            prepare: Rc::new(|engine| engine.limit_steps(STEP_BYTES)),
        }
    }
}

/// What was played without a divergence.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Steps of lives.
    pub operations: u64,
    /// What they tried.
    pub coverage: Coverage,
}

impl Tally {
    /// What others have played, too.
    pub fn join(&mut self, other: Self) {
        self.operations += other.operations;
        self.coverage.join(other.coverage);
    }
}

/// Engine and model differ.
#[derive(Debug)]
pub struct Divergence {
    /// What a check said.
    pub reason: String,
    /// Whether the first queue keeps what it has settled.
    keeps: bool,
    /// The steps that show it.
    life: Vec<Operation>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "{}", self.reason)?;
        writeln!(
            to,
            "  the first queue keeps what is settled: {}",
            self.keeps
        )?;
        for operation in &self.life {
            writeln!(to, "  {operation:?}")?;
        }
        Ok(())
    }
}

/// The journals of so many lives, each played to its end.
///
/// # Panics
/// Engine and model differ.
pub fn record(seed: u64, lives: u32) -> Vec<Vec<Bytes>> {
    let journals = RefCell::new(Vec::new());
    let plan = Plan::new(seed, lives);
    let played = TestRunner::new(config(&plan)).run(&life(), |(keeps, operations)| {
        let mut player = Player::new(Rc::clone(&plan.prepare), keeps);
        for operation in &operations {
            player.play(operation);
        }
        journals.borrow_mut().push(player.journal());
        Ok(())
    });
    played.expect("engine and model agree");
    journals.into_inner()
}

/// Plays lives.
///
/// # Errors
/// The first life in which engine and model differ.
///
/// # Panics
/// There are no lives to play.
pub fn play(plan: &Plan) -> Result<Tally, Divergence> {
    let tally = RefCell::new(Tally::default());
    let verdict = TestRunner::new(config(plan)).run(&life(), |(keeps, operations)| {
        let mut player = Player::new(Rc::clone(&plan.prepare), keeps);
        for operation in &operations {
            player.play(operation);
        }
        let coverage = player.finish();
        let mut tally = tally.borrow_mut();
        tally.operations += operations.len() as u64;
        tally.coverage.join(coverage);
        Ok(())
    });
    match verdict {
        Ok(()) => Ok(tally.into_inner()),
        Err(TestError::Fail(reason, (keeps, life))) => Err(Divergence {
            reason: reason.to_string(),
            keeps,
            life,
        }),
        Err(abort) => panic!("{abort}"),
    }
}

/// Whether the first queue keeps what it has settled, and the steps.
fn life() -> impl Strategy<Value = (bool, Vec<Operation>)> {
    let operations = proptest::collection::vec(operation(), OPERATIONS);
    (any::<bool>(), operations)
}

fn config(plan: &Plan) -> Config {
    let persistence = plan.regressions.map(FileFailurePersistence::Direct);
    Config {
        cases: plan.cases,
        failure_persistence: persistence.map(|file| Box::new(file) as _),
        rng_seed: RngSeed::Fixed(plan.seed),
        max_shrink_iters: if plan.shrinks { SHRINKS_MAX } else { 0 },
        ..Config::default()
    }
}
