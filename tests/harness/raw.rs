//! A connection without a client: frames and bytes as the test wants them.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use siding::protocol::frame::{Sender, decode, encode, split};
use siding::protocol::limits::FRAME_BYTES_MAX;
use siding::wire::frame::Kind;
use siding::{Refusal, wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::broker::within;

/// One TCP connection to a broker.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    read: BytesMut,
}

impl Raw {
    /// Connects and says nothing.
    ///
    /// # Errors
    /// Refused.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = within("a connection", TcpStream::connect(address)).await?;
        Ok(Self {
            stream,
            read: BytesMut::new(),
        })
    }

    /// Connects, says hello and is welcomed.
    ///
    /// # Errors
    /// It is not welcomed.
    pub async fn open(address: SocketAddr, holder: &str) -> Result<Self> {
        let mut raw = Self::connect(address).await?;
        raw.say(1, hello(holder)).await?;
        match raw.hear().await? {
            Some((1, Kind::Welcome(_))) => Ok(raw),
            other => bail!("no welcome: {other:?}"),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(within("the broker reads", self.stream.write_all(bytes)).await?)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn say(&mut self, correlation: u64, kind: Kind) -> Result<()> {
        let mut bytes = BytesMut::new();
        encode(correlation, kind, &mut bytes);
        self.send(&bytes).await
    }

    /// The next frame; `None`: the broker closed the connection.
    ///
    /// # Errors
    /// What came is no frame.
    pub async fn hear(&mut self) -> Result<Option<(u64, Kind)>> {
        loop {
            if let Some(payload) = split(&mut self.read, FRAME_BYTES_MAX)? {
                let frame = decode(payload, Sender::Broker)?;
                return Ok(Some((
                    frame.correlation,
                    frame.kind.context("a known kind")?,
                )));
            }
            match within("an answer or the end", self.stream.read_buf(&mut self.read)).await {
                // Closed with bytes of ours unread.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Ok(0) => return Ok(None),
                other => drop(other?),
            }
        }
    }

    /// Asks; gives the answer.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn ask(&mut self, kind: Kind) -> Result<Kind> {
        self.say(7, kind).await?;
        let (correlation, answer) = self.hear().await?.context("closed instead of an answer")?;
        anyhow::ensure!(correlation == 7, "an answer to {correlation}");
        Ok(answer)
    }

    /// Asks; gives the refusal.
    ///
    /// # Errors
    /// The connection is closed, or the answer is none.
    pub async fn refused(&mut self, kind: Kind) -> Result<Refusal> {
        match self.ask(kind).await? {
            Kind::Error(error) => Ok(Refusal::from_wire(error)),
            other => bail!("not refused: {other:?}"),
        }
    }

    /// Waits until the broker closes; gives the reason it named, if it did.
    ///
    /// # Errors
    /// What came is no frame.
    pub async fn closed(&mut self) -> Result<Option<Refusal>> {
        let mut reason = None;
        while let Some((_, kind)) = self.hear().await? {
            if let Kind::Error(error) = kind {
                reason = Some(Refusal::from_wire(error));
            }
        }
        Ok(reason)
    }
}

/// The first frame of a connection.
pub fn hello(holder: &str) -> Kind {
    Kind::Hello(wire::Hello {
        version: 1,
        holder: holder.to_owned(),
        ..wire::Hello::default()
    })
}

/// A publish with this run, whatever it is.
pub fn publish(name: &str, producer: u64, sequence: u64, run: Bytes) -> Kind {
    Kind::Publish(wire::Publish {
        name: name.to_owned(),
        producer,
        sequence,
        run,
        ..wire::Publish::default()
    })
}
