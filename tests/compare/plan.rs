//! The arguments.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::task::WORDS;

pub(crate) const USAGE: &str = "compare [--peers siding,redis,…] [--workloads publish,consume,together,\
latency,single,shared,fan-out,backlog] [--rounds 3] [--scale 1] [--json FILE] [--dir DIR]";

/// What is run, and how long.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Families or rows; empty: all.
    pub(crate) peers: Vec<String>,
    /// Empty: all.
    pub(crate) workloads: Vec<String>,
    pub(crate) rounds: u32,
    /// Of the length of every cell.
    pub(crate) scale: f64,
    pub(crate) json: Option<PathBuf>,
    /// Where the servers' directories are made.
    pub(crate) dir: PathBuf,
}

impl Plan {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut plan = Self {
            peers: Vec::new(),
            workloads: Vec::new(),
            rounds: 3,
            scale: 1.0,
            json: None,
            dir: std::env::temp_dir(),
        };
        while let Some(flag) = words.next() {
            let value = words.next().context(USAGE)?;
            match flag.as_str() {
                "--peers" => plan.peers = list(&value),
                "--workloads" => plan.workloads = list(&value),
                "--rounds" => plan.rounds = value.parse().context(USAGE)?,
                "--scale" => plan.scale = value.parse().context(USAGE)?,
                "--json" => plan.json = Some(value.into()),
                "--dir" => plan.dir = value.into(),
                _ => bail!(USAGE),
            }
        }
        for word in &plan.workloads {
            let known = WORDS.contains(&word.as_str());
            ensure!(known, "no workload is called {word}: {USAGE}");
        }
        ensure!((1..=100).contains(&plan.rounds), "--rounds is 1 to 100");
        ensure!((0.01..=10.0).contains(&plan.scale), "--scale is 0.01 to 10");
        Ok(plan)
    }

    /// For the record.
    pub(crate) fn record(&self) -> Value {
        json!({
            "peers": self.peers,
            "workloads": self.workloads,
            "rounds": self.rounds,
            "scale": self.scale,
            "dir": self.dir.display().to_string(),
        })
    }

    /// Whether this row was asked for, by its own name or its family's.
    pub(crate) fn wants_peer(&self, family: &str, name: &str) -> bool {
        let asked = |asked: &String| asked == family || *asked == name.replace(' ', "-");
        self.peers.is_empty() || self.peers.iter().any(asked)
    }

    pub(crate) fn wants_workload(&self, word: &str) -> bool {
        self.workloads.is_empty() || self.workloads.iter().any(|asked| asked == word)
    }
}

fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(|word| word.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Result<Plan> {
        Plan::parse(line.split_ascii_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_row_is_asked_for_by_its_own_name_or_its_familys() {
        let some = plan("--peers siding,redis-always").unwrap();
        assert!(some.wants_peer("siding", "siding"));
        assert!(some.wants_peer("redis", "redis always"));
        assert!(!some.wants_peer("redis", "redis everysec"));
        assert!(plan("").unwrap().wants_peer("any", "any"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(plan("--workloads publish,latency --rounds 1 --scale 0.1").is_ok());
        for line in [
            "--workloads publsh",
            "--rounds 0",
            "--scale 0",
            "--so x",
            "--rounds",
        ] {
            assert!(plan(line).is_err(), "{line}");
        }
    }
}
