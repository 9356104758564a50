//! One message as a job: how it stands, its end, why it does not move, and taking it back.

use std::time::Duration;

use siding_protocol::event::Settled;
use siding_protocol::limits::AWAIT_WAIT_MS_MAX;
use siding_protocol::request::Settle;
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

use crate::client::Client;
use crate::error::Error;
use crate::lease::{millis, settle_by_hand};
use crate::shared::misfit;

impl Client {
    /// How one message stands in one queue or subscription: state, attempts, holder, progress,
    /// checkpoint, result. What has ended is known for as long as its record is kept: with the setting
    /// `track` for `done_retention_ms`.
    ///
    /// # Errors
    /// `NOT_FOUND`: no such name, or an offset that was never published; `Interrupted`.
    pub async fn get(&self, address: &str, offset: u64) -> Result<wire::JobInfo, Error> {
        let address = address.to_owned();
        self.job(Kind::Get(wire::Get { address, offset })).await
    }

    /// Waits for the end of one message: settled, dead, expired or cancelled. Gives how it stands then,
    /// or when `wait` has passed: [`has_ended`] tells which. A lost connection is waited out; the time
    /// that takes is not counted.
    ///
    /// # Errors
    /// As [`get`](Self::get), but never `Interrupted`.
    ///
    /// # Cancel safety
    /// Safe: nothing changes.
    pub async fn await_end(
        &self,
        address: &str,
        offset: u64,
        wait: Duration,
    ) -> Result<wire::JobInfo, Error> {
        let mut left_ms = millis(wait);
        loop {
            let wait_ms = left_ms.min(AWAIT_WAIT_MS_MAX);
            let asked = Kind::Await(wire::Await {
                address: address.to_owned(),
                offset,
                wait_ms,
            });
            match self.job(asked).await {
                Err(Error::Interrupted { .. }) => {}
                Ok(info) if !has_ended(&info) && left_ms > wait_ms => left_ms -= wait_ms,
                told => return told,
            }
        }
    }

    /// Takes one message back. One that nobody holds ends as cancelled; the holder of a leased one is
    /// told, and what it then says is final. One that is cancelled already is success.
    ///
    /// # Errors
    /// `LEASE_LOST` with the state of one that has ended otherwise; `NOT_FOUND`; `Interrupted`.
    pub async fn cancel(&self, address: &str, offset: u64) -> Result<(), Error> {
        let address = address.to_owned();
        self.done(Kind::Cancel(wire::Cancel { address, offset }))
            .await
    }

    /// Settles by hand what was delivered under a grant, say to another process. Deliveries settle
    /// themselves. Sent again over reconnects until it is answered.
    ///
    /// # Errors
    /// A refusal of the whole settle; messages whose lease was lost are in the outcomes. A closed
    /// client.
    ///
    /// # Cancel safety
    /// The settle is queued at the first poll and done even if the future is dropped.
    pub async fn settle(&self, settle: Settle) -> Result<Settled, Error> {
        settle_by_hand(self.handle(), settle).await
    }

    /// Why one message does not move, or, without an offset, a whole queue or subscription: a closed
    /// list of causes with their numbers, and when time alone changes something next.
    ///
    /// # Errors
    /// `NOT_FOUND`; `Interrupted`.
    pub async fn explain(
        &self,
        address: &str,
        offset: Option<u64>,
    ) -> Result<wire::Explanation, Error> {
        self.explanation(wire::Explain {
            address: address.to_owned(),
            offset,
            dedup_id: String::new(),
        })
        .await
    }

    /// Whether a publish under this dedup id would be stored: `DUPLICATE` with the offset of the original
    /// and the end of its window if it would not, no cause if it would.
    ///
    /// # Errors
    /// `NOT_FOUND`; `TOO_LARGE` past 128 bytes; `Interrupted`.
    pub async fn explain_dedup_id(
        &self,
        name: &str,
        dedup_id: &str,
    ) -> Result<wire::Explanation, Error> {
        self.explanation(wire::Explain {
            address: name.to_owned(),
            offset: None,
            dedup_id: dedup_id.to_owned(),
        })
        .await
    }

    async fn explanation(&self, explain: wire::Explain) -> Result<wire::Explanation, Error> {
        match self.look(Kind::Explain(explain)).await? {
            Kind::Explanation(explanation) => Ok(explanation),
            _ => Err(misfit()),
        }
    }

    async fn job(&self, kind: Kind) -> Result<wire::JobInfo, Error> {
        match self.look(kind).await? {
            Kind::JobInfo(info) => Ok(*info),
            _ => Err(misfit()),
        }
    }
}

/// Whether nothing more will become of a message by itself: it is settled, dead, expired or cancelled.
pub fn has_ended(info: &wire::JobInfo) -> bool {
    use wire::State;
    matches!(
        info.state(),
        State::Settled | State::Dead | State::Expired | State::Cancelled
    )
}
