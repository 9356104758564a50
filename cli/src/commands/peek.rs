//! `siding peek`: look at messages without taking them.

use anyhow::Result;
use clap::{Args, ValueEnum};
use siding::{BrowseOptions, Client, State};

use crate::args::{FilterArg, Global};
use crate::browse::{self, Columns};
use crate::connect::connect;
use crate::exit::{Exit, failure};
use crate::id::Place;
use crate::template::Template;

/// `siding peek`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  siding peek jobs -n 3
  siding peek jobs --state dead --format '%i %b\\n'
  siding peek orders/billing@17 -o json")]
pub(crate) struct PeekArgs {
    /// A queue, TOPIC/SUBSCRIPTION, or one message of it: ADDRESS@OFFSET.
    place: Place,
    /// Messages at most.
    #[arg(short = 'n', long, default_value_t = 10)]
    count: u64,
    /// Only messages in this state; default: ready, delayed and leased.
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    #[command(flatten)]
    matching: FilterArg,
    /// Begin at this offset.
    #[arg(long, default_value_t = 0)]
    from_offset: u64,
    /// Print only this of each: %b body, %i id, %a attempt, %k key, %t time, %h{NAME} header.
    #[arg(long, value_parser = Template::parse)]
    format: Option<Template>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StateArg {
    Ready,
    Delayed,
    Leased,
    Dead,
}

impl From<StateArg> for State {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Ready => Self::Ready,
            StateArg::Delayed => Self::Delayed,
            StateArg::Leased => Self::Leased,
            StateArg::Dead => Self::Dead,
        }
    }
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: PeekArgs) -> Result<Exit> {
    let client = connect(global).await?;
    if let Some(offset) = args.place.offset {
        return one(global, &client, &args.place.address, offset).await;
    }
    let ask = browse::Ask {
        address: &args.place.address,
        state: args.state.map(Into::into),
        filter: &args.matching.filter,
        from_offset: args.from_offset,
        limit: args.count,
        format: args.format.as_ref(),
        columns: Columns::Waiting,
    };
    browse::print(global, &client, &ask).await
}

/// One message, whole, in whatever state it is there.
async fn one(global: &Global, client: &Client, address: &str, offset: u64) -> Result<Exit> {
    for (state, columns) in [(None, Columns::Waiting), (Some(State::Dead), Columns::Dead)] {
        let options = BrowseOptions {
            state,
            from_offset: offset,
            limit: 1,
            ..BrowseOptions::default()
        };
        let found = client.browse(address, options).await?;
        let message = found.first().filter(|message| message.id.offset == offset);
        if let Some(message) = message {
            return browse::print_one(global, (address, columns), message).await;
        }
    }
    let words = format!("{address}@{offset} is not there any more, or not yet");
    let mend = format!("siding explain {address}@{offset}");
    Err(failure(Exit::NothingMatched, format!("{words} · {mend}")))
}
