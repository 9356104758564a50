//! `siding ack | nack | release | reject | extend`: settle by hand what `consume --ack manual` left
//! leased.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use serde_json::Value;
use siding::{Action, Client, Grant, Rider, Settle, SettleOutcomeKind, Settled};

use crate::args::{self, Global};
use crate::connect::connect;
use crate::exit::{Exit, failure};
use crate::id::Id;
use crate::input::Input;
use crate::lines::Splitter;
use crate::output::{Output, Rows};
use crate::settings::ms;

/// Messages that are settled with one request at most.
const TOGETHER: usize = 1_000;

/// Which messages.
#[derive(Debug, Args)]
pub(crate) struct HeldArgs {
    /// ADDRESS@OFFSET; `-`: lines of `consume --ack manual --json` on stdin.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// The grant they were delivered under.
    #[arg(long, value_parser = parse_grant)]
    grant: Option<Grant>,
}

/// `siding ack`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  siding ack jobs@17 --grant 1.4 --result 'it is done'
  siding consume jobs --ack manual --json -n 5 | siding ack -")]
pub(crate) struct AckArgs {
    #[command(flatten)]
    held: HeldArgs,
    /// What came of it, for `siding get`, at most 256 KiB; of one message.
    #[arg(long, value_name = "TEXT")]
    result: Option<String>,
}

/// `siding nack`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  siding nack jobs@17 --grant 1.4 --reason 'no answer' --delay 5m"
)]
pub(crate) struct NackArgs {
    #[command(flatten)]
    held: HeldArgs,
    /// Back after so long [default: the queue's backoff].
    #[arg(long, value_parser = args::duration)]
    delay: Option<Duration>,
    /// Why, at most 1 KiB.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    #[command(flatten)]
    rider: RiderArgs,
}

/// `siding release`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  siding release jobs@17 --grant 1.4")]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    held: HeldArgs,
    /// Back after so long [default: at once].
    #[arg(long, value_parser = args::duration)]
    delay: Option<Duration>,
    #[command(flatten)]
    rider: RiderArgs,
}

/// `siding reject`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  siding reject jobs@17 --grant 1.4 --reason 'not JSON'")]
pub(crate) struct RejectArgs {
    #[command(flatten)]
    held: HeldArgs,
    /// Why, at most 1 KiB.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
}

/// `siding extend`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  siding extend jobs@17 --grant 1.4 --for 5m --progress 40 --note 'page 12 of 30'")]
pub(crate) struct ExtendArgs {
    #[command(flatten)]
    held: HeldArgs,
    /// The lease then lasts so long from now, 1s to 12h, and no further than the queue's --max-hold.
    #[arg(long = "for", value_parser = args::duration, default_value = "30s")]
    remaining: Duration,
    #[command(flatten)]
    rider: RiderArgs,
}

/// What rides along, of one message.
#[derive(Debug, Args)]
pub(crate) struct RiderArgs {
    /// Percent done, 0 to 100.
    #[arg(long, value_name = "PERCENT")]
    progress: Option<u32>,
    /// Where it stands, in words, at most 1 KiB.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "progress",
        default_value = "",
        hide_default_value = true
    )]
    note: String,
    /// Handed to the next attempt, at most 64 KiB.
    #[arg(long, value_name = "TEXT")]
    checkpoint: Option<String>,
}

impl RiderArgs {
    fn rider(self) -> Rider {
        Rider {
            checkpoint: self.checkpoint.map(Bytes::from),
            progress: self.progress,
            note: self.note,
            ..Rider::default()
        }
    }
}

/// Runs `siding ack`.
pub(crate) async fn ack(global: &Global, args: AckArgs) -> Result<Exit> {
    let rider = Rider {
        result: args.result.map(Bytes::from),
        ..Rider::default()
    };
    run(global, args.held, Action::Ack, rider).await
}

/// Runs `siding nack`.
pub(crate) async fn nack(global: &Global, args: NackArgs) -> Result<Exit> {
    let action = Action::Nack {
        delay_ms: args.delay.map(ms),
        reason: args.reason,
    };
    run(global, args.held, action, args.rider.rider()).await
}

/// Runs `siding release`.
pub(crate) async fn release(global: &Global, args: ReleaseArgs) -> Result<Exit> {
    let delay_ms = args.delay.map_or(0, ms);
    let action = Action::Release { delay_ms };
    run(global, args.held, action, args.rider.rider()).await
}

/// Runs `siding reject`.
pub(crate) async fn reject(global: &Global, args: RejectArgs) -> Result<Exit> {
    let reason = args.reason;
    run(
        global,
        args.held,
        Action::Reject { reason },
        Rider::default(),
    )
    .await
}

/// Runs `siding extend`.
pub(crate) async fn extend(global: &Global, args: ExtendArgs) -> Result<Exit> {
    let remaining_ms = ms(args.remaining);
    let action = Action::Extend { remaining_ms };
    run(global, args.held, action, args.rider.rider()).await
}

/// Messages of one grant, and one address, by offset.
type Held = BTreeMap<(String, Grant), Vec<u64>>;

async fn run(global: &Global, held: HeldArgs, action: Action, rider: Rider) -> Result<Exit> {
    let client = connect(global).await?;
    let mut hand = Hand {
        client,
        action,
        rider,
        rows: Vec::new(),
        lost: false,
    };
    if held.ids == ["-"] {
        hand.settle_stdin(held.grant).await?;
    } else {
        let grant = held.grant.ok_or_else(|| {
            let mend = "--grant, as `siding consume --ack manual --json` printed it";
            failure(Exit::Usage, format!("under which grant? · {mend}"))
        })?;
        let mut named = Held::new();
        for id in &held.ids {
            let Id { address, offset } = parse(id)?;
            named.entry((address, grant)).or_default().push(offset);
        }
        hand.settle(named).await?;
    }
    let mut output = Output::new(global.output);
    output.rows(&Rows {
        columns: &["id", "outcome"],
        rows: hand.rows,
    });
    output.flush().await?;
    Ok(if hand.lost {
        Exit::PartlyDone
    } else {
        Exit::Ok
    })
}

/// What is done to all of them, and what came of it.
struct Hand {
    client: Client,
    action: Action,
    rider: Rider,
    rows: Vec<Vec<Value>>,
    lost: bool,
}

impl Hand {
    async fn settle_stdin(&mut self, grant: Option<Grant>) -> Result<()> {
        let mut input = Input::stdin()?;
        let mut splitter = Splitter::new(b'\n');
        let (mut held, mut count) = (Held::new(), 0_usize);
        loop {
            let block = input.next().await?;
            let at_end = block.is_empty();
            let mut rest = block.as_slice();
            while let Some(line) = splitter.next(&mut rest) {
                count += take_line(line, count, grant, &mut held)?;
                if count.is_multiple_of(TOGETHER) {
                    self.settle(std::mem::take(&mut held)).await?;
                }
            }
            if at_end {
                break;
            }
            input.recycle(block);
        }
        if let Some(line) = splitter.rest() {
            take_line(line, count, grant, &mut held)?;
        }
        self.settle(held).await
    }

    async fn settle(&mut self, held: Held) -> Result<()> {
        for ((address, grant), mut offsets) in held {
            offsets.sort_unstable();
            offsets.dedup();
            let ranges = offsets
                .iter()
                .map(|offset| *offset..offset.saturating_add(1));
            let settle = Settle {
                address: address.parse()?,
                grant,
                ranges: ranges.collect(),
                action: self.action.clone(),
                rider: self.rider.clone().unless_empty(),
            };
            let settled = self.client.settle(settle).await?;
            for offset in offsets {
                let outcome = self.outcome(&settled, offset);
                let id = format!("{address}@{offset}");
                self.rows.push(vec![id.into(), outcome.into()]);
            }
        }
        Ok(())
    }

    fn outcome(&mut self, settled: &Settled, offset: u64) -> String {
        let outcomes = settled.outcomes.iter();
        let of_it = outcomes.filter(|outcome| outcome.range.contains(&offset));
        match of_it.map(|outcome| outcome.kind).next() {
            None => "done".to_owned(),
            Some(SettleOutcomeKind::Late) => "late".to_owned(),
            Some(SettleOutcomeKind::CancelRequested) => "cancel requested".to_owned(),
            Some(SettleOutcomeKind::LeaseLost(state)) => {
                self.lost = true;
                format!("lease lost: {}", state.name())
            }
        }
    }
}

/// Adds the message of a line; gives 1, or 0 for an empty line.
fn take_line(line: &[u8], before: usize, given: Option<Grant>, held: &mut Held) -> Result<usize> {
    if line.trim_ascii().is_empty() {
        return Ok(0);
    }
    let (id, grant) = parse_line(line, given)
        .map_err(|why| failure(Exit::BadInput, format!("line {}: {why}", before + 1)))?;
    held.entry((id.address, grant)).or_default().push(id.offset);
    Ok(1)
}

/// `{"id": …, "address": …, "grant": …}`: the id's offset at the address, or at the id's own.
fn parse_line(line: &[u8], given: Option<Grant>) -> Result<(Id, Grant), String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let mut id: Id = text("id").ok_or("\"id\" is missing")?.parse()?;
    if let Some(address) = text("address") {
        address.clone_into(&mut id.address);
    }
    let grant = match (given, text("grant")) {
        (Some(given), _) => given,
        (None, Some(text)) => parse_grant(text)?,
        (None, None) => return Err("\"grant\" is missing".to_owned()),
    };
    Ok((id, grant))
}

fn parse(id: &str) -> Result<Id> {
    id.parse().map_err(|why: String| failure(Exit::Usage, why))
}

/// `TERM.COUNTER`
fn parse_grant(text: &str) -> Result<Grant, String> {
    let parts = text.split_once('.');
    let parts = parts.and_then(|(term, counter)| Some((term.parse().ok()?, counter.parse().ok()?)));
    let (term, counter) = parts.ok_or("a grant is TERM.COUNTER, such as 1.4")?;
    Ok(Grant { term, counter })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: Grant = Grant {
        term: 1,
        counter: 4,
    };

    #[test]
    fn a_line_of_consume_names_message_and_grant() {
        let line = br#"{"id":"orders@17","address":"orders/billing","grant":"1.4","body":"x"}"#;
        let (id, grant) = parse_line(line, None).unwrap();
        assert_eq!(
            (id.to_string(), grant),
            ("orders/billing@17".to_owned(), GRANT)
        );
        let (id, _) = parse_line(br#"{"id":"jobs@3"}"#, Some(GRANT)).unwrap();
        assert_eq!(id.to_string(), "jobs@3");
    }

    #[test]
    fn a_line_that_names_none_says_why() {
        for (line, why) in [
            ("x", "expected"),
            ("{}", "\"id\" is missing"),
            (r#"{"id":"jobs@3"}"#, "\"grant\" is missing"),
            (r#"{"id":"jobs@3","grant":"7"}"#, "TERM.COUNTER"),
        ] {
            let error = parse_line(line.as_bytes(), None).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
