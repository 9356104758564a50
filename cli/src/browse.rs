//! Messages looked at without taking them: what `peek` and `dead ls` share.

use anyhow::Result;
use serde_json::{Map, Value};
use siding::protocol::limits::PAGE_MAX;
use siding::{BrowseOptions, Browsed, Client, State};

use crate::args::Global;
use crate::clock;
use crate::connect::name_of;
use crate::exit::Exit;
use crate::output::{Format, Output, Rows};
use crate::shown::{Shown, preview};
use crate::template::Template;

/// What to look at, and how to print it.
pub(crate) struct Ask<'a> {
    pub(crate) address: &'a str,
    /// `None`: ready, delayed and leased.
    pub(crate) state: Option<State>,
    /// Only what matches; empty: everything.
    pub(crate) filter: &'a str,
    pub(crate) from_offset: u64,
    /// Messages at most.
    pub(crate) limit: u64,
    /// `None`: rows.
    pub(crate) format: Option<&'a Template>,
    pub(crate) columns: Columns,
}

/// Which columns a row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    Waiting,
    Dead,
}

/// Prints the messages page by page.
pub(crate) async fn print(global: &Global, client: &Client, ask: &Ask<'_>) -> Result<Exit> {
    let mut output = Output::new(global.output);
    let whole = matches!(global.output, Some(Format::Json | Format::Ndjson));
    let (mut rows, mut objects) = (Vec::new(), Vec::new());
    let mut from = ask.from_offset;
    let mut left = ask.limit;
    let mut found = 0;
    while left > 0 {
        let page = PAGE_MAX.min(u32::try_from(left).unwrap_or(PAGE_MAX));
        let options = BrowseOptions {
            state: ask.state,
            from_offset: from,
            limit: page,
            filter: ask.filter.to_owned(),
        };
        let messages = client.browse(ask.address, options).await?;
        let Some(last) = messages.last() else { break };
        from = last.id.offset.saturating_add(1);
        for message in &messages {
            let shown = shown(ask.address, message);
            match ask.format {
                Some(template) => template.fill(&shown, output.raw()),
                None if whole => objects.push(object(ask.columns, message, &shown).into()),
                None => rows.push(row(ask.columns, message, &shown)),
            }
        }
        found += messages.len();
        left = left.saturating_sub(messages.len() as u64);
        output.flush().await?;
    }
    if ask.format.is_none() && whole {
        output.objects(objects);
        output.flush().await?;
    } else if ask.format.is_none() {
        let columns = columns(ask.columns);
        output.rows(&Rows { columns, rows });
        output.flush().await?;
    }
    Ok(if found == 0 {
        Exit::NothingMatched
    } else {
        Exit::Ok
    })
}

/// Prints one message whole.
pub(crate) async fn print_one(
    global: &Global,
    (address, columns): (&str, Columns),
    message: &Browsed,
) -> Result<Exit> {
    let whole = object(columns, message, &shown(address, message));
    let pairs: Vec<_> = whole.into_iter().collect();
    let mut output = Output::new(global.output);
    output.record(&pairs);
    output.flush().await?;
    Ok(Exit::Ok)
}

fn shown<'a>(address: &'a str, message: &'a Browsed) -> Shown<'a> {
    Shown {
        name: name_of(address),
        offset: message.id.offset,
        attempt: message.attempts,
        published_at_ms: message.published_at_ms,
        message: message.view(),
    }
}

fn columns(columns: Columns) -> &'static [&'static str] {
    match columns {
        Columns::Waiting => &[
            "offset",
            "state",
            "attempts",
            "published_at",
            "until",
            "body",
        ],
        Columns::Dead => &[
            "offset",
            "reason",
            "attempts",
            "dead_since",
            "detail",
            "body",
        ],
    }
}

/// A row of cells; the last one holds the body's beginning.
fn row(columns: Columns, message: &Browsed, shown: &Shown<'_>) -> Vec<Value> {
    let body = preview(shown.message.body()).into();
    let at = || match message.at_ms {
        0 => Value::Null,
        at => clock::rfc3339(at).into(),
    };
    match columns {
        Columns::Waiting => vec![
            message.id.offset.into(),
            message.state.name().into(),
            message.attempts.into(),
            clock::rfc3339(message.published_at_ms).into(),
            at(),
            body,
        ],
        Columns::Dead => vec![
            message.id.offset.into(),
            message.reason.as_str().into(),
            message.attempts.into(),
            at(),
            message.detail.as_str().into(),
            body,
        ],
    }
}

/// The columns by name, and the whole message as `consume --json` shows it.
fn object(columns: Columns, message: &Browsed, shown: &Shown<'_>) -> Map<String, Value> {
    let cells = row(columns, message, shown);
    let names = self::columns(columns).iter().map(|name| (*name).to_owned());
    let mut object: Map<_, _> = names.zip(cells).collect();
    // The message has its body whole, or in hex.
    object.remove("body");
    let mut whole = shown.json();
    // Among the columns, by the name they have there.
    whole.remove("attempt");
    object.extend(whole);
    object
}
