//! A run from its seed to its verdict.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::client::{CONNECT, Client};
use super::context::What;
use super::plan::Plan;
use super::publisher::LAST;
use super::watch::Exercised;
use super::world::World;
use crate::accounting::{self, Event, FinalBooks, Ms, Report, Violation};

/// Once nothing goes wrong any more everything is drained within so much.
const DRAIN_MS: Ms = 60_000;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Which one.
    pub seed: u64,
    /// Simulated.
    pub length_ms: Ms,
    /// Starts of a broker but the first.
    pub crashes: u64,
    /// What went wrong, and how often.
    pub faults: BTreeMap<&'static str, u64>,
    /// Messages confirmed.
    pub messages: u64,
    /// What it met.
    pub exercised: Exercised,
    /// The books of each line.
    pub reports: Vec<Report>,
    /// Not drained in time, or never served again.
    pub stuck: Vec<String>,
    /// What should not be said or happen.
    pub surprises: Vec<String>,
    /// The broker, or what plays it, broke an assertion.
    pub panicked: bool,
    /// Two runs of a seed come to the same.
    pub hash: u64,
}

/// Plays a run.
pub fn play(plan: Plan) -> Outcome {
    let seed = plan.seed;
    // What panics has said so; the next run begins from nothing.
    let played = catch_unwind(AssertUnwindSafe(|| play_out(plan)));
    played.unwrap_or_else(|_| Outcome {
        seed,
        panicked: true,
        ..Outcome::default()
    })
}

fn play_out(plan: Plan) -> Outcome {
    let (seed, length_ms) = (plan.seed, plan.length_ms);
    let mut world = World::new(plan);
    world.begin();
    world.run(length_ms);
    world.close();
    let drained = world.drain();
    let mut outcome = Outcome {
        seed,
        length_ms: world.passed_ms(),
        crashes: world.life,
        faults: std::mem::take(&mut world.faults),
        messages: world.context.messages,
        exercised: world.machine.watch.exercised(),
        surprises: std::mem::take(&mut world.context.surprises),
        ..Outcome::default()
    };
    if !drained {
        outcome.stuck.push(world.what_is_left());
    }
    outcome.stuck.append(&mut world.died);
    outcome.surprises.extend(world.machine.watch.broken());
    for (line, events) in world.context.ledger.lines().iter().enumerate() {
        let books = world.books(line).filter(|_| drained);
        let report = accounting::check_exact(events, books);
        world
            .trace
            .note(&[events.len() as u64, report.delivered, report.acked]);
        outcome.reports.push(report);
    }
    for name in &world.plan.names {
        let lines = world.context.ledger.lines();
        let readers: Vec<_> = name
            .lines
            .iter()
            .filter_map(|line| lines.get(*line))
            .collect();
        let readers: Vec<_> = readers.iter().map(|events| events.as_slice()).collect();
        let differ = accounting::agree(&readers).into_iter();
        outcome
            .surprises
            .extend(differ.map(|offset| format!("readers differ at @{offset}")));
    }
    outcome.hash = world.trace.hash();
    outcome
}

impl World {
    /// Until every name is there; then everybody else comes, and things begin to go wrong.
    fn begin(&mut self) {
        let is_ready = |world: &Self| matches!(world.clients.first(), Some(Client::Operator(operator)) if operator.is_ready());
        self.run_until(DRAIN_MS, is_ready);
        for client in 1..self.clients.len() {
            let in_us = self.context.rng.u64(0..100_000);
            self.context.plan(client, in_us, CONNECT);
        }
        self.context.happens_in(1_000_000, What::Fault);
    }

    fn run(&mut self, ms: Ms) {
        self.run_until(ms, |_| false);
    }

    /// Nothing goes wrong any more.
    fn close(&mut self) {
        self.context.is_closing = true;
        self.fs.heal();
        self.set_capacity(None);
        let at = self.context.now().ms;
        self.healed_at = at;
        self.context.happens_in(0, What::Start);
        self.context.note_everywhere(Event::Healed { at });
        for (own, client) in self.clients.iter().enumerate() {
            if let Client::Publisher(_) = client {
                self.context.plan(own, 0, LAST);
            }
        }
    }

    /// Whether everything is drained within the time there is.
    fn drain(&mut self) -> bool {
        self.run_until(DRAIN_MS, Self::is_answered);
        // Books that were looked up before the last publish say nothing.
        if let Some(Client::Operator(operator)) = self.clients.first_mut() {
            operator.look_anew();
        }
        let passed_ms = self.context.now().ms - self.healed_at;
        // The answer to what took the last one may still be on its way.
        let is_drained = |world: &Self| world.is_answered() && world.is_drained();
        self.run_until(DRAIN_MS.saturating_sub(passed_ms), is_drained);
        let is_drained = is_drained(self);
        if is_drained {
            let at = self.context.now().ms;
            self.context.note_everywhere(Event::Drained { at });
        }
        is_drained
    }

    fn is_answered(&self) -> bool {
        self.clients.iter().all(|client| match client {
            Client::Publisher(publisher) => publisher.is_done(),
            Client::Consumer(consumer) => consumer.is_done(),
            Client::Operator(_) => true,
        })
    }

    fn is_drained(&self) -> bool {
        let left = |line| self.books(line).is_none_or(|books| books.left > 0);
        !(0..self.plan.lines.len()).any(left)
    }

    fn what_is_left(&self) -> String {
        let books: Vec<_> = (0..self.plan.lines.len())
            .map(|line| self.books(line))
            .collect();
        format!("not drained after {DRAIN_MS} ms: {books:?}")
    }

    /// Books that were looked up after everything was answered.
    fn books(&self, line: usize) -> Option<FinalBooks> {
        let Some(Client::Operator(operator)) = self.clients.first() else {
            return None;
        };
        let books = operator.books().get(&line)?;
        Some(FinalBooks {
            end: books.end,
            settled: books.settled,
            dead: books.dead,
            left: books.ready + books.delayed + books.leased,
        })
    }
}

impl Outcome {
    /// Whether every promise held.
    pub fn is_clean(&self) -> bool {
        let held = |report: &Report| report.violations.is_empty();
        !self.panicked
            && self.stuck.is_empty()
            && self.surprises.is_empty()
            && self.reports.iter().all(held)
    }
}

impl Outcome {
    /// How often a promise was broken.
    pub fn count(&self, violation: Violation) -> u64 {
        self.reports
            .iter()
            .map(|report| report.count(violation))
            .sum()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} ms, {} crashes",
            self.seed, self.length_ms, self.crashes
        )?;
        if self.panicked {
            writeln!(f, "  it panicked")?;
        }
        for words in self.stuck.iter().chain(&self.surprises).take(20) {
            writeln!(f, "  {words}")?;
        }
        for report in self.reports.iter().filter(|it| !it.violations.is_empty()) {
            write!(f, "{report}")?;
        }
        Ok(())
    }
}
