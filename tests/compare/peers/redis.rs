//! Redis streams: a consumer group a queue or reader, entries deleted as they are acked.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, Pipeline, Value, cmd, pipe};
use tokio::task::JoinHandle;

use super::underway::Underway;
use crate::bodies::Bodies;
use crate::peer::{At, Consume, Doing, Load, Peer, Publish, Row, Shape, Visit};
use crate::server::{Place, find};
use crate::task::Kind;

/// Messages one read asks for.
const READ: usize = 1_000;
const READ_WAIT_MS: usize = 10_000;
/// Acks of so many reads are awaited while more are read.
const ACKS: usize = 4;
/// Single publishes of one connection under way.
const SENDS: usize = 4_096;

/// Redis with one `appendfsync`.
pub(crate) struct Redis {
    pub(crate) name: &'static str,
    pub(crate) durability: &'static str,
    pub(crate) appendfsync: &'static str,
}

struct Publishing {
    connection: MultiplexedConnection,
    stream: Arc<str>,
    load: Load,
    underway: Underway,
}

struct Consuming {
    /// A read that waits holds up all behind it: acks have a connection of their own.
    reads: MultiplexedConnection,
    acks: MultiplexedConnection,
    stream: Arc<str>,
    group: Arc<str>,
    consumer: String,
    /// Whether an ack also deletes: nobody else will read it.
    deletes: bool,
    /// Asked for before what came is looked at.
    next: Option<JoinHandle<Result<Value>>>,
    underway: Underway,
}

impl Redis {
    async fn connect(place: &Place) -> Result<MultiplexedConnection> {
        let info = format!("redis://{}", place.address()).into_connection_info()?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let client = Client::open(info)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(connection.await?)
    }
}

impl Peer for Redis {
    fn row(&self) -> Row {
        Row {
            family: "redis",
            name: self.name,
            durability: self.durability,
            install: "apt-get install redis-server",
        }
    }

    fn program(&self) -> Option<PathBuf> {
        find("redis-server")
    }

    fn has(&self, _: Kind) -> bool {
        true
    }

    fn command(&self, place: &Place) -> Result<Command> {
        let program = self.program().context("not installed")?;
        let mut command = Command::new(program);
        command.args(["--port", &place.port.to_string(), "--bind", "127.0.0.1"]);
        command.arg("--dir").arg(place.dir());
        command.args(["--save", "", "--appendonly", "yes"]);
        command.args(["--appendfsync", self.appendfsync]);
        command.args(["--loglevel", "warning", "--daemonize", "no"]);
        Ok(command)
    }

    fn ready<'a>(&'a self, place: &'a Place) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut connection = Self::connect(place).await?;
            Ok(cmd("PING").query_async(&mut connection).await?)
        })
    }

    fn create<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut connection = Self::connect(at.place).await?;
            for group in groups(at.shape) {
                let mut create = cmd("XGROUP");
                create.arg("CREATE").arg(at.name).arg(group).arg("0");
                let created = create.arg("MKSTREAM").query_async(&mut connection);
                let () = created.await?;
            }
            Ok(())
        })
    }

    fn remove<'a>(&'a self, at: At<'a>) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut connection = Self::connect(at.place).await?;
            Ok(cmd("DEL").arg(at.name).query_async(&mut connection).await?)
        })
    }

    fn left<'a>(&'a self, at: At<'a>) -> Doing<'a, u64> {
        Box::pin(async move {
            let mut connection = Self::connect(at.place).await?;
            if at.shape == Shape::Queue {
                return Ok(cmd("XLEN")
                    .arg(at.name)
                    .query_async(&mut connection)
                    .await?);
            }
            let mut pending = 0;
            for group in groups(at.shape) {
                let asked = cmd("XPENDING").arg(at.name).arg(group).to_owned();
                let answer: Value = asked.query_async(&mut connection).await?;
                let count = array(&answer).and_then(|parts| parts.first());
                let Some(Value::Int(count)) = count else {
                    anyhow::bail!("no count of what is pending");
                };
                pending += u64::try_from(*count)?;
            }
            Ok(pending)
        })
    }

    fn publisher<'a>(&'a self, at: At<'a>, load: Load) -> Doing<'a, Box<dyn Publish>> {
        Box::pin(async move {
            let connection = Self::connect(at.place).await?;
            Ok(Box::new(Publishing::new(connection, at.name, load)) as Box<dyn Publish>)
        })
    }

    fn sharing<'a>(&'a self, at: At<'a>, count: usize) -> Doing<'a, Vec<Box<dyn Publish>>> {
        Box::pin(async move {
            let connection = Self::connect(at.place).await?;
            let load = Load {
                size: 0,
                batch: 1,
                window: 1,
            };
            let share = || Publishing::new(connection.clone(), at.name, load);
            Ok((0..count).map(|_| Box::new(share()) as _).collect())
        })
    }

    fn consumer<'a>(&'a self, at: At<'a>, reader: Option<usize>) -> Doing<'a, Box<dyn Consume>> {
        Box::pin(async move {
            let consuming = Consuming {
                reads: Self::connect(at.place).await?,
                acks: Self::connect(at.place).await?,
                stream: at.name.into(),
                group: group(reader).into(),
                consumer: format!("c{:08x}", fastrand::u32(..)),
                deletes: reader.is_none(),
                next: None,
                underway: Underway::new(ACKS),
            };
            Ok(Box::new(consuming) as Box<dyn Consume>)
        })
    }
}

fn group(reader: Option<usize>) -> String {
    reader.map_or_else(|| "workers".to_owned(), |reader| format!("r{reader}"))
}

fn groups(shape: Shape) -> Vec<String> {
    match shape {
        Shape::Queue => vec![group(None)],
        Shape::FanOut(readers) => (0..readers).map(|reader| group(Some(reader))).collect(),
    }
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(parts) => Some(parts),
        _ => None,
    }
}

impl Publishing {
    fn new(connection: MultiplexedConnection, stream: &str, load: Load) -> Self {
        Self {
            connection,
            stream: stream.into(),
            load,
            underway: Underway::new(SENDS),
        }
    }

    fn add(&self, pipeline: &mut Pipeline, body: &[u8]) {
        let add = pipeline.cmd("XADD").arg(&*self.stream).arg("*");
        add.arg("b").arg(body).ignore();
    }
}

impl Publish for Publishing {
    fn all(&mut self, mut bodies: Bodies) -> Doing<'_, ()> {
        Box::pin(async move {
            let mut underway = Underway::new(self.load.window / self.load.batch);
            loop {
                let mut pipeline = Pipeline::with_capacity(self.load.batch);
                for _ in 0..self.load.batch {
                    let Some(body) = bodies.next_body() else {
                        break;
                    };
                    self.add(&mut pipeline, body);
                }
                if pipeline.is_empty() {
                    return underway.ended().await;
                }
                let mut connection = self.connection.clone();
                let send = async move { Ok(pipeline.query_async(&mut connection).await?) };
                underway.add(send).await?;
            }
        })
    }

    fn one<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            let add = cmd("XADD")
                .arg(&*self.stream)
                .arg("*")
                .arg("b")
                .arg(body)
                .to_owned();
            let _id: Value = add.query_async(&mut self.connection).await?;
            Ok(())
        })
    }

    fn send<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut pipeline = pipe();
            self.add(&mut pipeline, body);
            let mut connection = self.connection.clone();
            let send = async move { Ok(pipeline.query_async(&mut connection).await?) };
            self.underway.add(send).await
        })
    }

    fn confirmed(&mut self) -> Doing<'_, ()> {
        Box::pin(self.underway.ended())
    }
}

impl Consuming {
    fn ask(&self) -> JoinHandle<Result<Value>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(&*self.group).arg(&self.consumer);
        read.arg("COUNT").arg(READ).arg("BLOCK").arg(READ_WAIT_MS);
        read.arg("STREAMS").arg(&*self.stream).arg(">");
        let mut reads = self.reads.clone();
        tokio::spawn(async move { Ok(read.query_async(&mut reads).await?) })
    }

    async fn ack(&mut self, entries: &[Value]) -> Result<()> {
        let mut pipeline = pipe();
        let ids = || entries.iter().filter_map(|entry| array(entry)?.first());
        let ack = pipeline.cmd("XACK").arg(&*self.stream).arg(&*self.group);
        for id in ids() {
            ack.arg(bytes(id));
        }
        if self.deletes {
            let delete = pipeline.cmd("XDEL").arg(&*self.stream);
            for id in ids() {
                delete.arg(bytes(id));
            }
        }
        let (mut acks, due) = (self.acks.clone(), entries.len());
        let ack = async move {
            let done: Vec<usize> = pipeline.query_async(&mut acks).await?;
            ensure!(done.iter().all(|done| *done == due), "acks were refused");
            Ok(())
        };
        self.underway.add(ack).await
    }
}

impl Consume for Consuming {
    fn take<'a>(&'a mut self, visit: &'a mut Visit<'_>) -> Doing<'a, u64> {
        Box::pin(async move {
            let next = match &mut self.next {
                Some(next) => next,
                None => self.next.insert(self.ask()),
            };
            let answer = next.await??;
            self.next = Some(self.ask());
            // Nothing came within the wait, or the entries of the one stream.
            let streams = array(&answer).unwrap_or_default();
            let stream = streams.first().and_then(array);
            let entries = stream.and_then(|stream| array(stream.get(1)?));
            let entries = entries.unwrap_or_default();
            for entry in entries {
                let fields = array(entry).and_then(|entry| array(entry.get(1)?));
                let body = fields.and_then(|fields| fields.get(1));
                visit(body.map(bytes).unwrap_or_default());
            }
            if !entries.is_empty() {
                self.ack(entries).await?;
            }
            Ok(entries.len() as u64)
        })
    }

    fn settled(&mut self) -> Doing<'_, ()> {
        Box::pin(self.underway.ended())
    }
}

impl Drop for Consuming {
    fn drop(&mut self) {
        if let Some(next) = &self.next {
            next.abort();
        }
    }
}

fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::BulkString(bytes) => bytes,
        _ => &[],
    }
}
