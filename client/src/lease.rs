//! The right to settle a range of delivered messages, once; dropped unused it gives them back.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use siding_protocol::event::Settled;
use siding_protocol::limits::{VISIBILITY_MS_DEFAULT, VISIBILITY_MS_MIN};
use siding_protocol::refusal::Refusal;
use siding_protocol::request::{Action, Rider, Settle};
use siding_protocol::types::{Grant, OffsetRange};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::settle::{Listener, Settling, Tally};
use crate::shared::{CLOSED, Handle};

/// Where deliveries come from: one consumer, or one receive.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) handle: Arc<Handle>,
    pub(crate) address: Arc<str>,
    /// The visibility timeout, once known: as asked, or as the subscription says.
    visibility: OnceLock<Duration>,
    pub(crate) tally: Arc<Tally>,
    /// What is delivered is acked already, and no lease.
    pub(crate) at_most_once: bool,
}

/// A grant over a range that is not settled yet.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) source: Arc<Source>,
    pub(crate) grant: Grant,
    /// Empty once settled.
    pub(crate) range: OffsetRange,
}

impl Source {
    pub(crate) fn new(
        handle: Arc<Handle>,
        address: Arc<str>,
        visibility: Option<Duration>,
    ) -> Arc<Self> {
        Arc::new(Self {
            handle,
            address,
            visibility: visibility.map_or_else(OnceLock::new, OnceLock::from),
            tally: Arc::default(),
            at_most_once: false,
        })
    }

    /// Of a consumer whose deliveries are acked before they leave the broker.
    pub(crate) fn at_most_once(handle: Arc<Handle>, address: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            handle,
            address,
            visibility: OnceLock::new(),
            tally: Arc::default(),
            at_most_once: true,
        })
    }

    /// The visibility timeout of these deliveries; asks the broker the first time if nobody said.
    pub(crate) async fn visibility(&self) -> Result<Duration, Error> {
        if let Some(visibility) = self.visibility.get() {
            return Ok(*visibility);
        }
        let info = crate::client::describe(&self.handle, &self.address).await?;
        let settings = info
            .subscriptions
            .into_iter()
            .find(|subscription| *subscription.address == *self.address)
            .and_then(|subscription| subscription.settings);
        let ms = settings.and_then(|settings| settings.visibility_timeout_ms);
        let visibility = Duration::from_millis(ms.unwrap_or(VISIBILITY_MS_DEFAULT));
        Ok(*self.visibility.get_or_init(|| visibility))
    }

    pub(crate) fn settle(
        &self,
        (grant, range): (Grant, OffsetRange),
        (action, rider): (Action, Rider),
        listener: Listener,
    ) {
        self.handle.settle(Settling {
            address: Arc::clone(&self.address),
            grant,
            action,
            rider: rider.unless_empty(),
            range,
            listener,
        });
    }

    /// Settles, and waits for the answer; retried over reconnects until there is one.
    pub(crate) async fn settled(
        &self,
        held: (Grant, OffsetRange),
        done: (Action, Rider),
    ) -> Result<Settled, Error> {
        let (reply, answer) = oneshot::channel();
        self.settle(held, done, Listener::Waiter(reply));
        answer.await.unwrap_or(Err(CLOSED))
    }

    /// Extends by the visibility timeout, or by what is left where that is longer than the messages may
    /// be held; time goes on meanwhile, so by a little less.
    pub(crate) async fn prolong(
        &self,
        held: (Grant, OffsetRange),
        rider: Rider,
    ) -> Result<Settled, Error> {
        const MEANWHILE_MS: u64 = 1_000;
        let extend = |remaining_ms| Action::Extend { remaining_ms };
        let usual = extend(millis(self.visibility().await?));
        let extended = self.settled(held.clone(), (usual, rider.clone())).await;
        match &extended {
            Err(Error::Refused(Refusal::Invalid { field, max, .. }))
                if field == "remaining_ms" && *max >= MEANWHILE_MS + VISIBILITY_MS_MIN =>
            {
                let left = extend(max - MEANWHILE_MS);
                self.settled(held, (left, rider)).await
            }
            _ => extended,
        }
    }
}

impl Lease {
    /// Splits off the lower part, up to `end`.
    pub(crate) fn split_to(&mut self, end: u64) -> Self {
        let range = self.range.start..end.min(self.range.end);
        self.range.start = range.end;
        Self {
            source: Arc::clone(&self.source),
            grant: self.grant,
            range,
        }
    }

    /// Settles, and waits for the answer; retried over reconnects until there is one.
    pub(crate) async fn settle(mut self, action: Action, rider: Rider) -> Result<Settled, Error> {
        if self.source.at_most_once && action == Action::Ack && rider.is_empty() {
            // It is acked; dropped, it gives its room back.
            let settled = self.range.end - self.range.start;
            return Ok(Settled {
                settled,
                ..Settled::default()
            });
        }
        let range = self.disarm();
        self.source
            .settled((self.grant, range), (action, rider))
            .await
    }

    /// Settles; whether it took effect is counted only.
    pub(crate) fn settle_detached(mut self, action: Action) {
        if self.source.at_most_once {
            return;
        }
        let range = self.disarm();
        let tally = Arc::clone(&self.source.tally);
        let done = (action, Rider::default());
        self.source
            .settle((self.grant, range), done, Listener::Detached(tally));
    }

    /// Sets the remaining time; the lease stays.
    pub(crate) async fn extend(&self, remaining: Duration, rider: Rider) -> Result<Settled, Error> {
        let action = Action::Extend {
            remaining_ms: millis(remaining),
        };
        let held = (self.grant, self.range.clone());
        self.source.settled(held, (action, rider)).await
    }

    /// Extends by the visibility timeout, or by what is left of how long it may be held.
    pub(crate) async fn prolong(&self, rider: Rider) -> Result<Settled, Error> {
        let held = (self.grant, self.range.clone());
        self.source.prolong(held, rider).await
    }

    /// Takes the range out: dropping the lease does nothing more.
    pub(crate) fn disarm(&mut self) -> OffsetRange {
        let end = self.range.end;
        std::mem::replace(&mut self.range, end..end)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.range.is_empty() {
            let action = if self.source.at_most_once {
                // Acked it is; the broker hears that there is room for more.
                Action::Ack
            } else {
                Action::Release { delay_ms: 0 }
            };
            let range = self.disarm();
            let left = (action, Rider::default());
            self.source
                .settle((self.grant, range), left, Listener::Nobody);
        }
    }
}

/// Settles what is held without a delivery in hand; the answers of its ranges become one.
pub(crate) async fn settle_by_hand(handle: &Handle, settle: Settle) -> Result<Settled, Error> {
    let address: Arc<str> = settle.address.to_string().into();
    let rider = settle.rider;
    let answers = settle.ranges.into_iter().map(|range| {
        let (reply, answer) = oneshot::channel();
        handle.settle(Settling {
            address: Arc::clone(&address),
            grant: settle.grant,
            action: settle.action.clone(),
            rider: rider.clone(),
            range,
            listener: Listener::Waiter(reply),
        });
        answer
    });
    let mut whole = Settled::default();
    for answer in answers.collect::<Vec<_>>() {
        let part = answer.await.unwrap_or(Err(CLOSED))?;
        whole.settled += part.settled;
        whole.outcomes.extend(part.outcomes);
    }
    Ok(whole)
}

/// Whole milliseconds; what does not fit is refused by the broker with the range.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
