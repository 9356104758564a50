//! `siding get | await | cancel`: one message as a job.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use siding::wire::JobInfo;
use siding::{Error, Refusal, State, has_ended};

use crate::args::{self, Global};
use crate::clock;
use crate::connect::connect;
use crate::exit::{Exit, failure};
use crate::id::Id;
use crate::output::Output;
use crate::shown::text_or_hex;

/// `siding get`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  siding get jobs@17
  siding get jobs@17 --result > result.png")]
pub(crate) struct GetArgs {
    /// ADDRESS@OFFSET, as `publish --print-ids` prints it.
    id: Id,
    /// Print its result only, as it is.
    #[arg(long)]
    result: bool,
}

/// `siding await`
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 settled · 1 not ended in time · 3 ended otherwise: dead, expired or cancelled
Examples:
  siding await jobs@17 --wait 5m
  siding await \"$(siding publish jobs 'make it' --print-ids)\" --result")]
pub(crate) struct AwaitArgs {
    /// ADDRESS@OFFSET, as `publish --print-ids` prints it.
    id: Id,
    /// Wait no longer than this [default: until it ends].
    #[arg(long, value_parser = args::duration)]
    wait: Option<Duration>,
    /// Print its result only, as it is.
    #[arg(long)]
    result: bool,
}

/// `siding cancel`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  siding cancel jobs@17")]
pub(crate) struct CancelArgs {
    /// ADDRESS@OFFSET, as `publish --print-ids` prints it.
    id: Id,
}

/// Runs `siding get`.
pub(crate) async fn get(global: &Global, args: GetArgs) -> Result<Exit> {
    let client = connect(global).await?;
    let info = client.get(&args.id.address, args.id.offset).await?;
    print(global, &args.id, &info, args.result).await?;
    Ok(Exit::Ok)
}

/// Runs `siding await`.
pub(crate) async fn wait(global: &Global, args: AwaitArgs) -> Result<Exit> {
    let client = connect(global).await?;
    let wait = args.wait.unwrap_or(Duration::MAX);
    let info = client
        .await_end(&args.id.address, args.id.offset, wait)
        .await?;
    if !has_ended(&info) {
        eprintln!("{} has not ended: it is {}", args.id, state(&info));
        return Ok(Exit::NothingMatched);
    }
    print(global, &args.id, &info, args.result).await?;
    if State::from_wire(info.state) == Some(State::Settled) {
        return Ok(Exit::Ok);
    }
    eprintln!("{} is {}{}", args.id, state(&info), why(&info));
    Ok(Exit::PartlyDone)
}

/// Runs `siding cancel`.
pub(crate) async fn cancel(global: &Global, args: CancelArgs) -> Result<Exit> {
    let client = connect(global).await?;
    let Id { address, offset } = &args.id;
    match client.cancel(address, *offset).await {
        Err(Error::Refused(Refusal::LeaseLost { state })) => {
            let words = format!("{} has ended: it is {}", args.id, state.name());
            let mend = format!("siding get {}", args.id);
            return Err(failure(Exit::PartlyDone, format!("{words} · {mend}")));
        }
        cancelled => cancelled?,
    }
    match client.get(address, *offset).await {
        Ok(info) if State::from_wire(info.state) == Some(State::Leased) => {
            let (id, holder) = (&args.id, &info.holder);
            eprintln!("{holder} holds {id} and is told; it may still finish · siding await {id}");
        }
        // Gone with its record: it is cancelled, or had ended before.
        _ => {}
    }
    Ok(Exit::Ok)
}

async fn print(global: &Global, id: &Id, info: &JobInfo, result_only: bool) -> Result<()> {
    let mut output = Output::new(global.output);
    if result_only {
        let result = info.result.as_ref();
        let words = || {
            format!(
                "{id} is {} and has no result · siding get {id}",
                state(info)
            )
        };
        let result = result.ok_or_else(|| failure(Exit::NothingMatched, words()))?;
        output.raw().extend_from_slice(result);
    } else {
        output.record(&record(id, info));
    }
    output.flush().await
}

fn state(info: &JobInfo) -> &'static str {
    State::from_wire(info.state).map_or("in no known state", State::name)
}

fn why(info: &JobInfo) -> String {
    let parts = [info.reason.as_str(), info.last_error.as_str()];
    let said = parts.into_iter().filter(|part| !part.is_empty());
    said.flat_map(|part| [": ", part]).collect()
}

/// What is not there is left out.
fn record(id: &Id, info: &JobInfo) -> Vec<(&'static str, Value)> {
    let at = match State::from_wire(info.state) {
        Some(State::Delayed) => "ready_at",
        Some(State::Leased) => "deadline",
        _ => "since",
    };
    let time = |ms: u64| (ms > 0).then(|| clock::rfc3339(ms));
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut record: Vec<(&'static str, Value)> = vec![
        ("id", id.to_string().into()),
        ("state", state(info).into()),
        (at, time(info.at_ms).into()),
        ("published_at", time(info.published_at_ms).into()),
        ("attempts", info.attempts.into()),
        ("acquires", info.acquires.into()),
        ("holder", text(&info.holder).into()),
        ("reason", text(&info.reason).into()),
        ("last_error", text(&info.last_error).into()),
        ("progress", info.progress.into()),
        ("note", text(&info.note).into()),
        ("generation", info.generation.into()),
    ];
    if info.cancel_requested {
        record.push(("cancel_requested", true.into()));
    }
    if let Some(checkpoint) = &info.checkpoint {
        record.push(text_or_hex(("checkpoint", "checkpoint_hex"), checkpoint));
    }
    if let Some(result) = &info.result {
        record.push(text_or_hex(("result", "result_hex"), result));
    }
    record.retain(|(_, value)| !value.is_null());
    record
}

#[cfg(test)]
mod tests {
    use siding::wire;

    use super::*;

    #[test]
    fn a_job_tells_what_there_is_and_no_more() {
        let mut info = JobInfo {
            at_ms: 1_000,
            result: Some(vec![0xff].into()),
            progress: Some(40),
            ..JobInfo::default()
        };
        info.set_state(wire::State::Leased);
        let id = "jobs@17".parse().unwrap();
        let told = record(&id, &info);
        let find = |name| told.iter().find(|(known, _)| *known == name);
        assert_eq!(find("deadline").unwrap().1, "1970-01-01T00:00:01.000Z");
        assert_eq!(find("result_hex").unwrap().1, "ff");
        assert_eq!(find("progress").unwrap().1, 40);
        assert!(find("holder").is_none() && find("checkpoint").is_none());
    }

    #[test]
    fn an_end_that_was_no_success_says_why() {
        let mut info = JobInfo {
            reason: "max_attempts".to_owned(),
            last_error: "no such file".to_owned(),
            ..JobInfo::default()
        };
        assert_eq!(why(&info), ": max_attempts: no such file");
        info.reason.clear();
        assert_eq!(why(&info), ": no such file");
        info.last_error.clear();
        assert_eq!(why(&info), "");
    }
}
