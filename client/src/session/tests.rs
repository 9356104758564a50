//! A session by hand: what it writes and tells, frame by frame, without a connection.

use bytes::{Buf, Bytes, BytesMut};
use siding_protocol::frame::{Sender, decode, split};
use tokio::sync::oneshot;

use super::*;
use crate::consumer::DeliveryQueue;
use crate::publisher::OnBusy;

/// What was written since the last look.
fn written(session: &mut Session) -> Vec<(u64, Kind)> {
    let count = session.out.remaining();
    let mut bytes = BytesMut::from(&session.out.copy_to_bytes(count)[..]);
    let mut frames = Vec::new();
    while let Some(payload) = split(&mut bytes, 17 << 20).expect("frames") {
        let frame = decode(payload, Sender::Client).expect("a request");
        frames.push((frame.correlation, frame.kind.expect("known")));
    }
    frames
}

/// Hands over one frame; gives how many events it caused.
fn hear(session: &mut Session, correlation: u64, kind: Kind) -> usize {
    let mut events = Vec::new();
    let kind = Some(kind);
    let frame = wire::Frame { correlation, kind };
    let received = session.receive(0, frame, &mut events).expect("fits");
    assert_eq!(received, Received::Nothing);
    let count = events.len();
    events.into_iter().for_each(Event::tell);
    count
}

fn connected() -> Session {
    let mut session = Session::new(1);
    session.connected(wire::Limits::default());
    session
}

fn lose(session: &mut Session) {
    let mut events = Vec::new();
    session.disconnected(&mut events);
    events.into_iter().for_each(Event::tell);
}

type Answer<T> = oneshot::Receiver<Result<T, Error>>;

fn ask(session: &mut Session, changes: bool) -> Answer<Kind> {
    let (reply, answer) = oneshot::channel();
    session.ask(Ask {
        kind: Kind::Ping(wire::Ping {}),
        changes,
        reply,
    });
    answer
}

fn open(session: &mut Session, key: u64, id: u64) {
    let (reply, mut answer) = oneshot::channel();
    session.open_producer(key, OnBusy::Wait, reply, &mut Vec::new());
    let (correlation, _) = written(session).remove(0);
    let opened = wire::ProducerOpened { producer: id };
    hear(session, correlation, Kind::ProducerOpened(opened));
    answer.try_recv().expect("answered").expect("opened");
}

/// A transaction that publishes so many bytes.
fn produce(session: &mut Session, key: u64, bytes: usize) -> Answer<wire::TransactionDone> {
    let (reply, answer) = oneshot::channel();
    let publish = wire::Publish {
        run: Bytes::from(vec![0; bytes]),
        ..wire::Publish::default()
    };
    let kind = Some(wire::operation::Kind::Publish(publish));
    let transaction = Box::new(wire::Transaction {
        operations: vec![wire::Operation { kind }],
        ..wire::Transaction::default()
    });
    let cargo = Cargo::Transaction { transaction, reply };
    session.produce(key, cargo, &mut Vec::new());
    answer
}

/// Correlation, producer and sequence of everything written, which must be transactions.
fn tickets(session: &mut Session) -> Vec<(u64, u64, u64)> {
    let frames = written(session).into_iter();
    let ticket = |(correlation, kind)| match kind {
        Kind::Transaction(sent) => (correlation, sent.producer, sent.sequence),
        kind => unreachable!("a transaction: {kind:?}"),
    };
    frames.map(ticket).collect()
}

fn done() -> Kind {
    Kind::TransactionDone(wire::TransactionDone::default())
}

#[test]
fn a_request_under_way_is_interrupted_and_one_never_sent_waits_for_the_next_connection() {
    let mut session = connected();
    let mut sent = ask(&mut session, true);
    assert_eq!(written(&mut session).len(), 1);
    lose(&mut session);
    let lost = sent.try_recv().expect("told").expect_err("lost");
    assert!(lost.maybe_applied());
    let mut waiting = ask(&mut session, true);
    let dropped = ask(&mut session, true);
    drop(dropped);
    assert!(written(&mut session).is_empty());
    session.connected(wire::Limits::default());
    let frames = written(&mut session);
    assert_eq!(frames.len(), 1, "nobody waits for the dropped one");
    assert_eq!(
        hear(&mut session, frames[0].0, Kind::Pong(wire::Pong {})),
        1
    );
    waiting.try_recv().expect("told").expect("answered");
    assert!(session.is_idle());
}

#[test]
fn a_request_that_a_draining_broker_refuses_waits_for_the_next_connection() {
    let mut session = connected();
    let mut answer = ask(&mut session, true);
    let (correlation, _) = written(&mut session).remove(0);
    let draining = Kind::Error(Refusal::Draining.to_wire());
    assert_eq!(hear(&mut session, correlation, draining), 0);
    let _later = ask(&mut session, true);
    assert!(written(&mut session).is_empty());
    lose(&mut session);
    session.connected(wire::Limits::default());
    let frames = written(&mut session);
    assert_eq!(frames.len(), 2);
    hear(&mut session, frames[0].0, Kind::Pong(wire::Pong {}));
    answer.try_recv().expect("told").expect("answered");
}

#[test]
fn what_is_unanswered_is_sent_again_under_the_same_tickets_in_order() {
    let mut session = connected();
    open(&mut session, 1, 70);
    let _answers: Vec<_> = (0..4).map(|_| produce(&mut session, 1, 10)).collect();
    let first = tickets(&mut session);
    hear(&mut session, first[1].0, done());
    for _ in 0..2 {
        lose(&mut session);
        session.connected(wire::Limits::default());
        let again = tickets(&mut session);
        let pairs: Vec<_> = again
            .iter()
            .map(|(_, id, sequence)| (*id, *sequence))
            .collect();
        assert_eq!(pairs, [(70, 1), (70, 3), (70, 4)]);
    }
}

#[test]
fn sequences_of_unanswered_requests_span_less_than_the_brokers_window() {
    let mut session = Session::new(1);
    session.connected(wire::Limits {
        producer_requests_max: 3,
        ..wire::Limits::default()
    });
    open(&mut session, 1, 70);
    let _answers: Vec<_> = (0..6).map(|_| produce(&mut session, 1, 10)).collect();
    let sent = tickets(&mut session);
    assert_eq!(sent.len(), 3);
    hear(&mut session, sent[1].0, done());
    assert!(
        tickets(&mut session).is_empty(),
        "the first still holds the window"
    );
    hear(&mut session, sent[0].0, done());
    let sequences: Vec<_> = tickets(&mut session).iter().map(|sent| sent.2).collect();
    assert_eq!(sequences, [4, 5]);
}

#[test]
fn bytes_in_flight_are_bounded_over_all_producers_and_nobody_starves() {
    let mut session = Session::new(1);
    session.connected(wire::Limits {
        in_flight_bytes_max: 100,
        ..wire::Limits::default()
    });
    open(&mut session, 1, 70);
    open(&mut session, 2, 80);
    let _large = produce(&mut session, 1, 1_000);
    let _other = produce(&mut session, 2, 60);
    let sent = tickets(&mut session);
    assert_eq!(sent.len(), 1, "one request always fits");
    assert!(!session.can_produce(2));
    hear(&mut session, sent[0].0, done());
    assert_eq!(tickets(&mut session)[0].1, 80);
}

#[test]
fn a_busy_producer_pauses_once_a_round_and_then_sends_everything_again() {
    let mut session = connected();
    open(&mut session, 1, 70);
    let _answers: Vec<_> = (0..2).map(|_| produce(&mut session, 1, 10)).collect();
    let busy = Refusal::Busy {
        resource: "max_messages".into(),
        limit: 1,
        current: 1,
        retry_after_ms: 400,
    };
    for (correlation, _, _) in tickets(&mut session) {
        assert_eq!(
            hear(&mut session, correlation, Kind::Error(busy.to_wire())),
            0
        );
    }
    let due_ms = session.next_due_ms().expect("paused");
    assert!((400..=450).contains(&due_ms), "{due_ms}");
    session.advance(due_ms - 1);
    assert!(tickets(&mut session).is_empty());
    session.advance(due_ms);
    let pairs: Vec<_> = tickets(&mut session).iter().map(|sent| sent.2).collect();
    assert_eq!(pairs, [1, 2]);
    assert_eq!(session.next_due_ms(), None);
}

#[test]
fn a_ping_of_the_broker_is_answered_under_its_number() {
    let mut session = connected();
    hear(&mut session, 7, Kind::Ping(wire::Ping {}));
    let frames = written(&mut session);
    assert_eq!(frames, [(7, Kind::Pong(wire::Pong {}))]);
    assert!(session.is_idle());
}

#[test]
fn an_answer_that_nobody_asked_for_breaks_the_protocol() {
    let mut session = connected();
    let frame = wire::Frame {
        correlation: 99,
        kind: Some(Kind::Done(wire::Done {})),
    };
    let error = session.receive(0, frame, &mut Vec::new());
    assert_eq!(error, Err(ProtocolError::Answer));
}

#[test]
fn a_delivery_beyond_the_window_breaks_the_protocol() {
    let mut session = connected();
    let (reply, _answer) = oneshot::channel();
    let consume = wire::Consume {
        consumer: 1,
        ..wire::Consume::default()
    };
    session.subscribe(consume, DeliveryQueue::new(1), reply);
    let deliver = |count| wire::Frame {
        correlation: 0,
        kind: Some(Kind::Deliver(wire::Deliver {
            gap: None,
            consumer: 1,
            batches: vec![wire::Batch::default(); count],
        })),
    };
    let events = &mut Vec::new();
    assert_eq!(
        session.receive(0, deliver(1), events),
        Ok(Received::Nothing)
    );
    let beyond = session.receive(0, deliver(1), events);
    assert_eq!(beyond, Err(ProtocolError::Window));
}

#[test]
fn notices_go_to_their_consumer_and_one_that_is_gone_does_not_mind() {
    let mut session = connected();
    let queue = DeliveryQueue::new(8);
    let (reply, _answer) = oneshot::channel();
    let consume = wire::Consume {
        consumer: 7,
        ..wire::Consume::default()
    };
    session.subscribe(consume, std::sync::Arc::clone(&queue), reply);
    let grant = Some(wire::Grant {
        term: 1,
        counter: 4,
    });
    for consumer in [7, 8] {
        let asked = wire::CancelRequested {
            consumer,
            grant,
            offset: 3,
        };
        hear(&mut session, 0, Kind::CancelRequested(asked));
    }
    let gap = wire::Deliver {
        consumer: 7,
        gap: Some(wire::OffsetRange { first: 2, count: 5 }),
        ..wire::Deliver::default()
    };
    hear(&mut session, 0, Kind::Deliver(gap));
    let context = std::task::Context::from_waker(std::task::Waker::noop());
    let next = || queue.notices.poll(&context);
    let grant = siding_protocol::types::Grant {
        term: 1,
        counter: 4,
    };
    let asked = Notice::CancelRequested { grant, offset: 3 };
    assert_eq!(next(), std::task::Poll::Ready(Some(asked)));
    assert_eq!(next(), std::task::Poll::Ready(Some(Notice::Gap(2..7))));
    assert!(next().is_pending());
}

#[test]
fn what_is_begun_is_noted_and_its_answer_read_by_nobody() {
    let mut session = connected();
    let begun = |range| {
        let mut notes = Vec::new();
        let grant = siding_protocol::types::Grant {
            term: 1,
            counter: 4,
        };
        crate::started::note(&mut notes, &"jobs".into(), grant, range);
        notes.remove(0)
    };
    session.begun(begun(3..4));
    let (correlation, kind) = written(&mut session).remove(0);
    assert!(matches!(kind, Kind::Started(started) if started.ranges.len() == 1));
    assert!(session.is_idle());
    assert_eq!(
        hear(&mut session, correlation, Kind::Done(wire::Done {})),
        0
    );
    lose(&mut session);
    session.begun(begun(4..5));
    assert!(written(&mut session).is_empty());
}
