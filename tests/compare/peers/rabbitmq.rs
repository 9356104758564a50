//! `RabbitMQ`: a durable queue of one type, persistent messages, publisher confirms.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    ExchangeKind, PublisherConfirm,
};

use super::underway::come;
use crate::bodies::Bodies;
use crate::peer::{At, Consume, Doing, Load, Peer, Publish, Row, Shape, Visit};
use crate::server::{Place, find};
use crate::task::Kind;

/// Messages that one consumer is sent ahead.
const PREFETCH: u16 = 2_000;
/// One ack for so many messages at most.
const TAKEN: usize = 256;
const PERSISTENT: u8 = 2;
/// Idle threads of the server sleep at once: there is no core to spare for spinning.
const NO_SPINNING: &str = "+sbwt none +sbwtdcpu none +sbwtdio none";

/// `RabbitMQ` with one type of queue.
pub(crate) struct RabbitMq {
    pub(crate) name: &'static str,
    pub(crate) durability: &'static str,
    pub(crate) queue_type: &'static str,
}

struct Publishing {
    // The channel works as long as it is there.
    _connection: Connection,
    channel: Channel,
    exchange: ShortString,
    routing_key: ShortString,
    window: usize,
    unconfirmed: VecDeque<PublisherConfirm>,
}

struct Consuming {
    _connection: Connection,
    channel: Channel,
    consumer: Consumer,
}

impl RabbitMq {
    async fn connect(place: &Place) -> Result<(Connection, Channel)> {
        let uri = format!("amqp://guest:guest@{}/%2f?heartbeat=0", place.address());
        let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        let queue_type = AMQPValue::LongString(self.queue_type.into());
        arguments.insert("x-queue-type".into(), queue_type);
        arguments
    }
}

fn queues(name: &str, shape: Shape) -> Vec<String> {
    match shape {
        Shape::Queue => vec![queue(name, None)],
        Shape::FanOut(readers) => (0..readers)
            .map(|reader| queue(name, Some(reader)))
            .collect(),
    }
}

fn queue(name: &str, reader: Option<usize>) -> String {
    reader.map_or_else(|| name.to_owned(), |reader| format!("{name}.r{reader}"))
}

impl Peer for RabbitMq {
    fn row(&self) -> Row {
        Row {
            family: "rabbitmq",
            name: self.name,
            durability: self.durability,
            install: "apt-get install rabbitmq-server",
        }
    }

    fn program(&self) -> Option<PathBuf> {
        // The one that Debian puts on the path becomes another user and goes to that one's directories.
        let itself = PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server");
        Some(itself)
            .filter(|path| path.is_file())
            .or_else(|| find("rabbitmq-server"))
    }

    fn version(&self) -> String {
        // To ask itself takes a virtual machine: its directory tells.
        let installed = std::fs::read_dir("/usr/lib/rabbitmq/lib")
            .into_iter()
            .flatten();
        let mut names = installed.flatten().map(|entry| entry.file_name());
        let name = names.next().and_then(|name| name.into_string().ok());
        name.unwrap_or_else(|| "unknown".to_owned())
    }

    fn has(&self, kind: Kind) -> bool {
        kind != Kind::Shared
    }

    fn prepare(&self, place: &Place) -> Result<()> {
        Ok(std::fs::write(place.dir().join("plugins"), "[].")?)
    }

    /// The port mapper of the virtual machine, on a port of its own.
    fn helper(&self, place: &Place) -> Option<Command> {
        let mut command = Command::new(find("epmd")?);
        let [port, _] = place.more_ports;
        command.args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
        Some(command)
    }

    fn command(&self, place: &Place) -> Result<Command> {
        let mut command = Command::new(self.program().context("not installed")?);
        let dir = place.dir();
        let [mapper_port, node_port] = place.more_ports;
        let node = format!("compare{}@localhost", place.port);
        command
            .env("HOME", dir)
            .env("ERL_EPMD_PORT", mapper_port.to_string())
            .env("RABBITMQ_NODENAME", node)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", place.port.to_string())
            .env("RABBITMQ_DIST_PORT", node_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", dir.join("data"))
            .env("RABBITMQ_LOG_BASE", dir.join("logs"))
            .env("RABBITMQ_PID_FILE", dir.join("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("plugins"))
            .env("RABBITMQ_CONFIG_FILE", dir.join("none"))
            .env("RABBITMQ_CONF_ENV_FILE", dir.join("none"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", NO_SPINNING);
        Ok(command)
    }

    fn ready<'a>(&'a self, place: &'a Place) -> Doing<'a, ()> {
        Box::pin(async move {
            Self::connect(place).await?;
            Ok(())
        })
    }

    fn create<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move {
            let (_connection, channel) = Self::connect(at.place).await?;
            let options = ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            let none = FieldTable::default;
            if let Shape::FanOut(_) = at.shape {
                let declared =
                    channel.exchange_declare(at.name.into(), ExchangeKind::Fanout, options, none());
                declared.await?;
            }
            for queue in queues(at.name, at.shape) {
                let queue: ShortString = queue.into();
                let options = QueueDeclareOptions::durable();
                let declared = channel.queue_declare(queue.clone(), options, self.arguments());
                declared.await?;
                if let Shape::FanOut(_) = at.shape {
                    let options = QueueBindOptions::default();
                    let bound =
                        channel.queue_bind(queue, at.name.into(), "".into(), options, none());
                    bound.await?;
                }
            }
            Ok(())
        })
    }

    fn remove<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move {
            let (_connection, channel) = Self::connect(at.place).await?;
            for queue in queues(at.name, at.shape) {
                let options = QueueDeleteOptions::default();
                channel.queue_delete(queue.into(), options).await?;
            }
            if let Shape::FanOut(_) = at.shape {
                let options = ExchangeDeleteOptions::default();
                channel.exchange_delete(at.name.into(), options).await?;
            }
            Ok(())
        })
    }

    fn left<'a>(&'a self, at: At<'a>) -> Doing<'a, u64> {
        Box::pin(async move {
            let (_connection, channel) = Self::connect(at.place).await?;
            let mut left = 0;
            for queue in queues(at.name, at.shape) {
                let options = QueueDeclareOptions::durable().passive();
                let declared = channel.queue_declare(queue.into(), options, self.arguments());
                left += u64::from(declared.await?.message_count());
            }
            Ok(left)
        })
    }

    fn publisher<'a>(&'a self, at: At<'a>, load: Load) -> Doing<'a, Box<dyn Publish>> {
        Box::pin(async move {
            let (connection, channel) = Self::connect(at.place).await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            let (exchange, routing_key) = match at.shape {
                Shape::Queue => ("", at.name),
                Shape::FanOut(_) => (at.name, ""),
            };
            let publishing = Publishing {
                _connection: connection,
                channel,
                exchange: exchange.into(),
                routing_key: routing_key.into(),
                window: load.window,
                unconfirmed: VecDeque::new(),
            };
            Ok(Box::new(publishing) as Box<dyn Publish>)
        })
    }

    fn consumer<'a>(&'a self, at: At<'a>, reader: Option<usize>) -> Doing<'a, Box<dyn Consume>> {
        Box::pin(async move {
            let (connection, channel) = Self::connect(at.place).await?;
            channel
                .basic_qos(PREFETCH, BasicQosOptions::default())
                .await?;
            let consumer = channel.basic_consume(
                queue(at.name, reader).into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            let consuming = Consuming {
                consumer: consumer.await?,
                _connection: connection,
                channel,
            };
            Ok(Box::new(consuming) as Box<dyn Consume>)
        })
    }
}

impl Publishing {
    async fn publish(&mut self, body: &[u8]) -> Result<()> {
        self.down_to(self.window - 1).await?;
        let confirm = self.channel.basic_publish(
            self.exchange.clone(),
            self.routing_key.clone(),
            BasicPublishOptions::default(),
            body,
            BasicProperties::default().with_delivery_mode(PERSISTENT),
        );
        self.unconfirmed.push_back(confirm.await?);
        Ok(())
    }

    /// Awaits confirms until no more are open than this.
    async fn down_to(&mut self, open: usize) -> Result<()> {
        while self.unconfirmed.len() > open {
            let Some(oldest) = self.unconfirmed.pop_front() else {
                break;
            };
            let confirmation = oldest.await?;
            ensure!(
                matches!(confirmation, Confirmation::Ack(None)),
                "a publish was refused: {confirmation:?}"
            );
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
            self.down_to(0).await
        })
    }

    fn one<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            self.publish(body).await?;
            self.down_to(0).await
        })
    }

    fn send<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(self.publish(body))
    }

    fn confirmed(&mut self) -> Doing<'_, ()> {
        Box::pin(self.down_to(0))
    }
}

impl Consume for Consuming {
    fn take<'a>(&'a mut self, visit: &'a mut Visit<'_>) -> Doing<'a, u64> {
        Box::pin(async move {
            let come = come(&mut self.consumer, TAKEN).await?;
            for delivery in &come {
                ensure!(!delivery.redelivered, "a message came again");
                visit(&delivery.data);
            }
            if let Some(last) = come.last() {
                let options = BasicAckOptions { multiple: true };
                self.channel.basic_ack(last.delivery_tag, options).await?;
            }
            Ok(come.len() as u64)
        })
    }

    /// Acks have no answer: that to a later question tells that they have arrived.
    fn settled(&mut self) -> Doing<'_, ()> {
        Box::pin(async move {
            let asked = self.channel.basic_qos(PREFETCH, BasicQosOptions::default());
            Ok(asked.await?)
        })
    }
}
