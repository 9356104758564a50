//! `siding publish`: an argument or stdin into a queue or topic, confirmed.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use siding::wire::QueueSettings;
use siding::{Client, Error, Level, Refusal};

use crate::args::{self, Global};
use crate::attributes::MessageArgs;
use crate::bars;
use crate::connect::{connect, leave};
use crate::exit::{Exit, failure};
use crate::feed::{Feed, Tally};
use crate::input::Input;
use crate::lines::{Splitter, parse_delimiter};
use crate::output::Output;
use crate::settings::LevelArg;
use crate::signals::Stop;

/// The longest line that is read at all: no broker takes a larger body.
const LINE_BYTES_MAX: usize = siding::protocol::limits::BODY_BYTES_CEILING;

/// How long a publisher that is asked to stop waits for confirms.
const LAST_CONFIRMS: Duration = Duration::from_secs(1);

/// `siding publish --help`
const EXAMPLES: &str = "\
Examples:
  siding publish emails 'hello' --key user-7 -H lang=en --delay 10m
  seq 1 1000 | siding publish jobs --create
  echo '{\"body\":\"o-17\",\"priority\":9,\"dedup_id\":\"o-17\"}' | siding publish orders --json";

/// `siding publish`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag as typed")]
pub(crate) struct PublishArgs {
    /// Queue or topic.
    name: String,
    /// One message; without it, or with `-`, stdin, one message a line.
    body: Option<String>,
    #[command(flatten)]
    pub(crate) message: MessageArgs,
    /// Messages are JSON objects, one a line, as `consume --json` prints them: body or `body_hex`, key,
    /// `routing_key`, headers, priority, delay, `deliver_at`, ttl, `dedup_id`.
    #[arg(long, conflicts_with_all = ["AttributeArgs", "MessageArgs"])]
    pub(crate) json: bool,
    /// Messages end with a NUL byte instead of a line end.
    #[arg(short = '0', long, conflicts_with = "delimiter")]
    null: bool,
    /// Messages end with this byte.
    #[arg(short = 'd', long, value_parser = parse_delimiter)]
    delimiter: Option<u8>,
    /// All of stdin is one message.
    #[arg(long, conflicts_with_all = ["null", "delimiter"])]
    whole: bool,
    /// Messages sent together at most.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) batch: u32,
    /// How long a batch waits to be filled.
    #[arg(long, default_value = "2ms", value_parser = args::duration)]
    pub(crate) linger: Duration,
    /// Messages that may wait for their confirm.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) window: u32,
    /// Messages a second at most, such as 1000/s.
    #[arg(long, value_parser = args::rate)]
    pub(crate) rate: Option<f64>,
    /// When a limit of the broker is reached.
    #[arg(long, value_enum, default_value = "wait")]
    pub(crate) on_busy: OnBusyArg,
    /// What a confirm means [default: the queue's own].
    #[arg(long, value_enum)]
    pub(crate) level: Option<LevelArg>,
    /// Create the queue if there is nothing of that name.
    #[arg(long)]
    create: bool,
    /// Print NAME@OFFSET of each message once it is confirmed.
    #[arg(long)]
    pub(crate) print_ids: bool,
}

/// What to do when a limit of the broker is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnBusyArg {
    /// Try again until there is room.
    Wait,
    /// Stop with exit code 75.
    Fail,
    /// Leave the message out, count it, go on; exit code 3.
    Drop,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: PublishArgs) -> Result<Exit> {
    refuse_one_id_for_many(&args)?;
    let mut stop = Stop::listen()?;
    let client = connect(global).await?;
    if args.create {
        create_if_missing(&client, &args.name).await?;
    }
    let mut feed = Feed::open(&client, &args.name, &args).await?;
    let mut output = Output::new(global.output);
    let progress = progress();
    let all = async {
        let given = feed_all(&mut feed, &args, &mut output, &progress).await;
        // What was given before an error is still confirmed, and counted.
        let confirmed = feed.finish(&mut output).await;
        given.and(confirmed)
    };
    let asked = tokio::select! {
        ran = all => ran.map(|()| None),
        exit = stop.asked() => Ok(Some(exit)),
    };
    if let Ok(Some(_)) = asked {
        // Most confirms are under way already; a broker that is busy may keep the rest for ever.
        drop(tokio::time::timeout(LAST_CONFIRMS, feed.finish(&mut output)).await);
    }
    progress.finish_and_clear();
    let tally = feed.tally();
    let asked = asked.map_err(|error| name_the_mend(error, &args.name));
    if asked.is_ok() || tally.confirmed.is_some_and(|confirmed| confirmed > 0) {
        eprintln!("{}", summary(&args.name, &tally));
    }
    output.flush().await?;
    match asked? {
        // The input is not at its end: never a success.
        Some(Exit::Interrupted) => return Ok(Exit::Interrupted),
        Some(_) => return Ok(Exit::PartlyDone),
        None => leave(client, None).await,
    }
    Ok(if tally.dropped > 0 {
        Exit::PartlyDone
    } else {
        Exit::Ok
    })
}

/// Only the first of many messages of one id would be stored.
fn refuse_one_id_for_many(args: &PublishArgs) -> Result<()> {
    let one = args.whole || args.body.as_deref().is_some_and(|body| body != "-");
    if args.message.dedup.is_some() && !one {
        let words = "--dedup names one message, and stdin has one a line";
        let mend = "give BODY, or --whole, or --json with a dedup_id in each line";
        return Err(failure(Exit::Usage, format!("{words} · {mend}")));
    }
    Ok(())
}

/// What is not there can be created on the way; a name that is meant otherwise is told first.
fn name_the_mend(error: anyhow::Error, name: &str) -> anyhow::Error {
    match error.downcast_ref::<Error>() {
        Some(Error::Refused(refusal @ Refusal::NotFound { .. })) => failure(
            Exit::NoSuchName,
            format!("{refusal} · --create, or siding queue create {name}"),
        ),
        _ => error,
    }
}

async fn create_if_missing(client: &Client, name: &str) -> Result<()> {
    match client.describe(name).await {
        Err(Error::Refused(Refusal::NotFound { .. })) => {
            Ok(client.create_queue(name, QueueSettings::default()).await?)
        }
        other => Ok(other.map(drop)?),
    }
}

async fn feed_all(
    feed: &mut Feed,
    args: &PublishArgs,
    output: &mut Output,
    progress: &ProgressBar,
) -> Result<()> {
    if let Some(body) = args.body.as_deref().filter(|body| *body != "-") {
        return feed.send(body.as_bytes(), output).await;
    }
    let mut input = Input::stdin()?;
    if args.whole {
        let body = read_whole(&mut input).await?;
        return feed.send(&body, output).await;
    }
    let delimiter = if args.null {
        0
    } else {
        args.delimiter.unwrap_or(b'\n')
    };
    let mut splitter = Splitter::new(delimiter);
    loop {
        let block = tokio::select! {
            biased;
            block = input.next() => block?,
            () = feed.confirmed() => {
                feed.show_confirmed(output).await?;
                continue;
            }
        };
        if block.is_empty() {
            break;
        }
        let mut rest = block.as_slice();
        while let Some(body) = splitter.next(&mut rest) {
            feed.send(body, output).await?;
        }
        if splitter.unfinished() > LINE_BYTES_MAX {
            let words = format!(
                "line {}: longer than any broker takes",
                feed.tally().sent + 1
            );
            return Err(failure(Exit::BadInput, words));
        }
        progress.set_position(feed.tally().sent);
        input.recycle(block);
    }
    match splitter.rest() {
        Some(body) => feed.send(body, output).await,
        None => Ok(()),
    }
}

async fn read_whole(input: &mut Input) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let block = input.next().await?;
        if block.is_empty() {
            return Ok(whole);
        }
        whole.extend_from_slice(&block);
        input.recycle(block);
        if whole.len() > LINE_BYTES_MAX {
            return Err(failure(
                Exit::BadInput,
                "stdin is larger than any broker takes as one body",
            ));
        }
    }
}

fn summary(name: &str, tally: &Tally) -> String {
    let Some(confirmed) = tally.confirmed else {
        return format!(
            "sent {} {} to {name}; not all confirmed",
            tally.sent,
            messages(tally.sent)
        );
    };
    let seconds = tally.elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = confirmed as f64 / seconds.max(1e-9);
    let open = tally
        .sent
        .saturating_sub(confirmed)
        .saturating_sub(tally.dropped);
    let mut parts = vec![
        format!("confirmed {confirmed} {} in {name}", messages(confirmed)),
        format!("{seconds:.2} s"),
        format!("{rate:.0}/s"),
    ];
    if tally.level == Some(Level::Written) {
        parts.push("written, not waited for a sync".to_owned());
    }
    if let Some(first) = tally.first_duplicate {
        let which = match tally.duplicates {
            1 => format!("1 duplicate, stored before as {name}@{first}"),
            many => format!("{many} duplicates, the first stored before as {name}@{first}"),
        };
        parts.push(which);
    }
    if tally.dropped > 0 {
        parts.push(format!("{} dropped: busy", tally.dropped));
    }
    if open > 0 {
        parts.push(format!("{open} not confirmed"));
    }
    parts.join(" · ")
}

const fn messages(count: u64) -> &'static str {
    if count == 1 { "message" } else { "messages" }
}

/// Hidden where stderr is no terminal.
fn progress() -> ProgressBar {
    let template = "{spinner} {human_pos} messages · {rate}";
    let bar = ProgressBar::new_spinner();
    bar.with_style(bars::style(template, ProgressStyle::default_spinner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_is_confirmed_dropped_and_open() {
        let tally = Tally {
            sent: 10,
            confirmed: Some(7),
            duplicates: 0,
            first_duplicate: None,
            dropped: 2,
            level: Some(Level::Synced),
            elapsed: Duration::from_secs(2),
        };
        let text = summary("jobs", &tally);
        assert!(
            text.contains("confirmed 7 messages in jobs · 2.00 s · 4/s"),
            "{text}"
        );
        assert!(
            text.contains("2 dropped") && text.contains("1 not confirmed"),
            "{text}"
        );
        let unknown = summary(
            "jobs",
            &Tally {
                confirmed: None,
                ..tally
            },
        );
        assert_eq!(unknown, "sent 10 messages to jobs; not all confirmed");
        let repeated = |duplicates| {
            let first_duplicate = Some(4);
            let tally = Tally {
                duplicates,
                first_duplicate,
                ..tally
            };
            summary("jobs", &tally)
        };
        assert!(repeated(1).contains("1 duplicate, stored before as jobs@4"));
        assert!(repeated(3).contains("3 duplicates, the first stored before as jobs@4"));
        let level = Some(Level::Written);
        let written = summary("jobs", &Tally { level, ..tally });
        assert!(
            written.contains("written, not waited for a sync"),
            "{written}"
        );
    }

    #[test]
    fn a_name_that_is_not_there_is_told_with_the_flag_that_creates_it() {
        let refusal = Refusal::NotFound {
            name: "emial".to_owned(),
            nearest: vec!["email".to_owned()],
        };
        let text = name_the_mend(Error::from(refusal).into(), "emial").to_string();
        assert!(text.contains("did you mean \"email\"?"), "{text}");
        assert!(text.contains("--create"), "{text}");
    }
}
