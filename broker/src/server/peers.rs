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
mod tests {
    use std::io::Read;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    /// A connection number `number` to nowhere in particular, and its other end.
    async fn connect(peers: &Peers, number: SessionId) -> std::net::TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("bound");
        let (client, served) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_, writer) = served.expect("accept").0.into_split();
        writer.writable().await.expect("writable");
        peers.insert(&Rc::new(Peer::new(number, writer, 1 << 20)));
        let client = client.expect("connect").into_std().expect("a socket");
        client.set_nonblocking(false).expect("blocking");
        client
    }

    fn on_a_core_thread(test: impl Future<Output = ()>) {
        let mut builder = Builder::new_current_thread();
        let runtime = builder
            .enable_all()
            .build_local(LocalOptions::default())
            .expect("runtime");
        runtime.block_on(test);
    }

    #[test]
    fn every_touched_connection_is_written_once_whatever_it_got() {
        on_a_core_thread(async {
            let peers = Peers::new(Rc::new(Inbox::new(1 << 20)));
            let mut clients = [connect(&peers, 1).await, connect(&peers, 2).await];
            let _untouched = connect(&peers, 3).await;
            for correlation in 0..100 {
                for session in [1, 2] {
                    peers.answer(
                        Origin {
                            session,
                            correlation,
                        },
                        Ok(Answer::Done),
                    );
                }
            }
            peers.flush();
            peers.flush();
            assert_eq!(peers.writes(), 2);
            assert_eq!(peers.undelivered(), 0);
            for client in &mut clients {
                let mut bytes = [0; 4096];
                assert!(client.read(&mut bytes).expect("answers") > 100);
            }
        });
    }

    #[test]
    fn a_message_leaves_before_the_confirms_of_the_same_turn() {
        on_a_core_thread(async {
            let peers = Peers::new(Rc::new(Inbox::new(1 << 20)));
            let mut clients = Vec::new();
            for session in [1, 2, 3] {
                clients.push(connect(&peers, session).await);
            }
            for session in [1, 3] {
                let correlation = 1;
                let to = Origin {
                    session,
                    correlation,
                };
                peers.answer(to, Ok(Answer::Done));
            }
            let (session, consumer) = (2, 1);
            peers.deliver(DeliverTo::Consumer { session, consumer }, None, &[]);
            let order: Vec<SessionId> = peers
                .touched
                .borrow()
                .iter()
                .map(|peer| peer.number)
                .collect();
            assert_eq!(order, [2, 1, 3]);
            peers.flush();
            assert_eq!(peers.writes(), 3);
        });
    }

    #[test]
    fn a_connection_looks_at_one_page_at_a_time_however_many_it_asks_for() {
        on_a_core_thread(async {
            let peers = Peers::new(Rc::new(Inbox::new(1 << 20)));
            let _client = connect(&peers, 1).await;
            let peer = Rc::clone(peers.table.borrow().get(&1).expect("connected"));
            let to = |correlation| Origin {
                session: 1,
                correlation,
            };
            assert!(peer.may_ask(100));
            peer.look(7);
            assert!(!peer.may_ask(100));
            peers.answer(to(6), Ok(Answer::Done));
            assert!(!peer.may_ask(100), "another answer");
            peers.browsed(to(7), wire::Browsed::default());
            assert!(peer.may_ask(100));
        });
    }

    #[test]
    fn a_connection_that_the_broker_does_not_read_is_not_closed_for_its_silence() {
        on_a_core_thread(async {
            let peers = Peers::new(Rc::new(Inbox::new(1 << 20)));
            let _client = connect(&peers, 1).await;
            let peer = Rc::clone(peers.table.borrow().get(&1).expect("connected"));
            peer.set_open();
            peer.hold_back(true);
            for _ in 0..1_000 {
                peers.tick();
            }
            assert_eq!(peer.end(), None);
            peer.hold_back(false);
            for _ in 0..100 {
                peers.tick();
            }
            assert!(peer.end().is_some());
        });
    }

    #[test]
    fn a_connection_that_falls_silent_hears_of_it_and_gives_its_large_chunk_back() {
        on_a_core_thread(async {
            let peers = Peers::new(Rc::new(Inbox::new(1 << 20)));
            let _client = connect(&peers, 1).await;
            let peer = Rc::clone(peers.table.borrow().get(&1).expect("connected"));
            peer.note_read(false);
            peers.tick();
            assert!(!peer.is_silent());
            peers.tick();
            peer.changed().await;
            assert!(peer.is_silent());
            peer.note_read(false);
            assert!(!peer.is_silent());
        });
    }
}
