//! What an operator does: move, pause, clear and bring back.

use siding_protocol::refusal::State;
use siding_protocol::settings::StartAt;
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

use crate::browse::Browsed;
use crate::client::Client;
use crate::error::Error;
use crate::shared::misfit;

/// Which messages a [`browse`](Client::browse) looks at.
#[derive(Clone, Debug)]
pub struct BrowseOptions {
    /// `None`: ready, delayed and leased ones.
    pub state: Option<State>,
    /// The lowest offset looked at. Default 0.
    pub from_offset: u64,
    /// 1 to 1,000, default 1,000.
    pub limit: u32,
    /// Only what matches, at most 4 KiB. Empty, the default: everything.
    pub filter: String,
}

/// Which messages a [`purge`](Client::purge) drops. Default: all of them.
#[derive(Clone, Debug, Default)]
pub struct PurgeOptions {
    /// Only what matches, at most 4 KiB. Empty: everything.
    pub filter: String,
    /// Only count.
    pub dry_run: bool,
}

/// Which dead letters a [`redrive`](Client::redrive) brings back, and how fast. Default: all at once.
#[derive(Clone, Debug, Default)]
pub struct RedriveOptions {
    /// At most so many, the lowest offsets first. `None`: all.
    pub limit: Option<u64>,
    /// Only what matches, at most 4 KiB. Empty: everything.
    pub filter: String,
    /// At most so many a second, going on in the background, also after a restart of the broker. 0:
    /// all at once. With a filter, a restart leaves dead what it had not chosen yet.
    pub rate: u64,
    /// Only count.
    pub dry_run: bool,
}

/// Which dead letters a [`drop_dead`](Client::drop_dead) removes. Default: all of them.
#[derive(Clone, Debug, Default)]
pub struct DropDeadOptions {
    /// At most so many, the lowest offsets first. `None`: all.
    pub limit: Option<u64>,
    /// Only what matches, at most 4 KiB. Empty: everything.
    pub filter: String,
    /// Only count.
    pub dry_run: bool,
}

impl Default for BrowseOptions {
    fn default() -> Self {
        Self {
            state: None,
            from_offset: 0,
            limit: siding_protocol::limits::PAGE_MAX,
            filter: String::new(),
        }
    }
}

impl Client {
    /// Looks at messages, in the order of their offsets, without side effects.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID`: a limit out of its range, or a filter that is none; `Interrupted`.
    pub async fn browse(
        &self,
        address: &str,
        options: BrowseOptions,
    ) -> Result<Vec<Browsed>, Error> {
        let state = options
            .state
            .map_or(wire::State::Unspecified, State::to_wire);
        let browse = Kind::Browse(wire::Browse {
            address: address.to_owned(),
            state: state.into(),
            from_offset: options.from_offset,
            limit: options.limit,
            filter: options.filter,
        });
        let Kind::Browsed(browsed) = self.look(browse).await? else {
            return Err(misfit());
        };
        let rows = browsed.messages.into_iter().map(Browsed::parse);
        let rows: Option<Vec<_>> = rows.collect();
        Ok(rows.ok_or(misfit())?.into_iter().flatten().collect())
    }

    /// Drops what is ready or delayed, never what is leased or dead; gives how many messages that
    /// were, or would be.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID`: a filter that is none; `Interrupted`.
    pub async fn purge(&self, address: &str, options: PurgeOptions) -> Result<u64, Error> {
        self.count(Kind::Purge(wire::Purge {
            address: address.to_owned(),
            filter: options.filter,
            dry_run: options.dry_run,
        }))
        .await
    }

    /// Dead letters back to ready, at their old place, with no attempts charged; gives how many, or
    /// how many would be. With a rate: how many will be.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID`: a filter that is none; `Interrupted`.
    pub async fn redrive(&self, address: &str, options: RedriveOptions) -> Result<u64, Error> {
        let Some(limit) = limit_on_wire(options.limit) else {
            return Ok(0);
        };
        self.count(Kind::Redrive(wire::Redrive {
            address: address.to_owned(),
            limit,
            filter: options.filter,
            rate: options.rate,
            dry_run: options.dry_run,
        }))
        .await
    }

    /// Ends a redrive that goes on in the background; what it brought back stays. Gives how many it
    /// leaves dead: 0 if none goes on.
    ///
    /// # Errors
    /// `NOT_FOUND`; `Interrupted`.
    pub async fn stop_redrive(&self, address: &str) -> Result<u64, Error> {
        let address = address.to_owned();
        self.count(Kind::StopRedrive(wire::StopRedrive { address }))
            .await
    }

    /// Removes dead letters for good; gives how many, or how many would be.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID`: a filter that is none; `Interrupted`.
    pub async fn drop_dead(&self, address: &str, options: DropDeadOptions) -> Result<u64, Error> {
        let Some(limit) = limit_on_wire(options.limit) else {
            return Ok(0);
        };
        self.count(Kind::DropDead(wire::DropDead {
            address: address.to_owned(),
            limit,
            filter: options.filter,
            dry_run: options.dry_run,
        }))
        .await
    }

    /// Moves a subscription: everything kept from there on is ready again, whatever had become of it,
    /// and every live lease is fenced: its settle answers `LeaseLost`. A queue can be moved as far
    /// back as its `retain_settled_ms` reaches. Gives how many messages lie from there to the end.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID`: a queue that keeps nothing it has settled; `Interrupted`.
    pub async fn seek(&self, address: &str, to: StartAt) -> Result<u64, Error> {
        self.count(Kind::Seek(wire::Seek {
            address: address.to_owned(),
            to: Some(to.to_wire()),
        }))
        .await
    }

    /// Stops handing messages over; what is leased stays leased and can be settled. Paused already is
    /// success.
    ///
    /// # Errors
    /// `NOT_FOUND`; `Interrupted`.
    pub async fn pause(&self, address: &str) -> Result<(), Error> {
        self.set_paused(address, true).await
    }

    /// Ends a [`pause`](Self::pause). Not paused is success.
    ///
    /// # Errors
    /// `NOT_FOUND`; `Interrupted`.
    pub async fn resume(&self, address: &str) -> Result<(), Error> {
        self.set_paused(address, false).await
    }

    async fn set_paused(&self, address: &str, paused: bool) -> Result<(), Error> {
        let address = address.to_owned();
        self.done(Kind::Pause(wire::Pause { address, paused }))
            .await
    }
}

/// 0 is how the wire says `all`; at most none is nothing to ask for.
const fn limit_on_wire(limit: Option<u64>) -> Option<u64> {
    match limit {
        None => Some(0),
        Some(0) => None,
        Some(limit) => Some(limit),
    }
}
