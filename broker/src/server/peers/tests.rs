//! Connections over real sockets, their time by hand.

use std::io::Read;

use siding_protocol::limits::OUTBOUND_BYTES_MAX;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, LocalOptions};

use super::super::watch::Late;
use super::*;

/// A connection number `number` to nowhere in particular, and its other end.
async fn connect(peers: &Peers, number: SessionId) -> std::net::TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let socket = TcpSocket::new_v4().expect("a socket");
    // What is not read stays with the sender.
    socket.set_recv_buffer_size(1 << 14).expect("a small one");
    let (client, served) = tokio::join!(socket.connect(address), listener.accept());
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

/// Taken at a time by the other end.
const PIECE: usize = 1 << 16;

/// Owes a connection so many bytes of answers, and writes what its socket takes.
fn owe(peers: &Peers, peer: &Peer, bytes: usize) {
    let before = peer.owed_bytes();
    while peer.owed_bytes() - before < bytes {
        let to = Origin {
            session: peer.number,
            correlation: 1,
        };
        let words = "x".repeat(1_000);
        peers.answer(to, Err(Refusal::malformed("field", words)));
    }
    peers.flush();
}

/// The other end takes so many bytes, and whoever finishes the writes has a turn until it wrote some of its own.
async fn take(peer: &Peer, client: &mut std::net::TcpStream, bytes: usize) {
    let owed = peer.owed_bytes();
    let mut taken = 0;
    let mut buffer = vec![0; PIECE];
    while taken < bytes || (peer.owed_bytes() == owed && owed > 0) {
        match client.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => taken += read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_reader_that_takes_a_little_every_second_is_served_and_one_that_takes_nothing_is_closed() {
    on_a_core_thread(async {
        let peers = Peers::new(Rc::new(Inbox::new(1 << 20)));
        let mut client = connect(&peers, 1).await;
        client.set_nonblocking(true).expect("it does not block");
        let peer = Rc::clone(peers.table.borrow().get(&1).expect("connected"));
        peer.set_open();
        owe(&peers, &peer, 32 << 20);
        // Longer than whoever takes nothing is waited for.
        for second in 0..40 {
            take(&peer, &mut client, 1_000).await;
            // How much a socket takes at once is the system's affair: it is slow as long as something is owed.
            owe(
                &peers,
                &peer,
                (16_usize << 20).saturating_sub(peer.owed_bytes()),
            );
            assert!(!peer.is_drained(), "more than the socket takes");
            peer.note_read(false);
            peers.tick();
            assert_eq!(peer.end(), None, "after {second} s");
        }
        let mut seconds = 0;
        while peer.end().is_none() && seconds < 100 {
            peer.note_read(false);
            peers.tick();
            seconds += 1;
        }
        assert_eq!(peer.end(), Some(End::Late(Late::WriteStalled)));
        assert!((31..=32).contains(&seconds), "{seconds}");
    });
}

/// The pauses that the shard was told of.
fn pauses(inbox: &Inbox) -> Vec<bool> {
    let mut told = Vec::new();
    while let Some(input) = inbox.pop_if(|_| true) {
        if let Input::Paused { paused, .. } = input {
            told.push(paused);
        }
    }
    told
}

#[test]
fn deliveries_to_a_full_connection_stop_once_and_go_on_once_half_of_it_is_taken() {
    on_a_core_thread(async {
        let inbox = Rc::new(Inbox::new(1 << 20));
        let peers = Peers::new(Rc::clone(&inbox));
        let mut client = connect(&peers, 1).await;
        client.set_nonblocking(true).expect("it does not block");
        let peer = Rc::clone(peers.table.borrow().get(&1).expect("connected"));
        owe(&peers, &peer, OUTBOUND_BYTES_MAX / 4);
        assert_eq!(pauses(&inbox), []);
        // The socket takes some of it: enough is owed that it is full nevertheless.
        owe(&peers, &peer, 4 * OUTBOUND_BYTES_MAX);
        assert_eq!(pauses(&inbox), [true]);
        while peer.owed_bytes() > OUTBOUND_BYTES_MAX / 2 {
            assert_eq!(pauses(&inbox), [], "{} are owed", peer.owed_bytes());
            take(&peer, &mut client, PIECE).await;
        }
        assert_eq!(pauses(&inbox), [false]);
        while !peer.is_drained() {
            take(&peer, &mut client, PIECE).await;
        }
        assert_eq!(pauses(&inbox), []);
    });
}
