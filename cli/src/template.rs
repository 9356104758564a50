//! `--format`: a line with holes, parsed once, filled for each message.

use std::io::Write;

use crate::clock;
use crate::lines::escaped;
use crate::shown::{Shown, header_bytes};

/// A parsed `--format` text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Body,
    Id,
    Attempt,
    Key,
    Time,
    Header(String),
}

impl Template {
    /// Parses `%b %i %a %k %t %h{NAME} %%` and the escapes `\n \t \r \0 \\`.
    ///
    /// # Errors
    /// Says which hole or escape is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some((before, mark, after)) = split_at_mark(rest) {
            literal.extend_from_slice(before.as_bytes());
            let letter = after
                .chars()
                .next()
                .ok_or("the format ends in the middle")?;
            let (_, behind) = after.split_at(letter.len_utf8());
            rest = behind;
            let hole = match (mark, letter) {
                ('\\', _) => {
                    let byte = u8::try_from(letter).ok().and_then(escaped);
                    literal.push(byte.ok_or_else(|| format!("\\{letter} is not an escape"))?);
                    continue;
                }
                (_, '%') => {
                    literal.push(b'%');
                    continue;
                }
                (_, 'b') => Piece::Body,
                (_, 'i') => Piece::Id,
                (_, 'a') => Piece::Attempt,
                (_, 'k') => Piece::Key,
                (_, 't') => Piece::Time,
                (_, 'h') => {
                    let inner = behind
                        .strip_prefix('{')
                        .and_then(|inner| inner.split_once('}'));
                    let (name, behind) = inner.ok_or("a header is %h{NAME}")?;
                    rest = behind;
                    Piece::Header(name.to_owned())
                }
                _ => return Err(format!("%{letter} is none of %b %i %a %k %t %h{{NAME}} %%")),
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(hole);
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }

    /// The body and a line end.
    pub(crate) fn line() -> Self {
        Self(vec![Piece::Body, Piece::Literal(b"\n".to_vec())])
    }

    /// Appends the filled text.
    pub(crate) fn fill(&self, shown: &Shown<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Body => out.extend_from_slice(shown.message.body()),
                Piece::Id => append(out, format_args!("{}@{}", shown.name, shown.offset)),
                Piece::Attempt => append(out, format_args!("{}", shown.attempt)),
                Piece::Key => out.extend_from_slice(shown.message.key().as_bytes()),
                Piece::Time => {
                    out.extend_from_slice(clock::rfc3339(shown.published_at_ms).as_bytes());
                }
                Piece::Header(name) => {
                    let found = shown.message.headers().find(|(known, _)| known == name);
                    if let Some((_, value)) = found {
                        out.extend_from_slice(&header_bytes(value));
                    }
                }
            }
        }
    }
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes all bytes");
}

/// What stands before the next `%` or `\`, the mark, and what follows it.
fn split_at_mark(text: &str) -> Option<(&str, char, &str)> {
    let at = text.find(['%', '\\'])?;
    let (before, from) = text.split_at(at);
    let mark = from.chars().next()?;
    Some((before, mark, from.strip_prefix(mark)?))
}

#[cfg(test)]
mod tests {
    use siding::protocol::run::{HeaderValue, MessageFields, RunBuilder, RunLimits, messages};

    use super::*;

    fn filled(format: &str) -> String {
        let fields = MessageFields {
            body: b"hello",
            key: "k1",
            headers: &[
                ("trace", HeaderValue::Text("abc")),
                ("n", HeaderValue::Int(-3)),
            ],
            ..MessageFields::default()
        };
        let mut run = RunBuilder::new(RunLimits::default());
        run.push(&fields).unwrap();
        let (run, _) = run.take();
        let shown = Shown {
            name: "jobs",
            offset: 7,
            attempt: 2,
            published_at_ms: 1_000,
            message: messages(&run).next().unwrap(),
        };
        let mut out = Vec::new();
        Template::parse(format).unwrap().fill(&shown, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_hole_is_filled() {
        assert_eq!(filled("%b\\n"), "hello\n");
        assert_eq!(
            filled("%i %a %k %t"),
            "jobs@7 2 k1 1970-01-01T00:00:01.000Z"
        );
        assert_eq!(filled("%h{trace}|%h{n}|%h{none}|"), "abc|-3||");
        assert_eq!(filled("100%% \\\\ \\t."), "100% \\ \t.");
        assert_eq!(filled("plain"), "plain");
    }

    #[test]
    fn what_is_no_hole_is_refused_by_name() {
        assert!(Template::parse("%q").unwrap_err().contains("%q"));
        assert!(Template::parse("\\q").unwrap_err().contains("\\q"));
        assert!(
            Template::parse("%h{trace")
                .unwrap_err()
                .contains("%h{NAME}")
        );
        assert!(Template::parse("50%").is_err());
    }
}
