//! Compares what the hot paths take, in instructions, with what they took: `instructions.txt`.
//!
//! Instructions are counted by valgrind and are the same from run to run, whatever else the machine does, so
//! a tenth of a percent is seen. Another compiler counts otherwise: the figures say which one made them.
//! `SIDING_REGENERATE=1 cargo test -p siding-benches --test guard` writes them anew.

#![expect(clippy::print_stdout, reason = "a test that is skipped says why")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What moves by less is not told.
const TOLERATED_PERCENT: f64 = 2.0;

/// Instructions of each case.
type Counted = BTreeMap<String, u64>;

#[test]
fn the_hot_paths_take_no_more_instructions_than_they_did() {
    let Some(compiler) = can_count() else {
        return;
    };
    let counted = count();
    assert!(counted.len() >= 10, "only {counted:?} was counted");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    let before = std::fs::read_to_string(&path).expect("the figures");
    if std::env::var_os("SIDING_REGENERATE").is_some() {
        std::fs::write(&path, regenerated(&before, &compiler, &counted)).expect("written");
        return;
    }
    let (made_by, committed) = parse(&before);
    if made_by != compiler {
        println!("skipped: the figures were made by {made_by}, and this is {compiler}");
        return;
    }
    let moved = moved(&committed, &counted);
    assert!(
        moved.is_empty(),
        "instructions moved; if they are meant to, SIDING_REGENERATE=1 accepts them:\n{moved}"
    );
}

/// The compiler's version; `None`, and why, where nothing can be counted.
fn can_count() -> Option<String> {
    for (tool, mend) in [
        ("valgrind", "apt-get install valgrind"),
        (
            "gungraun-runner",
            "cargo install gungraun-runner --version 0.20.0",
        ),
    ] {
        let found = Command::new(tool).arg("--version").output();
        if !found.is_ok_and(|output| output.status.success()) {
            println!("skipped: instructions are not counted without {tool} ({mend})");
            return None;
        }
    }
    let output = Command::new("rustc").arg("--version").output();
    let output = output.expect("a compiler built this");
    let version = String::from_utf8(output.stdout).expect("a version");
    // As in "rustc 1.95.0 (59807616e 2026-04-14)".
    version.split(" (").next().map(str::to_owned)
}

fn count() -> Counted {
    let output = Command::new(env!("CARGO"))
        .args(["bench", "-p", "siding-benches", "--bench", "instructions"])
        .env("GUNGRAUN_COLOR", "never")
        .env_remove("CARGO_TARGET_TMPDIR")
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo is there");
    assert!(output.status.success(), "the bench does not run");
    counted(&String::from_utf8(output.stdout).expect("text"))
}

/// A case is named in a line like `instructions::engine::publish one:(publishing(1))`, and its instructions
/// stand in one below it, like `Instructions:   294267|294267 (No change)`.
fn counted(output: &str) -> Counted {
    let (mut found, mut case) = (Counted::new(), None);
    for line in output.lines() {
        if let Some(name) = line.strip_prefix("instructions::") {
            let name = name.split(':').collect::<Vec<_>>();
            case = name.get(2).map(|name| (*name).to_owned());
        } else if let Some(figure) = line.trim().strip_prefix("Instructions:") {
            let figure = figure.trim().split('|').next();
            let figure = figure.and_then(|figure| figure.parse().ok());
            found.extend(case.take().zip(figure));
        }
    }
    found
}

/// Who made the figures, and the figures: `case<TAB>instructions`.
fn parse(text: &str) -> (String, Counted) {
    let figure = |line: &str| {
        let (case, figure) = line.split_once('\t')?;
        Some((case.to_owned(), figure.parse().ok()?))
    };
    let made_by = text.lines().find_map(|line| line.strip_prefix("made by "));
    let made_by = made_by.unwrap_or("nobody").to_owned();
    (made_by, text.lines().filter_map(figure).collect())
}

/// The text with other figures.
fn regenerated(before: &str, compiler: &str, counted: &Counted) -> String {
    let is_text = |line: &&str| !line.contains('\t') && !line.starts_with("made by ");
    let text = before
        .lines()
        .filter(is_text)
        .collect::<Vec<_>>()
        .join("\n");
    let mut out = format!("{}\nmade by {compiler}\n", text.trim_end());
    for (case, figure) in counted {
        writeln!(out, "{case}\t{figure}").expect("a string grows");
    }
    out
}

/// A line for each case that is not what it was.
fn moved(committed: &Counted, counted: &Counted) -> String {
    let cases = committed.keys().chain(counted.keys());
    let cases: std::collections::BTreeSet<_> = cases.collect();
    let mut out = String::new();
    for case in cases {
        let told = match (committed.get(case), counted.get(case)) {
            (Some(was), Some(is)) => {
                let percent = (as_float(*is) / as_float(*was) - 1.0) * 100.0;
                if percent.abs() < TOLERATED_PERCENT {
                    continue;
                }
                format!("{was} -> {is} ({percent:+.1} %)")
            }
            (Some(was), None) => format!("{was} -> not counted"),
            (None, Some(is)) => format!("new: {is}"),
            (None, None) => continue,
        };
        writeln!(out, "  {case}: {told}").expect("a string grows");
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn as_float(figure: u64) -> f64 {
    figure as f64
}

#[test]
fn what_moved_is_told_by_case_and_what_hardly_moved_is_not() {
    let figures = |figures: &[(&str, u64)]| -> Counted {
        let owned = figures
            .iter()
            .map(|(case, figure)| ((*case).to_owned(), *figure));
        owned.collect()
    };
    let was = figures(&[("a", 1_000), ("b", 1_000), ("c", 1_000), ("gone", 5)]);
    let is = figures(&[("a", 1_019), ("b", 1_021), ("c", 900), ("new", 7)]);
    assert_eq!(
        moved(&was, &is),
        "  b: 1000 -> 1021 (+2.1 %)\n  c: 1000 -> 900 (-10.0 %)\n  gone: 5 -> not counted\n  new: new: 7\n"
    );
    assert_eq!(moved(&was, &was), "");
    let text = regenerated("words\nmade by x\na\t9\n", "rustc 1", &is);
    assert_eq!(parse(&text), ("rustc 1".to_owned(), is));
    assert!(text.starts_with("words\nmade by rustc 1\n"), "{text}");
}

#[test]
fn the_output_of_the_bench_is_understood() {
    let output = "instructions::engine::publish one:(publishing(1))\n  \
                  Instructions:        294267|294000 (+0.1%)\n  L1 Hits: 3|3\n";
    let case = "publish one".to_owned();
    assert_eq!(counted(output), [(case, 294_267)].into());
}
