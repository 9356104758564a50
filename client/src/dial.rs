//! Making a connection: TCP, hello, welcome.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use siding_protocol::frame::{Sender, decode, encode};
use siding_protocol::refusal::Refusal;
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::chunks::Chunks;
use crate::error::{Error, ProtocolError};

/// The wire version this client speaks.
const VERSION: u32 = 1;

/// How to reach the broker, again and again.
#[derive(Debug)]
pub(crate) struct Dial {
    /// `host:port`
    pub(crate) address: String,
    pub(crate) holder: String,
    pub(crate) client: String,
    pub(crate) token: String,
    pub(crate) marks_started: bool,
    pub(crate) timeout: Duration,
}

/// A welcomed connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    pub(crate) chunks: Chunks,
    pub(crate) limits: wire::Limits,
}

impl Dial {
    /// Connects and is welcomed, within the timeout.
    pub(crate) async fn connect(&self) -> Result<Link, Error> {
        match tokio::time::timeout(self.timeout, self.greet()).await {
            Ok(greeted) => greeted,
            Err(_) => Err(self.failed(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn greet(&self) -> Result<Link, Error> {
        let stream = TcpStream::connect(&self.address).await;
        let mut stream = stream.map_err(|source| self.failed(source))?;
        let nodelay = stream.set_nodelay(true);
        nodelay.map_err(|source| self.failed(source))?;
        let mut hello = BytesMut::new();
        encode(1, Kind::Hello(self.hello()), &mut hello);
        let sent = stream.write_all(&hello).await;
        sent.map_err(|source| self.failed(source))?;
        let mut chunks = Chunks::default();
        let payload = loop {
            if let Some(payload) = chunks.next_frame().map_err(ProtocolError::Frame)? {
                break payload;
            }
            let read = stream.read_buf(chunks.room()).await;
            if read.map_err(|source| self.failed(source))? == 0 {
                return Err(ProtocolError::NoWelcome.into());
            }
        };
        let frame = decode(payload, Sender::Broker).map_err(ProtocolError::Frame)?;
        match frame.kind {
            Some(Kind::Welcome(welcome)) => Ok(Link {
                stream,
                chunks,
                limits: welcome.limits.unwrap_or_default(),
            }),
            Some(Kind::Error(error)) => Err(Refusal::from_wire(error).into()),
            _ => Err(ProtocolError::NoWelcome.into()),
        }
    }

    fn hello(&self) -> wire::Hello {
        wire::Hello {
            version: VERSION,
            holder: self.holder.clone(),
            client: self.client.clone(),
            token: self.token.clone(),
            marks_started: self.marks_started,
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Connect {
            address: self.address.clone(),
            source: Arc::new(source),
        }
    }
}
