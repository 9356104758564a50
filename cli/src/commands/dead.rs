//! `siding dead`: list and redrive dead letters.

use anyhow::Result;
use clap::Subcommand;
use siding::State;

use crate::args::{Consent, Global};
use crate::books::books;
use crate::browse::{self, Columns};
use crate::connect::connect;
use crate::exit::Exit;
use crate::output::Output;
use crate::template::Template;

/// `siding dead …`
#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List dead letters: offset, reason, attempts, time, detail, the body's beginning.
    Ls {
        /// A queue, or TOPIC/SUBSCRIPTION.
        address: String,
        /// Dead letters at most.
        #[arg(long)]
        limit: Option<u64>,
        /// Begin at this offset.
        #[arg(long, default_value_t = 0)]
        from_offset: u64,
        /// Print only this of each: %b body, %i id, %a attempt, %k key, %t time, %h{NAME} header.
        #[arg(long, value_parser = Template::parse)]
        format: Option<Template>,
    },
    /// Make dead letters ready again, at their old place, attempts at 0.
    Redrive {
        /// A queue, or TOPIC/SUBSCRIPTION.
        address: String,
        /// So many at most, the oldest first.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        #[command(flatten)]
        consent: Consent,
    },
}

/// Runs a `dead` verb.
pub(crate) async fn run(global: &Global, verb: DeadCommand) -> Result<Exit> {
    let client = connect(global).await?;
    match verb {
        DeadCommand::Ls {
            address,
            limit,
            from_offset,
            format,
        } => {
            let ask = browse::Ask {
                address: &address,
                state: Some(State::Dead),
                from_offset,
                limit: limit.unwrap_or(u64::MAX),
                format: format.as_ref(),
                columns: Columns::Dead,
            };
            browse::print(global, &client, &ask).await
        }
        DeadCommand::Redrive {
            address,
            limit,
            consent,
        } => redrive(global, &client, &address, limit, consent).await,
    }
}

async fn redrive(
    global: &Global,
    client: &siding::Client,
    address: &str,
    limit: Option<u64>,
    consent: Consent,
) -> Result<Exit> {
    let info = client.describe(address).await?;
    let sub = info.subscriptions.iter().find(|sub| sub.address == address);
    let dead = sub.map(books).unwrap_or_default().dead;
    let wanted = limit.map_or(dead, |limit| limit.min(dead));
    if !consent.given(&format!(
        "redrive {wanted} of {dead} dead letters of {address}"
    ))? {
        return Ok(Exit::Ok);
    }
    let redriven = client.redrive(address, limit).await?;
    let mut output = Output::new(global.output);
    output.record(&[("redriven", redriven.into())]);
    output.flush().await?;
    Ok(if redriven == 0 {
        Exit::NothingMatched
    } else {
        Exit::Ok
    })
}
