//! The sessions of a simulated broker: what it says, in order, until it is sent.

use std::cell::RefCell;

use siding_broker::engine::effect::{DeliverTo, Expiring, Origin, SessionId};
use siding_broker::shard::sessions::Sessions;
use siding_protocol::event::Answer;
use siding_protocol::frame::BatchParts;
use siding_protocol::refusal::Refusal;
use siding_protocol::types::{Grant, Offset, OffsetRange};
use siding_protocol::wire;

/// What a broker says to one connection.
#[derive(Clone, Debug)]
pub enum Word {
    /// The answer to a request.
    Answer(u64, Result<Answer, Refusal>),
    /// Messages for a consumer.
    Delivered(u32, Option<OffsetRange>, Vec<BatchParts>),
    /// Messages in answer to a long poll.
    Received(u64, Vec<BatchParts>),
    /// A consumer gets nothing more.
    Ended(u32, Refusal),
    /// A consumer is asked to end what it holds.
    CancelRequested(u32, Grant, Offset),
    /// A lease is about to end.
    Expiring(u32, Grant),
    /// The answer to a browse.
    Browsed(u64, Box<wire::Browsed>),
}

/// What a broker says to everybody.
#[derive(Debug, Default)]
pub struct Mailbox {
    open: RefCell<Vec<(SessionId, Word)>>,
    sent: RefCell<Vec<(SessionId, Word)>>,
}

impl Mailbox {
    /// What has left, in order, taken out.
    pub fn take(&self) -> Vec<(SessionId, Word)> {
        self.sent.take()
    }

    fn say(&self, session: SessionId, word: Word) {
        self.open.borrow_mut().push((session, word));
    }
}

impl Sessions for Mailbox {
    fn answer(&self, to: Origin, answer: Result<Answer, Refusal>) {
        self.say(to.session, Word::Answer(to.correlation, answer));
    }

    fn release(&self, _: SessionId, _: usize) {}

    fn deliver(&self, to: DeliverTo, gap: Option<&OffsetRange>, batches: &[BatchParts]) {
        let batches = batches.to_vec();
        match to {
            DeliverTo::Consumer { session, consumer } => {
                self.say(session, Word::Delivered(consumer, gap.cloned(), batches));
            }
            DeliverTo::Receive(to) => {
                self.say(to.session, Word::Received(to.correlation, batches));
            }
        }
    }

    fn end_consumer(&self, session: SessionId, consumer: u32, why: &Refusal) {
        self.say(session, Word::Ended(consumer, why.clone()));
    }

    fn cancel_requested(&self, session: SessionId, told: (u32, Grant, Offset)) {
        let (consumer, grant, offset) = told;
        self.say(session, Word::CancelRequested(consumer, grant, offset));
    }

    fn lease_expiring(&self, expiring: &Expiring) {
        let Expiring {
            session,
            consumer,
            grant,
            ..
        } = *expiring;
        self.say(session, Word::Expiring(consumer, grant));
    }

    fn browsed(&self, to: Origin, answer: wire::Browsed) {
        let answer = Box::new(answer);
        self.say(to.session, Word::Browsed(to.correlation, answer));
    }

    fn flush(&self) {
        self.sent.borrow_mut().append(&mut self.open.borrow_mut());
    }
}
