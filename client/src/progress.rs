//! What a handler says of its work besides how it ends: progress, checkpoint, result, why.

use std::time::Duration;

use bytes::Bytes;
use siding_protocol::request::{Action, Rider};

use crate::delivery::{Delivery, Extended, Outcome, extended, nack_because, release};
use crate::error::Error;

/// # What rides on a settle
///
/// A checkpoint (at most 64 KiB) is handed to the next attempt; a result (at most 256 KiB) is kept
/// with the record of the end, where the queue or subscription says `track`; progress (percent, with a
/// note of at most 1 KiB) is for whoever asks with [`Client::get`](crate::Client::get). What is over
/// its limit is refused, and nothing is settled.
impl Delivery {
    /// Done, and this came of it.
    ///
    /// # Errors
    /// As [`ack`](Self::ack); a result over 256 KiB is refused.
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn ack_with(self, result: impl Into<Bytes>) -> Result<Outcome, Error> {
        let rider = Rider {
            result: Some(result.into()),
            ..Rider::default()
        };
        self.settle_with(Action::Ack, rider).await
    }

    /// Failed, with a reason of at most 1 KiB, and with what the next attempt and whoever asks should
    /// know. Comes back after `delay`, or the subscription's backoff.
    ///
    /// # Errors
    /// As [`nack`](Self::nack); what is over its limit is refused.
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn nack_with(
        self,
        delay: Option<Duration>,
        reason: impl Into<String>,
        rider: Rider,
    ) -> Result<Outcome, Error> {
        let action = nack_because(delay, reason.into());
        self.settle_with(action, rider).await
    }

    /// Given back uncharged, after `delay`, with what the next attempt should know.
    ///
    /// # Errors
    /// As [`release`](Self::release); what is over its limit is refused.
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn release_with(self, delay: Duration, rider: Rider) -> Result<Outcome, Error> {
        self.settle_with(release(delay), rider).await
    }

    /// Sets the remaining time of the lease, 1 s to 12 h, and says how the work stands.
    ///
    /// # Errors
    /// As [`extend`](Self::extend); what is over its limit is refused.
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn extend_with(&self, remaining: Duration, rider: Rider) -> Result<Extended, Error> {
        let settled = self.lease().extend(remaining, rider).await?;
        Ok(extended(&settled))
    }

    /// Says how far the work is: percent, 0 to 100, and a note. Extends the lease by its visibility
    /// timeout, or by what `max_hold` leaves of it; [`Extended::CancelRequested`] says that the work is not wanted any more.
    ///
    /// # Errors
    /// As [`extend_with`](Self::extend_with).
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn progress(&self, percent: u32, note: &str) -> Result<Extended, Error> {
        let rider = Rider {
            progress: Some(percent),
            note: note.to_owned(),
            ..Rider::default()
        };
        Ok(extended(&self.lease().prolong(rider).await?))
    }

    /// Keeps this for the next attempt, should this one fail. Extends the lease by its visibility
    /// timeout, or by what `max_hold` leaves of it.
    ///
    /// # Errors
    /// As [`extend_with`](Self::extend_with).
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn save(&self, checkpoint: impl Into<Bytes>) -> Result<Extended, Error> {
        let rider = Rider {
            checkpoint: Some(checkpoint.into()),
            ..Rider::default()
        };
        Ok(extended(&self.lease().prolong(rider).await?))
    }
}
