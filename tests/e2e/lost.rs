//! What the broker gave and a connection lost is given again.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::BytesMut;
use siding::protocol::frame::{Sender, decode, split};
use siding::protocol::limits::FRAME_BYTES_MAX;
use siding::wire::frame::Kind;
use siding::wire::{QueueSettings, TopicSettings};
use siding::{Client, DeliveredBatch, Outcome, ReceiveOptions, Start};
use siding_tests::broker::{Broker, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::limited;

/// A network between clients and a broker that breaks under the first answers which carry messages,
/// so many, and never after.
struct Network {
    address: SocketAddr,
    carrier: JoinHandle<Result<()>>,
}

impl Network {
    async fn open(broker: SocketAddr, breaks: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let carrier = tokio::spawn(async move {
            let mut left = breaks;
            loop {
                let (client, _) = listener.accept().await?;
                let far = TcpStream::connect(broker).await?;
                if carry(client, far, left > 0).await.is_err() {
                    left = left.saturating_sub(1);
                }
            }
        });
        Ok(Self { address, carrier })
    }

    async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&format!("siding://{}", self.address)).await?)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

/// Carries one connection to its end; an error if it broke under messages.
async fn carry(mut client: TcpStream, mut broker: TcpStream, breaks: bool) -> Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_broker, mut to_broker) = broker.split();
    let there = tokio::io::copy(&mut from_client, &mut to_broker);
    let back = async {
        let mut read = BytesMut::new();
        while from_broker.read_buf(&mut read).await? > 0 {
            while let Some(payload) = split(&mut read, FRAME_BYTES_MAX)? {
                let frame = decode(payload.clone(), Sender::Broker)?;
                let gives = matches!(&frame.kind, Some(Kind::Received(received)) if !received.batches.is_empty());
                anyhow::ensure!(!(breaks && gives), "broken");
                to_client.write_u32(u32::try_from(payload.len())?).await?;
                to_client.write_all(&payload).await?;
            }
        }
        Ok(())
    };
    tokio::select! {
        _ = there => Ok(()),
        back = back => back,
    }
}

async fn publish(client: &Client, name: &str, bodies: &[String]) -> Result<()> {
    let publisher = client.publisher(name).open().await?;
    for body in bodies {
        publisher.publish(body.clone()).await?.await?;
    }
    Ok(())
}

/// Offsets and attempts: batches are also split where messages were not published together.
fn told(batches: &[DeliveredBatch]) -> Vec<(u64, u32)> {
    let messages = batches.iter().flat_map(|batch| {
        let offsets = (batch.first_offset()..).take(batch.len());
        offsets.map(|offset| (offset, batch.attempt()))
    });
    messages.collect()
}

async fn ack(batches: Vec<DeliveredBatch>) -> Result<()> {
    for delivery in batches
        .into_iter()
        .flat_map(DeliveredBatch::into_deliveries)
    {
        assert_eq!(within("an answer", delivery.ack()).await?, Outcome::Done);
    }
    Ok(())
}

#[test]
fn what_a_receive_leased_under_a_lost_connection_comes_with_the_next_one() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let near = broker.client("near").await?;
        near.create_queue("jobs", QueueSettings::default()).await?;
        publish(&near, "jobs", &["a", "b", "c"].map(str::to_owned)).await?;
        let network = Network::open(broker.address(), 2).await?;
        let far = network.client().await?;
        let two = ReceiveOptions {
            max_messages: 2,
            ..ReceiveOptions::default()
        };
        let received = within("twice lost", far.receive("jobs", two)).await?;
        assert_eq!(
            told(&received.batches),
            [(0, 1), (1, 1)],
            "not the next ones"
        );
        let books = near.describe("jobs").await?.subscriptions[0]
            .books
            .context("books")?;
        assert_eq!((books.leased, books.ready), (2, 1));
        ack(received.batches).await?;
        let rest = within("the rest", far.receive("jobs", two)).await?;
        assert_eq!(told(&rest.batches), [(2, 1)]);
        ack(rest.batches).await
    })
}

#[test]
fn a_long_poll_goes_on_waiting_over_a_lost_connection() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let near = broker.client("near").await?;
        near.create_queue("jobs", QueueSettings::default()).await?;
        let far = broker.client("far").await?;
        let polling = tokio::spawn({
            let far = far.clone();
            async move { far.receive("jobs", ReceiveOptions::default()).await }
        });
        // Whether the receive is on its way or waits at the broker already: it is asked again.
        far.ping().await?;
        far.cut_connection();
        while far.ping().await.is_err() {}
        publish(&near, "jobs", &["a".to_owned()]).await?;
        let received = within("an answer", polling).await??;
        assert_eq!(received.batches[0].attempt(), 1);
        ack(received.batches).await
    })
}

#[test]
fn a_gap_that_a_connection_lost_is_told_with_the_next_one() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let near = broker.client("near").await?;
        let small = TopicSettings {
            retention_bytes: Some(100_000),
            ..TopicSettings::default()
        };
        near.create_topic("news", small).await?;
        near.create_subscription(
            "news/all",
            siding::wire::DeliverySettings::default(),
            Start::Earliest,
        )
        .await?;
        publish(&near, "news", &vec!["x".repeat(60_000); 3]).await?;
        let network = Network::open(broker.address(), 1).await?;
        let far = network.client().await?;
        let received = far.receive("news/all", ReceiveOptions::default());
        let received = within("once lost", received).await?;
        assert_eq!(received.gap, Some(0..2));
        assert_eq!(received.batches[0].first_offset(), 2);
        ack(received.batches).await
    })
}
