//! What the simulated clients have in common.

use siding_broker::engine::effect::SessionId;

use super::consumer::Consumer;
use super::context::Context;
use super::mailbox::Word;
use super::operator::Operator;
use super::publisher::Publisher;

/// Somebody who talks to the broker.
#[derive(Debug)]
pub enum Client {
    /// Makes names and looks at the books.
    Operator(Operator),
    /// Publishes.
    Publisher(Publisher),
    /// Consumes.
    Consumer(Box<Consumer>),
}

/// A client's own reason to do something: its number for it.
pub type Task = u64;

/// The task that every client begins with, and comes back to when it has lost its connection.
pub const CONNECT: Task = 0;

impl Client {
    /// Does what it had planned for now.
    pub fn act(&mut self, context: &mut Context, task: Task) {
        match self {
            Self::Operator(operator) => operator.act(context, task),
            Self::Publisher(publisher) => publisher.act(context, task),
            Self::Consumer(consumer) => consumer.act(context, task),
        }
    }

    /// The broker says something.
    pub fn hear(&mut self, context: &mut Context, word: Word) {
        match self {
            Self::Operator(operator) => operator.hear(context, word),
            Self::Publisher(publisher) => publisher.hear(context, word),
            Self::Consumer(consumer) => consumer.hear(context, word),
        }
    }

    /// Its connection is no more.
    pub fn lose(&mut self, context: &mut Context, session: SessionId) {
        let (own, own_session) = match self {
            Self::Operator(operator) => operator.lose(),
            Self::Publisher(publisher) => publisher.lose(),
            Self::Consumer(consumer) => consumer.lose(),
        };
        debug_assert_eq!(own_session, Some(session), "one connection at a time");
        let wait_us = context.rng.u64(1_000..200_000);
        context.plan(own, wait_us, CONNECT);
    }
}
