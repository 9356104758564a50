//! What one connection is to write: small frames side by side in one buffer, large runs as they are.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint, message};

use super::{LENGTH_BYTES, encode, put_length, room};
use crate::types::OffsetRange;
use crate::wire;

/// A slice of a run under this size is copied beside its head: one buffer is cheaper to write than
/// two, and a small message must not pin the chunk it was read into.
pub const COPIED_BYTES_MAX: usize = 4 << 10;

/// The run is the highest-numbered field of `Publish` and `Batch`, so its bytes end their message.
const RUN_KEY: u8 = (15 << 3) | 2;

/// Who gets a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// `Deliver`, to a consumer by the number its client gave it.
    Consumer(u32),
    /// `Received`, the answer to a `Receive` by its correlation id.
    Receive(u64),
}

/// One batch, its run in slices that lie where they were found.
#[derive(Clone, Debug)]
pub struct BatchParts {
    /// All but the run, which is empty here.
    pub head: wire::Batch,
    /// The run's bytes, in order.
    pub run: Vec<Bytes>,
}

/// Frames to be written, in order. As a [`Buf`] it can be written vectored and consumed.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Closed buffers and runs; before `open`.
    slices: VecDeque<Bytes>,
    slices_bytes: usize,
    open: BytesMut,
}

impl Outgoing {
    /// Appends a frame without a large run.
    pub fn frame(&mut self, correlation: u64, kind: wire::frame::Kind) {
        encode(correlation, kind, &mut self.open);
    }

    /// Appends a `Publish`; its run is not copied when it is large.
    pub fn publish(&mut self, correlation: u64, mut publish: wire::Publish) {
        let run = std::mem::take(&mut publish.run);
        let publish_bytes = with_run(publish.encoded_len(), run.len());
        self.frame_head(correlation, 5, publish_bytes);
        publish.encode_raw(&mut room(publish.encoded_len(), &mut self.open));
        self.run(run.len(), std::slice::from_ref(&run));
    }

    /// Appends a `Deliver` or `Received`; large slices of runs are not copied.
    pub fn deliver(&mut self, to: Recipient, gap: Option<&OffsetRange>, batches: &[BatchParts]) {
        let (correlation, kind, batches_key, gap_tag, consumer) = match to {
            Recipient::Consumer(consumer) => (0, 71, (2 << 3) | 2, 3, consumer),
            Recipient::Receive(correlation) => (correlation, 72, (1 << 3) | 2, 2, 0),
        };
        let gap = gap.map(|gap| wire::OffsetRange {
            first: gap.start,
            count: gap.end.saturating_sub(gap.start),
        });
        let gap_bytes = gap.as_ref().map(|gap| message::encoded_len(gap_tag, gap));
        let consumer_bytes = varint_field_len(u64::from(consumer));
        let message_bytes = batches
            .iter()
            .map(|batch| delimited_len(batch.encoded_len()))
            .fold(consumer_bytes, usize::saturating_add)
            .saturating_add(gap_bytes.unwrap_or(0));
        self.frame_head(correlation, kind, message_bytes);
        put_varint_field(
            1,
            u64::from(consumer),
            &mut room(consumer_bytes, &mut self.open),
        );
        for batch in batches {
            let (head_bytes, batch_bytes) = (batch.head.encoded_len(), batch.encoded_len());
            let prefix_bytes = varint_len(batch_bytes).saturating_add(1);
            let mut room = room(prefix_bytes.saturating_add(head_bytes), &mut self.open);
            room.put_u8(batches_key);
            put_varint(batch_bytes, &mut room);
            batch.head.encode_raw(&mut room);
            self.run(batch.run_bytes(), &batch.run);
        }
        if let Some(gap) = &gap {
            message::encode(gap_tag, gap, &mut self.open);
        }
    }

    /// Bytes not written yet.
    pub fn len_bytes(&self) -> usize {
        self.slices_bytes.saturating_add(self.open.len())
    }

    /// Whether everything has been written.
    pub fn is_empty(&self) -> bool {
        self.len_bytes() == 0
    }

    /// Length, correlation, and the key and length of the frame's one kind.
    fn frame_head(&mut self, correlation: u64, kind: u32, kind_bytes: usize) {
        let kind_key = u64::from((kind << 3) | 2);
        let head_bytes = varint_field_len(correlation)
            .saturating_add(encoded_len_varint(kind_key))
            .saturating_add(varint_len(kind_bytes));
        let frame_bytes = head_bytes.saturating_add(kind_bytes);
        // Copied runs grow the buffer on their own; this is room for the heads.
        let ahead = frame_bytes.min(COPIED_BYTES_MAX);
        self.open.reserve(ahead.saturating_add(LENGTH_BYTES));
        let mut room = room(head_bytes.saturating_add(LENGTH_BYTES), &mut self.open);
        put_length(frame_bytes, &mut room);
        put_varint_field(1, correlation, &mut room);
        encode_varint(kind_key, &mut room);
        put_varint(kind_bytes, &mut room);
    }

    /// The run field that ends a `Publish` or `Batch`; an empty one is not written.
    fn run(&mut self, bytes: usize, slices: &[Bytes]) {
        if bytes == 0 {
            return;
        }
        let mut room = room(varint_len(bytes).saturating_add(1), &mut self.open);
        room.put_u8(RUN_KEY);
        put_varint(bytes, &mut room);
        for slice in slices {
            if slice.len() < COPIED_BYTES_MAX {
                self.open.extend_from_slice(slice);
            } else {
                let heads = self.open.split().freeze();
                self.push(heads);
                self.push(slice.clone());
            }
        }
    }

    fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.slices_bytes = self.slices_bytes.saturating_add(slice.len());
            self.slices.push_back(slice);
        }
    }
}

impl BatchParts {
    fn run_bytes(&self) -> usize {
        self.run
            .iter()
            .map(Bytes::len)
            .fold(0, usize::saturating_add)
    }

    fn encoded_len(&self) -> usize {
        debug_assert!(self.head.run.is_empty(), "the run stands beside the head");
        with_run(self.head.encoded_len(), self.run_bytes())
    }
}

/// # Panics
/// `advance` past the end, as every `Buf`.
impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.len_bytes()
    }

    fn chunk(&self) -> &[u8] {
        self.slices.front().map_or(&self.open, |slice| slice)
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.slices.iter().map(|slice| &slice[..]);
        let open = (!self.open.is_empty()).then_some(&self.open[..]);
        let mut filled = 0_usize;
        for (room, chunk) in out.iter_mut().zip(chunks.chain(open)) {
            *room = IoSlice::new(chunk);
            filled = filled.saturating_add(1);
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.slices.front_mut() {
            let taken = count.min(front.len());
            front.advance(taken);
            self.slices_bytes = self.slices_bytes.saturating_sub(taken);
            count = count.saturating_sub(taken);
            if !front.is_empty() {
                return;
            }
            self.slices.pop_front();
        }
        self.open.advance(count);
    }
}

/// A message's bytes with a run field at its end.
fn with_run(head_bytes: usize, run_bytes: usize) -> usize {
    if run_bytes == 0 {
        head_bytes
    } else {
        head_bytes.saturating_add(delimited_len(run_bytes))
    }
}

/// One key byte, a length and that many bytes.
fn delimited_len(bytes: usize) -> usize {
    varint_len(bytes).saturating_add(bytes).saturating_add(1)
}

/// One key byte and a varint; 0 is not written.
fn varint_field_len(value: u64) -> usize {
    if value == 0 {
        0
    } else {
        encoded_len_varint(value).saturating_add(1)
    }
}

fn put_varint_field(number: u8, value: u64, out: &mut impl BufMut) {
    if value != 0 {
        out.put_u8(number << 3);
        encode_varint(value, out);
    }
}

fn put_varint(value: usize, out: &mut impl BufMut) {
    encode_varint(crate::run::wide(value), out);
}

fn varint_len(value: usize) -> usize {
    encoded_len_varint(crate::run::wide(value))
}
