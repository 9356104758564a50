//! A whole broker over loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use siding_protocol::error_code::ErrorCode;
use siding_protocol::frame::{self, Sender};
use siding_protocol::limits::FRAME_BYTES_MAX;
use siding_protocol::run::{MessageFields, RunBuilder, messages};
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

use super::*;

/// A client that speaks frames, one after the other.
struct Client {
    stream: TcpStream,
    read: BytesMut,
    correlation: u64,
    producer: u64,
    sequence: u64,
}

impl Client {
    fn connect(broker: &Broker) -> Self {
        let mut client = Self::raw(broker);
        let hello = wire::Hello {
            version: 1,
            holder: "test".into(),
            ..wire::Hello::default()
        };
        let welcome = client.ask(Kind::Hello(hello));
        assert!(matches!(welcome, Kind::Welcome(_)), "{welcome:?}");
        client
    }

    fn raw(broker: &Broker) -> Self {
        let stream = TcpStream::connect(broker.addr()).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("timeout");
        Self {
            stream,
            read: BytesMut::new(),
            correlation: 0,
            producer: 0,
            sequence: 0,
        }
    }

    fn send(&mut self, kind: Kind) -> u64 {
        self.correlation += 1;
        let mut bytes = BytesMut::new();
        frame::encode(self.correlation, kind, &mut bytes);
        self.stream.write_all(&bytes).expect("send");
        self.correlation
    }

    /// The next frame; `None` at the end.
    fn next(&mut self) -> Option<wire::Frame> {
        loop {
            if let Some(payload) = frame::split(&mut self.read, FRAME_BYTES_MAX).expect("frames") {
                return Some(frame::decode(payload, Sender::Broker).expect("a frame"));
            }
            let mut chunk = [0; 8 << 10];
            match self.stream.read(&mut chunk).expect("read") {
                0 => return None,
                bytes => self.read.extend_from_slice(&chunk[..bytes]),
            }
        }
    }

    fn ask(&mut self, kind: Kind) -> Kind {
        let correlation = self.send(kind);
        loop {
            let frame = self.next().expect("an answer before the end");
            if frame.correlation == correlation {
                return frame.kind.expect("a kind");
            }
        }
    }

    fn create_queue(&mut self, name: &str) {
        let name = name.to_owned();
        let done = self.ask(Kind::CreateQueue(Box::new(wire::CreateQueue {
            name,
            settings: None,
        })));
        assert_eq!(done, Kind::Done(wire::Done {}));
    }

    fn publish(&mut self, name: &str, bodies: &[&[u8]]) -> Kind {
        if self.producer == 0 {
            let opened = self.ask(Kind::OpenProducer(wire::OpenProducer {}));
            let Kind::ProducerOpened(wire::ProducerOpened { producer }) = opened else {
                panic!("{opened:?}");
            };
            self.producer = producer;
        }
        self.sequence += 1;
        let publish = wire::Publish {
            name: name.to_owned(),
            producer: self.producer,
            sequence: self.sequence,
            level: 0,
            run: run(bodies),
        };
        self.ask(Kind::Publish(publish))
    }

    fn receive(&mut self, address: &str) -> Vec<wire::Batch> {
        let received = self.ask(Kind::Receive(wire::Receive {
            request_id: Bytes::new(),
            address: address.to_owned(),
            max_messages: 100,
            max_bytes: 1 << 20,
            wait_ms: 0,
            visibility_timeout_ms: None,
        }));
        let Kind::Received(received) = received else {
            panic!("{received:?}");
        };
        received.batches
    }

    fn ack(&mut self, address: &str, batch: &wire::Batch) -> Kind {
        self.ask(ack_of(address, batch))
    }
}

fn ack_of(address: &str, batch: &wire::Batch) -> Kind {
    let range = wire::OffsetRange {
        first: batch.first_offset,
        count: batch.count.into(),
    };
    let mut settle = wire::Settle {
        address: address.to_owned(),
        grant: batch.grant,
        ranges: vec![range],
        ..wire::Settle::default()
    };
    settle.set_action(wire::Action::Ack);
    Kind::Settle(settle)
}

fn run(bodies: &[&[u8]]) -> Bytes {
    let mut run = RunBuilder::new(siding_protocol::run::RunLimits::default());
    for body in bodies {
        run.push(&MessageFields {
            body,
            ..MessageFields::default()
        })
        .expect("a valid message");
    }
    run.take().0
}

fn bodies(batches: &[wire::Batch]) -> Vec<Vec<u8>> {
    let runs = batches.iter().flat_map(|batch| messages(&batch.run));
    runs.map(|message| message.body().to_vec()).collect()
}

fn start(directory: &Path) -> Broker {
    let mut config = Config::embedded(directory);
    config.journal_file_bytes = crate::config::Bytes(1 << 20);
    Broker::start(&config).expect("a broker")
}

fn code(kind: &Kind) -> Option<ErrorCode> {
    match kind {
        Kind::Error(error) => ErrorCode::from_number(error.code),
        _ => None,
    }
}

#[test]
fn what_was_confirmed_survives_a_kill_and_what_was_acked_does_not_come_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(directory.path());
    let mut client = Client::connect(&broker);
    client.create_queue("jobs");
    let confirm = client.publish("jobs", &[b"one", b"two", b"three"]);
    assert!(
        matches!(confirm, Kind::Confirm(wire::Confirm { count: 3, .. })),
        "{confirm:?}"
    );
    let mut batches = client.receive("jobs");
    assert_eq!(bodies(&batches), [&b"one"[..], b"two", b"three"]);
    batches[0].count = 2;
    let settled = client.ack("jobs", &batches[0]);
    assert!(
        matches!(settled, Kind::Settled(wire::Settled { settled: 2, .. })),
        "{settled:?}"
    );
    broker.kill();

    for stop in [Broker::kill, |broker: Broker| {
        broker.stop().expect("a clean stop");
    }] {
        let broker = start(directory.path());
        let mut client = Client::connect(&broker);
        let address = "jobs".to_owned();
        let browse = wire::Browse {
            address,
            limit: 10,
            ..wire::Browse::default()
        };
        let Kind::Browsed(browsed) = client.ask(Kind::Browse(browse)) else {
            panic!("no answer to a browse");
        };
        let batches: Vec<_> = browsed
            .messages
            .into_iter()
            .filter_map(|message| message.batch)
            .collect();
        assert_eq!(bodies(&batches), [b"three"]);
        stop(broker);
    }
    // After the clean stop everything comes from the snapshot.
    let broker = start(directory.path());
    let mut client = Client::connect(&broker);
    let confirm = client.publish("jobs", &[b"four"]);
    assert!(matches!(
        confirm,
        Kind::Confirm(wire::Confirm {
            first_offset: 3,
            ..
        })
    ));
}

#[test]
fn a_push_consumer_gets_what_is_published_while_it_waits() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(directory.path());
    let (mut publisher, mut worker) = (Client::connect(&broker), Client::connect(&broker));
    publisher.create_queue("jobs");
    let consume = wire::Consume {
        ack_on_delivery: false,
        address: "jobs".into(),
        consumer: 5,
        credit_messages: 2,
        credit_bytes: 1 << 20,
        visibility_timeout_ms: None,
    };
    assert_eq!(
        worker.ask(Kind::Consume(consume)),
        Kind::Done(wire::Done {})
    );
    for body in [&b"a"[..], &vec![7; 100_000]] {
        publisher.publish("jobs", &[body]);
        let Some(Kind::Deliver(deliver)) = worker.next().and_then(|frame| frame.kind) else {
            panic!("no delivery");
        };
        assert_eq!(
            (deliver.consumer, bodies(&deliver.batches)),
            (5, vec![body.to_vec()])
        );
        let settled = worker.ack("jobs", &deliver.batches[0]);
        assert!(matches!(
            settled,
            Kind::Settled(wire::Settled { settled: 1, .. })
        ));
    }
}

#[test]
fn garbage_is_answered_with_the_reason_and_harms_nobody_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(directory.path());
    let mut good = Client::connect(&broker);
    good.create_queue("jobs");
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0xFF; 64],
        &[0, 0, 0, 2, 0xFF, 0xFF],
    ] {
        let mut bad = Client::raw(&broker);
        bad.stream.write_all(garbage).expect("send");
        let error = bad.next().and_then(|frame| frame.kind).expect("a reason");
        assert_eq!(code(&error), Some(ErrorCode::Protocol), "{error:?}");
        assert_eq!(bad.next(), None, "closed");
    }
    let mut vanishing = Client::raw(&broker);
    vanishing
        .stream
        .write_all(&[0, 0, 0, 100, 1, 2, 3])
        .expect("half a frame");
    drop(vanishing);
    assert_eq!(
        code(&good.publish("jbos", &[b"x"])),
        Some(ErrorCode::NotFound)
    );
    assert!(matches!(good.publish("jobs", &[b"x"]), Kind::Confirm(_)));
}

#[test]
fn a_consumer_of_a_deleted_queue_is_told_and_may_take_its_number_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(directory.path());
    let (mut worker, mut admin) = (Client::connect(&broker), Client::connect(&broker));
    let consume = || {
        Kind::Consume(wire::Consume {
            ack_on_delivery: false,
            address: "jobs".into(),
            consumer: 7,
            credit_messages: 1,
            credit_bytes: 1,
            visibility_timeout_ms: None,
        })
    };
    admin.create_queue("jobs");
    assert_eq!(worker.ask(consume()), Kind::Done(wire::Done {}));
    let address = "jobs".to_owned();
    admin.ask(Kind::Delete(wire::Delete { address }));
    let notice = worker.next().expect("a notice");
    let Some(Kind::ConsumerEnded(ended)) = notice.kind else {
        panic!("{notice:?}");
    };
    assert_eq!((notice.correlation, ended.consumer), (0, 7));
    let why = ended.error.map(Kind::Error);
    assert_eq!(why.as_ref().and_then(code), Some(ErrorCode::NotFound));
    admin.create_queue("jobs");
    assert_eq!(worker.ask(consume()), Kind::Done(wire::Done {}));
}

#[test]
fn a_draining_broker_tells_its_clients_and_confirms_what_it_took() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(directory.path());
    let mut client = Client::connect(&broker);
    client.create_queue("jobs");
    broker.stop().expect("a clean stop");
    let told = client.next().and_then(|frame| frame.kind);
    assert!(matches!(told, Some(Kind::Draining(_))), "{told:?}");
}

#[test]
fn a_second_broker_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(directory.path());
    let error = Broker::start(&Config::embedded(directory.path())).expect_err("locked");
    assert!(
        error.to_string().contains("in use by another broker"),
        "{error}"
    );
    Client::connect(&broker).create_queue("jobs");
}

#[test]
fn many_large_publishes_are_pipelined_confirmed_in_order_and_cut_from_the_journal() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config::embedded(directory.path());
    config.journal_file_bytes = crate::config::Bytes(1 << 20);
    config.checkpoint_bytes = crate::config::Bytes(1 << 20);
    let broker = Broker::start(&config).expect("a broker");
    let mut client = Client::connect(&broker);
    client.create_queue("jobs");
    client.publish("jobs", &[b"first"]);
    let body = vec![1; 60_000];
    let requests = 100;
    for request in 0..requests {
        let publish = wire::Publish {
            name: "jobs".into(),
            producer: client.producer,
            sequence: 2 + request,
            level: 0,
            run: run(&[&body]),
        };
        client.send(Kind::Publish(publish));
    }
    for offset in 1..=requests {
        let confirm = client.next().and_then(|frame| frame.kind);
        let expected = wire::Confirm {
            first_offset: offset,
            count: 1,
            ..confirmed(confirm.as_ref())
        };
        assert_eq!(confirm, Some(Kind::Confirm(expected)));
    }
    broker.kill();
    let broker = Broker::start(&config).expect("the broker again");
    let mut client = Client::connect(&broker);
    let mut found = 0;
    loop {
        let batches = client.receive("jobs");
        found += bodies(&batches).len();
        if batches.is_empty() {
            break;
        }
    }
    assert_eq!(found, 101);
}

fn confirmed(kind: Option<&Kind>) -> wire::Confirm {
    match kind {
        Some(Kind::Confirm(confirm)) => confirm.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_consumer_that_does_not_read_holds_up_nobody_and_gets_everything_once_it_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = start(directory.path());
    let (mut publisher, mut slow) = (Client::connect(&broker), Client::connect(&broker));
    publisher.create_queue("jobs");
    let body = vec![1; 100_000];
    for consumer in 0..4 {
        let consume = wire::Consume {
            ack_on_delivery: false,
            address: "jobs".into(),
            consumer,
            credit_messages: 1_000,
            credit_bytes: 8 << 20,
            visibility_timeout_ms: None,
        };
        slow.ask(Kind::Consume(consume));
    }
    // More than sockets and the outbound buffer hold.
    for _ in 0..250 {
        assert!(matches!(
            publisher.publish("jobs", &[&body]),
            Kind::Confirm(_)
        ));
    }
    let mut got = 0;
    while got < 250 {
        match slow.next().and_then(|frame| frame.kind) {
            Some(Kind::Deliver(deliver)) => {
                got += bodies(&deliver.batches).len();
                for batch in &deliver.batches {
                    slow.send(ack_of("jobs", batch));
                }
            }
            Some(Kind::Settled(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, 250);
}

#[test]
fn a_request_larger_than_what_may_be_in_flight_waits_for_its_turn_and_is_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config::embedded(directory.path());
    config.max_in_flight_bytes = crate::config::Bytes(64 << 10);
    let broker = Broker::start(&config).expect("a broker");
    let mut client = Client::connect(&broker);
    client.create_queue("jobs");
    client.publish("jobs", &[b"first"]);
    let sizes = [10_000, 60_000, 50, 500_000, 10, 70_000];
    for (sequence, size) in (2..).zip(sizes) {
        let publish = wire::Publish {
            name: "jobs".into(),
            producer: client.producer,
            sequence,
            level: 0,
            run: run(&[&vec![0; size]]),
        };
        client.send(Kind::Publish(publish));
    }
    for _ in sizes {
        let confirm = client.next().and_then(|frame| frame.kind);
        assert!(matches!(confirm, Some(Kind::Confirm(_))), "{confirm:?}");
    }
}
