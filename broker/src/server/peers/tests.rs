//! Connections over real sockets, their time by hand.

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
