//! `siding explain`: why something does not move.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use siding::wire::{Cause, Explanation};

use crate::args::Global;
use crate::clock;
use crate::connect::connect;
use crate::exit::{Exit, failure};
use crate::id::Place;
use crate::output::{Format, Output, Rows};
use crate::units;

/// `siding explain`
#[derive(Debug, Args)]
#[command(after_help = "\
Causes: NOT_DUE LEASED KEY_BLOCKED PAUSED NO_CONSUMER NO_CREDIT FILTERED BEHIND DEAD SETTLED DUPLICATE
Examples:
  siding explain jobs
  siding explain orders/billing@17 -o json
  siding explain jobs --dedup invoice-7")]
pub(crate) struct ExplainArgs {
    /// A queue, TOPIC/SUBSCRIPTION, or one message of it: ADDRESS@OFFSET.
    place: Place,

    /// Whether a publish under this dedup id would be stored: with the name of a queue or topic.
    #[arg(long, value_name = "ID")]
    dedup: Option<String>,
}

/// Runs the verb: exit code 1 where nothing holds it back.
pub(crate) async fn run(global: &Global, args: ExplainArgs) -> Result<Exit> {
    let client = connect(global).await?;
    let Place { address, offset } = &args.place;
    let explanation = match (&args.dedup, offset) {
        (None, _) => client.explain(address, *offset).await?,
        (Some(id), None) => client.explain_dedup_id(address, id).await?,
        (Some(_), Some(_)) => {
            let words = "--dedup is asked of a name, not of a message · leave out @OFFSET";
            return Err(failure(Exit::Usage, words));
        }
    };
    let mut output = Output::new(global.output);
    match global.output {
        Some(Format::Json | Format::Ndjson) => output.record(&record(&explanation)),
        _ => output.rows(&rows(&explanation)),
    }
    output.flush().await?;
    let now_ms = clock::unix_ms();
    if let Some(wake_ms) = explanation.next_wake_ms {
        let wait = units::about(wake_ms.saturating_sub(now_ms));
        eprintln!(
            "next change by time: {} (in {wait})",
            clock::rfc3339(wake_ms)
        );
    }
    if explanation.causes.is_empty() {
        eprintln!("nothing holds it back");
        return Ok(Exit::NothingMatched);
    }
    Ok(Exit::Ok)
}

fn rows(explanation: &Explanation) -> Rows {
    let row = |cause: &Cause| vec![code(cause), cause.number.into(), at(cause), words(cause)];
    Rows {
        columns: &["cause", "number", "at", "text"],
        rows: explanation.causes.iter().map(row).collect(),
    }
}

fn record(explanation: &Explanation) -> [(&'static str, Value); 2] {
    let cause = |cause: &Cause| {
        json!({
            "cause": code(cause),
            "number": cause.number,
            "at": at(cause),
            "text": words(cause),
        })
    };
    let causes: Vec<_> = explanation.causes.iter().map(cause).collect();
    let wake = explanation.next_wake_ms.map(clock::rfc3339);
    [("causes", causes.into()), ("next_wake", wake.into())]
}

/// `NOT_DUE` and its like.
fn code(cause: &Cause) -> Value {
    let name = cause.code().as_str_name();
    name.strip_prefix("CAUSE_CODE_").unwrap_or(name).into()
}

fn at(cause: &Cause) -> Value {
    cause.at_ms.map(clock::rfc3339).into()
}

fn words(cause: &Cause) -> Value {
    cause.text.as_str().into()
}

#[cfg(test)]
mod tests {
    use siding::wire::CauseCode;

    use super::*;

    #[test]
    fn a_cause_has_its_short_name_and_its_number() {
        let mut cause = Cause {
            number: 7,
            at_ms: Some(1_000),
            ..Cause::default()
        };
        cause.set_code(CauseCode::KeyBlocked);
        let explanation = Explanation {
            causes: vec![cause],
            next_wake_ms: None,
        };
        let rows = rows(&explanation);
        assert_eq!(rows.rows[0][0], "KEY_BLOCKED");
        assert_eq!(rows.rows[0][1], 7);
        assert_eq!(rows.rows[0][2], "1970-01-01T00:00:01.000Z");
        assert_eq!(record(&explanation)[1].1, Value::Null);
    }
}
