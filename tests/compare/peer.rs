//! What a broker must be able to do to be compared: one small trait for each side of it.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;

use anyhow::{Result, bail};

use crate::bodies::Bodies;
use crate::server::{Place, version};
use crate::task::Kind;

/// Something under way that a trait object can answer with.
pub(crate) type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Looks at the body of a message.
pub(crate) type Visit<'a> = dyn FnMut(&[u8]) + Send + 'a;

/// How a workload uses a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One queue; its consumers compete.
    Queue,
    /// One log; so many readers that each get all of it.
    FanOut(usize),
}

/// A name on a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    pub(crate) place: &'a Place,
    pub(crate) name: &'a str,
    pub(crate) shape: Shape,
}

/// How one connection publishes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Bytes of a body.
    pub(crate) size: usize,
    /// Messages that go together.
    pub(crate) batch: usize,
    /// Messages under way.
    pub(crate) window: usize,
}

/// What a row of the tables is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The name `--peers` takes; several rows may share it.
    pub(crate) family: &'static str,
    pub(crate) name: &'static str,
    /// What a confirm of this row means.
    pub(crate) durability: &'static str,
    /// How to get its server.
    pub(crate) install: &'static str,
}

/// A broker, in one durability.
pub(crate) trait Peer: Send + Sync {
    fn row(&self) -> Row;

    /// Its server, if it is installed.
    fn program(&self) -> Option<PathBuf>;

    fn version(&self) -> String {
        let said = self.program().map(|path| version(&path, "--version"));
        said.unwrap_or_default()
    }

    /// Whether it can do this at all.
    fn has(&self, kind: Kind) -> bool;

    /// Writes what the server needs before its first start.
    fn prepare(&self, _: &Place) -> Result<()> {
        Ok(())
    }

    /// What runs beside the server.
    fn helper(&self, _: &Place) -> Option<Command> {
        None
    }

    /// The server itself.
    fn command(&self, place: &Place) -> Result<Command>;

    /// Succeeds as soon as the server serves.
    fn ready<'a>(&'a self, place: &'a Place) -> Doing<'a, ()>;

    fn create<'a>(&'a self, at: At<'a>) -> Doing<'a, ()>;

    fn remove<'a>(&'a self, at: At<'a>) -> Doing<'a, ()>;

    /// How many messages the server has that are not settled, over all readers.
    fn left<'a>(&'a self, at: At<'a>) -> Doing<'a, u64>;

    /// A publisher on a connection of its own.
    fn publisher<'a>(&'a self, at: At<'a>, load: Load) -> Doing<'a, Box<dyn Publish>>;

    /// Publishers that share one connection, of who [has](Self::has) that.
    fn sharing<'a>(&'a self, _: At<'a>, _count: usize) -> Doing<'a, Vec<Box<dyn Publish>>> {
        Box::pin(async { bail!("it has none") })
    }

    /// A consumer on a connection of its own: of the queue, or of this reader's share of a fan-out.
    fn consumer<'a>(&'a self, at: At<'a>, reader: Option<usize>) -> Doing<'a, Box<dyn Consume>>;
}

pub(crate) trait Publish: Send {
    /// Publishes them as fast as the window lets, and waits for every confirm.
    fn all(&mut self, bodies: Bodies) -> Doing<'_, ()>;

    /// Publishes one and waits for its confirm.
    fn one<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()>;

    /// Publishes one; its confirm is awaited by [`confirmed`](Self::confirmed).
    fn send<'a>(&'a mut self, body: &'a [u8]) -> Doing<'a, ()>;

    /// Waits until all that was sent is confirmed.
    fn confirmed(&mut self) -> Doing<'_, ()>;
}

pub(crate) trait Consume: Send {
    /// Waits for messages, shows them and acks them; how many they were. Dropped while it waits it
    /// has taken nothing.
    fn take<'a>(&'a mut self, visit: &'a mut Visit<'_>) -> Doing<'a, u64>;

    /// Waits until every ack is confirmed.
    fn settled(&mut self) -> Doing<'_, ()>;
}
