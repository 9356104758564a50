//! The words of jobs: what rides on a settle, one message as it is seen.

use std::fmt::Write as _;

use bytes::Bytes;
use siding_protocol::event::JobInfo;
use siding_protocol::request::{MessageId, Rider};

use super::{Words, parse_messages};

impl Words {
    /// What rides on a settle.
    pub fn rider(&self) -> Rider {
        let bytes = |key| {
            self.text(key)
                .map(|text| Bytes::copy_from_slice(text.as_bytes()))
        };
        Rider {
            checkpoint: bytes("checkpoint"),
            result: bytes("result"),
            progress: self.number("progress"),
            note: self.text("note").unwrap_or("").to_owned(),
        }
    }

    /// The one message at this place.
    pub fn message(&self, at: usize) -> MessageId {
        let (address, ranges) = parse_messages(self.word(at));
        MessageId {
            address: address.parse().expect("an address"),
            offset: ranges.first().expect("one message").start,
        }
    }
}

/// Bytes that are text.
pub fn bytes_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One message as it is seen.
pub(super) fn job_text(info: &JobInfo) -> String {
    let state = info.state.name();
    let mut text = format!("{}@{} {state}", info.address, info.offset);
    let mut say = |what: &str, words: String| {
        if !words.is_empty() && words != "0" {
            write!(text, ", {what}{words}").expect("a String takes all");
        }
    };
    say("attempts ", info.attempts.to_string());
    say("acquires ", info.acquires.to_string());
    say("by ", info.holder.clone());
    say("", info.reason.to_owned());
    say("last error ", info.last_error.clone());
    let percent = |percent| format!("{percent} %");
    say("", info.progress.map_or_else(String::new, percent));
    say("note ", info.note.clone());
    for (what, bytes) in [("checkpoint ", &info.checkpoint), ("result ", &info.result)] {
        say(
            what,
            bytes
                .as_ref()
                .map_or_else(String::new, |bytes| bytes_text(bytes)),
        );
    }
    if info.cancel_requested {
        say("", "asked to cancel".to_owned());
    }
    say("generation ", info.generation.to_string());
    text
}
