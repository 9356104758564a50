//! What a shard needs of whoever holds its sessions: a place for answers and deliveries.

use siding_protocol::event::Answer;
use siding_protocol::frame::BatchParts;
use siding_protocol::refusal::Refusal;
use siding_protocol::types::{Grant, Offset, OffsetRange};
use siding_protocol::wire;

use crate::engine::effect::{DeliverTo, Expiring, Origin, SessionId};

/// The sessions of one shard, as seen by it. A session that is gone takes everything and does
/// nothing. Nothing is written before [`Sessions::flush`].
pub trait Sessions {
    /// The answer to a request.
    fn answer(&self, to: Origin, answer: Result<Answer, Refusal>);
    /// A request of so many bytes is over.
    fn release(&self, session: SessionId, bytes: usize);
    /// Messages, with their bodies, and what retention took before them.
    fn deliver(&self, to: DeliverTo, gap: Option<&OffsetRange>, batches: &[BatchParts]);
    /// Nothing more will come to a consumer.
    fn end_consumer(&self, session: SessionId, consumer: u32, why: &Refusal);
    /// A consumer is asked to end a message that it holds under a grant.
    fn cancel_requested(&self, session: SessionId, told: (u32, Grant, Offset));
    /// A lease of a consumer is about to end.
    fn lease_expiring(&self, expiring: &Expiring);
    /// The answer to a browse.
    fn browsed(&self, to: Origin, answer: wire::Browsed);
    /// Writes to every session that got something since the last time: one write each.
    fn flush(&self);
}
