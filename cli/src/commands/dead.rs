//! `siding dead`: list, show, redrive and drop dead letters.

use anyhow::Result;
use clap::{Args, Subcommand};
use siding::{BrowseOptions, Client, DropDeadOptions, Error, RedriveOptions, Refusal, State};

use super::object::count;
use crate::args::{self, Consent, FilterArg, Global};
use crate::books::books;
use crate::browse::{self, Columns};
use crate::connect::connect;
use crate::exit::{Exit, failure};
use crate::id::Id;
use crate::template::Template;

/// `siding dead …`
#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List dead letters: offset, reason, attempts, time, detail, the body's beginning.
    #[command(after_help = "\
Examples:
  siding dead ls jobs --limit 20
  siding dead ls jobs --format '%b\\n' | siding publish jobs-again")]
    Ls {
        /// A queue, or TOPIC/SUBSCRIPTION.
        address: String,
        #[command(flatten)]
        matching: FilterArg,
        /// Dead letters at most.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Begin at this offset.
        #[arg(long, default_value_t = 0)]
        from_offset: u64,
        /// Print only this of each: %b body, %i id, %a attempt, %k key, %t time, %h{NAME} header.
        #[arg(long, value_parser = Template::parse)]
        format: Option<Template>,
    },
    /// Show one dead letter whole.
    #[command(after_help = "Example:\n  siding dead show jobs@17")]
    Show {
        /// ADDRESS@OFFSET.
        id: Id,
    },
    /// Make dead letters ready again, at their old place, attempts at 0.
    #[command(after_help = "\
Examples:
  siding dead redrive jobs --limit 100 --yes
  siding dead redrive jobs --rate 50 --yes    # 50 a second, in the background
  siding dead redrive jobs --filter 'reason eq rejected' --rate 50 --yes
  siding dead redrive jobs --stop")]
    Redrive {
        /// A queue, or TOPIC/SUBSCRIPTION.
        address: String,
        #[command(flatten)]
        which: WhichArgs,
        /// So many a second at most, in the background, also over a restart of the broker.
        #[arg(long, value_parser = args::whole_rate, value_name = "N")]
        rate: Option<u64>,
        /// End a redrive that goes on in the background.
        #[arg(long, conflicts_with_all = ["rate", "WhichArgs", "Consent"])]
        stop: bool,
        #[command(flatten)]
        consent: Consent,
    },
    /// Remove dead letters for good.
    #[command(after_help = "Example:\n  siding dead drop jobs --limit 100 --dry-run")]
    Drop {
        /// A queue, or TOPIC/SUBSCRIPTION.
        address: String,
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        consent: Consent,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct WhichArgs {
    /// So many at most, the oldest first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    matching: FilterArg,
}

/// Runs a `dead` verb.
pub(crate) async fn run(global: &Global, verb: DeadCommand) -> Result<Exit> {
    let client = connect(global).await?;
    match verb {
        DeadCommand::Ls {
            address,
            matching,
            limit,
            from_offset,
            format,
        } => {
            let ask = browse::Ask {
                address: &address,
                state: Some(State::Dead),
                filter: &matching.filter,
                from_offset,
                limit: limit.unwrap_or(u64::MAX),
                format: format.as_ref(),
                columns: Columns::Dead,
            };
            browse::print(global, &client, &ask).await
        }
        DeadCommand::Show { id } => show(global, &client, &id).await,
        DeadCommand::Redrive {
            address,
            stop: true,
            ..
        } => {
            let left = client.stop_redrive(&address).await?;
            count(global, "left_dead", left).await
        }
        DeadCommand::Redrive {
            address,
            which,
            rate,
            consent,
            stop: false,
        } => redrive(global, (&client, &address), which, rate, consent).await,
        DeadCommand::Drop {
            address,
            which,
            consent,
        } => drop_dead(global, (&client, &address), which, consent).await,
    }
}

async fn show(global: &Global, client: &Client, id: &Id) -> Result<Exit> {
    let options = BrowseOptions {
        state: Some(State::Dead),
        from_offset: id.offset,
        limit: 1,
        ..BrowseOptions::default()
    };
    let found = client.browse(&id.address, options).await?;
    let dead = found.first().filter(|dead| dead.id.offset == id.offset);
    let Some(dead) = dead else {
        let mend = format!("siding dead ls {}; siding get {id}", id.address);
        let words = format!("{id} is not a dead letter · {mend}");
        return Err(failure(Exit::NothingMatched, words));
    };
    browse::print_one(global, (&id.address, Columns::Dead), dead).await
}

async fn redrive(
    global: &Global,
    (client, address): (&Client, &str),
    which: WhichArgs,
    rate: Option<u64>,
    consent: Consent,
) -> Result<Exit> {
    let options = RedriveOptions {
        limit: which.limit,
        filter: which.matching.filter.clone(),
        rate: rate.unwrap_or(0),
        dry_run: false,
    };
    let counted = RedriveOptions {
        dry_run: true,
        ..options.clone()
    };
    let wanted = match dead_of(client, address, &which).await? {
        Some(dead) => dead,
        None => client.redrive(address, counted).await?,
    };
    let deed = format!("redrive {wanted} dead letters of {address}");
    if consent.dry_run {
        eprintln!("would {deed}");
        return count(global, "matching", wanted).await;
    }
    if !consent.given(&deed)? {
        return Ok(Exit::Ok);
    }
    let stop = format!("siding dead redrive {address} --stop");
    let redriven = match client.redrive(address, options).await {
        Err(Error::Refused(Refusal::Exists { .. })) => {
            let words = format!("a redrive of {address} goes on already · {stop}");
            return Err(failure(Exit::ExistsDifferent, words));
        }
        redriven => redriven?,
    };
    if rate.is_none() || redriven == 0 {
        return count(global, "redriven", redriven).await;
    }
    eprintln!("goes on in the background · {stop}");
    count(global, "redriving", redriven).await
}

async fn drop_dead(
    global: &Global,
    (client, address): (&Client, &str),
    which: WhichArgs,
    consent: Consent,
) -> Result<Exit> {
    let options = DropDeadOptions {
        limit: which.limit,
        filter: which.matching.filter.clone(),
        dry_run: false,
    };
    let counted = DropDeadOptions {
        dry_run: true,
        ..options.clone()
    };
    let wanted = match dead_of(client, address, &which).await? {
        Some(dead) => dead,
        None => client.drop_dead(address, counted).await?,
    };
    let deed = format!("drop {wanted} dead letters of {address}");
    if consent.dry_run {
        eprintln!("would {deed}");
        return count(global, "matching", wanted).await;
    }
    if !consent.given(&deed)? {
        return Ok(Exit::Ok);
    }
    let dropped = client.drop_dead(address, options).await?;
    count(global, "dropped", dropped).await
}

/// How many dead letters are meant, from the books; `None`: a filter decides.
async fn dead_of(client: &Client, address: &str, which: &WhichArgs) -> Result<Option<u64>> {
    let info = client.describe(address).await?;
    let sub = info.subscriptions.iter().find(|sub| sub.address == address);
    let dead = sub.map(books).unwrap_or_default().dead;
    let wanted = which.limit.map_or(dead, |limit| limit.min(dead));
    Ok(which.matching.filter.is_empty().then_some(wanted))
}
