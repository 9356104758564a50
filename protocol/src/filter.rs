//! Filters: which messages a subscription reads, and which a look, a purge or a redrive takes.
//!
//! ```text
//! filter  = term { "or" term }
//! term    = factor { "and" factor }
//! factor  = "not" factor | "(" filter ")" | subject test
//! subject = "routing_key" | "key" | "header" WORD | "body" | "reason" | "detail"
//! test    = "matches" PATTERN                 routing_key only: `*` one token, `>` the rest
//!         | "eq" WORD | "in" "(" WORD { "," WORD } ")" | "prefix" WORD | "contains" WORD | "exists"
//! WORD    = anything but blanks, quotes, commas and parentheses, or "quoted, with \" and \\"
//! ```
//! `body`, and `reason` and `detail` of dead letters, are for looks: a subscription is judged once for
//! each message, by what stands beside the body. No crate says routing keys and typed headers and
//! nothing else, so the parser stands here, by hand, and small.

mod parse;
#[cfg(test)]
mod tests;

use crate::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_WORDS_MAX};
use crate::refusal::Refusal;
use crate::run::{HeaderValue, MessageView};

/// What a filter may ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What a subscription is judged by: keys and headers.
    Subscription,
    /// Besides: bodies, and why messages died.
    Look,
}

/// A question about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Node);

/// What a filter is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The message.
    pub message: MessageView<'a>,
    /// Of a dead letter; else empty.
    pub reason: &'a str,
    /// Of a dead letter; else empty.
    pub detail: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Test(Subject, Test),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    RoutingKey,
    Key,
    Header(String),
    Body,
    Reason,
    Detail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Matches(Vec<Token>),
    Eq(String),
    In(Vec<String>),
    Prefix(String),
    Contains(String),
    Exists,
}

/// One token of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    One,
    Rest,
}

impl Filter {
    /// Parses a filter.
    ///
    /// # Errors
    /// `Invalid` for the field `filter`, saying what is wrong at which character; `TooLarge` past
    /// 4 KiB.
    pub fn parse(text: &str, scope: Scope) -> Result<Self, Refusal> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(Refusal::TooLarge {
                field: "filter".into(),
                max: crate::run::wide(FILTER_BYTES_MAX),
            });
        }
        parse::parse(text, scope).map(Self)
    }

    /// Whether the candidate is one of those it asks for.
    pub fn matches(&self, candidate: &Candidate<'_>) -> bool {
        self.0.holds(candidate)
    }

    /// Whether a message that is no dead letter matches.
    pub fn matches_message(&self, message: MessageView<'_>) -> bool {
        self.matches(&Candidate {
            message,
            reason: "",
            detail: "",
        })
    }
}

impl Node {
    /// Its depth is bounded by the parser.
    fn holds(&self, candidate: &Candidate<'_>) -> bool {
        match self {
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(candidate)),
            Self::All(nodes) => nodes.iter().all(|node| node.holds(candidate)),
            Self::Not(node) => !node.holds(candidate),
            Self::Test(subject, test) => subject.passes(test, candidate),
        }
    }
}

impl Subject {
    fn passes(&self, test: &Test, candidate: &Candidate<'_>) -> bool {
        let message = &candidate.message;
        match self {
            Self::RoutingKey => holds_if_any(message.routing_key(), test),
            Self::Key => holds_if_any(message.key(), test),
            Self::Reason => holds_if_any(candidate.reason, test),
            Self::Detail => holds_if_any(candidate.detail, test),
            Self::Body => test.holds_for(message.body()),
            Self::Header(name) => {
                let mut headers = message.headers().filter(|(found, _)| found == name);
                headers.any(|(_, value)| test.holds_for_header(value))
            }
        }
    }
}

/// An empty text is an absent one, of which nothing is true.
fn holds_if_any(value: &str, test: &Test) -> bool {
    !value.is_empty() && test.holds_for(value.as_bytes())
}

impl Test {
    fn holds_for(&self, value: &[u8]) -> bool {
        match self {
            Self::Matches(pattern) => matches_pattern(pattern, value),
            Self::Eq(word) => word.as_bytes() == value,
            Self::In(words) => words.iter().any(|word| word.as_bytes() == value),
            Self::Prefix(word) => value.starts_with(word.as_bytes()),
            Self::Contains(word) => contains(value, word.as_bytes()),
            Self::Exists => true,
        }
    }

    /// Numbers and truths are equal to the words that say them.
    fn holds_for_header(&self, value: HeaderValue<'_>) -> bool {
        let says = |word: &String| match value {
            HeaderValue::Int(number) => word.parse() == Ok(number),
            HeaderValue::Float(number) => word.parse() == Ok(number),
            HeaderValue::Bool(truth) => word.parse() == Ok(truth),
            HeaderValue::Bytes(_) | HeaderValue::Text(_) => false,
        };
        match (value, self) {
            (HeaderValue::Text(text), _) => self.holds_for(text.as_bytes()),
            (HeaderValue::Bytes(bytes), _) => self.holds_for(bytes),
            (_, Self::Eq(word)) => says(word),
            (_, Self::In(words)) => words.iter().any(says),
            (_, Self::Exists) => true,
            (_, Self::Matches(_) | Self::Prefix(_) | Self::Contains(_)) => false,
        }
    }
}

fn matches_pattern(pattern: &[Token], routing_key: &[u8]) -> bool {
    let mut tokens = routing_key.split(|byte| *byte == b'.');
    for expected in pattern {
        match (expected, tokens.next()) {
            (Token::Rest, Some(_)) => return true,
            (Token::One, Some(_)) => {}
            (Token::Word(word), Some(token)) if word.as_bytes() == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

fn contains(value: &[u8], part: &[u8]) -> bool {
    part.is_empty() || value.windows(part.len()).any(|window| window == part)
}
