//! The words of an explanation.

use std::fmt::Write as _;

use siding_protocol::event::{Cause, Explanation};
use siding_protocol::request::{About, Request};
use siding_protocol::types::Timestamp;

use super::Words;
use crate::stage::BEGINNING_MS;

impl Words {
    /// `explain jobs`, `explain jobs@3`, `explain jobs dedup=id`.
    pub fn explain(&self) -> Request {
        if self.word(1).contains('@') {
            let id = self.message(1);
            let about = About::Message(id.offset);
            let address = id.address;
            return Request::Explain { address, about };
        }
        let id = self.text("dedup").map(str::to_owned);
        Request::Explain {
            address: self.word(1).parse().expect("an address"),
            about: id.map_or(About::All, About::DedupId),
        }
    }
}

/// Each cause, and when time changes something next.
pub(super) fn explanation_text(explanation: &Explanation) -> Vec<String> {
    let mut texts: Vec<_> = explanation.causes.iter().map(cause_text).collect();
    if texts.is_empty() {
        texts.push("nothing holds it back".to_owned());
    }
    let wakes = explanation.next_wake.map(instant);
    texts.extend(wakes.map(|at| format!("wakes at {at}")));
    texts
}

fn cause_text(cause: &Cause) -> String {
    let name = cause.code.as_str_name();
    let name = name.trim_start_matches("CAUSE_CODE_");
    let mut text = format!("{name} {}", cause.number);
    if let Some(at) = cause.at {
        write!(text, " at {}", instant(at)).expect("a String takes all");
    }
    if !cause.text.is_empty() {
        let words = cause.text.replace(';', ",");
        write!(text, ": {words}").expect("a String takes all");
    }
    text
}

/// Since the beginning.
fn instant(at: Timestamp) -> String {
    match at.0.saturating_sub(BEGINNING_MS) {
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}
