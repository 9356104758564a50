//! A run from its seed to its verdict.

use std::collections::BTreeMap;
use std::fmt;

use super::client::{CONNECT, Client};
use super::plan::Plan;
use super::world::{What, World};
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
    /// The books of each line.
    pub reports: Vec<Report>,
    /// Not drained in time, or never served again.
    pub stuck: Vec<String>,
    /// What should not be said or happen.
    pub surprises: Vec<String>,
    /// Two runs of a seed come to the same.
    pub hash: u64,
}

/// Plays a run.
pub fn play(plan: Plan) -> Outcome {
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
        surprises: std::mem::take(&mut world.context.surprises),
        ..Outcome::default()
    };
    if !drained {
        outcome.stuck.push(world.what_is_left());
    }
    outcome.stuck.append(&mut world.died);
    for (line, events) in world.context.ledger.lines().iter().enumerate() {
        let books = world.books(line).filter(|_| drained);
        let report = accounting::check_exact(events, books);
        world
            .trace
            .note(&[events.len() as u64, report.delivered, report.acked]);
        outcome.reports.push(report);
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
        let at = self.context.now().ms;
        self.healed_at = at;
        self.context.note_everywhere(Event::Healed { at });
    }

    /// Whether everything is drained within the time there is.
    fn drain(&mut self) -> bool {
        self.run_until(DRAIN_MS, Self::is_answered);
        // Books that were looked up before the last publish say nothing.
        if let Some(Client::Operator(operator)) = self.clients.first_mut() {
            operator.look_anew();
        }
        let passed_ms = self.context.now().ms - self.healed_at;
        self.run_until(DRAIN_MS - passed_ms, Self::is_drained);
        self.is_answered() && self.is_drained()
    }

    fn is_answered(&self) -> bool {
        self.clients.iter().all(|client| match client {
            Client::Publisher(publisher) => publisher.is_done(),
            Client::Operator(_) | Client::Consumer(_) => true,
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
            left: books.ready + books.delayed + books.leased + books.dead,
        })
    }
}

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Runs.
    pub seeds: u64,
    /// Runs in which something was wrong.
    pub failed: Vec<u64>,
    /// Simulated.
    pub length_ms: Ms,
    /// Starts of a broker but the first of each run.
    pub crashes: u64,
    /// What went wrong on purpose.
    pub faults: BTreeMap<&'static str, u64>,
    /// Messages confirmed.
    pub messages: u64,
    /// Hand-overs.
    pub delivered: u64,
    /// Hand-overs beyond the first.
    pub redelivered: u64,
    /// Promises broken.
    pub violations: BTreeMap<Violation, u64>,
    /// Not drained, or never served again.
    pub stuck: u64,
    /// What should not be said or happen.
    pub surprises: u64,
}

impl Outcome {
    /// Whether every promise held.
    pub fn is_clean(&self) -> bool {
        let held = |report: &Report| report.violations.is_empty();
        self.stuck.is_empty() && self.surprises.is_empty() && self.reports.iter().all(held)
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

impl Sum {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        if !outcome.is_clean() {
            self.failed.push(outcome.seed);
        }
        self.length_ms += outcome.length_ms;
        self.crashes += outcome.crashes;
        self.messages += outcome.messages;
        self.stuck += u64::from(!outcome.stuck.is_empty());
        self.surprises += outcome.surprises.len() as u64;
        for (fault, count) in &outcome.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        for report in &outcome.reports {
            self.delivered += report.delivered;
            self.redelivered += report.redelivered.all();
            for (violation, count) in &report.violations {
                *self.violations.entry(*violation).or_default() += count;
            }
        }
    }

    fn count(&self, violations: &[Violation]) -> u64 {
        let counts = violations.iter().filter_map(|it| self.violations.get(it));
        counts.sum()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} ms, {} crashes",
            self.seed, self.length_ms, self.crashes
        )?;
        for words in self.stuck.iter().chain(&self.surprises).take(20) {
            writeln!(f, "  {words}")?;
        }
        for report in self.reports.iter().filter(|it| !it.violations.is_empty()) {
            write!(f, "{report}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let corrupt = [Violation::WrongBytes, Violation::Phantom];
        let duplicates = [
            Violation::Unjustified,
            Violation::AfterAck,
            Violation::StoredTwice,
        ];
        let lost = [Violation::Lost, Violation::Gap];
        let known = [&corrupt[..], &duplicates, &lost].concat();
        let others: u64 = self
            .violations
            .iter()
            .filter(|(violation, _)| !known.contains(violation))
            .map(|(_, count)| count)
            .sum();
        let hours = self.length_ms / 36_000;
        writeln!(f, "seeds             {}", self.seeds)?;
        writeln!(f, "simulated hours   {}.{:02}", hours / 100, hours % 100)?;
        writeln!(f, "crashes           {}", self.crashes)?;
        writeln!(f, "faults            {}", self.faults.values().sum::<u64>())?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {fault:<28}{count}")?;
        }
        writeln!(f, "messages          {}", self.messages)?;
        writeln!(
            f,
            "delivered         {}, {} of them again",
            self.delivered, self.redelivered
        )?;
        writeln!(f, "lost              {}", self.count(&lost))?;
        writeln!(f, "unjustified       {}", self.count(&duplicates))?;
        writeln!(f, "corrupt           {}", self.count(&corrupt))?;
        writeln!(f, "stuck             {}", self.stuck)?;
        writeln!(f, "other violations  {}", others + self.surprises)
    }
}
