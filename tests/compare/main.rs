//! `compare`: Siding beside the brokers people would pick instead, on one machine in one run.
//!
//! `cargo run --release -p siding-compare --features peers`
//!
//! Each row is a broker in one durability, started as a process of its own on a directory and port of its
//! own, driven by its own client. Each round runs every cell of every row and begins one row further on than
//! the one before; a table gives the medians. A cell is a figure only if every message was confirmed, came
//! back once, and none is left; else it is `failed`.

mod bodies;
mod cell;
mod clock;
mod course;
mod figures;
mod latency;
mod machine;
mod pacer;
mod peer;
mod peers;
mod plan;
mod report;
mod server;
mod task;
mod usage;
mod workloads;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::machine::Limits;
use crate::peer::{Peer, Row};
use crate::plan::{Plan, USAGE};

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        writeln!(std::io::stdout(), "{USAGE}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = match Plan::parse(words.into_iter()) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(2));
        }
    };
    server::ensure_on_disk(&plan.dir)?;
    let tasks = task::all();
    let wanted = |task: &task::Task| plan.wants_workload(task.kind.word());
    let tasks: Vec<_> = tasks.into_iter().filter(wanted).collect();
    let peers = found(&plan);
    let rows: Vec<Row> = peers.iter().map(|peer| peer.row()).collect();
    let versions: Value = peers.iter().map(|peer| version(peer.as_ref())).collect();
    let machine = machine::describe(&plan.dir);
    let before = Limits::measure(&plan.dir, plan.scale)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", report::limits("before", &before))?;
    let mut runs = Vec::new();
    let finished = course::run(&plan, &peers, &tasks, |run| {
        eprintln!("{}", report::progress(&run));
        runs.push(run);
    })?;
    // Others on the machine, and what was written meanwhile, show in the difference.
    let after = Limits::measure(&plan.dir, plan.scale)?;
    writeln!(out, "{}", report::limits("after", &after))?;
    write!(out, "{}", report::tables(&tasks, &rows, &runs))?;
    if let Some(path) = &plan.json {
        let (runs, medians) = report::record(&tasks, &rows, &runs);
        let record = json!({
            "unix_seconds": clock::unix_seconds(),
            "settings": plan.record(),
            "load": cell::settings(),
            "machine": machine,
            "limits": { "before": before.record(), "after": after.record() },
            "versions": versions,
            "medians": medians,
            "runs": runs,
            "finished": finished,
        });
        let text = serde_json::to_string_pretty(&record)?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    let is_clean = finished && runs.iter().all(|run| run.figures.is_ok());
    Ok(if is_clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The rows that are wanted and whose server is installed; tells of the others.
fn found(plan: &Plan) -> Vec<Box<dyn Peer>> {
    let mut missing: Option<&str> = None;
    let mut rows = peers::all();
    rows.retain(|peer| {
        let row = peer.row();
        if !plan.wants_peer(row.family, row.name) {
            return false;
        }
        let is_there = peer.program().is_some();
        if !is_there && missing != Some(row.family) {
            missing = Some(row.family);
            eprintln!("{} is not installed: {}", row.family, row.install);
        }
        is_there
    });
    match server::find("iggy-server") {
        Some(path) => eprintln!("{} is there, but has no driver here", path.display()),
        None => eprintln!("iggy-server is not found, and would have no driver here"),
    }
    if !cfg!(feature = "peers") {
        eprintln!("built without the others: `--features peers` adds them");
    }
    rows
}

fn version(peer: &dyn Peer) -> Value {
    json!({
        "row": peer.row().name,
        "durability": peer.row().durability,
        "version": peer.version(),
    })
}
