//! `siding peek`: look at messages without taking them.

use anyhow::Result;
use clap::{Args, ValueEnum};
use siding::State;

use crate::args::Global;
use crate::browse::{self, Columns};
use crate::connect::connect;
use crate::exit::Exit;
use crate::template::Template;

/// `siding peek`
#[derive(Debug, Args)]
pub(crate) struct PeekArgs {
    /// A queue, or TOPIC/SUBSCRIPTION.
    address: String,
    /// Messages at most.
    #[arg(short = 'n', long, default_value_t = 10)]
    count: u64,
    /// Only messages in this state; default: ready, delayed and leased.
    #[arg(long, value_enum)]
    state: Option<StateArg>,
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
    let ask = browse::Ask {
        address: &args.address,
        state: args.state.map(Into::into),
        from_offset: args.from_offset,
        limit: args.count,
        format: args.format.as_ref(),
        columns: Columns::Waiting,
    };
    browse::print(global, &client, &ask).await
}
