//! `siding cron`: messages that the clock publishes.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use siding::wire::schedule_settings::When;
use siding::wire::{self, ScheduleInfo, ScheduleSettings};
use siding::{Error, Refusal};

use crate::args::{self, Consent, Global};
use crate::attributes::AttributeArgs;
use crate::clock;
use crate::connect::connect;
use crate::exit::{Exit, failure};
use crate::input::Input;
use crate::output::{Output, Rows};
use crate::settings::ms;
use crate::{times, units};

/// `siding cron …`
#[derive(Debug, Subcommand)]
pub(crate) enum CronCommand {
    /// Create a schedule; with the same settings and message again is fine.
    #[command(after_help = "\
Examples:
  siding cron add nightly --cron '0 3 * * *' --zone Europe/Berlin --to jobs 'clean up'
  siding cron add beat --every 10s --to beats --overlap allow
  siding cron add launch --at '2026-12-01 09:00' --to jobs 'go'")]
    Add(Box<AddArgs>),
    /// List schedules with their next, last and missed times.
    #[command(after_help = "Example:\n  siding cron ls -o json")]
    Ls {
        /// Only names that begin so.
        #[arg(default_value = "")]
        prefix: String,
    },
    /// End a schedule; what it has published stays.
    #[command(after_help = "Example:\n  siding cron rm nightly --yes")]
    Rm {
        /// Its name.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Fire now, besides its times.
    #[command(after_help = "Example:\n  siding cron run nightly")]
    Run {
        /// Its name.
        name: String,
    },
    /// Show when schedules fire next, the soonest first.
    #[command(after_help = "Example:\n  siding cron next")]
    Next {
        /// Only names that begin so.
        #[arg(default_value = "")]
        prefix: String,
    },
}

/// `siding cron add`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("when").required(true))]
pub(crate) struct AddArgs {
    /// Its name: letters, digits, `.`, `_`, `-`.
    name: String,
    /// The queue or topic.
    #[arg(long, value_name = "NAME")]
    to: String,
    /// The message's body; `-`: all of stdin [default: empty].
    #[arg(default_value = "", hide_default_value = true)]
    body: String,
    /// By the calendar: minute hour day month weekday, or 6 fields with seconds first.
    #[arg(long, value_name = "EXPRESSION", group = "when")]
    cron: Option<String>,
    /// The calendar's zone, such as Europe/Berlin [default: UTC].
    #[arg(long, requires = "cron", default_value = "", hide_default_value = true)]
    zone: String,
    /// Again and again, at least 1s apart.
    #[arg(long, value_parser = args::duration, value_name = "DURATION", group = "when")]
    every: Option<Duration>,
    /// Once: 2026-12-01T09:00:00Z, "2026-12-01 09:00" or 09:00.
    #[arg(long, value_parser = times::coming, value_name = "TIME", group = "when")]
    at: Option<u64>,
    /// Whether to fire while the job of the last firing has not ended.
    #[arg(long, value_enum, default_value = "skip")]
    overlap: OverlapArg,
    /// A firing missed by more is not made up for [default: 1m].
    #[arg(long, value_parser = args::duration, value_name = "DURATION")]
    catch_up: Option<Duration>,
    #[command(flatten)]
    attributes: AttributeArgs,
}

/// `--overlap`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OverlapArg {
    /// No: the firing is missed.
    Skip,
    /// Yes.
    Allow,
    /// Once, when it has ended.
    BufferOne,
}

/// Runs a `cron` verb.
pub(crate) async fn run(global: &Global, verb: CronCommand) -> Result<Exit> {
    let client = connect(global).await?;
    match verb {
        CronCommand::Add(args) => {
            let body = if args.body == "-" {
                read_stdin().await?
            } else {
                args.body.clone().into_bytes()
            };
            let message = args.attributes.message(body);
            let (name, settings) = (&args.name, args.settings());
            client.create_schedule(name, settings, message).await?;
            if let Some(at) = args.at.filter(|at| *at < clock::unix_ms()) {
                let at = clock::rfc3339(at);
                eprintln!("{at} is over: {name} fires only if that was less than --catch-up ago");
            }
            Ok(Exit::Ok)
        }
        CronCommand::Ls { prefix } => {
            let schedules = client.list_schedules(&prefix).await?;
            print(global, &schedule_rows(&schedules)).await
        }
        CronCommand::Rm { name, consent } => {
            if consent.given(&format!("end schedule {name}"))? {
                let deleted = client.delete_schedule(&name).await;
                deleted.map_err(|error| name_the_mend(error, &name))?;
            }
            Ok(Exit::Ok)
        }
        CronCommand::Run { name } => {
            let fired = client.run_schedule(&name).await;
            fired.map_err(|error| name_the_mend(error, &name))?;
            Ok(Exit::Ok)
        }
        CronCommand::Next { prefix } => {
            let schedules = client.list_schedules(&prefix).await?;
            print(global, &next_rows(&schedules, clock::unix_ms())).await
        }
    }
}

/// What is not there is a schedule, unless it is the name that the schedule publishes into.
fn name_the_mend(error: Error, schedule: &str) -> anyhow::Error {
    match &error {
        Error::Refused(refusal @ Refusal::NotFound { name, .. }) if name == schedule => {
            failure(Exit::NoSuchName, format!("{refusal} · siding cron ls"))
        }
        _ => error.into(),
    }
}

impl AddArgs {
    fn settings(&self) -> ScheduleSettings {
        let when = match (&self.cron, self.every, self.at) {
            (Some(expression), ..) => Some(When::Cron(wire::Cron {
                expression: expression.clone(),
                zone: self.zone.clone(),
            })),
            (None, Some(every), _) => Some(When::EveryMs(ms(every))),
            (None, None, at) => at.map(When::AtMs),
        };
        let overlap = match self.overlap {
            OverlapArg::Skip => wire::Overlap::Skip,
            OverlapArg::Allow => wire::Overlap::Allow,
            OverlapArg::BufferOne => wire::Overlap::BufferOne,
        };
        ScheduleSettings {
            target: self.to.clone(),
            when,
            overlap: overlap.into(),
            catch_up_ms: self.catch_up.map(ms),
        }
    }
}

async fn read_stdin() -> Result<Vec<u8>> {
    let (mut input, mut whole) = (Input::stdin()?, Vec::new());
    loop {
        let block = input.next().await?;
        if block.is_empty() {
            return Ok(whole);
        }
        whole.extend_from_slice(&block);
        if whole.len() > siding::protocol::limits::BODY_BYTES_CEILING {
            let words = "stdin is larger than any broker takes as one body";
            return Err(failure(Exit::BadInput, words));
        }
        input.recycle(block);
    }
}

async fn print(global: &Global, rows: &Rows) -> Result<Exit> {
    let mut output = Output::new(global.output);
    output.rows(rows);
    output.flush().await?;
    Ok(if rows.rows.is_empty() {
        Exit::NothingMatched
    } else {
        Exit::Ok
    })
}

fn schedule_rows(schedules: &[ScheduleInfo]) -> Rows {
    let row = |info: &ScheduleInfo| {
        let settings = info.settings.clone().unwrap_or_default();
        let missed: Vec<_> = info.missed_ms.iter().copied().map(clock::rfc3339).collect();
        vec![
            info.name.as_str().into(),
            settings.target.as_str().into(),
            when(&settings).into(),
            info.next_ms.map(clock::rfc3339).into(),
            info.last_ms.map(clock::rfc3339).into(),
            info.fired.into(),
            missed.join(" ").into(),
        ]
    };
    Rows {
        columns: &["name", "to", "when", "next", "last", "fired", "missed"],
        rows: schedules.iter().map(row).collect(),
    }
}

fn when(settings: &ScheduleSettings) -> String {
    match &settings.when {
        Some(When::AtMs(at)) => format!("at {}", clock::rfc3339(*at)),
        Some(When::EveryMs(ms)) => format!("every {}", units::duration(*ms)),
        Some(When::Cron(cron)) if cron.zone.is_empty() => format!("{} UTC", cron.expression),
        Some(When::Cron(cron)) => format!("{} {}", cron.expression, cron.zone),
        None => String::new(),
    }
}

/// Those that fire again, the soonest first.
fn next_rows(schedules: &[ScheduleInfo], now_ms: u64) -> Rows {
    let mut next: Vec<(u64, &str)> = schedules
        .iter()
        .filter_map(|info| Some((info.next_ms?, info.name.as_str())))
        .collect();
    next.sort_unstable();
    let row = |(at, name): (u64, &str)| -> Vec<Value> {
        let wait = units::about(at.saturating_sub(now_ms));
        vec![name.into(), clock::rfc3339(at).into(), wait.into()]
    };
    Rows {
        columns: &["name", "next", "in"],
        rows: next.into_iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_fire_in_the_order_of_their_next_time() {
        let schedule = |name: &str, next_ms| ScheduleInfo {
            name: name.to_owned(),
            next_ms,
            ..ScheduleInfo::default()
        };
        let schedules = [
            schedule("b", Some(7_000)),
            schedule("never", None),
            schedule("a", Some(62_000)),
        ];
        let rows = next_rows(&schedules, 2_000);
        let names: Vec<_> = rows.rows.iter().map(|row| &row[0]).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(
            (&rows.rows[0][2], &rows.rows[1][2]),
            (&"5s".into(), &"1m".into())
        );
    }
}
