//! `siding consume`: take messages, print them, ack them once they are printed.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::Value;
use siding::{
    Client, Consumer, DeliveredBatch, Error, ReceiveOptions, Refusal, SettleOutcome,
    SettleOutcomeKind, Settled, Start,
};

use crate::args::{self, FilterArg, Global};
use crate::clock;
use crate::connect::{connect, leave, name_of};
use crate::drain::{self, LOOK_EVERY, Next};
use crate::ephemeral;
use crate::exit::{Exit, failure};
use crate::gap;
use crate::output::{Format, Output};
use crate::shown::Shown;
use crate::signals::Stop;
use crate::template::Template;
use crate::times;

/// `siding consume`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  siding consume jobs --drain > jobs.txt
  siding consume orders --from 2h --filter 'routing_key matches eu.>' --json
  siding consume jobs --ack manual --json -n 1      # then: siding ack jobs@17 --grant 1.4")]
pub(crate) struct ConsumeArgs {
    /// A queue, TOPIC/SUBSCRIPTION, or, with --from or --filter, a topic.
    address: String,
    /// End after so many messages. `| head -1` takes more: what a pipe took counts as printed.
    #[arg(short = 'n', long, group = "until", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Go on until interrupted. The default.
    #[arg(long, group = "until")]
    follow: bool,
    /// End when nothing is ready and nothing is leased to this client.
    #[arg(long, group = "until")]
    drain: bool,
    /// End when nothing came for so long.
    #[arg(long, value_parser = args::duration, conflicts_with = "drain")]
    wait: Option<Duration>,
    /// How long a message is leased; default: the queue's own.
    #[arg(long, value_parser = args::duration)]
    visibility: Option<Duration>,
    /// Messages on their way to be printed at most.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    window: u32,
    /// How a message is printed: %b body, %i id, %a attempt, %k key, %t time, %h{NAME} header;
    /// default: %b\n.
    #[arg(long, value_parser = Template::parse, conflicts_with = "json")]
    format: Option<Template>,
    /// One JSON object a line, as with -o ndjson.
    #[arg(long)]
    json: bool,
    /// When a message is acked.
    #[arg(long, value_enum, default_value = "after")]
    ack: AckArg,
    /// Read a topic from here on, by a subscription that lives as long as this command: earliest,
    /// latest, an offset, 2h (ago), or a time [default with --filter: latest].
    #[arg(long, value_name = "WHERE", value_parser = times::start)]
    from: Option<Start>,
    #[command(flatten)]
    matching: FilterArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AckArg {
    /// Once it is printed and flushed.
    After,
    /// Not by this command: settle it with `siding ack ID --grant G`, as --json prints them, before
    /// its lease runs out.
    Manual,
    /// Before it is sent: at most once. What is on its way when the broker, the connection or this
    /// command ends is lost.
    OnDelivery,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, mut args: ConsumeArgs) -> Result<Exit> {
    refuse_what_cannot_be(&args)?;
    let mut stop = Stop::listen()?;
    let client = connect(global).await?;
    if args.from.is_some() || !args.matching.filter.is_empty() {
        let (topic, filter) = (&args.address, &args.matching.filter);
        args.address = ephemeral::subscribe(&client, topic, args.from, filter).await?;
    }
    let printer = Printer {
        name: name_of(&args.address).to_owned(),
        template: template(global.output, &args),
        held: (args.ack == AckArg::Manual).then(|| args.address.clone()),
        output: Output::new(global.output),
        printed: 0,
    };
    let by_poll = args.count.is_some() && args.ack == AckArg::After;
    let exit = if by_poll || args.ack == AckArg::Manual {
        poll(&client, &args, printer, &mut stop).await
    } else {
        stream(&client, &args, printer, &mut stop).await
    };
    let exit = exit.map_err(|error| name_the_mend(error, &args.address))?;
    leave(client, None).await;
    Ok(exit)
}

/// A topic has no consumers of its own, but can be read by an ephemeral subscription.
fn name_the_mend(error: anyhow::Error, address: &str) -> anyhow::Error {
    match error.downcast_ref::<Error>() {
        // A name that is none has a range.
        Some(Error::Refused(Refusal::Invalid {
            field, min, max, ..
        })) if field == "address" && min == max => {
            let words = format!("{address} is a topic, read through a subscription");
            let mend =
                format!("siding consume {address} --from latest, or siding sub ls {address}/");
            failure(Exit::Usage, format!("{words} · {mend}"))
        }
        _ => error,
    }
}

/// `None`: JSON lines. Asked for by `--json`, or by `-o` as everywhere.
fn template(output: Option<Format>, args: &ConsumeArgs) -> Option<Template> {
    let json = args.json || matches!(output, Some(Format::Json | Format::Ndjson));
    match &args.format {
        Some(format) => Some(format.clone()),
        None if json => None,
        None => Some(Template::line()),
    }
}

fn refuse_what_cannot_be(args: &ConsumeArgs) -> Result<()> {
    if args.ack == AckArg::Manual && args.drain {
        let words = "--drain needs acks, --ack manual leaves messages leased · -n N, or --wait D";
        return Err(failure(Exit::Usage, words));
    }
    Ok(())
}

/// Takes batches by long poll: never more than asked for, and leases that outlive the connection.
async fn poll(
    client: &Client,
    args: &ConsumeArgs,
    mut printer: Printer,
    stop: &mut Stop,
) -> Result<Exit> {
    const POLL: Duration = Duration::from_secs(5);
    let wanted = args.count.unwrap_or(u64::MAX);
    let mut idle = Duration::ZERO;
    let mut lost = 0;
    while printer.printed < wanted {
        let left = u32::try_from(wanted - printer.printed).unwrap_or(u32::MAX);
        let wait = args
            .wait
            .map_or(POLL, |wait| wait.saturating_sub(idle).min(POLL));
        let options = ReceiveOptions {
            max_messages: left.min(siding::protocol::limits::RECEIVE_MESSAGES_MAX),
            wait,
            visibility: args.visibility,
            ..ReceiveOptions::default()
        };
        let received = tokio::select! {
            received = client.receive(&args.address, options) => received?,
            exit = stop.asked() => return Ok(exit),
        };
        if let Some(gap) = &received.gap {
            gap::tell(&args.address, gap);
        }
        let batches = received.batches;
        idle = if batches.is_empty() {
            idle + wait
        } else {
            Duration::ZERO
        };
        for batch in printer.print(batches).await? {
            lost += lost_of(&batch.ack().await?);
        }
        if args.wait.is_some_and(|wait| idle >= wait) {
            break;
        }
    }
    warn_of_lost(lost);
    Ok(if printer.printed == 0 {
        Exit::NothingMatched
    } else {
        Exit::Ok
    })
}

/// Takes batches as they are pushed. However it ends, what is held and not printed is given back.
async fn stream(
    client: &Client,
    args: &ConsumeArgs,
    mut printer: Printer,
    stop: &mut Stop,
) -> Result<Exit> {
    let at_most_once = args.ack == AckArg::OnDelivery;
    let wanted = args.count.filter(|_| at_most_once);
    let window = wanted.map_or(args.window, |count| at_most(args.window, count));
    let mut builder = client.consumer(&args.address).window(window);
    if at_most_once {
        builder = builder.ack_on_delivery();
    }
    if let Some(visibility) = args.visibility {
        builder = builder.visibility(visibility);
    }
    let mut consumer = builder.open().await?;
    let room = wanted.map(|count| count - u64::from(window));
    let streamed = pour(client, args, (&mut consumer, room), &mut printer, stop).await;
    warn_of_lost(consumer.settle_errors());
    leave(client.clone(), Some(consumer)).await;
    let exit = streamed?;
    let is_bounded = args.wait.is_some() || wanted.is_some();
    let nothing = printer.printed == 0 && exit == Exit::Ok && is_bounded;
    Ok(if nothing { Exit::NothingMatched } else { exit })
}

/// `room`: so many may be asked for beyond the window; none where it is not counted.
async fn pour(
    client: &Client,
    args: &ConsumeArgs,
    (consumer, mut room): (&mut Consumer, Option<u64>),
    printer: &mut Printer,
    stop: &mut Stop,
) -> Result<Exit> {
    let idle_max = if args.drain {
        Some(LOOK_EVERY)
    } else {
        args.wait
    };
    let mut idle = idle_max;
    let mut notices = consumer.notices();
    loop {
        let (mut came, mut exit, mut ended) = (Vec::new(), None, None);
        tokio::select! {
            biased;
            Some(notice) = notices.next() => {
                gap::tell_notice(&args.address, &notice);
                continue;
            }
            batch = consumer.next_batch() => {
                let Some(batch) = batch else { return Ok(Exit::Ok) };
                came.push(batch?);
                idle = idle_max;
            }
            asked = stop.asked() => exit = Some(asked),
            () = after(idle) => match on_idle(client, args, consumer).await? {
                Next::Wait(wait) => idle = Some(wait),
                Next::End { delayed, leased } => ended = Some((delayed, leased)),
            },
        }
        // What is acked already is printed, whatever ends it.
        let is_left = (exit.is_none() && ended.is_none()) || args.ack == AckArg::OnDelivery;
        let waited = if is_left {
            with_waiting(&mut came, consumer).await
        } else {
            Ok(())
        };
        let is_over = came.is_empty();
        for batch in printer.print(came).await? {
            ask_for_more(batch, &mut room);
        }
        waited?;
        if let Some(exit) = exit {
            return Ok(exit);
        }
        if room.is_some() && args.count.is_some_and(|count| printer.printed >= count) {
            return Ok(Exit::Ok);
        }
        if let Some((delayed, leased)) = ended.filter(|_| is_over) {
            return Ok(drain::farewell(&args.address, delayed, leased));
        }
    }
}

/// Acks what is printed. What is counted and acked on delivery is given no room back for past the count:
/// what came for it would be lost.
fn ask_for_more(batch: DeliveredBatch, room: &mut Option<u64>) {
    let Some(room) = room else {
        return batch.ack_detached();
    };
    for delivery in batch.into_deliveries() {
        if *room == 0 {
            std::mem::forget(delivery);
        } else {
            *room -= 1;
            delivery.ack_detached();
        }
    }
}

fn at_most(window: u32, count: u64) -> u32 {
    u32::try_from(count).map_or(window, |count| count.min(window))
}

/// Adds what else is there already: it is printed with one flush.
async fn with_waiting(came: &mut Vec<DeliveredBatch>, consumer: &mut Consumer) -> Result<()> {
    const BATCHES: usize = 256;
    while came.len() < BATCHES {
        let waiting = tokio::select! {
            biased;
            batch = consumer.next_batch() => batch,
            () = std::future::ready(()) => None,
        };
        let Some(batch) = waiting else { break };
        came.push(batch?);
    }
    Ok(())
}

/// Nothing came for a while: `--wait` ends then, a drain asks the broker whether it is done.
async fn on_idle(client: &Client, args: &ConsumeArgs, consumer: &Consumer) -> Result<Next> {
    if !args.drain {
        return Ok(Next::End {
            delayed: 0,
            leased: 0,
        });
    }
    consumer.flush_settles().await;
    drain::look(client, &args.address).await
}

fn lost_of(settled: &Settled) -> u64 {
    let lost = |outcome: &&SettleOutcome| matches!(outcome.kind, SettleOutcomeKind::LeaseLost(_));
    let ranges = settled
        .outcomes
        .iter()
        .filter(lost)
        .map(|outcome| &outcome.range);
    ranges.map(|range| range.end - range.start).sum()
}

/// Their lease had ended before they were printed: others get them too.
fn warn_of_lost(lost: u64) {
    if lost > 0 {
        eprintln!("{lost} messages were printed after their lease was lost: they come again");
    }
}

async fn after(idle: Option<Duration>) {
    match idle {
        Some(idle) => tokio::time::sleep(idle).await,
        None => std::future::pending().await,
    }
}

struct Printer {
    name: String,
    /// `None`: JSON.
    template: Option<Template>,
    /// Where messages stay held: nothing is acked then.
    held: Option<String>,
    output: Output,
    printed: u64,
}

impl Printer {
    /// Prints batches and flushes once; gives back those to be acked.
    async fn print(&mut self, batches: Vec<DeliveredBatch>) -> Result<Vec<DeliveredBatch>> {
        for batch in &batches {
            self.put(batch);
        }
        self.output.flush().await?;
        if self.held.is_none() {
            return Ok(batches);
        }
        // Dropped they would be released; here the leases are to run out by themselves.
        batches.into_iter().for_each(std::mem::forget);
        Ok(Vec::new())
    }

    fn put(&mut self, batch: &DeliveredBatch) {
        for (message, offset) in batch.messages().zip(batch.first_offset()..) {
            let shown = Shown {
                name: &self.name,
                offset,
                attempt: batch.attempt(),
                published_at_ms: batch.published_at_ms(),
                message,
            };
            if let Some(template) = &self.template {
                template.fill(&shown, self.output.raw());
            } else {
                let mut object = shown.json();
                if let Some(address) = &self.held {
                    object.insert("address".into(), address.as_str().into());
                    object.insert("grant".into(), batch.grant().to_string().into());
                    let deadline = clock::rfc3339(batch.deadline_ms());
                    object.insert("deadline".into(), deadline.into());
                }
                let line = Value::Object(object).to_string();
                self.output.raw().extend_from_slice(line.as_bytes());
                self.output.raw().push(b'\n');
            }
            self.printed += 1;
        }
    }
}
