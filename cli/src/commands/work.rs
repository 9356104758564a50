//! `siding work`: xargs fed from a durable queue.

mod child;
mod verdict;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use siding::{Client, Consumer, Delivery, Error, Refusal, Rider};
use tokio::task::JoinSet;

use self::child::{Ended, Feed, Job};
use self::verdict::{Counts, Joblog, Line, Outcome, Verdict};
use crate::args::{self, Global};
use crate::clock;
use crate::connect::{connect_worker, leave, name_of};
use crate::drain::{self, LOOK_EVERY, Next};
use crate::exit::{Exit, failure};
use crate::gap;
use crate::signals::Stop;

/// `siding help work`.
pub(crate) const ABOUT: &str = "\
Run a command for each message: xargs fed from a durable queue.

The body is on the command's stdin, or in place of {} in its arguments. Its environment has
SIDING_ID, SIDING_GRANT, SIDING_ATTEMPT, SIDING_KEY, SIDING_HEADER_<NAME>, and SIDING_CHECKPOINT if
an earlier attempt left one: siding extend \"$SIDING_ID\" --grant \"$SIDING_GRANT\" --checkpoint TEXT.
The lease is kept alive while it runs. Its exit code says what becomes of the message:
  0    done
  65   never again: to the dead letters, with the end of stderr as reason
  75   failed: again after the backoff; any other code, or a signal, means the same";

/// `siding work --help`
const EXAMPLES: &str = "\
Examples:
  siding work thumbnails -j 8 -- ./resize.sh
  siding work urls --to pages --timeout 60s -- curl -fsS {}
  siding work jobs --result -- ./render.sh      # siding await ID --result prints its stdout";

/// `siding work`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag as typed")]
pub(crate) struct WorkArgs {
    /// A queue, or TOPIC/SUBSCRIPTION.
    address: String,
    /// Commands at the same time.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: u32,
    /// End when nothing is ready and nothing is leased to this client.
    #[arg(long)]
    drain: bool,
    /// Publish the command's stdout here, in one transaction with the ack.
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Keep the command's stdout as the message's result, at most 256 KiB; needs a queue with --track.
    #[arg(long, conflicts_with = "to")]
    result: bool,
    /// Kill a command after so long; its message is nacked.
    #[arg(long, value_parser = args::duration)]
    timeout: Option<Duration>,
    /// On Ctrl-C or SIGTERM: how long commands may still run.
    #[arg(long, default_value = "30s", value_parser = args::duration)]
    grace: Duration,
    /// How long a message is leased at a time; default: the queue's own.
    #[arg(long, value_parser = args::duration)]
    visibility: Option<Duration>,
    /// Give the body as the last argument.
    #[arg(long, conflicts_with = "stdin")]
    arg: bool,
    /// Give the body on stdin, and leave {} in the arguments as it is.
    #[arg(long)]
    stdin: bool,
    /// Append a line for each command: start, seconds, id, attempt, exit, signal, verdict.
    #[arg(long, value_name = "FILE")]
    joblog: Option<PathBuf>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What all commands of one run share.
struct Shop {
    client: Client,
    job: Job,
    /// The queue or topic the messages lie in.
    name: String,
    address: String,
    to: Option<String>,
    result: bool,
    joblog: Option<Joblog>,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: WorkArgs) -> Result<Exit> {
    let mut stop = Stop::listen()?;
    let client = connect_worker(global).await?;
    if let Some(to) = &args.to {
        // Known before the first command runs in vain.
        client.describe(to).await?;
    }
    let feed = if args.arg {
        Feed::LastArgument
    } else if args.stdin {
        Feed::Stdin
    } else {
        Feed::from_arguments(&args.command)
    };
    let wanted = args.to.is_some() || args.result;
    let workshop = Arc::new(Shop {
        job: Job::new(args.command.clone(), feed, args.timeout, wanted),
        name: name_of(&args.address).to_owned(),
        address: args.address.clone(),
        to: args.to.clone(),
        result: args.result,
        joblog: args.joblog.as_deref().map(Joblog::append_to).transpose()?,
        client: client.clone(),
    });
    let mut builder = client.consumer(&args.address).window(args.jobs);
    if let Some(visibility) = args.visibility {
        builder = builder.visibility(visibility);
    }
    let mut bench = Bench {
        shop: workshop,
        jobs: usize::try_from(args.jobs)?,
        running: JoinSet::new(),
        counts: Counts::default(),
    };
    let mut consumer = builder.open().await?;
    let worked = bench.work(&args, &mut consumer, &mut stop).await;
    let finished = bench.finish(args.grace, &mut stop, worked.is_err()).await;
    eprintln!("{}", bench.counts);
    leave(client, Some(consumer)).await;
    let exit = worked?;
    finished?;
    Ok(exit)
}

/// The commands that run now.
struct Bench {
    shop: Arc<Shop>,
    jobs: usize,
    running: JoinSet<Result<Outcome>>,
    counts: Counts,
}

impl Bench {
    /// Keeps `jobs` commands running until a drain ends or a signal asks to stop.
    async fn work(
        &mut self,
        args: &WorkArgs,
        consumer: &mut Consumer,
        stop: &mut Stop,
    ) -> Result<Exit> {
        let mut idle = LOOK_EVERY;
        let mut notices = consumer.notices();
        loop {
            let free = self.running.len() < self.jobs;
            let drains = args.drain && self.running.is_empty();
            tokio::select! {
                biased;
                exit = stop.asked() => return Ok(exit),
                Some(notice) = notices.next() => gap::tell_notice(&args.address, &notice),
                Some(ended) = self.running.join_next() => self.counts.add(ended??),
                delivery = consumer.next(), if free => {
                    let Some(delivery) = delivery else { return Ok(Exit::Ok) };
                    self.running.spawn(one(Arc::clone(&self.shop), delivery?));
                    idle = LOOK_EVERY;
                }
                () = tokio::time::sleep(idle), if drains => {
                    match drain::look(&self.shop.client, &args.address).await? {
                        Next::Wait(wait) => idle = wait,
                        Next::End { delayed, leased } => {
                            return Ok(drain::farewell(&args.address, delayed, leased));
                        }
                    }
                }
            }
        }
    }

    /// Lets commands finish within `grace`; a second signal, or an error, means now. What is cut
    /// short is released.
    async fn finish(&mut self, grace: Duration, stop: &mut Stop, now: bool) -> Result<()> {
        let grace = if now { Duration::ZERO } else { grace };
        let deadline = tokio::time::sleep(grace);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                ended = self.running.join_next() => match ended {
                    None => return Ok(()),
                    Some(ended) => self.counts.add(ended??),
                },
                () = &mut deadline => break,
                _ = stop.asked() => break,
            }
        }
        self.counts.released += u64::try_from(self.running.len())?;
        self.running.shutdown().await;
        Ok(())
    }
}

/// One message: run the command, settle by its exit code.
async fn one(shop: Arc<Shop>, delivery: Delivery) -> Result<Outcome> {
    let started_ms = clock::unix_ms();
    let started = clock::now();
    let alive = delivery.keep_alive();
    let ended = match shop.job.run(&shop.address, &delivery).await {
        Ok(ended) => ended,
        Err(error) => {
            drop(alive);
            // Dropped, it is released.
            drop(delivery);
            let command = shop.job.program().to_string_lossy().into_owned();
            return Err(failure(
                Exit::Usage,
                format!("cannot run {command:?}: {error}"),
            ));
        }
    };
    let verdict = Verdict::of(ended.exit);
    if let Some(joblog) = &shop.joblog {
        joblog.write(&Line {
            started_ms,
            seconds: clock::now()
                .saturating_duration_since(started)
                .as_secs_f64(),
            id: format!("{}@{}", shop.name, delivery.id().offset),
            attempt: delivery.attempt(),
            exit: ended.exit,
            verdict,
        })?;
    }
    let settled = settle(&shop, delivery, verdict, ended).await;
    drop(alive);
    match settled {
        Ok(siding::Outcome::Done | siding::Outcome::Late) => Ok(verdict.into()),
        Ok(siding::Outcome::LeaseLost(_)) => Ok(Outcome::LeaseLost),
        Err(Error::Refused(refusal)) if is_lease_lost(&refusal) => Ok(Outcome::LeaseLost),
        Err(error) => Err(error.into()),
    }
}

async fn settle(
    shop: &Shop,
    delivery: Delivery,
    verdict: Verdict,
    ended: Ended,
) -> Result<siding::Outcome, Error> {
    match (verdict, &shop.to) {
        (Verdict::Ack, Some(to)) => {
            let transaction = shop.client.transaction().await?.publish(to, ended.stdout);
            transaction.ack(delivery).commit().await?;
            Ok(siding::Outcome::Done)
        }
        (Verdict::Ack, None) if shop.result => delivery.ack_with(ended.stdout).await,
        (Verdict::Ack, None) => delivery.ack().await,
        (Verdict::Nack, _) => {
            let nothing = Rider::default();
            delivery.nack_with(None, ended.reason, nothing).await
        }
        (Verdict::Reject, _) => delivery.reject(&ended.reason).await,
    }
}

fn is_lease_lost(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::LeaseLost { .. } => true,
        Refusal::Operation { refusal, .. } => is_lease_lost(refusal),
        _ => false,
    }
}
