//! Who makes the names at the beginning and looks at the books at the end.

use std::collections::{BTreeMap, VecDeque};

use siding_broker::engine::effect::SessionId;
use siding_protocol::event::{Answer, Books};
use siding_protocol::request::Request;
use siding_protocol::types::Address;

use super::client::{CONNECT, Task};
use super::context::Context;
use super::mailbox::Word;

/// Looks at the books.
const LOOK: Task = 1;
/// How often, us.
const LOOK_EVERY_US: u64 = 500_000;

/// Makes names one after the other, then looks at books.
#[derive(Debug)]
pub struct Operator {
    own: usize,
    session: Option<SessionId>,
    to_do: VecDeque<Request>,
    asked: Option<u64>,
    lines: Vec<Address>,
    is_looking: bool,
    looks: BTreeMap<u64, usize>,
    /// The newest of each line.
    books: BTreeMap<usize, Books>,
}

impl Operator {
    /// With what is to be made, and the subscriptions that come of it.
    pub fn new(own: usize, to_do: VecDeque<Request>, lines: Vec<Address>) -> Self {
        Self {
            own,
            session: None,
            to_do,
            asked: None,
            lines,
            is_looking: false,
            looks: BTreeMap::new(),
            books: BTreeMap::new(),
        }
    }

    /// Whether every name is there.
    pub fn is_ready(&self) -> bool {
        self.to_do.is_empty()
    }

    /// What the broker said last.
    pub fn books(&self) -> &BTreeMap<usize, Books> {
        &self.books
    }

    /// What it knows of books is of no interest any more.
    pub fn look_anew(&mut self) {
        self.looks.clear();
        self.books.clear();
    }

    /// Does what it had planned.
    pub fn act(&mut self, context: &mut Context, task: Task) {
        match task {
            CONNECT => {
                self.session = Some(context.connect(self.own, "operator"));
                self.next(context);
                if !self.is_looking {
                    self.is_looking = true;
                    context.plan(self.own, LOOK_EVERY_US, LOOK);
                }
            }
            _ => self.look(context),
        }
    }

    fn next(&mut self, context: &mut Context) {
        if let (Some(session), Some(request)) = (self.session, self.to_do.front()) {
            self.asked = Some(context.ask(session, request.clone(), 1_000));
        }
    }

    fn look(&mut self, context: &mut Context) {
        context.plan(self.own, LOOK_EVERY_US, LOOK);
        let Some(session) = self.session.filter(|_| context.is_closing) else {
            return;
        };
        // All of one look, or none.
        self.looks.clear();
        self.books.clear();
        for (line, address) in self.lines.iter().enumerate() {
            let address = address.clone();
            let correlation = context.ask(session, Request::Describe { address }, 100);
            self.looks.insert(correlation, line);
        }
    }

    /// The broker says something.
    pub fn hear(&mut self, context: &mut Context, word: Word) {
        let Word::Answer(correlation, answer) = word else {
            return;
        };
        if self.asked == Some(correlation) {
            self.asked = None;
            if let Err(refusal) = &answer {
                context.astonished(format!("a name is not made: {refusal}"));
            }
            self.to_do.pop_front();
            return self.next(context);
        }
        let Some(line) = self.looks.remove(&correlation) else {
            return;
        };
        let Ok(Answer::NameInfo(info)) = answer else {
            return context.astonished(format!("no books: {answer:?}"));
        };
        let address = self.lines.get(line).map(ToString::to_string);
        let mut all = info.subscriptions.iter();
        if let Some(found) = all.find(|one| Some(&one.address) == address.as_ref()) {
            if !found.books.balance() {
                context.astonished(format!("books that do not balance: {:?}", found.books));
            }
            self.books.insert(line, found.books);
        }
    }

    /// Its connection is no more.
    pub fn lose(&mut self) -> (usize, Option<SessionId>) {
        self.looks.clear();
        self.asked = None;
        (self.own, self.session.take())
    }
}
