//! What was measured, as tables for people and as a record.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::course::Run;
use crate::figures::{
    CPU, DRAIN, FILL, Figures, INTENDED_P50, INTENDED_P99, INTENDED_P999, MESSAGES, P50, P99, P999,
    PER_SECOND, RESIDENT, RESTART, figure, medians, ratio, short,
};
use crate::machine::Limits;
use crate::peer::Row;
use crate::task::{Kind, Task};

/// A column: its heading, the figure, and whether it is that of Siding by that of the row.
type Column = (&'static str, &'static str, bool);

const RATIO: &str = "Siding / it";
const RATES: [Column; 3] = [
    ("a second", PER_SECOND, false),
    (RATIO, PER_SECOND, true),
    ("CPU s / M", CPU, false),
];
const SINGLES: [Column; 5] = [
    ("a second", PER_SECOND, false),
    (RATIO, PER_SECOND, true),
    ("p50 µs", P50, false),
    ("p99 µs", P99, false),
    ("CPU s / M", CPU, false),
];
const LATENCIES: [Column; 9] = [
    ("sent: p50 µs", P50, false),
    (RATIO, P50, true),
    ("p99", P99, false),
    ("p99.9", P999, false),
    ("intended: p50", INTENDED_P50, false),
    ("p99", INTENDED_P99, false),
    ("p99.9", INTENDED_P999, false),
    // Who is slower than the beat falls behind for as long as it lasts.
    ("reached a s", PER_SECOND, false),
    ("CPU s / M", CPU, false),
];
const BACKLOGS: [Column; 8] = [
    ("messages", MESSAGES, false),
    ("filled a s", FILL, false),
    (RATIO, FILL, true),
    ("drained a s", DRAIN, false),
    (RATIO, DRAIN, true),
    ("peak MiB", RESIDENT, false),
    ("restart s", RESTART, false),
    ("CPU s / M", CPU, false),
];

const fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Publish | Kind::Consume | Kind::Together | Kind::FanOut(_) => &RATES,
        Kind::Single | Kind::Shared => &SINGLES,
        Kind::Latency(_) => &LATENCIES,
        Kind::Backlog => &BACKLOGS,
    }
}

/// One table for each task; the first row is what the others are compared with.
pub(crate) fn tables(tasks: &[Task], rows: &[Row], runs: &[Run]) -> String {
    let mut text = String::new();
    for task in tasks {
        let of = |row: &Row| outcome(runs, row.name, *task);
        let Some(first) = rows.first() else { break };
        let siding = of(first).and_then(Result::ok).unwrap_or_default();
        let mut lines = vec![heading(*task)];
        for row in rows {
            lines.extend(of(row).map(|outcome| line(*task, row, &siding, outcome)));
        }
        if lines.len() > 1 {
            write!(text, "\n{}", aligned(&lines)).ok();
        }
    }
    text
}

fn heading(task: Task) -> Vec<String> {
    let names = columns(task.kind)
        .iter()
        .map(|(name, ..)| (*name).to_owned());
    let mut cells = vec![task.title()];
    cells.extend(names);
    cells.push("durability".to_owned());
    cells
}

fn line(task: Task, row: &Row, siding: &Figures, outcome: Result<Figures, String>) -> Vec<String> {
    let mut cells = vec![format!("  {}", row.name)];
    match outcome {
        Ok(figures) => cells.extend(columns(task.kind).iter().map(|(_, name, is_ratio)| {
            let here = figure(&figures, name);
            if *is_ratio {
                ratio(figure(siding, name), here)
            } else {
                here.map_or_else(|| "–".to_owned(), short)
            }
        })),
        Err(why) => {
            cells.push(format!("failed: {why}"));
            return cells;
        }
    }
    cells.push(row.durability.to_owned());
    cells
}

/// The medians of a cell, or why one of its runs failed; `None`: it was not run.
fn outcome(runs: &[Run], row: &str, task: Task) -> Option<Result<Figures, String>> {
    let of_cell = runs.iter().filter(|run| run.row == row && run.task == task);
    let outcomes: Result<Vec<_>, _> = of_cell.map(|run| run.figures.clone()).collect();
    match outcomes {
        Ok(figures) if figures.is_empty() => None,
        Ok(figures) => Some(Ok(medians(&figures))),
        Err(why) => Some(Err(why)),
    }
}

/// The first column to the left, the last as it is, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        // Of a line that failed, the reason may be longer than any number.
        let whole = lines.iter().filter(|line| column == 0 || line.len() > 2);
        let cells = whole.filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for line in lines {
        let last = line.len() - 1;
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            match column {
                0 => write!(text, "{cell:<width$}"),
                _ if column == last => write!(text, "   {cell}"),
                _ => write!(text, "  {cell:>width$}"),
            }
            .ok();
        }
        text.push('\n');
    }
    text
}

/// One run in a line, to be read while the others run.
pub(crate) fn progress(run: &Run) -> String {
    let (name, title) = (run.row, run.task.title());
    let said = match &run.figures {
        Err(why) => format!("failed: {why}"),
        Ok(figures) => {
            let parts = columns(run.task.kind)
                .iter()
                .filter(|(.., is_ratio)| !is_ratio);
            let part = |(heading, name, _): &Column| {
                Some(format!("{heading} {}", short(figure(figures, name)?)))
            };
            parts.filter_map(part).collect::<Vec<_>>().join(", ")
        }
    };
    format!("round {} · {name} · {title}: {said}", run.round)
}

/// The machine's limits in a line, and when they were measured.
pub(crate) fn limits(when: &str, limits: &Limits) -> String {
    format!(
        "This machine, {when}, load {:.1}: write + fdatasync of 4 KiB p50 {:.0} µs · \
         sequential writes, a sync each MiB, {:.0} MiB/s · loopback TCP {:.0} MiB/s · TCP echo p50 {:.0} µs",
        limits.load,
        limits.sync_p50_us,
        limits.write_mib_per_second,
        limits.loopback_mib_per_second,
        limits.echo_p50_us,
    )
}

/// Every run, and the medians.
pub(crate) fn record(tasks: &[Task], rows: &[Row], runs: &[Run]) -> (Value, Value) {
    let single = runs.iter().map(|run| {
        let mut entry = named(run.row, run.task);
        entry.insert("round".to_owned(), run.round.into());
        note(&mut entry, &run.figures);
        Value::Object(entry)
    });
    let mut cells = Vec::new();
    for task in tasks {
        for row in rows {
            if let Some(outcome) = outcome(runs, row.name, *task) {
                let mut entry = named(row.name, *task);
                entry.insert("durability".to_owned(), row.durability.into());
                note(&mut entry, &outcome);
                cells.push(Value::Object(entry));
            }
        }
    }
    (single.collect(), cells.into())
}

fn named(row: &str, task: Task) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("row".to_owned(), row.into());
    entry.insert("workload".to_owned(), task.kind.word().into());
    entry.insert("task".to_owned(), task.title().into());
    entry.insert("size".to_owned(), task.size.into());
    entry.insert("connections".to_owned(), task.connections.into());
    entry
}

fn note(entry: &mut Map<String, Value>, outcome: &Result<Figures, String>) {
    match outcome {
        Ok(figures) => {
            for (name, value) in figures {
                entry.insert((*name).to_owned(), json!(value));
            }
        }
        Err(why) => {
            entry.insert("failed".to_owned(), why.as_str().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: Task = Task {
        kind: Kind::Publish,
        size: 100,
        connections: 1,
    };

    fn run(row: &'static str, per_second: Result<f64, &str>) -> Run {
        let figures = per_second.map(|rate| vec![(PER_SECOND, rate), (CPU, 0.5)]);
        Run {
            row,
            task: TASK,
            round: 1,
            figures: figures.map_err(str::to_owned),
        }
    }

    fn rows() -> Vec<Row> {
        let row = |name| Row {
            family: name,
            name,
            durability: "synced",
            install: "",
        };
        vec![row("siding"), row("other"), row("absent")]
    }

    #[test]
    fn a_table_compares_medians_with_the_first_row() {
        let rates = [
            ("siding", 6e6),
            ("siding", 4e6),
            ("siding", 1e6),
            ("other", 2e6),
        ];
        let runs: Vec<_> = rates.map(|(row, rate)| run(row, Ok(rate))).into();
        let table = tables(&[TASK], &rows(), &runs);
        let lines: Vec<&str> = table.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(lines[1].contains("4.00 M"), "{table}");
        assert!(lines[2].contains("2.00"), "{table}");
        assert!(lines[2].ends_with("synced"), "{table}");
    }

    #[test]
    fn one_failed_run_fails_its_cell() {
        let runs = [run("siding", Ok(1e6)), run("siding", Err("it fell over"))];
        let table = tables(&[TASK], &rows(), &runs);
        assert!(table.contains("failed: it fell over"), "{table}");
        let (single, cells) = record(&[TASK], &rows(), &runs);
        assert_eq!(single.as_array().map(Vec::len), Some(2));
        assert_eq!(cells[0]["failed"], "it fell over");
    }
}
