//! One connection as the shard sees it: what it is to be sent, and what it still owes.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;

use bytes::Buf;
use siding_protocol::frame::{LENGTH_BYTES, Outgoing};
use siding_protocol::limits::OUTBOUND_BYTES_MAX;
use siding_protocol::wire::frame::Kind;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::watch::{Late, Waits, Watch};
use crate::engine::effect::SessionId;

/// Counted for every request beside its bytes, so that very small ones are bounded too.
const REQUEST_OVERHEAD_BYTES: usize = 64;
/// Slices given to one write; more go with the next.
const SLICES_MAX: usize = 64;

/// One connection, shared by its own task, the committer and the task that finishes its writes.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) number: SessionId,
    socket: OwnedWriteHalf,
    out: RefCell<Outgoing>,
    in_flight_bytes: Cell<usize>,
    in_flight_bytes_max: usize,
    /// In the list of those to be flushed.
    pub(super) is_touched: Cell<bool>,
    /// A task of its own writes what the socket did not take.
    is_finishing: Cell<bool>,
    is_paused: Cell<bool>,
    /// Its task reads nothing more until there is room.
    waits_for_room: Cell<bool>,
    /// The look at many names or messages that is not answered yet.
    looks_for: Cell<Option<u64>>,
    /// The broker reads nothing of it: its silence is not its own.
    is_held_back: Cell<bool>,
    is_open: Cell<bool>,
    heard: Cell<bool>,
    /// Nothing came for a second: it needs no large chunk to read into.
    is_silent: Cell<bool>,
    in_frame: Cell<bool>,
    has_written: Cell<bool>,
    watch: RefCell<Watch>,
    end: Cell<Option<End>>,
    /// For its own task: room, or the end.
    changed: Notify,
    /// For the task that finishes its writes.
    ended: Notify,
}

/// Why a connection is to be closed from outside its own task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum End {
    #[error("{0}")]
    Late(#[from] Late),
    #[error("a write failed: {0}")]
    Write(io::ErrorKind),
    #[error("the broker stops")]
    Stop,
}

impl Peer {
    pub(super) fn new(number: SessionId, socket: OwnedWriteHalf, in_flight_max: usize) -> Self {
        Self {
            number,
            socket,
            out: RefCell::default(),
            in_flight_bytes: Cell::new(0),
            in_flight_bytes_max: in_flight_max,
            is_touched: Cell::new(false),
            is_finishing: Cell::new(false),
            is_paused: Cell::new(false),
            waits_for_room: Cell::new(false),
            looks_for: Cell::new(None),
            is_held_back: Cell::new(false),
            is_open: Cell::new(false),
            heard: Cell::new(true),
            is_silent: Cell::new(false),
            in_frame: Cell::new(false),
            has_written: Cell::new(false),
            watch: RefCell::default(),
            end: Cell::new(None),
            changed: Notify::new(),
            ended: Notify::new(),
        }
    }

    /// What a request of so many bytes counts until it is answered.
    pub(super) fn charge(payload_bytes: usize) -> usize {
        payload_bytes + LENGTH_BYTES + REQUEST_OVERHEAD_BYTES
    }

    /// Whether it may ask for `charge` more: one request larger than the limit passes alone, and
    /// who does not take answers, or waits for one that may be large, asks nothing more.
    pub(super) fn may_ask(&self, charge: usize) -> bool {
        let in_flight = self.in_flight_bytes.get();
        (in_flight == 0 || in_flight + charge <= self.in_flight_bytes_max)
            && self.looks_for.get().is_none()
            && self.out.borrow().len_bytes() < OUTBOUND_BYTES_MAX
    }

    pub(super) fn hold(&self, charge: usize) {
        self.in_flight_bytes
            .set(self.in_flight_bytes.get() + charge);
    }

    /// It looks at many names or messages: the answer may be a hundred thousand times larger than
    /// the request, so the outbound buffer bounds it only if there is one such look at a time.
    pub(super) fn look(&self, correlation: u64) {
        self.looks_for.set(Some(correlation));
    }

    /// A request is answered.
    pub(super) fn note_answered(&self, correlation: u64) {
        if self.looks_for.get() == Some(correlation) {
            self.looks_for.set(None);
            self.note_room();
        }
    }

    pub(super) fn release(&self, charge: usize) {
        self.in_flight_bytes
            .set(self.in_flight_bytes.get().saturating_sub(charge));
        self.note_room();
    }

    /// There may be room for what it waits to ask.
    fn note_room(&self) {
        if self.waits_for_room.take() {
            self.changed.notify_one();
        }
    }

    /// Whether the broker itself reads nothing of it for now.
    pub(super) fn hold_back(&self, is_held_back: bool) {
        self.is_held_back.set(is_held_back);
    }

    /// Its task waits for room from here on.
    pub(super) fn wait_for_room(&self) {
        self.waits_for_room.set(true);
    }

    /// Waits until something changed that its task waits for: room, or the end.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Why it must end, once it must.
    pub(super) fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// Ends it; the first reason stands.
    pub(super) fn close(&self, end: End) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
        }
        self.changed.notify_one();
        self.ended.notify_one();
    }

    pub(super) fn set_open(&self) {
        self.is_open.set(true);
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Something came; `in_frame`: the last frame of it is not whole.
    pub(super) fn note_read(&self, in_frame: bool) {
        self.heard.set(true);
        self.is_silent.set(false);
        self.in_frame.set(in_frame);
    }

    /// Whether nothing came for a second or longer.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent.get()
    }

    /// A second has passed.
    pub(super) fn tick(&self) -> Option<Late> {
        let waits = Waits {
            is_open: self.is_open.get(),
            heard: self.heard.replace(false) || self.is_held_back.get(),
            in_frame: self.in_frame.get(),
            stalled: self.is_finishing.get() && !self.has_written.replace(false),
        };
        if !waits.heard && !self.is_silent.replace(true) {
            self.changed.notify_one();
        }
        self.watch.borrow_mut().tick(waits)
    }

    /// Adds a frame to what it is to be sent.
    pub(super) fn send(&self, correlation: u64, kind: Kind) {
        self.out.borrow_mut().frame(correlation, kind);
    }

    /// Adds by hand.
    pub(super) fn send_with(&self, add: impl FnOnce(&mut Outgoing)) {
        add(&mut self.out.borrow_mut());
    }

    /// Whether deliveries to it must stop or may go on, if that is new.
    pub(super) fn pause_change(&self) -> Option<bool> {
        let bytes = self.out.borrow().len_bytes();
        let is_paused = if self.is_paused.get() {
            bytes > OUTBOUND_BYTES_MAX / 2
        } else {
            bytes > OUTBOUND_BYTES_MAX
        };
        (self.is_paused.replace(is_paused) != is_paused).then_some(is_paused)
    }

    #[cfg(test)]
    pub(super) fn owed_bytes(&self) -> usize {
        self.out.borrow().len_bytes()
    }

    /// Whether everything was sent.
    pub(super) fn is_drained(&self) -> bool {
        self.out.borrow().is_empty()
    }

    /// Writes once, all there is. If the socket does not take it all, says so: somebody must
    /// [`Self::finish`].
    pub(super) fn flush(&self) -> Flush {
        if self.is_finishing.get() || self.end.get().is_some() || self.is_drained() {
            return Flush::Nothing;
        }
        match self.write_once() {
            Ok(()) if self.is_drained() => Flush::Written,
            Ok(()) => Flush::Unfinished,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Flush::Unfinished,
            Err(error) => {
                self.close(End::Write(error.kind()));
                Flush::Written
            }
        }
    }

    fn write_once(&self) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let filled = out.chunks_vectored(&mut slices);
        let written = match slices.get(..filled) {
            Some([one]) => self.socket.try_write(one),
            many => self.socket.try_write_vectored(many.unwrap_or_default()),
        }?;
        out.advance(written);
        self.has_written.set(written > 0);
        self.note_room();
        Ok(())
    }

    /// Writes the rest, as the socket takes it. One such task at a time.
    pub(super) async fn finish(self: Rc<Self>, when_room: impl Fn(&Self)) {
        if self.is_finishing.replace(true) {
            return;
        }
        while !self.is_drained() && self.end.get().is_none() {
            let ready = tokio::select! {
                ready = self.socket.writable() => ready,
                () = self.ended.notified() => break,
            };
            match ready.and_then(|()| self.write_once()) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    self.close(End::Write(error.kind()));
                }
                _ => when_room(&self),
            }
        }
        self.is_finishing.set(false);
    }
}

/// What a flush did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// There was nothing to write, or somebody else writes.
    Nothing,
    /// All is written.
    Written,
    /// One write was made, and something is left.
    Unfinished,
}
