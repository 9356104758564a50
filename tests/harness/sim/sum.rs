//! What many runs came to.

use std::collections::BTreeMap;
use std::fmt;

use super::outcome::Outcome;
use super::watch::Exercised;
use crate::accounting::{Ms, Violation};

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
    /// What they met.
    pub exercised: Exercised,
    /// Hand-overs.
    pub delivered: u64,
    /// Hand-overs beyond the first.
    pub redelivered: u64,
    /// Promises broken.
    pub violations: BTreeMap<Violation, u64>,
    /// Runs that broke an assertion.
    pub panicked: u64,
    /// Not drained, or never served again.
    pub stuck: u64,
    /// What should not be said or happen.
    pub surprises: u64,
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
        self.exercised.add(&outcome.exercised);
        self.panicked += u64::from(outcome.panicked);
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

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let corrupt = [Violation::WrongBytes, Violation::Phantom];
        let duplicates = [
            Violation::Unjustified,
            Violation::AfterAck,
            Violation::StoredTwice,
            Violation::Overlap,
        ];
        let lost = [Violation::Lost, Violation::Gap, Violation::Vanished];
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
        write!(f, "{}", self.exercised)?;
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
        writeln!(f, "panicked          {}", self.panicked)?;
        writeln!(f, "other violations  {}", others + self.surprises)
    }
}
