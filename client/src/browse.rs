//! A look at messages without side effects.

use bytes::Bytes;
use siding_protocol::refusal::State;
use siding_protocol::run::{HeaderValue, MessageView, skip};
use siding_protocol::wire;

use crate::delivery::one_message;
use crate::message::MessageId;

/// One message as [`browse`](crate::Client::browse) saw it.
#[derive(Clone, Debug)]
pub struct Browsed {
    /// Where it is stored.
    pub id: MessageId,
    /// Its state in the queue or subscription.
    pub state: State,
    /// Attempts charged so far.
    pub attempts: u32,
    /// When it was published: Unix ms.
    pub published_at_ms: u64,
    /// Unix ms: delayed: when it is ready; leased: the deadline; dead: since when. Else 0.
    pub at_ms: u64,
    /// Dead: `max_attempts`, `too_many_acquires`, `rejected`, `expired` or `overflow`.
    pub reason: String,
    /// Dead: what the reason was given with.
    pub detail: String,
    /// Leased: to whom.
    pub holder: String,
    run: Bytes,
}

impl Browsed {
    /// The messages of one answer row; `None` if it is not one.
    pub(crate) fn parse(row: wire::BrowsedMessage) -> Option<Vec<Self>> {
        let mut batch = row.batch?;
        let state = State::from_wire(row.state)?;
        let offsets = batch.first_offset..batch.first_offset.checked_add(batch.count.into())?;
        let messages = offsets.map(|offset| {
            let run = batch.run.split_to(skip(&batch.run, 1)?);
            Some(Self {
                id: MessageId {
                    log_id: batch.log_id,
                    offset,
                },
                state,
                attempts: row.attempts,
                published_at_ms: batch.published_at_ms,
                at_ms: row.at_ms,
                reason: row.reason.clone(),
                detail: row.detail.clone(),
                holder: row.holder.clone(),
                run,
            })
        });
        messages.collect()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.view().body()
    }

    /// The key for order; empty: none.
    pub fn key(&self) -> &str {
        self.view().key()
    }

    /// The routing key for filters; empty: none.
    pub fn routing_key(&self) -> &str {
        self.view().routing_key()
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<HeaderValue<'_>> {
        self.view().header(name)
    }

    /// Everything the publisher wrote, borrowed.
    pub fn view(&self) -> MessageView<'_> {
        one_message(&self.run)
    }
}
