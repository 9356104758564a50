//! The entry that carries a batch of commands, as bytes.
//!
//! ```text
//! payload of one journal entry:  u32 LE head length | head (EntryHead, protobuf) | raw area
//! ```
//! The raw area holds the runs of the entry's publishes, in order of command, back to back; where a
//! run lies follows from the pieces of the commands before it, so no pointer can disagree.
//!
//! To change this format: 1. add fields with new tags, never reuse one; 2. what an old engine would
//! misread raises [`ENGINE_VERSION`]; 3. keep the old meaning readable for two releases; 4. add a
//! data directory of the release before to the golden tests.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use prost::encoding::{self, WireType};
use siding_protocol::types::Timestamp;

use super::command::Command;

/// Rises when `apply` would build another state from the same log.
pub const ENGINE_VERSION: u32 = 2;
/// Of the head and the raw area.
pub const ENTRY_FORMAT: u32 = 1;

/// One logged batch of commands of one shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// When: the only clock that durable state knows.
    pub now: Timestamp,
    /// In order.
    pub commands: Vec<Command>,
    /// One run for each publish, in order of command.
    pub runs: Vec<Bytes>,
}

/// Why bytes are not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Shorter than its head says.
    #[error("entry is cut short")]
    Short,
    /// The head does not decode.
    #[error("entry head does not decode: {0}")]
    Head(#[from] prost::DecodeError),
    /// Written by a version this one cannot read.
    #[error("entry format {format}, engine version {engine_version}: written by another version")]
    Version {
        /// Found.
        format: u32,
        /// Found.
        engine_version: u32,
    },
    /// A command of an unknown kind.
    #[error("entry holds a command this version does not know")]
    UnknownCommand,
    /// Runs and raw area disagree in length.
    #[error("entry's raw area does not match its publishes")]
    RawLength,
}

#[derive(Clone, PartialEq, Message)]
struct EntryHead {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint32, tag = "2")]
    engine_version: u32,
    #[prost(uint64, tag = "3")]
    now_ms: u64,
    #[prost(message, repeated, tag = "4")]
    commands: Vec<LoggedCommand>,
}

#[derive(Clone, PartialEq, Message)]
struct LoggedCommand {
    #[prost(
        oneof = "Command",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20, 21, 22, 23, 30, 31, 32, 50, 51, 52, 53, 60, 61, 70"
    )]
    kind: Option<Command>,
}

const HEAD_LENGTH_BYTES: usize = 4;
/// An entry of one command is at most so much larger than that and its runs.
pub const ENTRY_HEAD_BYTES_MAX: usize = 64;

impl Entry {
    /// Appends the length and head to `out`; the payload is that and then the runs, in order.
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.put_u32_le(0);
        encoding::uint32::encode(1, &ENTRY_FORMAT, out);
        encoding::uint32::encode(2, &ENGINE_VERSION, out);
        encoding::uint64::encode(3, &self.now.0, out);
        for command in &self.commands {
            encoding::encode_key(4, WireType::LengthDelimited, out);
            encoding::encode_varint(command.encoded_len() as u64, out);
            command.encode(out);
        }
        let head = u32::try_from(out.len() - at - HEAD_LENGTH_BYTES);
        let head = head
            .expect("an entry is bounded far below 4 GiB")
            .to_le_bytes();
        if let Some(length) = out.get_mut(at..at + HEAD_LENGTH_BYTES) {
            length.copy_from_slice(&head);
        }
    }

    /// Decodes a payload; the runs are slices of it. Also says where the raw area begins.
    ///
    /// # Errors
    /// Bytes that are not an entry of this version.
    pub fn decode(mut payload: Bytes) -> Result<(Self, usize), EntryError> {
        let (mut entry, head_bytes) = Self::decode_commands(&mut payload)?;
        entry.runs = entry.cut_runs(payload)?;
        Ok((entry, head_bytes))
    }

    /// Decodes a payload of so many bytes of which no more than the head may be there: `apply` needs no run.
    /// Also says where in the payload each run begins.
    ///
    /// # Errors
    /// Bytes that are not an entry of this version.
    pub fn decode_head(
        mut payload: Bytes,
        payload_bytes: u32,
    ) -> Result<(Self, Vec<u32>), EntryError> {
        let (entry, head_bytes) = Self::decode_commands(&mut payload)?;
        let mut start = head_bytes as u64;
        let mut starts = Vec::new();
        for publish in entry.commands.iter().flat_map(Command::publishes) {
            starts.push(u32::try_from(start).map_err(|_| EntryError::RawLength)?);
            start = start.saturating_add(publish.size().1);
        }
        if start == u64::from(payload_bytes) {
            Ok((entry, starts))
        } else {
            Err(EntryError::RawLength)
        }
    }

    /// Takes the head off a payload; what is left is the raw area. Also says how long it was.
    fn decode_commands(payload: &mut Bytes) -> Result<(Self, usize), EntryError> {
        if payload.len() < HEAD_LENGTH_BYTES {
            return Err(EntryError::Short);
        }
        let length = payload.get_u32_le() as usize;
        if payload.len() < length {
            return Err(EntryError::Short);
        }
        let head = EntryHead::decode(payload.split_to(length))?;
        if head.format != ENTRY_FORMAT || head.engine_version != ENGINE_VERSION {
            let (format, engine_version) = (head.format, head.engine_version);
            return Err(EntryError::Version {
                format,
                engine_version,
            });
        }
        let commands = head.commands.into_iter().map(|command| command.kind);
        let commands = commands
            .collect::<Option<Vec<_>>>()
            .ok_or(EntryError::UnknownCommand)?;
        let entry = Self {
            now: Timestamp(head.now_ms),
            commands,
            runs: Vec::new(),
        };
        Ok((entry, HEAD_LENGTH_BYTES + length))
    }

    fn cut_runs(&self, mut raw: Bytes) -> Result<Vec<Bytes>, EntryError> {
        let mut runs = Vec::new();
        for publish in self.commands.iter().flat_map(Command::publishes) {
            let bytes = usize::try_from(publish.size().1).map_err(|_| EntryError::RawLength)?;
            if bytes > raw.len() {
                return Err(EntryError::RawLength);
            }
            runs.push(raw.split_to(bytes));
        }
        if raw.is_empty() {
            Ok(runs)
        } else {
            Err(EntryError::RawLength)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::{Empty, Operation, Piece, Publish, Start, Transaction};
    use super::*;

    #[test]
    fn pieces_of_more_messages_than_can_be_counted_do_not_panic() {
        let largest = Piece {
            count: u32::MAX,
            bytes: u32::MAX,
        };
        let publish = Publish {
            pieces: vec![largest; 2],
            ..Publish::default()
        };
        let entry = Entry {
            commands: vec![Command::Publish(publish)],
            ..Entry::default()
        };
        let mut payload = Vec::new();
        entry.encode_head(&mut payload);
        let refused = Entry::decode(payload.into());
        assert_eq!(refused, Err(EntryError::RawLength));
    }

    #[test]
    fn an_entry_is_read_back_as_it_was_written() {
        let pieces = vec![Piece { count: 2, bytes: 5 }, Piece { count: 1, bytes: 3 }];
        let publish = Publish {
            log: 7,
            producer: 1,
            sequence: 9,
            pieces,
            ..Publish::default()
        };
        let inner = Publish {
            pieces: vec![Piece { count: 1, bytes: 2 }],
            ..publish.clone()
        };
        let operation = Operation {
            publish: Some(inner),
            ..Operation::default()
        };
        let entry = Entry {
            now: Timestamp(1_000),
            commands: vec![
                Command::Start(Start { term: 3 }),
                Command::Publish(publish),
                Command::Tick(Empty {}),
                Command::Transaction(Transaction {
                    producer: 1,
                    sequence: 10,
                    operations: vec![operation],
                }),
            ],
            runs: vec![Bytes::from_static(b"12345678"), Bytes::from_static(b"ab")],
        };
        let mut payload = Vec::new();
        entry.encode_head(&mut payload);
        let head = payload.len();
        entry
            .runs
            .iter()
            .for_each(|run| payload.extend_from_slice(run));
        let payload = Bytes::from(payload);
        let bytes = u32::try_from(payload.len()).unwrap();
        let (commands, starts) = Entry::decode_head(payload.slice(..head), bytes).unwrap();
        assert_eq!(commands.commands, entry.commands);
        assert_eq!(
            starts,
            [head, head + 8].map(|at| u32::try_from(at).unwrap())
        );
        for wrong in [bytes - 1, bytes + 1] {
            let refused = Entry::decode_head(payload.slice(..head), wrong);
            assert_eq!(refused, Err(EntryError::RawLength));
        }
        assert_eq!(Entry::decode(payload.clone()), Ok((entry, head)));
        for cut in 0..payload.len() {
            assert!(Entry::decode(payload.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
