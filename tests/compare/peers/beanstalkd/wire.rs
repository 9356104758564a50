//! The commands used here, in its text protocol: written together, answered in their order.

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::Place;

const READ_BYTES: usize = 256 << 10;

/// Commands out, replies in, in their order.
pub(super) struct Wire {
    stream: TcpStream,
    outgoing: BytesMut,
    incoming: BytesMut,
}

/// One reply.
pub(super) enum Reply {
    /// A job is ours.
    Reserved { id: u64, body: BytesMut },
    /// The text of an answer with data.
    Ok(BytesMut),
    /// Any other, with all its words.
    Word(String),
}

impl Wire {
    pub(super) async fn connect(place: &Place) -> Result<Self> {
        let stream = TcpStream::connect(place.address()).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            outgoing: BytesMut::new(),
            incoming: BytesMut::with_capacity(READ_BYTES),
        })
    }

    pub(super) fn say(&mut self, line: &str) {
        self.outgoing.extend_from_slice(line.as_bytes());
        self.outgoing.extend_from_slice(b"\r\n");
    }

    pub(super) fn put(&mut self, body: &[u8]) {
        // Priority, delay, and seconds that a consumer may hold it.
        self.say(&format!("put 0 0 600 {}", body.len()));
        self.outgoing.extend_from_slice(body);
        self.outgoing.extend_from_slice(b"\r\n");
    }

    pub(super) async fn write(&mut self) -> Result<()> {
        while self.outgoing.has_remaining() {
            self.stream.write_buf(&mut self.outgoing).await?;
        }
        Ok(())
    }

    /// The next reply. Dropped while it waits it has lost nothing.
    pub(super) async fn reply(&mut self) -> Result<Reply> {
        loop {
            if let Some(reply) = parse(&mut self.incoming)? {
                return Ok(reply);
            }
            self.incoming.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.incoming).await?;
            ensure!(read > 0, "the connection was closed");
        }
    }

    pub(super) async fn expect(&mut self, word: &str) -> Result<()> {
        match self.reply().await? {
            Reply::Word(said) if said.starts_with(word) => Ok(()),
            Reply::Word(said) => bail!("{said} instead of {word}"),
            _ => bail!("data instead of {word}"),
        }
    }
}

/// Takes a reply that is there as a whole.
fn parse(incoming: &mut BytesMut) -> Result<Option<Reply>> {
    let Some(end) = incoming.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let line = incoming.get(..end).unwrap_or_default();
    let line = std::str::from_utf8(line)?.trim_end();
    let mut words = line.split(' ');
    let kind = words.next().unwrap_or_default();
    if !matches!(kind, "RESERVED" | "OK") {
        let said = line.to_owned();
        incoming.advance(end + 1);
        return Ok(Some(Reply::Word(said)));
    }
    let mut number = || words.next().context("a reply is cut short");
    let id = match kind {
        "RESERVED" => Some(number()?.parse()?),
        _ => None,
    };
    let length: usize = number()?.parse()?;
    if incoming.len() < end + 1 + length + 2 {
        return Ok(None);
    }
    incoming.advance(end + 1);
    let body = incoming.split_to(length);
    incoming.advance(2);
    Ok(Some(match id {
        Some(id) => Reply::Reserved { id, body },
        None => Reply::Ok(body),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_taken_only_when_it_is_there_as_a_whole() {
        let text = b"INSERTED 7\r\nRESERVED 7 3\r\nabc\r\nOK 2\r\nok\r\n";
        for cut in 0..text.len() {
            let mut incoming = BytesMut::from(text.get(..cut).unwrap());
            let mut replies = 0;
            while parse(&mut incoming).unwrap().is_some() {
                replies += 1;
            }
            incoming.extend_from_slice(text.get(cut..).unwrap());
            while let Some(reply) = parse(&mut incoming).unwrap() {
                replies += 1;
                match reply {
                    Reply::Reserved { id, body } => assert_eq!((id, &body[..]), (7, &b"abc"[..])),
                    Reply::Ok(text) => assert_eq!(&text[..], b"ok"),
                    Reply::Word(said) => assert_eq!(said, "INSERTED 7"),
                }
            }
            assert_eq!(replies, 3, "cut at {cut}");
        }
    }
}
