//! What is being resolved, and the wire batches that come of it.

use bytes::Bytes;
use siding_protocol::frame::BatchParts;
use siding_protocol::limits::OUTBOUND_BYTES_MAX;
use siding_protocol::types::OffsetRange;
use siding_protocol::wire;

use super::Resolved;
use crate::engine::effect::{DeliverTo, Delivery, Found, Origin, SessionId};
use crate::engine::read::Body;
use crate::storage::bodies::Slice;

/// What a browsed message takes in the answer beside its run and texts, at most, in bytes.
const BROWSED_HEAD_BYTES: usize = 128;

/// What waits for one receiver, in order. Answers are each for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Consumer(u32),
    Answer(u64),
    /// The engine itself.
    Engine(u64),
}

/// Whom the engine's own reads are counted for: no connection has this number.
const NOBODY: SessionId = 0;

/// What is to be resolved, with what is resolved of it.
#[derive(Debug)]
pub(super) enum Work {
    Delivery {
        delivery: Delivery,
        batches: Vec<BatchParts>,
    },
    Browse {
        to: Origin,
        log: u64,
        found: Vec<Found>,
        answer: wire::Browsed,
        bytes: usize,
    },
    Read {
        number: u64,
        log: u64,
        ranges: Vec<OffsetRange>,
        bodies: Vec<Body>,
    },
}

impl Work {
    /// A delivery of which nothing is to be looked up.
    pub(super) fn read_before(mut delivery: Delivery, read: Vec<Body>) -> Self {
        let mut ranges = std::mem::take(&mut delivery.ranges);
        ranges.sort_unstable_by_key(|(range, _)| range.start);
        let mut batches = Vec::new();
        for body in read {
            let at = ranges.partition_point(|(range, _)| range.end <= body.first);
            let attempt = ranges.get(at).map_or(1, |(_, attempt)| *attempt);
            let slice = Slice {
                first: body.first,
                count: body.count,
                published_at: body.published_at,
                bytes: body.run,
            };
            append(&mut batches, &delivery, attempt, slice);
        }
        Self::Delivery { delivery, batches }
    }

    pub(super) fn target(&self) -> (SessionId, Lane) {
        match self {
            Self::Delivery { delivery, .. } => match delivery.to {
                DeliverTo::Consumer { session, consumer } => (session, Lane::Consumer(consumer)),
                DeliverTo::Receive(to) => (to.session, Lane::Answer(to.correlation)),
            },
            Self::Browse { to, .. } => (to.session, Lane::Answer(to.correlation)),
            Self::Read { number, .. } => (NOBODY, Lane::Engine(*number)),
        }
    }

    pub(super) fn log(&self) -> u64 {
        match self {
            Self::Delivery { delivery, .. } => delivery.log,
            Self::Browse { log, .. } | Self::Read { log, .. } => *log,
        }
    }

    /// Whether what cannot be read ends it: nobody is to take what comes behind as if nothing were missing.
    pub(super) fn ends_at_a_hole(&self) -> bool {
        matches!(self, Self::Delivery { .. })
    }

    /// The offsets to look up next; `None`: nothing more is to be found.
    pub(super) fn range(&self, index: usize) -> Option<OffsetRange> {
        match self {
            Self::Delivery { delivery, .. } => {
                delivery.ranges.get(index).map(|(range, _)| range.clone())
            }
            Self::Browse { found, bytes, .. } => {
                let offset = found
                    .get(index)
                    .filter(|_| *bytes < OUTBOUND_BYTES_MAX)?
                    .offset;
                Some(offset..offset + 1)
            }
            Self::Read { ranges, .. } => ranges.get(index).cloned(),
        }
    }

    /// Adds a slice of the range at `index`.
    pub(super) fn take(&mut self, index: usize, slice: Slice) {
        match self {
            Self::Delivery { delivery, batches } => {
                let attempt = delivery
                    .ranges
                    .get(index)
                    .map_or(1, |(_, attempt)| *attempt);
                append(batches, delivery, attempt, slice);
            }
            Self::Browse {
                log,
                found,
                answer,
                bytes,
                ..
            } => {
                if let Some(found) = found.get_mut(index) {
                    let texts = found.detail.len() + found.holder.len();
                    *bytes += slice.bytes.len() + texts + BROWSED_HEAD_BYTES;
                    answer.messages.push(browsed(*log, found, slice));
                }
            }
            Self::Read { bodies, .. } => bodies.push(Body {
                first: slice.first,
                count: slice.count,
                published_at: slice.published_at,
                run: slice.bytes,
            }),
        }
    }

    pub(super) fn finish(self) -> Option<Resolved> {
        match self {
            Self::Delivery { delivery, batches } => {
                let to = delivery.to;
                let is_push = matches!(to, DeliverTo::Consumer { .. });
                let gap = delivery.gap;
                let is_empty = batches.is_empty() && gap.is_none();
                (!is_push || !is_empty).then_some(Resolved::Delivery { to, gap, batches })
            }
            Self::Browse { to, answer, .. } => Some(Resolved::Browsed { to, answer }),
            Self::Read { number, bodies, .. } => Some(Resolved::Read { number, bodies }),
        }
    }
}

/// Joins a slice to the last batch if all that a batch says holds for it too; else begins one.
fn append(batches: &mut Vec<BatchParts>, delivery: &Delivery, attempt: u32, slice: Slice) {
    let checkpoints = &delivery.checkpoints;
    let found = checkpoints.binary_search_by_key(&slice.first, |(offset, _)| *offset);
    let checkpoint = found.ok().and_then(|at| checkpoints.get(at));
    let checkpoint = checkpoint.map(|(_, checkpoint)| checkpoint.clone());
    if let Some(BatchParts { head, run }) = batches.last_mut()
        && head.first_offset + u64::from(head.count) == slice.first
        && head.published_at_ms == slice.published_at.0
        && head.attempt == attempt
        && head.checkpoint.is_none()
        && checkpoint.is_none()
    {
        head.count += slice.count;
        run.push(slice.bytes);
        return;
    }
    let head = wire::Batch {
        checkpoint,
        log_id: delivery.log,
        first_offset: slice.first,
        count: slice.count,
        published_at_ms: slice.published_at.0,
        attempt,
        grant: Some(wire::Grant {
            term: delivery.grant.term,
            counter: delivery.grant.counter,
        }),
        deadline_ms: delivery.deadline.0,
        run: Bytes::new(),
    };
    let run = vec![slice.bytes];
    batches.push(BatchParts { head, run });
}

/// Takes the texts out of `found`: each is given out once.
fn browsed(log: u64, found: &mut Found, slice: Slice) -> wire::BrowsedMessage {
    let batch = wire::Batch {
        log_id: log,
        first_offset: slice.first,
        count: slice.count,
        published_at_ms: slice.published_at.0,
        run: slice.bytes,
        ..wire::Batch::default()
    };
    wire::BrowsedMessage {
        batch: Some(batch),
        state: found.state.to_wire().into(),
        attempts: found.attempts,
        at_ms: found.at.0,
        reason: found.reason.to_owned(),
        detail: std::mem::take(&mut found.detail),
        holder: std::mem::take(&mut found.holder),
    }
}
