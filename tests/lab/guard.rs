//! What the hot paths take, in instructions, compared with what they took: `benches/instructions.txt`.
//!
//! Instructions are counted by valgrind and are the same from run to run, whatever else the machine does, so
//! a tenth of a percent is seen. Another compiler counts otherwise: the figures say which one made them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// What moves by less is not told.
const TOLERATED_PERCENT: f64 = 2.0;

/// Instructions of each case.
type Counted = BTreeMap<String, u64>;

/// Counts the instructions of the hot paths and compares them with the committed figures
///
/// Wants valgrind, and gungraun-runner by `cargo install gungraun-runner --version 0.20.0`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Writes the figures anew instead
    #[arg(long)]
    accept: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let compiler = can_count()?;
    let counted = count()?;
    ensure!(counted.len() >= 10, "only {counted:?} was counted");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/instructions.txt");
    let before = std::fs::read_to_string(&path).context("the figures")?;
    if args.accept {
        std::fs::write(&path, regenerated(&before, &compiler, &counted)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (made_by, committed) = parse(&before);
    ensure!(
        made_by == compiler,
        "the figures were made by {made_by}, and this is {compiler}: nothing to compare with"
    );
    let mut out = std::io::stdout().lock();
    let moved = moved(&committed, &counted)?;
    if moved.is_empty() {
        let cases = counted.len();
        writeln!(out, "{cases} cases, none moved by {TOLERATED_PERCENT} %")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "moved; if they are meant to, --accept takes them:")?;
    write!(out, "{moved}")?;
    Ok(ExitCode::FAILURE)
}

/// The compiler's version, where instructions can be counted.
fn can_count() -> Result<String> {
    for (tool, mend) in [
        ("valgrind", "apt-get install valgrind"),
        (
            "gungraun-runner",
            "cargo install gungraun-runner --version 0.20.0",
        ),
    ] {
        let found = Command::new(tool).arg("--version").output();
        if !found.is_ok_and(|output| output.status.success()) {
            bail!("instructions are not counted without {tool}: {mend}");
        }
    }
    let output = Command::new("rustc").arg("--version").output()?;
    let version = String::from_utf8(output.stdout)?;
    // As in "rustc 1.95.0 (59807616e 2026-04-14)".
    let version = version.split(" (").next().context("a version")?;
    Ok(version.to_owned())
}

fn count() -> Result<Counted> {
    let output = Command::new(env!("CARGO"))
        .args(["bench", "-p", "siding-benches", "--bench", "instructions"])
        .env("GUNGRAUN_COLOR", "never")
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the bench does not run");
    Ok(counted(&String::from_utf8(output.stdout)?))
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
fn regenerated(before: &str, compiler: &str, counted: &Counted) -> Result<String> {
    let is_text = |line: &&str| !line.contains('\t') && !line.starts_with("made by ");
    let text = before
        .lines()
        .filter(is_text)
        .collect::<Vec<_>>()
        .join("\n");
    let mut out = format!("{}\nmade by {compiler}\n", text.trim_end());
    for (case, figure) in counted {
        writeln!(out, "{case}\t{figure}")?;
    }
    Ok(out)
}

/// A line for each case that is not what it was.
fn moved(committed: &Counted, counted: &Counted) -> Result<String> {
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
        writeln!(out, "  {case}: {told}")?;
    }
    Ok(out)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn as_float(figure: u64) -> f64 {
    figure as f64
}

#[cfg(test)]
mod tests {
    use super::*;

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
            moved(&was, &is).expect("told"),
            "  b: 1000 -> 1021 (+2.1 %)\n  c: 1000 -> 900 (-10.0 %)\n  gone: 5 -> not counted\n  new: new: 7\n"
        );
        assert_eq!(moved(&was, &was).expect("told"), "");
        let text = regenerated("words\nmade by x\na\t9\n", "rustc 1", &is).expect("told");
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
}
