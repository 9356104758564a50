//! Whatever comes in, the answer is a typed error or a closed connection with a reason in the log;
//! the broker is unharmed and nothing is lost.

use anyhow::{Context, Result};
use bytes::Bytes;
use siding::wire::frame::Kind;
use siding::{ErrorCode, Refusal, wire};
use siding_tests::broker::{Broker, within};
use siding_tests::raw::{Raw, hello, publish};
use tempfile::TempDir;

use crate::limited;

/// A broker that keeps messages of a bystander, whom nothing here may harm.
pub(crate) struct Scene {
    pub(crate) broker: Broker,
    bystander: siding::Client,
    _dir: TempDir,
}

const KEPT: u32 = 100;

impl Scene {
    pub(crate) async fn open() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start_with(dir.path(), &["--max-body-bytes", "1KiB"]).await?;
        let bystander = broker.client("bystander").await?;
        bystander
            .create_queue("kept", wire::QueueSettings::default())
            .await?;
        bystander
            .create_queue("jobs", wire::QueueSettings::default())
            .await?;
        let publisher = bystander.publisher("kept").open().await?;
        for number in 0..KEPT {
            drop(publisher.publish(number.to_string()).await?);
        }
        publisher.flush().await?;
        Ok(Self {
            broker,
            bystander,
            _dir: dir,
        })
    }

    async fn session(&self) -> Result<Raw> {
        Raw::open(self.broker.address(), "stranger").await
    }

    /// The bystander's connection was never lost, its messages are all there, also after a kill, and
    /// `jobs` holds so many.
    pub(crate) async fn unharmed(mut self, jobs: u64) -> Result<()> {
        within("a pong", self.bystander.ping()).await?;
        let errors = self.broker.log().with(&["\"ERROR\""]);
        assert!(errors.is_empty(), "{errors:?}");
        assert!(self.broker.log().with(&["panicked"]).is_empty());
        self.broker.kill().await?;
        self.broker.restart().await?;
        let client = self.broker.client("after").await?;
        assert_eq!(client.describe("jobs").await?.end, jobs);
        let mut consumer = client.consumer("kept").open().await?;
        for number in 0..KEPT {
            let delivery = within("a message", consumer.next())
                .await
                .context("more")??;
            assert_eq!(delivery.body(), number.to_string().as_bytes());
            assert_eq!(
                within("an answer", delivery.ack()).await?,
                siding::Outcome::Done
            );
        }
        Ok(())
    }
}

fn create_queue(name: &str, settings: wire::QueueSettings) -> Kind {
    let (name, settings) = (name.to_owned(), Some(settings));
    Kind::CreateQueue(Box::new(wire::CreateQueue { name, settings }))
}

fn consume(address: &str, credit_messages: u32) -> Kind {
    Kind::Consume(wire::Consume {
        ack_on_delivery: false,
        address: address.to_owned(),
        consumer: 1,
        credit_messages,
        credit_bytes: 1 << 20,
        visibility_timeout_ms: None,
    })
}

async fn open_producer(raw: &mut Raw) -> Result<u64> {
    match raw.ask(Kind::OpenProducer(wire::OpenProducer {})).await? {
        Kind::ProducerOpened(opened) => Ok(opened.producer),
        other => anyhow::bail!("no producer: {other:?}"),
    }
}

/// One message with this body, as a run.
fn run_of(body: &[u8]) -> Bytes {
    let mut message = vec![0x0a];
    put_varint(&mut message, body.len());
    message.extend_from_slice(body);
    framed(&message)
}

/// These bytes as the one message of a run.
fn framed(message: &[u8]) -> Bytes {
    let mut run = vec![0x0a];
    put_varint(&mut run, message.len());
    run.extend_from_slice(message);
    run.into()
}

fn put_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
}

#[test]
fn a_wrong_name_or_setting_is_refused_with_what_is_wrong_and_its_range() -> Result<()> {
    limited(async {
        let scene = Scene::open().await?;
        let mut raw = scene.session().await?;
        let Refusal::NotFound { name, nearest } = raw.refused(consume("job", 1)).await? else {
            panic!("not NOT_FOUND");
        };
        assert_eq!((name.as_str(), nearest), ("job", vec!["jobs".to_owned()]));
        let delivery = wire::DeliverySettings {
            visibility_timeout_ms: Some(5),
            ..wire::DeliverySettings::default()
        };
        let short = wire::QueueSettings {
            delivery: Some(delivery),
            ..wire::QueueSettings::default()
        };
        let none = wire::QueueSettings {
            max_messages: Some(0),
            ..wire::QueueSettings::default()
        };
        let poll = Kind::Receive(wire::Receive {
            request_id: Bytes::new(),
            address: "jobs".to_owned(),
            max_messages: 1_001,
            max_bytes: 1,
            wait_ms: 0,
            visibility_timeout_ms: None,
        });
        for (request, wrong, lowest, highest) in [
            (
                create_queue("new", short),
                "visibility_timeout_ms",
                1_000,
                43_200_000,
            ),
            (
                create_queue("new", none),
                "max_messages",
                1,
                siding::protocol::limits::MAX_MESSAGES_MAX,
            ),
            (
                create_queue("-new", wire::QueueSettings::default()),
                "name",
                1,
                128,
            ),
            (consume("jobs", 65_536), "credit_messages", 1, 65_535),
            (poll, "max_messages", 1, 1_000),
        ] {
            match raw.refused(request).await? {
                Refusal::Invalid {
                    field, min, max, ..
                } => {
                    assert_eq!((&*field, min, max), (wrong, lowest, highest));
                }
                other => panic!("not INVALID: {other:?}"),
            }
        }
        let pong = raw.ask(Kind::Ping(wire::Ping {})).await?;
        assert!(matches!(pong, Kind::Pong(_)), "the connection goes on");
        scene.unharmed(0).await
    })
}

#[test]
fn a_publish_or_settle_without_a_right_to_it_changes_nothing() -> Result<()> {
    limited(async {
        let scene = Scene::open().await?;
        let mut raw = scene.session().await?;
        let producer = open_producer(&mut raw).await?;
        let large = publish("jobs", producer, 1, run_of(&[b'x'; 1_025]));
        let Refusal::TooLarge { field, max } = raw.refused(large).await? else {
            panic!("not TOO_LARGE");
        };
        assert_eq!((&*field, max), ("body", 1_024));
        let stranger = publish("jobs", 999, 1, run_of(b"x"));
        assert_eq!(raw.refused(stranger).await?, Refusal::ProducerUnknown);
        let settle = Kind::Settle(wire::Settle {
            address: "jobs".to_owned(),
            grant: Some(wire::Grant {
                term: 99,
                counter: 99,
            }),
            ranges: vec![wire::OffsetRange { first: 0, count: 1 }],
            action: wire::Action::Ack.into(),
            ..wire::Settle::default()
        });
        match raw.ask(settle).await? {
            Kind::Error(_) => {}
            Kind::Settled(settled) => assert_eq!(settled.settled, 0, "{settled:?}"),
            other => panic!("{other:?}"),
        }
        let fits = publish("jobs", producer, 1, run_of(&[b'x'; 1_024]));
        assert!(matches!(raw.ask(fits).await?, Kind::Confirm(_)));
        scene.unharmed(1).await
    })
}

#[test]
fn a_run_that_no_protobuf_library_would_decode_is_not_stored() -> Result<()> {
    limited(async {
        let scene = Scene::open().await?;
        let runs: [(&str, Bytes); 12] = [
            ("another tag", Bytes::from_static(&[0x12, 0x00])),
            ("no length", Bytes::from_static(&[0x0a])),
            (
                "a length beyond the end",
                Bytes::from_static(&[0x0a, 0x05, 0x0a]),
            ),
            (
                "an overlong length",
                Bytes::from_static(&[0x0a, 0x80, 0x00]),
            ),
            (
                "an endless varint",
                Bytes::from_static(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            ),
            ("a body as a number", framed(&[0x08, 0x01])),
            ("a body beyond its message", framed(&[0x0a, 0x09, b'x'])),
            (
                "a body twice",
                framed(&[0x0a, 0x01, b'x', 0x0a, 0x01, b'y']),
            ),
            ("a group", framed(&[0x0b, 0x0c])),
            ("field 0", framed(&[0x02, 0x00])),
            ("a key that is not UTF-8", framed(&[0x12, 0x02, 0xc3, 0x28])),
            ("a key too long", {
                let mut message = vec![0x12];
                put_varint(&mut message, 257);
                message.extend_from_slice(&[b'k'; 257]);
                framed(&message)
            }),
        ];
        for (what, run) in runs {
            let mut raw = scene.session().await?;
            let producer = open_producer(&mut raw).await?;
            let refusal = raw.refused(publish("jobs", producer, 1, run)).await;
            let refusal = refusal.with_context(|| what.to_owned())?;
            if refusal.code().is_fatal() {
                assert!(
                    raw.hear().await?.is_none(),
                    "{what}: closed after {refusal}"
                );
            } else {
                let answer = raw.ask(Kind::Ping(wire::Ping {})).await?;
                assert!(matches!(answer, Kind::Pong(_)), "{what}");
            }
        }
        scene.unharmed(0).await
    })
}

#[test]
fn what_takes_more_room_in_the_log_than_a_record_has_is_refused_and_harms_nobody() -> Result<()> {
    limited(async {
        let scene = Scene::open().await?;
        let mut raw = scene.session().await?;
        let producer = open_producer(&mut raw).await?;
        // Seven bytes each to send, some forty to log.
        let message = framed(&[0x4a, 0x03, b'a', b'b', b'c']);
        let run = |count| Bytes::from(message.repeat(count));
        let too_much = publish("jobs", producer, 1, run(20_000));
        let operation = wire::Operation {
            kind: Some(wire::operation::Kind::Publish(wire::Publish {
                name: "jobs".into(),
                run: run(2_000),
                ..wire::Publish::default()
            })),
        };
        let together = Kind::Transaction(wire::Transaction {
            producer,
            sequence: 1,
            operations: vec![operation; 10],
        });
        for request in [too_much, together] {
            let refusal = raw.refused(request).await?;
            let named = matches!(&refusal, Refusal::TooLarge { field, .. } if field == "entry");
            assert!(named, "{refusal}");
        }
        // The sequence is still free, and a part of it is not too much.
        let stored = raw.ask(publish("jobs", producer, 1, run(2_000))).await?;
        let Kind::Confirm(confirm) = stored else {
            panic!("no confirm: {stored:?}");
        };
        assert_eq!((confirm.count, confirm.duplicates.len()), (1, 1_999));
        scene.unharmed(1).await
    })
}

/// What is no hello, or not one of this protocol, and what it is answered with.
fn wrong_hellos() -> [(ErrorCode, Kind); 4] {
    let newer = wire::Hello {
        version: 2,
        holder: "h".into(),
        ..wire::Hello::default()
    };
    [
        (ErrorCode::Protocol, Kind::Ping(wire::Ping {})),
        (ErrorCode::Invalid, hello("")),
        (ErrorCode::Invalid, hello(&"h".repeat(65))),
        (ErrorCode::Unsupported, Kind::Hello(newer)),
    ]
}

#[test]
fn what_is_not_the_protocol_closes_the_connection_with_a_reason_in_the_log() -> Result<()> {
    limited(async {
        let scene = Scene::open().await?;
        let garbage: Vec<u8> = (0..10_000).map(|_| fastrand::u8(..) | 0x80).collect();
        let mut oversize = 4_097_u32.to_be_bytes().to_vec();
        oversize.extend_from_slice(&[0; 100]);
        let tls = [
            0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
        ];
        let cases: [(&str, &[u8]); 6] = [
            ("the largest length there is", &[0xff; 64]),
            ("a frame over 4 KiB before the hello", &oversize),
            (
                "a web browser",
                b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            ),
            ("a TLS client", &tls),
            ("noise", &garbage),
            ("an empty frame", &[0, 0, 0, 0]),
        ];
        let mut closed = 0;
        let reasons = ["\"WARN\"", "connection closed: it broke the protocol"];
        for (what, bytes) in cases {
            let mut raw = Raw::connect(scene.broker.address()).await?;
            // It may be closed before everything is sent.
            drop(raw.send(bytes).await);
            raw.closed().await.context(what)?;
            closed += 1;
            scene.broker.log().until(closed, &reasons).await;
        }
        for (code, kind) in wrong_hellos() {
            let what = format!("{kind:?}");
            let mut raw = Raw::connect(scene.broker.address()).await?;
            raw.say(1, kind).await?;
            let reason = raw
                .closed()
                .await?
                .with_context(|| format!("{what}: no reason"))?;
            assert_eq!(reason.code(), code, "{what}: {reason:?}");
            closed += 1;
            scene.broker.log().until(closed, &reasons).await;
        }
        // After the hello.
        let too_long = (20_u32 << 20).to_be_bytes();
        let again: [&[u8]; 2] = [&too_long, &[0xff; 8]];
        for bytes in again {
            let mut raw = scene.session().await?;
            drop(raw.send(bytes).await);
            assert!(matches!(raw.closed().await?, Some(Refusal::Protocol(_))));
            closed += 1;
        }
        let mut raw = scene.session().await?;
        raw.say(2, hello("again")).await?;
        assert!(matches!(raw.closed().await?, Some(Refusal::Protocol(_))));
        scene.broker.log().until(closed + 1, &reasons).await;
        assert_eq!(
            scene.broker.log().with(&reasons).len(),
            closed + 1,
            "one line each"
        );
        scene.unharmed(0).await
    })
}

#[test]
fn a_client_that_vanishes_within_a_frame_leaves_nothing_behind() -> Result<()> {
    limited(async {
        let scene = Scene::open().await?;
        let whole = {
            let mut bytes = bytes::BytesMut::new();
            let kind = publish("jobs", 1, 1, run_of(&[b'x'; 1_000]));
            siding::protocol::frame::encode(3, kind, &mut bytes);
            bytes.freeze()
        };
        let cuts = [1, 3, 4, 5, 20, whole.len() - 1];
        for cut in cuts {
            let mut raw = scene.session().await?;
            raw.send(&whole[..cut]).await?;
        }
        let mut before_hello = Raw::connect(scene.broker.address()).await?;
        before_hello.send(&[0, 0]).await?;
        drop(before_hello);
        let words = ["the client closed within a frame"];
        scene.broker.log().until(cuts.len() + 1, &words).await;
        // One that held leases: they lapse and somebody else gets the message at once.
        let mut holder = scene.session().await?;
        let producer = open_producer(&mut holder).await?;
        assert!(matches!(
            holder
                .ask(publish("jobs", producer, 1, run_of(b"x")))
                .await?,
            Kind::Confirm(_)
        ));
        holder.say(9, consume("jobs", 1)).await?;
        while !matches!(holder.hear().await?.context("open")?.1, Kind::Deliver(_)) {}
        holder.send(&whole[..10]).await?;
        drop(holder);
        let mut consumer = scene.bystander.consumer("jobs").open().await?;
        let again = within("it comes back", consumer.next())
            .await
            .context("more")??;
        assert_eq!((again.body(), again.attempt()), (b"x".as_slice(), 2));
        assert_eq!(again.ack().await?, siding::Outcome::Done);
        drop(consumer);
        scene.unharmed(1).await
    })
}

#[test]
fn connections_without_a_hello_are_bounded_and_clients_are_served_meanwhile() -> Result<()> {
    limited(async {
        const ASKED: usize = 1_000;
        const ALLOWED: usize = 256;
        let scene = Scene::open().await?;
        let mut taken = Vec::new();
        let mut refused = tokio::task::JoinSet::new();
        for _ in 0..ASKED {
            let mut raw = Raw::connect(scene.broker.address()).await?;
            // Those that are refused are closed at once; the others stay open and silent.
            refused.spawn(async move {
                let ended = raw.closed().await;
                (raw, ended.is_ok())
            });
        }
        for _ in 0..ASKED - ALLOWED {
            let (raw, closed) = within("the refused", refused.join_next())
                .await
                .context("more")??;
            assert!(closed);
            taken.push(raw);
            if taken.len() % 100 == 0 {
                within("a pong", scene.bystander.ping()).await?;
            }
        }
        scene
            .broker
            .log()
            .until(ASKED - ALLOWED, &["too many connections without a hello"])
            .await;
        assert_eq!(refused.len(), ALLOWED);
        refused.shutdown().await;
        // They are gone: newcomers are welcome again.
        let welcomed = async {
            while scene.session().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        within("a welcome", welcomed).await;
        scene.unharmed(0).await
    })
}
