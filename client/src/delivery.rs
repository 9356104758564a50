//! What a consumer holds: whole batches that borrow their messages, or single deliveries that own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use siding_protocol::event::{SettleOutcomeKind, Settled};
use siding_protocol::frame::COPIED_BYTES_MAX;
use siding_protocol::refusal::State;
use siding_protocol::request::{Action, Rider};
use siding_protocol::run::{HeaderValue, MessageView, messages, skip};
use siding_protocol::types::Grant;
use siding_protocol::wire;

use crate::error::Error;
use crate::keep_alive::KeepAlive;
use crate::lease::{Lease, Source, millis};
use crate::message::MessageId;

/// Consecutive messages of one grant, in the bytes they came in. Settle it as a whole, or take it
/// apart with [`into_deliveries`](Self::into_deliveries). Dropped un-settled it is released: given
/// back at once, uncharged.
#[derive(Debug)]
#[must_use = "settle it; dropped, it is released"]
pub struct DeliveredBatch {
    lease: Lease,
    facts: Facts,
    checkpoint: Option<Bytes>,
    run: Bytes,
}

/// One leased message. Dropped un-settled it is released: given back at once, uncharged.
///
/// A settle that is under way survives a lost connection: it is sent again until it is answered.
#[derive(Debug)]
#[must_use = "settle it; dropped, it is released"]
pub struct Delivery {
    lease: Lease,
    facts: Facts,
    checkpoint: Option<Bytes>,
    run: Bytes,
}

/// What all messages of a batch share.
#[derive(Clone, Copy, Debug)]
struct Facts {
    log_id: u64,
    attempt: u32,
    published_at_ms: u64,
    deadline_ms: u64,
}

/// What became of one settled message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a lost lease means that the message is, or was, in other hands"]
pub enum Outcome {
    /// Settled.
    Done,
    /// Settled, after the deadline had passed; nobody else had got it.
    Late,
    /// Not settled: the message is no longer ours, but in this state.
    LeaseLost(State),
}

/// What became of extending a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a lost lease means that the message is, or was, in other hands"]
pub enum Extended {
    /// It lasts longer.
    Done,
    /// It lasts longer, and somebody asked to cancel the message: whether it ends so is for its holder.
    CancelRequested,
    /// It was over: the message is no longer ours, but in this state.
    LeaseLost(State),
}

impl DeliveredBatch {
    /// Takes what the broker delivered; `None` if it carries no grant.
    pub(crate) fn new(source: &Arc<Source>, batch: wire::Batch) -> Option<Self> {
        let grant = batch.grant?;
        let end = batch.first_offset.checked_add(batch.count.into())?;
        let small = batch.run.len() < COPIED_BYTES_MAX;
        Some(Self {
            lease: Lease {
                source: Arc::clone(source),
                grant: Grant {
                    term: grant.term,
                    counter: grant.counter,
                },
                range: batch.first_offset..end,
            },
            facts: Facts {
                log_id: batch.log_id,
                attempt: batch.attempt,
                published_at_ms: batch.published_at_ms,
                deadline_ms: batch.deadline_ms,
            },
            checkpoint: batch.checkpoint,
            // A small message must not pin the chunk it was read into.
            run: if small {
                Bytes::copy_from_slice(&batch.run)
            } else {
                batch.run
            },
        })
    }

    /// Messages in it; at least 1.
    pub fn len(&self) -> usize {
        usize::try_from(self.lease.range.end - self.lease.range.start).unwrap_or(usize::MAX)
    }

    /// Whether nothing is in it: only what `into_deliveries` left behind.
    pub fn is_empty(&self) -> bool {
        self.lease.range.is_empty()
    }

    /// The log of the queue or topic.
    pub const fn log_id(&self) -> u64 {
        self.facts.log_id
    }

    /// The offset of its first message; the others follow without a gap.
    pub const fn first_offset(&self) -> u64 {
        self.lease.range.start
    }

    /// Which handing-over of these messages this is, from 1.
    pub const fn attempt(&self) -> u32 {
        self.facts.attempt
    }

    /// When they were published: Unix ms.
    pub const fn published_at_ms(&self) -> u64 {
        self.facts.published_at_ms
    }

    /// When the lease ends unless it is extended: Unix ms; 0 where it was acked on delivery.
    pub const fn deadline_ms(&self) -> u64 {
        self.facts.deadline_ms
    }

    /// The fencing number of this handing-over.
    pub const fn grant(&self) -> Grant {
        self.lease.grant
    }

    /// The messages, in order, decoded as they are looked at.
    pub fn messages(&self) -> impl Iterator<Item = MessageView<'_>> {
        messages(&self.run).take(self.len())
    }

    /// Takes the batch apart, to settle its messages one by one.
    pub fn into_deliveries(self) -> Deliveries {
        Deliveries { batch: self }
    }

    /// Done, all of them.
    ///
    /// # Errors
    /// Only a closed client or a refusal of the whole settle; messages whose lease was lost are in
    /// the outcomes.
    ///
    /// # Cancel safety
    /// The settle is queued at the first poll and done even if the future is dropped. The same holds
    /// for all settles of this crate.
    pub async fn ack(self) -> Result<Settled, Error> {
        self.lease.settle(Action::Ack, Rider::default()).await
    }

    /// Done, all of them; nobody waits for the answer. Acks queued before the connection is next
    /// free to write share a frame. See [`Consumer::flush_settles`](crate::Consumer::flush_settles).
    pub fn ack_detached(self) {
        self.lease.settle_detached(Action::Ack);
    }

    /// Failed, all of them: an attempt is charged, and they come back after `delay`, or the
    /// subscription's backoff.
    ///
    /// # Errors
    /// As [`ack`](Self::ack); a delay over ten years is refused.
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn nack(self, delay: Option<Duration>) -> Result<Settled, Error> {
        self.lease.settle(nack(delay), Rider::default()).await
    }

    /// Given back uncharged, after `delay`.
    ///
    /// # Errors
    /// As [`nack`](Self::nack).
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn release(self, delay: Duration) -> Result<Settled, Error> {
        self.lease.settle(release(delay), Rider::default()).await
    }

    /// To the dead letters, with a reason of at most 1 KiB.
    ///
    /// # Errors
    /// As [`ack`](Self::ack); a longer reason is refused.
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn reject(self, reason: &str) -> Result<Settled, Error> {
        self.lease.settle(reject(reason), Rider::default()).await
    }

    /// Sets the remaining time of the lease: 1 s to 12 h, and no further than `max_hold` after the
    /// hand-over, where the queue or subscription has one.
    ///
    /// # Errors
    /// As [`ack`](Self::ack); another duration is refused, with the most that is left.
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn extend(&self, remaining: Duration) -> Result<Settled, Error> {
        self.lease.extend(remaining, Rider::default()).await
    }

    pub(crate) const fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) fn lease_mut(&mut self) -> &mut Lease {
        &mut self.lease
    }
}

impl Delivery {
    /// Where the message is stored.
    pub const fn id(&self) -> MessageId {
        MessageId {
            log_id: self.facts.log_id,
            offset: self.lease.range.start,
        }
    }

    /// Which handing-over this is, from 1.
    pub const fn attempt(&self) -> u32 {
        self.facts.attempt
    }

    /// When it was published: Unix ms.
    pub const fn published_at_ms(&self) -> u64 {
        self.facts.published_at_ms
    }

    /// When the lease ends unless it is extended: Unix ms; 0 where it was acked on delivery.
    pub const fn deadline_ms(&self) -> u64 {
        self.facts.deadline_ms
    }

    /// The fencing number of this handing-over.
    pub const fn grant(&self) -> Grant {
        self.lease.grant
    }

    /// What the last attempt left behind with [`save`](Self::save), a nack or a release; `None`: nothing.
    pub fn checkpoint(&self) -> Option<&Bytes> {
        self.checkpoint.as_ref()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.view().body()
    }

    /// The body, sharing the delivery's memory.
    pub fn body_bytes(&self) -> Bytes {
        self.run.slice_ref(self.body())
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

    /// Done.
    ///
    /// # Errors
    /// Only a closed client or a refused settle; a lost lease is an [`Outcome`].
    ///
    /// # Cancel safety
    /// The settle is queued at the first poll and done even if the future is dropped.
    pub async fn ack(self) -> Result<Outcome, Error> {
        self.settle(Action::Ack).await
    }

    /// Done; nobody waits for the answer. See [`DeliveredBatch::ack_detached`].
    pub fn ack_detached(self) {
        self.lease.settle_detached(Action::Ack);
    }

    /// Failed: an attempt is charged, and it comes back after `delay`, or the subscription's
    /// backoff; past the last attempt it is a dead letter.
    ///
    /// # Errors
    /// As [`ack`](Self::ack); a delay over ten years is refused.
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn nack(self, delay: Option<Duration>) -> Result<Outcome, Error> {
        self.settle(nack(delay)).await
    }

    /// Given back uncharged, after `delay`.
    ///
    /// # Errors
    /// As [`nack`](Self::nack).
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn release(self, delay: Duration) -> Result<Outcome, Error> {
        self.settle(release(delay)).await
    }

    /// To the dead letters, with a reason of at most 1 KiB.
    ///
    /// # Errors
    /// As [`ack`](Self::ack); a longer reason is refused.
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn reject(self, reason: &str) -> Result<Outcome, Error> {
        self.settle(reject(reason)).await
    }

    /// Sets the remaining time of the lease: 1 s to 12 h, and no further than `max_hold` after the
    /// hand-over, where the queue or subscription has one.
    ///
    /// # Errors
    /// As [`ack`](Self::ack); another duration is refused, with the most that is left.
    ///
    /// # Cancel safety
    /// As [`ack`](Self::ack).
    pub async fn extend(&self, remaining: Duration) -> Result<Extended, Error> {
        let settled = self.lease.extend(remaining, Rider::default()).await?;
        Ok(extended(&settled))
    }

    /// Extends the lease at every half of its visibility timeout until the guard is dropped, the lease
    /// is lost, or the message has been held for `max_hold`. Must be called within a tokio runtime.
    pub fn keep_alive(&self) -> KeepAlive {
        let Lease {
            source,
            grant,
            range,
        } = &self.lease;
        KeepAlive::start(Arc::clone(source), *grant, range.clone())
    }

    async fn settle(self, action: Action) -> Result<Outcome, Error> {
        self.settle_with(action, Rider::default()).await
    }

    pub(crate) async fn settle_with(self, action: Action, rider: Rider) -> Result<Outcome, Error> {
        let settled = self.lease.settle(action, rider).await?;
        Ok(outcome(&settled))
    }

    pub(crate) const fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) fn lease_mut(&mut self) -> &mut Lease {
        &mut self.lease
    }
}

/// The messages of one batch as deliveries of their own; what is not taken is released.
#[derive(Debug)]
pub struct Deliveries {
    batch: DeliveredBatch,
}

impl Deliveries {
    /// What has not been taken yet, as a batch; `None` if everything was.
    pub fn into_batch(self) -> Option<DeliveredBatch> {
        (!self.batch.is_empty()).then_some(self.batch)
    }
}

impl Iterator for Deliveries {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        let batch = &mut self.batch;
        if batch.is_empty() {
            return None;
        }
        let run = batch.run.split_to(skip(&batch.run, 1)?);
        let end = batch.first_offset() + 1;
        Some(Delivery {
            lease: batch.lease.split_to(end),
            facts: batch.facts,
            // Of a batch of one message only.
            checkpoint: batch.checkpoint.take(),
            run,
        })
    }
}

/// The one message of a run cut at message boundaries.
pub(crate) fn one_message(run: &[u8]) -> MessageView<'_> {
    let first = messages(run).next();
    first.expect("a delivery's run was cut behind its one message")
}

/// What a settle of one message became.
pub(crate) fn outcome(settled: &Settled) -> Outcome {
    match settled.outcomes.first().map(|outcome| outcome.kind) {
        // Only an extend is told of a cancel.
        None | Some(SettleOutcomeKind::CancelRequested) => Outcome::Done,
        Some(SettleOutcomeKind::Late) => Outcome::Late,
        Some(SettleOutcomeKind::LeaseLost(state)) => Outcome::LeaseLost(state),
    }
}

/// What an extend of one message became.
pub(crate) fn extended(settled: &Settled) -> Extended {
    match settled.outcomes.first().map(|outcome| outcome.kind) {
        None | Some(SettleOutcomeKind::Late) => Extended::Done,
        Some(SettleOutcomeKind::LeaseLost(state)) => Extended::LeaseLost(state),
        Some(SettleOutcomeKind::CancelRequested) => Extended::CancelRequested,
    }
}

fn nack(delay: Option<Duration>) -> Action {
    nack_because(delay, String::new())
}

pub(crate) fn nack_because(delay: Option<Duration>, reason: String) -> Action {
    Action::Nack {
        delay_ms: delay.map(millis),
        reason,
    }
}

pub(crate) fn release(delay: Duration) -> Action {
    Action::Release {
        delay_ms: millis(delay),
    }
}

fn reject(reason: &str) -> Action {
    Action::Reject {
        reason: reason.to_owned(),
    }
}
