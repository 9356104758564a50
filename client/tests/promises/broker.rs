//! A broker that says what the test tells it to say.

use bytes::{BufMut, Bytes, BytesMut};
use siding::wire::frame::Kind;
use siding::{Client, Options, Reconnect, Refusal, wire};
use siding_protocol::frame::{Sender, decode, encode, split};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::limit::awaiting;

/// A listener whose connections the test plays by hand.
pub(crate) struct Broker {
    listener: TcpListener,
    pub(crate) limits: wire::Limits,
}

/// One connection.
pub(crate) struct Link {
    stream: TcpStream,
    read: BytesMut,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        Self {
            listener,
            limits: wire::Limits {
                frame_bytes_max: 17 << 20,
                body_bytes_max: 1 << 20,
                in_flight_bytes_max: 8 << 20,
                producer_requests_max: 1_024,
                heartbeat_ms: 600_000,
            },
        }
    }

    pub(crate) fn url(&self) -> String {
        let address = self.listener.local_addr().expect("bound");
        format!("siding://s3cret@{address}")
    }

    /// Takes the next connection, reads its hello and welcomes it.
    pub(crate) async fn welcome(&self) -> (Link, wire::Hello) {
        let mut link = self.accept().await;
        let (correlation, kind) = link.next().await;
        let Kind::Hello(hello) = kind else {
            panic!("a hello comes first: {kind:?}")
        };
        let welcome = wire::Welcome {
            version: 1,
            server: "scripted".into(),
            node: 1,
            session: 1,
            limits: Some(self.limits),
        };
        link.say(correlation, Kind::Welcome(welcome)).await;
        (link, hello)
    }

    pub(crate) async fn accept(&self) -> Link {
        awaiting("a client that connects");
        let (stream, _) = self.listener.accept().await.expect("a client comes");
        Link {
            stream,
            read: BytesMut::new(),
        }
    }

    /// A client, and its first connection.
    pub(crate) async fn client(&self) -> (Client, Link) {
        self.client_with(Options::default()).await
    }

    /// A client that does not reconnect.
    pub(crate) async fn client_once(&self) -> (Client, Link) {
        self.client_with(Options {
            reconnect: Reconnect::Never,
            ..Options::default()
        })
        .await
    }

    async fn client_with(&self, options: Options) -> (Client, Link) {
        let url = self.url();
        let (client, (link, _)) = tokio::join!(Client::connect_with(&url, options), self.welcome());
        (client.expect("welcomed"), link)
    }
}

impl Link {
    /// The next frame but pings, which it answers.
    pub(crate) async fn next(&mut self) -> (u64, Kind) {
        self.try_next().await.expect("the client is there")
    }

    /// As `next`; `None` at the end of the connection.
    pub(crate) async fn try_next(&mut self) -> Option<(u64, Kind)> {
        awaiting("the client's next frame");
        loop {
            if let Some(payload) = split(&mut self.read, 17 << 20).expect("a frame") {
                let frame = decode(payload, Sender::Client).expect("a request");
                let kind = frame.kind.expect("known");
                awaiting(format!("what follows the client's {}", told(&kind)));
                return Some((frame.correlation, kind));
            }
            let read = self.stream.read_buf(&mut self.read).await;
            if read.ok()? == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn say(&mut self, correlation: u64, kind: Kind) {
        self.say_all(vec![(correlation, kind)]).await;
    }

    /// Says several things in one write, so that no clock moves in between.
    pub(crate) async fn say_all(&mut self, frames: Vec<(u64, Kind)>) {
        let mut bytes = BytesMut::new();
        for (correlation, kind) in frames {
            awaiting(format!("what follows the broker's {}", told(&kind)));
            encode(correlation, kind, &mut bytes);
        }
        self.stream
            .write_all(&bytes)
            .await
            .expect("the client reads");
    }

    pub(crate) async fn refuse(&mut self, correlation: u64, refusal: &Refusal) {
        self.say(correlation, Kind::Error(refusal.to_wire())).await;
    }

    /// Answers the next frame, which must be `OpenProducer`.
    pub(crate) async fn open_producer(&mut self, producer: u64) {
        let (correlation, kind) = self.next().await;
        assert!(matches!(kind, Kind::OpenProducer(_)), "{kind:?}");
        let opened = wire::ProducerOpened { producer };
        self.say(correlation, Kind::ProducerOpened(opened)).await;
    }

    pub(crate) async fn next_publish(&mut self) -> (u64, wire::Publish) {
        match self.next().await {
            (correlation, Kind::Publish(publish)) => (correlation, publish),
            (_, kind) => panic!("a publish: {kind:?}"),
        }
    }

    pub(crate) async fn next_settle(&mut self) -> (u64, wire::Settle) {
        match self.next().await {
            (correlation, Kind::Settle(settle)) => (correlation, settle),
            (_, kind) => panic!("a settle: {kind:?}"),
        }
    }

    /// Answers the next frame, which must be `Consume`.
    pub(crate) async fn subscribe(&mut self) -> wire::Consume {
        let (correlation, kind) = self.next().await;
        let Kind::Consume(consume) = kind else {
            panic!("a consume: {kind:?}")
        };
        self.say(correlation, Kind::Done(wire::Done {})).await;
        consume
    }

    pub(crate) async fn confirm(&mut self, correlation: u64, first_offset: u64, count: u32) {
        let confirm = wire::Confirm {
            log_id: 9,
            first_offset,
            count,
            level: wire::Level::Synced.into(),
            duplicates: Vec::new(),
        };
        self.say(correlation, Kind::Confirm(confirm)).await;
    }

    pub(crate) async fn settled(&mut self, correlation: u64, settled: u64) {
        let outcomes = Vec::new();
        let settled = wire::Settled { settled, outcomes };
        self.say(correlation, Kind::Settled(settled)).await;
    }

    pub(crate) async fn deliver(&mut self, consumer: u32, batches: Vec<wire::Batch>) {
        let deliver = wire::Deliver {
            consumer,
            batches,
            gap: None,
        };
        self.say(0, Kind::Deliver(deliver)).await;
    }
}

/// How a frame begins, for people.
fn told(kind: &Kind) -> String {
    format!("{kind:?}").chars().take(120).collect()
}

/// The bodies of a run.
pub(crate) fn bodies(run: &Bytes) -> Vec<String> {
    let messages = siding_protocol::run::messages(run);
    let body = |message: siding::MessageView<'_>| String::from_utf8_lossy(message.body()).into();
    messages.map(body).collect()
}

/// A batch under grant 1.`counter`.
pub(crate) fn batch(counter: u64, first_offset: u64, bodies: &[&str]) -> wire::Batch {
    let mut run = BytesMut::new();
    for body in bodies {
        let length = u8::try_from(body.len()).expect("short");
        run.put_slice(&[0x0A, length + 2, 0x0A, length]);
        run.put_slice(body.as_bytes());
    }
    wire::Batch {
        log_id: 9,
        first_offset,
        count: u32::try_from(bodies.len()).expect("few"),
        published_at_ms: 1_000,
        attempt: 1,
        grant: Some(wire::Grant { term: 1, counter }),
        deadline_ms: 31_000,
        checkpoint: None,
        run: run.freeze(),
    }
}

pub(crate) fn ranges(settle: &wire::Settle) -> Vec<(u64, u64)> {
    let ranges = settle.ranges.iter();
    ranges.map(|range| (range.first, range.count)).collect()
}
