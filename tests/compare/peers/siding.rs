//! Siding itself, by its own client.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use siding::protocol::limits::MAX_BYTES_MAX;
use siding::wire::{DeliverySettings, QueueSettings, TopicSettings};
use siding::{Client, Consumer, Publisher, Start};
use siding_tests::binaries::binary;

use crate::bodies::Bodies;
use crate::peer::{At, Consume, Doing, Load, Peer, Publish, Row, Shape, Visit};
use crate::server::Place;
use crate::task::Kind;

/// More than any run reaches.
const MAX_MESSAGES: u64 = 1 << 40;
/// Bytes of a window, either way.
const WINDOW_BYTES: usize = 8 << 20;
/// What a message takes of a batch besides its body.
const MESSAGE_BYTES: usize = 16;
const CONSUME_WINDOW: u32 = 32_768;

pub(crate) struct Siding;

struct Publishing {
    // The client holds the connection.
    _client: Client,
    publisher: Arc<Publisher>,
}

struct Consuming {
    _client: Client,
    consumer: Consumer,
}

impl Siding {
    async fn client(place: &Place) -> Result<Client> {
        Ok(Client::connect(&format!("siding://{}", place.address())).await?)
    }
}

impl Peer for Siding {
    fn row(&self) -> Row {
        Row {
            family: "siding",
            name: "siding",
            durability: "synced before confirm",
            install: "cargo build --release",
        }
    }

    fn program(&self) -> Option<PathBuf> {
        Some(binary("sidingd"))
    }

    fn has(&self, _: Kind) -> bool {
        true
    }

    fn command(&self, place: &Place) -> Result<Command> {
        let mut command = Command::new(binary("sidingd"));
        command.arg("--data-dir").arg(place.dir().join("data"));
        command.args(["--listen", &place.address(), "--admin-listen", "off"]);
        Ok(command)
    }

    fn ready<'a>(&'a self, place: &'a Place) -> Doing<'a, ()> {
        Box::pin(async move {
            Self::client(place).await?.ping().await?;
            Ok(())
        })
    }

    fn create<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move {
            let client = Self::client(at.place).await?;
            let Shape::FanOut(readers) = at.shape else {
                let settings = QueueSettings {
                    max_messages: Some(MAX_MESSAGES),
                    max_bytes: Some(MAX_BYTES_MAX),
                    ..QueueSettings::default()
                };
                return Ok(client.create_queue(at.name, settings).await?);
            };
            let settings = TopicSettings::default();
            client.create_topic(at.name, settings).await?;
            for reader in 0..readers {
                let settings = DeliverySettings::default();
                let address = address(at.name, Some(reader));
                let made = client.create_subscription(&address, settings, Start::Earliest);
                made.await?;
            }
            Ok(())
        })
    }

    fn remove<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move { Ok(Self::client(at.place).await?.delete(at.name).await?) })
    }

    fn left<'a>(&'a self, at: At<'a>) -> Doing<'a, u64> {
        Box::pin(async move {
            let info = Self::client(at.place).await?.describe(at.name).await?;
            let books = info.subscriptions.iter().filter_map(|one| one.books);
            let left = books.map(|books| books.ready + books.delayed + books.leased + books.dead);
            Ok(left.sum())
        })
    }

    fn publisher<'a>(&'a self, at: At<'a>, load: Load) -> Doing<'a, Box<dyn Publish>> {
        Box::pin(async move {
            let client = Self::client(at.place).await?;
            let publisher = client
                .publisher(at.name)
                .batch(u32::try_from(load.batch)?)
                .batch_bytes((load.batch * (load.size + MESSAGE_BYTES)).clamp(64 << 10, 1 << 20))
                .window(load.window as u64)
                .window_bytes(WINDOW_BYTES);
            let publisher = Arc::new(publisher.open().await?);
            let publishing = Publishing {
                _client: client,
                publisher,
            };
            Ok(Box::new(publishing) as Box<dyn Publish>)
        })
    }

    fn sharing<'a>(&'a self, at: At<'a>, count: usize) -> Doing<'a, Vec<Box<dyn Publish>>> {
        Box::pin(async move {
            let client = Self::client(at.place).await?;
            let publisher = Arc::new(client.publisher(at.name).open().await?);
            let share = || Publishing {
                _client: client.clone(),
                publisher: Arc::clone(&publisher),
            };
            Ok((0..count).map(|_| Box::new(share()) as _).collect())
        })
    }

    fn consumer<'a>(&'a self, at: At<'a>, reader: Option<usize>) -> Doing<'a, Box<dyn Consume>> {
        Box::pin(async move {
            let client = Self::client(at.place).await?;
            let consumer = client
                .consumer(&address(at.name, reader))
                .window(CONSUME_WINDOW)
                .window_bytes(WINDOW_BYTES as u64);
            let consumer = consumer.open().await?;
            let consuming = Consuming {
                _client: client,
                consumer,
            };
            Ok(Box::new(consuming) as Box<dyn Consume>)
        })
    }
}

fn address(name: &str, reader: Option<usize>) -> String {
    reader.map_or_else(|| name.to_owned(), |reader| format!("{name}/r{reader}"))
}

impl Publish for Publishing {
    fn all(&mut self, mut bodies: Bodies) -> Doing<'_, ()> {
        Box::pin(async move {
            while let Some(body) = bodies.next_body() {
                drop(self.publisher.publish_body(body).await?);
            }
            Ok(self.publisher.flush().await?)
        })
    }

    fn one<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            self.publisher.publish_body(body).await?.await?;
            Ok(())
        })
    }

    fn send<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            drop(self.publisher.publish_body(body).await?);
            Ok(())
        })
    }

    fn confirmed(&mut self) -> Doing<'_, ()> {
        Box::pin(async move { Ok(self.publisher.flush().await?) })
    }
}

impl Consume for Consuming {
    fn take<'a>(&'a mut self, visit: &'a mut Visit<'_>) -> Doing<'a, u64> {
        Box::pin(async move {
            let batch = self.consumer.next_batch().await;
            let batch = batch.context("the consumer was closed")??;
            ensure!(batch.attempt() == 1, "a message came again");
            for message in batch.messages() {
                visit(message.body());
            }
            let count = batch.len() as u64;
            batch.ack_detached();
            Ok(count)
        })
    }

    fn settled(&mut self) -> Doing<'_, ()> {
        Box::pin(async move {
            let failed = self.consumer.flush_settles().await;
            ensure!(failed == 0, "{failed} acks failed");
            Ok(())
        })
    }
}
