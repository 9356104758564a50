//! The command line as typed: global options, the verbs, and the values they share.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    bench, consume, cron, dead, explain, job, peek, publish, queue, salvage, settle, sub, topic,
    work,
};
use crate::exit::{Exit, failure};
use crate::output::Format;
use crate::quickstart;

/// Durable queues and topics from the command line.
///
/// stdout carries data only; progress, hints and summaries go to stderr.
#[derive(Debug, Parser)]
#[command(
    name = "siding",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 ok · 1 nothing matched · 2 usage · 3 partly done · 65 bad input line · \
66 no such name · 69 unreachable · 73 exists with other settings · 75 busy · 77 denied · \
130 interrupted

A first minute: siding quickstart
A second one:   seq 1 1000 | siding publish jobs --create, then: siding consume jobs --drain";

/// Options every verb takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Every command")]
pub(crate) struct Global {
    /// Where the broker listens: siding://HOST:PORT or HOST:PORT.
    #[arg(
        long,
        global = true,
        env = "SIDING_URL",
        hide_env_values = true,
        default_value = "siding://127.0.0.1:7433"
    )]
    pub(crate) url: String,
    /// Token to authenticate with.
    #[arg(long, global = true, env = "SIDING_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// How data are written; default: a table on a terminal, TSV without a header in a pipe.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish messages: an argument, or stdin, one message a line.
    Publish(publish::PublishArgs),
    /// Take messages, print them, ack them once they are printed.
    Consume(consume::ConsumeArgs),
    /// Run a command for each message: xargs fed from a durable queue.
    #[command(long_about = work::ABOUT)]
    Work(work::WorkArgs),
    /// Look at messages without taking them.
    Peek(peek::PeekArgs),
    /// Settle by hand: done.
    Ack(settle::AckArgs),
    /// Settle by hand: failed, again after the backoff.
    Nack(settle::NackArgs),
    /// Settle by hand: given back uncharged.
    Release(settle::ReleaseArgs),
    /// Settle by hand: to the dead letters.
    Reject(settle::RejectArgs),
    /// Keep what is held by hand for longer.
    Extend(settle::ExtendArgs),
    /// Show how one message stands: state, attempts, holder, progress, result.
    Get(job::GetArgs),
    /// Wait for the end of one message.
    Await(job::AwaitArgs),
    /// Take one message back; its holder is told if it has one.
    Cancel(job::CancelArgs),
    /// Say why a message, or a whole queue, does not move.
    Explain(explain::ExplainArgs),
    /// Create, list, show, remove, purge, pause, resume, seek queues.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Create, list, show, remove, purge topics.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Create, list, show, remove, purge, pause, resume, seek subscriptions.
    #[command(subcommand)]
    Sub(sub::SubCommand),
    /// List, show, redrive, drop dead letters.
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Publish by the clock: add, list, remove, run schedules.
    #[command(subcommand)]
    Cron(cron::CronCommand),
    /// Measure a broker: publish, consume, pingpong.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Open a data directory that a broker refuses as damaged.
    #[command(long_about = salvage::ABOUT)]
    Salvage(salvage::SalvageArgs),
    /// Watch real work go through a real broker started in this process.
    Quickstart(quickstart::QuickstartArgs),
}

/// For verbs that destroy: asks on a terminal, needs `--yes` in a pipe.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Consent {
    /// Do it without asking.
    #[arg(short, long)]
    yes: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Consent {
    /// Whether to go on with `deed` ("remove queue jobs with 12 messages").
    ///
    /// # Errors
    /// Usage, if nobody is there to ask.
    pub(crate) fn given(self, deed: &str) -> anyhow::Result<bool> {
        if self.dry_run {
            eprintln!("would {deed}");
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            return Err(failure(Exit::Usage, format!("to {deed}, say --yes")));
        }
        eprint!("{deed}? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// For verbs that take what matches.
#[derive(Clone, Debug, Args)]
pub(crate) struct FilterArg {
    /// Only what matches, such as `routing_key matches eu.> and header lang in (en, de)`.
    #[arg(
        long,
        value_name = "EXPR",
        default_value = "",
        hide_default_value = true,
        long_help = FILTER
    )]
    pub(crate) filter: String,
}

const FILTER: &str = "\
Only what matches. An expression asks `routing_key`, `key` or `header NAME` (and, but for
subscriptions, `body`, and of dead letters `reason` and `detail`), with `eq X`, `in (X, Y)`,
`prefix X`, `contains X` or `exists`, joined by `and`, `or`, `not` and parentheses. `routing_key
matches eu.*.new` takes one word for `*`, the rest for `>`. A value with blanks stands in double
quotes.";

/// A duration such as `30s`, `2m`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; for example 30s or 10m"))
}

/// A number of bytes such as `4096`, `64KiB`, `1GiB`, `5MB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "t" | "ti" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => {
            return Err(format!(
                "{unit:?} is not a unit of bytes; for example 64KiB or 1GiB"
            ));
        }
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "a size begins with a number".to_owned())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "too large".to_owned())
}

/// Messages a second, such as `1000` or `1000/s`.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a rate is a number above 0, such as 1000/s".to_owned()),
    }
}

/// Whole messages a second, such as `50` or `50/s`.
pub(crate) fn whole_rate(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse() {
        Ok(rate @ 1..) => Ok(rate),
        _ => Err("a rate is a whole number above 0, such as 50/s".to_owned()),
    }
}

/// `name=value`.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a header is NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_take_binary_and_decimal_units() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("64k"), Ok(65_536));
        assert_eq!(bytes("5MB"), Ok(5_000_000));
        assert_eq!(bytes("1 GiB"), Ok(1 << 30));
        assert!(bytes("12 parsecs").is_err());
        assert!(bytes("MiB").is_err());
        assert!(bytes("99999999999TiB").is_err());
    }

    #[test]
    fn rates_are_positive() {
        assert_eq!(rate("1000/s"), Ok(1000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert!(rate("0").is_err());
        assert!(rate("fast").is_err());
        assert_eq!(whole_rate("50/s"), Ok(50));
        assert!(whole_rate("0").is_err() && whole_rate("0.5").is_err());
    }

    #[test]
    fn a_header_may_hold_an_equals_sign_in_its_value() {
        assert_eq!(header("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(header("a").is_err());
        assert!(header("=b").is_err());
    }
}
