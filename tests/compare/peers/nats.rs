//! NATS `JetStream`: a work queue with one durable consumer, or a log with one for each reader.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use async_nats::Client;
use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull::{Config as Pull, Stream as Pulled};
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture};
use async_nats::jetstream::stream::{Config as Log, RetentionPolicy, StorageType};
use bytes::Bytes;

use super::underway::{Underway, come};
use crate::bodies::Bodies;
use crate::peer::{At, Consume, Doing, Load, Peer, Publish, Row, Shape, Visit};
use crate::server::{Place, find};
use crate::task::Kind;

/// Longer than any answer takes that comes at all.
const PATIENCE: Duration = Duration::from_mins(1);
/// Messages that one consumer is sent ahead.
const PULLED: usize = 4_096;
/// Messages without an ack of all consumers; the default is less than one of them is sent ahead.
const UNACKED: i64 = 100_000;
/// One confirmed ack for so many messages at most.
const TAKEN: usize = 256;
/// Confirms of acks under way.
const ACKS: usize = 16;

/// NATS with one `sync_interval`.
pub(crate) struct Nats {
    pub(crate) name: &'static str,
    pub(crate) durability: &'static str,
    /// Of the block `jetstream` of the configuration.
    pub(crate) setting: &'static str,
}

struct Publishing {
    context: JetStream,
    subject: String,
    window: usize,
    unconfirmed: VecDeque<PublishAckFuture>,
}

struct Consuming {
    client: Client,
    messages: Pulled,
    /// Whether the ack of a message is that of all before it.
    acks_all: bool,
    underway: Underway,
}

impl Nats {
    async fn connect(place: &Place) -> Result<JetStream> {
        let client = async_nats::connect(place.address()).await?;
        let context = ContextBuilder::new()
            .timeout(PATIENCE)
            .ack_timeout(PATIENCE)
            .max_ack_inflight(usize::from(u16::MAX))
            .build(client);
        Ok(context)
    }

    fn config(place: &Place) -> PathBuf {
        place.dir().join("nats.conf")
    }
}

impl Peer for Nats {
    fn row(&self) -> Row {
        Row {
            family: "nats",
            name: self.name,
            durability: self.durability,
            install: "apt-get install nats-server (from 2.10 on, for `sync_interval: always`)",
        }
    }

    fn program(&self) -> Option<PathBuf> {
        find("nats-server")
    }

    fn has(&self, _: Kind) -> bool {
        true
    }

    fn prepare(&self, place: &Place) -> Result<()> {
        let store = place.dir().join("store");
        let text = format!(
            "listen: \"{}\"\njetstream {{\n  store_dir: \"{}\"\n  max_file_store: 64GB\n  {}\n}}\n",
            place.address(),
            store.display(),
            self.setting,
        );
        Ok(std::fs::write(Self::config(place), text)?)
    }

    fn command(&self, place: &Place) -> Result<Command> {
        let program = self.program().context("not installed")?;
        let mut command = Command::new(program);
        command.arg("-c").arg(Self::config(place));
        Ok(command)
    }

    fn ready<'a>(&'a self, place: &'a Place) -> Doing<'a, ()> {
        Box::pin(async move {
            Self::connect(place).await?.query_account().await?;
            Ok(())
        })
    }

    fn create<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move {
            let context = Self::connect(at.place).await?;
            let config = Log {
                name: at.name.to_owned(),
                subjects: vec![at.name.to_owned()],
                storage: StorageType::File,
                retention: match at.shape {
                    Shape::Queue => RetentionPolicy::WorkQueue,
                    Shape::FanOut(_) => RetentionPolicy::Limits,
                },
                ..Log::default()
            };
            let stream = context.create_stream(config).await?;
            for (durable, ack_policy) in consumers(at.shape) {
                let config = Pull {
                    durable_name: Some(durable),
                    ack_policy,
                    ack_wait: PATIENCE,
                    max_ack_pending: UNACKED,
                    ..Pull::default()
                };
                stream.create_consumer(config).await?;
            }
            Ok(())
        })
    }

    fn remove<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move {
            Self::connect(at.place)
                .await?
                .delete_stream(at.name)
                .await?;
            Ok(())
        })
    }

    fn left<'a>(&'a self, at: At<'a>) -> Doing<'a, u64> {
        Box::pin(async move {
            let context = Self::connect(at.place).await?;
            let mut stream = context.get_stream(at.name).await?;
            if at.shape == Shape::Queue {
                return Ok(stream.info().await?.state.messages);
            }
            let mut left = 0;
            for (durable, _) in consumers(at.shape) {
                let info = stream.consumer_info(durable).await?;
                left += info.num_pending + info.num_ack_pending as u64;
            }
            Ok(left)
        })
    }

    fn publisher<'a>(&'a self, at: At<'a>, load: Load) -> Doing<'a, Box<dyn Publish>> {
        Box::pin(async move {
            let context = Self::connect(at.place).await?;
            let publishing = Publishing::new(context, at.name, load.window);
            Ok(Box::new(publishing) as Box<dyn Publish>)
        })
    }

    fn sharing<'a>(&'a self, at: At<'a>, count: usize) -> Doing<'a, Vec<Box<dyn Publish>>> {
        Box::pin(async move {
            let context = Self::connect(at.place).await?;
            let share = || Publishing::new(context.clone(), at.name, 1);
            Ok((0..count).map(|_| Box::new(share()) as _).collect())
        })
    }

    fn consumer<'a>(&'a self, at: At<'a>, reader: Option<usize>) -> Doing<'a, Box<dyn Consume>> {
        Box::pin(async move {
            let context = Self::connect(at.place).await?;
            let client = context.client();
            let stream = context.get_stream(at.name).await?;
            let found = stream.get_consumer::<Pull>(&durable(reader)).await;
            let consumer = found.map_err(|error| anyhow!("{error}"))?;
            let pull = consumer.stream().max_messages_per_batch(PULLED);
            let consuming = Consuming {
                client,
                messages: pull.messages().await?,
                acks_all: reader.is_some(),
                underway: Underway::new(ACKS),
            };
            Ok(Box::new(consuming) as Box<dyn Consume>)
        })
    }
}

fn durable(reader: Option<usize>) -> String {
    reader.map_or_else(|| "workers".to_owned(), |reader| format!("r{reader}"))
}

/// A work queue insists on explicit acks.
fn consumers(shape: Shape) -> Vec<(String, AckPolicy)> {
    match shape {
        Shape::Queue => vec![(durable(None), AckPolicy::Explicit)],
        Shape::FanOut(readers) => (0..readers)
            .map(|reader| (durable(Some(reader)), AckPolicy::All))
            .collect(),
    }
}

impl Publishing {
    fn new(context: JetStream, subject: &str, window: usize) -> Self {
        Self {
            context,
            subject: subject.to_owned(),
            window,
            unconfirmed: VecDeque::new(),
        }
    }

    async fn publish(&mut self, body: &[u8]) -> Result<()> {
        while self.unconfirmed.len() >= self.window {
            let Some(oldest) = self.unconfirmed.pop_front() else {
                break;
            };
            oldest.await?;
        }
        let body = Bytes::copy_from_slice(body);
        let sent = self.context.publish(self.subject.clone(), body);
        self.unconfirmed.push_back(sent.await?);
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        for sent in self.unconfirmed.drain(..) {
            sent.await?;
        }
        Ok(())
    }
}

impl Publish for Publishing {
    fn all(&mut self, mut bodies: Bodies) -> Doing<'_, ()> {
        Box::pin(async move {
            while let Some(body) = bodies.next_body() {
                self.publish(body).await?;
            }
            self.flush().await
        })
    }

    fn one<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            let body = Bytes::copy_from_slice(body);
            self.context
                .publish(self.subject.clone(), body)
                .await?
                .await?;
            Ok(())
        })
    }

    fn send<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(self.publish(body))
    }

    fn confirmed(&mut self) -> Doing<'_, ()> {
        Box::pin(self.flush())
    }
}

impl Consume for Consuming {
    fn take<'a>(&'a mut self, visit: &'a mut Visit<'_>) -> Doing<'a, u64> {
        Box::pin(async move {
            let come = come(&mut self.messages, TAKEN).await?;
            for message in &come {
                visit(&message.payload);
            }
            let Some((last, before)) = come.split_last() else {
                return Ok(0);
            };
            if !self.acks_all {
                for message in before {
                    let acked = message.ack().await;
                    acked.map_err(|error| anyhow!("{error}"))?;
                }
            }
            // The server works on the acks of a connection in order: this answer is that to all.
            let (client, reply) = (self.client.clone(), last.reply.clone());
            let reply = reply.context("nowhere to ack to")?;
            let confirmed = async move {
                client.request(reply, "+ACK".into()).await?;
                Ok(())
            };
            self.underway.add(confirmed).await?;
            Ok(come.len() as u64)
        })
    }

    fn settled(&mut self) -> Doing<'_, ()> {
        Box::pin(self.underway.ended())
    }
}
