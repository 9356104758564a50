//! From text to a filter: a word at a time, without looking back.

use std::str::Chars;

use super::{FILTER_DEPTH_MAX, FILTER_WORDS_MAX, Node, Scope, Subject, Test, Token};
use crate::refusal::Refusal;

pub(super) fn parse(text: &str, scope: Scope) -> Result<Node, Refusal> {
    let mut parser = Parser::new(text, scope)?;
    let node = parser.any(0)?;
    match parser.next {
        Lexeme::End => Ok(node),
        _ => Err(parser.refuse("expected `and`, `or` or the end")),
    }
}

#[derive(Debug, PartialEq)]
enum Lexeme {
    /// Bare, so it may be a word of the grammar.
    Word(String),
    Quoted(String),
    Open,
    Close,
    Comma,
    End,
}

struct Parser<'a> {
    chars: Chars<'a>,
    /// Characters taken.
    taken: usize,
    next: Lexeme,
    /// The character at which it begins, from 1.
    at: usize,
    words: usize,
    scope: Scope,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, scope: Scope) -> Result<Self, Refusal> {
        let mut parser = Self {
            chars: text.chars(),
            taken: 0,
            next: Lexeme::End,
            at: 1,
            words: 0,
            scope,
        };
        parser.step()?;
        Ok(parser)
    }

    fn any(&mut self, depth: usize) -> Result<Node, Refusal> {
        let mut nodes = vec![self.all(depth)?];
        while self.take_keyword("or")? {
            nodes.push(self.all(depth)?);
        }
        Ok(one_or(nodes, Node::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Node, Refusal> {
        let mut nodes = vec![self.factor(depth)?];
        while self.take_keyword("and")? {
            nodes.push(self.factor(depth)?);
        }
        Ok(one_or(nodes, Node::All))
    }

    fn factor(&mut self, depth: usize) -> Result<Node, Refusal> {
        if depth == FILTER_DEPTH_MAX {
            return Err(self.refuse(&format!("nested deeper than {FILTER_DEPTH_MAX}")));
        }
        if self.take_keyword("not")? {
            return Ok(Node::Not(Box::new(self.factor(depth + 1)?)));
        }
        if self.next == Lexeme::Open {
            self.step()?;
            let node = self.any(depth + 1)?;
            self.expect(&Lexeme::Close, "expected `)`")?;
            return Ok(node);
        }
        let subject = self.subject()?;
        let test = self.test(&subject)?;
        Ok(Node::Test(subject, test))
    }

    fn subject(&mut self) -> Result<Subject, Refusal> {
        let Lexeme::Word(word) = &self.next else {
            return Err(self.refuse("expected `routing_key`, `key`, `header`, `not` or `(`"));
        };
        let subject = match word.as_str() {
            "routing_key" => Subject::RoutingKey,
            "key" => Subject::Key,
            "header" => {
                self.step()?;
                return Ok(Subject::Header(self.word("expected a header's name")?));
            }
            "body" => Subject::Body,
            "reason" => Subject::Reason,
            "detail" => Subject::Detail,
            _ => {
                return Err(self.refuse("expected `routing_key`, `key`, `header`, `not` or `(`"));
            }
        };
        let is_look = matches!(subject, Subject::Body | Subject::Reason | Subject::Detail);
        if is_look && self.scope == Scope::Subscription {
            return Err(self.refuse("a subscription is filtered by keys and headers only"));
        }
        self.step()?;
        Ok(subject)
    }

    fn test(&mut self, subject: &Subject) -> Result<Test, Refusal> {
        const EXPECTED: &str =
            "expected `eq`, `in`, `prefix`, `contains`, `exists` or `matches` (a routing key)";
        let Lexeme::Word(word) = &self.next else {
            return Err(self.refuse(EXPECTED));
        };
        let word = word.clone();
        if !matches!(
            (word.as_str(), subject),
            ("eq" | "in" | "prefix" | "contains" | "exists", _) | ("matches", Subject::RoutingKey)
        ) {
            return Err(self.refuse(EXPECTED));
        }
        self.step()?;
        Ok(match word.as_str() {
            "eq" => Test::Eq(self.word("expected a word")?),
            "in" => Test::In(self.words()?),
            "prefix" => Test::Prefix(self.word("expected a word")?),
            "contains" => Test::Contains(self.word("expected a word")?),
            "exists" => Test::Exists,
            _ => self.pattern()?,
        })
    }

    fn words(&mut self) -> Result<Vec<String>, Refusal> {
        self.expect(&Lexeme::Open, "expected `(`")?;
        let mut words = vec![self.word("expected a word")?];
        while self.next == Lexeme::Comma {
            self.step()?;
            words.push(self.word("expected a word")?);
        }
        self.expect(&Lexeme::Close, "expected `,` or `)`")?;
        Ok(words)
    }

    fn pattern(&mut self) -> Result<Test, Refusal> {
        let at = self.at;
        let pattern = self.word("expected a pattern")?;
        let tokens: Vec<_> = pattern.split('.').map(Token::of).collect();
        let is_wild = |token: &Token| matches!(token, Token::Word(word) if word.is_empty() || word.contains(['*', '>']));
        let ends = tokens.iter().position(|token| *token == Token::Rest);
        if tokens.iter().any(is_wild) || ends.is_some_and(|end| end + 1 < tokens.len()) {
            let why =
                "a pattern is words between dots; `*` stands for one, a last `>` for the rest";
            return Err(refuse(why, at));
        }
        Ok(Test::Matches(tokens))
    }

    fn word(&mut self, expected: &str) -> Result<String, Refusal> {
        let (Lexeme::Word(word) | Lexeme::Quoted(word)) = &mut self.next else {
            return Err(self.refuse(expected));
        };
        let word = std::mem::take(word);
        self.words += 1;
        if self.words > FILTER_WORDS_MAX {
            return Err(self.refuse(&format!(
                "more than {FILTER_WORDS_MAX} words to compare with"
            )));
        }
        self.step()?;
        Ok(word)
    }

    fn take_keyword(&mut self, keyword: &str) -> Result<bool, Refusal> {
        let is_next = matches!(&self.next, Lexeme::Word(word) if word == keyword);
        if is_next {
            self.step()?;
        }
        Ok(is_next)
    }

    fn expect(&mut self, lexeme: &Lexeme, expected: &str) -> Result<(), Refusal> {
        if self.next != *lexeme {
            return Err(self.refuse(expected));
        }
        self.step()
    }

    /// Reads the next lexeme.
    fn step(&mut self) -> Result<(), Refusal> {
        while self.take_if(char::is_whitespace).is_some() {}
        self.at = self.taken + 1;
        self.next = match self.take_if(|_| true) {
            None => Lexeme::End,
            Some('(') => Lexeme::Open,
            Some(')') => Lexeme::Close,
            Some(',') => Lexeme::Comma,
            Some('"') => self.quoted()?,
            Some(first) => {
                let mut word = String::from(first);
                while let Some(next) = self.take_if(is_inner) {
                    word.push(next);
                }
                Lexeme::Word(word)
            }
        };
        Ok(())
    }

    fn quoted(&mut self) -> Result<Lexeme, Refusal> {
        let mut word = String::new();
        loop {
            match self.take_if(|_| true) {
                Some('"') => return Ok(Lexeme::Quoted(word)),
                Some('\\') => match self.take_if(|next| matches!(next, '"' | '\\')) {
                    Some(escaped) => word.push(escaped),
                    None => return Err(refuse("`\\` stands before `\"` or `\\`", self.taken)),
                },
                Some(next) => word.push(next),
                None => return Err(self.refuse("a quote that does not end")),
            }
        }
    }

    fn take_if(&mut self, wanted: impl FnOnce(char) -> bool) -> Option<char> {
        let mut rest = self.chars.clone();
        let next = rest.next().filter(|next| wanted(*next))?;
        self.chars = rest;
        self.taken += 1;
        Some(next)
    }

    fn refuse(&self, why: &str) -> Refusal {
        refuse(why, self.at)
    }
}

impl Token {
    fn of(text: &str) -> Self {
        match text {
            "*" => Self::One,
            ">" => Self::Rest,
            word => Self::Word(word.to_owned()),
        }
    }
}

fn is_inner(next: char) -> bool {
    !next.is_whitespace() && !matches!(next, '(' | ')' | ',' | '"')
}

fn one_or(mut nodes: Vec<Node>, many: impl FnOnce(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        last => {
            nodes.extend(last);
            many(nodes)
        }
    }
}

fn refuse(why: &str, at: usize) -> Refusal {
    Refusal::malformed("filter", format!("{why}, at character {at}"))
}
