//! All connections of one shard: where its answers and deliveries go.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use siding_protocol::event::{Answer, range_to_wire};
use siding_protocol::frame::{BatchParts, Recipient};
use siding_protocol::refusal::Refusal;
use siding_protocol::types::{Grant, Offset, OffsetRange};
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;
use tracing::trace;

use super::peer::{End, Flush, Peer};
use crate::engine::effect::{DeliverTo, Expiring, Origin, SessionId};
use crate::shard::core::Input;
use crate::shard::inbox::Inbox;
use crate::shard::sessions::Sessions;

/// The connections, and those of them that wait to be written to.
#[derive(Debug)]
pub struct Peers {
    table: RefCell<BTreeMap<SessionId, Rc<Peer>>>,
    touched: RefCell<VecDeque<Rc<Peer>>>,
    inbox: Rc<Inbox>,
    is_draining: Cell<bool>,
    /// One clone for each connection task.
    serving: Rc<()>,
    /// Socket writes made by [`Sessions::flush`]: a budget of the design, held by a test.
    writes: Cell<u64>,
}

impl Peers {
    /// None yet; pauses go to `inbox`.
    pub fn new(inbox: Rc<Inbox>) -> Self {
        Self {
            table: RefCell::default(),
            touched: RefCell::default(),
            inbox,
            is_draining: Cell::new(false),
            serving: Rc::new(()),
            writes: Cell::new(0),
        }
    }

    /// Socket writes made so far on behalf of the shard.
    pub fn writes(&self) -> u64 {
        self.writes.get()
    }

    /// Connections that still have something to be sent.
    pub fn undelivered(&self) -> usize {
        self.table
            .borrow()
            .values()
            .filter(|peer| !peer.is_drained())
            .count()
    }

    /// A second has passed: closes every connection whose time is up.
    pub fn tick(&self) {
        for peer in self.table.borrow().values() {
            if let Some(late) = peer.tick() {
                peer.close(End::Late(late));
            }
        }
    }

    /// The broker is about to close: every client is told, and every request from now on refused.
    pub fn drain(&self, grace_ms: u64) {
        self.is_draining.set(true);
        for peer in self.table.borrow().values().filter(|peer| peer.is_open()) {
            peer.send(0, Kind::Draining(wire::Draining { grace_ms }));
            self.touch(peer, VecDeque::push_back);
        }
        self.flush();
    }

    /// Ends every connection.
    pub fn close_all(&self) {
        for peer in self.table.borrow().values() {
            peer.close(End::Stop);
        }
    }

    /// Connections whose task has not ended.
    pub fn serving(&self) -> usize {
        Rc::strong_count(&self.serving) - 1
    }

    /// To be kept by a connection's task until its end.
    pub(super) fn note_serving(&self) -> Rc<()> {
        Rc::clone(&self.serving)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    pub(super) fn insert(&self, peer: &Rc<Peer>) {
        self.table.borrow_mut().insert(peer.number, Rc::clone(peer));
    }

    pub(super) fn remove(&self, number: SessionId) {
        self.table.borrow_mut().remove(&number);
    }

    /// Writes what one connection is to be sent, outside a group.
    pub(super) fn flush_one(&self, peer: &Rc<Peer>) -> Flush {
        let flush = peer.flush();
        if flush == Flush::Unfinished {
            let inbox = Rc::clone(&self.inbox);
            let when_room = move |peer: &Peer| note_pause(peer, &inbox);
            tokio::task::spawn_local(Rc::clone(peer).finish(when_room));
        }
        flush
    }

    fn with(&self, session: SessionId, deed: impl FnOnce(&Rc<Peer>)) {
        if let Some(peer) = self.table.borrow().get(&session) {
            deed(peer);
        } else {
            trace!(session, "nobody is left to be told");
        }
    }

    /// Adds it to those that wait to be written to, where `put` says.
    fn touch(&self, peer: &Rc<Peer>, put: fn(&mut VecDeque<Rc<Peer>>, Rc<Peer>)) {
        if !peer.is_touched.replace(true) {
            put(&mut self.touched.borrow_mut(), Rc::clone(peer));
        }
        note_pause(peer, &self.inbox);
    }

    fn send(&self, to: Origin, kind: Kind) {
        self.with(to.session, |peer| {
            peer.send(to.correlation, kind);
            peer.note_answered(to.correlation);
            self.touch(peer, VecDeque::push_back);
        });
    }
}

/// Deliveries to a connection that does not take them stop, and go on when it does.
fn note_pause(peer: &Peer, inbox: &Inbox) {
    if let Some(paused) = peer.pause_change() {
        inbox.push(Input::Paused {
            session: peer.number,
            paused,
        });
    }
}

impl Sessions for Peers {
    fn answer(&self, to: Origin, answer: Result<Answer, Refusal>) {
        let kind = match answer {
            Ok(answer) => answer.into_wire(),
            Err(refusal) => Kind::Error(refusal.to_wire()),
        };
        self.send(to, kind);
    }

    fn release(&self, session: SessionId, bytes: usize) {
        if let Some(peer) = self.table.borrow().get(&session) {
            peer.release(bytes);
        }
    }

    fn deliver(&self, to: DeliverTo, gap: Option<&OffsetRange>, batches: &[BatchParts]) {
        let (session, to) = match to {
            DeliverTo::Consumer { session, consumer } => (session, Recipient::Consumer(consumer)),
            DeliverTo::Receive(to) => (to.session, Recipient::Receive(to.correlation)),
        };
        self.with(session, |peer| {
            peer.send_with(|out| out.deliver(to, gap, batches));
            // Before the confirms: a send takes as long as waking who waits, and of the two it is the message
            // that is still on its way to somebody.
            self.touch(peer, VecDeque::push_front);
        });
    }

    fn end_consumer(&self, session: SessionId, consumer: u32, why: &Refusal) {
        let notice = Origin {
            session,
            correlation: 0,
        };
        let error = Some(why.to_wire());
        let ended = wire::ConsumerEnded { consumer, error };
        self.send(notice, Kind::ConsumerEnded(ended));
    }

    fn cancel_requested(&self, session: SessionId, told: (u32, Grant, Offset)) {
        let (consumer, Grant { term, counter }, offset) = told;
        let notice = Origin {
            session,
            correlation: 0,
        };
        let grant = Some(wire::Grant { term, counter });
        let told = wire::CancelRequested {
            consumer,
            grant,
            offset,
        };
        self.send(notice, Kind::CancelRequested(told));
    }

    fn lease_expiring(&self, expiring: &Expiring) {
        let notice = Origin {
            session: expiring.session,
            correlation: 0,
        };
        let grant = expiring.grant;
        let told = wire::LeaseExpiring {
            consumer: expiring.consumer,
            grant: Some(wire::Grant {
                term: grant.term,
                counter: grant.counter,
            }),
            ranges: expiring.ranges.iter().map(range_to_wire).collect(),
            deadline_ms: expiring.deadline.0,
        };
        self.send(notice, Kind::LeaseExpiring(told));
    }

    fn browsed(&self, to: Origin, answer: wire::Browsed) {
        self.send(to, Kind::Browsed(answer));
    }

    fn flush(&self) {
        let mut touched = self.touched.take();
        for peer in touched.drain(..) {
            peer.is_touched.set(false);
            if self.flush_one(&peer) != Flush::Nothing {
                self.writes.set(self.writes.get() + 1);
            }
        }
        // The room stays, unless somebody was touched meanwhile.
        let mut list = self.touched.borrow_mut();
        if list.is_empty() {
            *list = touched;
        }
    }
}

#[cfg(test)]
mod tests;
