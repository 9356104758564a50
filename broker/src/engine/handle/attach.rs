//! Consumers and long polls come and go.

use siding_protocol::event::Answer;
use siding_protocol::limits::{
    CONSUMERS_PER_CONNECTION_MAX, CREDIT_BYTES_PER_CONNECTION_MAX, RECEIVES_PER_CONNECTION_MAX,
};
use siding_protocol::refusal::Refusal;
use siding_protocol::request;
use siding_protocol::types::{Address, Timestamp};

use super::Next;
use crate::engine::command::{Command, Return};
use crate::engine::consumer::{Attached, Consumer, Poll};
use crate::engine::effect::{Effects, Origin, SessionId, Urgency};
use crate::engine::forward::refuse_reader;
use crate::engine::{Engine, PARTS_PER_COMMAND_MAX, propose};

impl Engine {
    /// The subscription at an address that consumers may read.
    fn readable_at(&self, address: &Address) -> Result<u64, Refusal> {
        let id = self.subscription_at(address)?;
        let found = self.state.subscriptions.get(&id);
        found.map_or(Ok(()), refuse_reader)?;
        Ok(id)
    }

    pub(super) fn consume(
        &mut self,
        session: SessionId,
        consume: &request::Consume,
    ) -> Result<Next, Refusal> {
        let subscription = self.readable_at(&consume.address)?;
        let Some(open) = self.volatile.sessions.get_mut(&session) else {
            return Ok(Next::Nothing);
        };
        if open.consumers.contains_key(&consume.consumer) {
            return Err(Refusal::Exists {
                name: format!("consumer {}", consume.consumer),
            });
        }
        if open.consumers.len() >= CONSUMERS_PER_CONNECTION_MAX {
            return Err(full("consumers", CONSUMERS_PER_CONNECTION_MAX));
        }
        let (current, more) = (open.credit_bytes(), consume.credit_bytes);
        if current + more > CREDIT_BYTES_PER_CONNECTION_MAX {
            return Err(Refusal::Busy {
                resource: "credit_bytes".into(),
                limit: CREDIT_BYTES_PER_CONNECTION_MAX,
                current,
                retry_after_ms: 1_000,
            });
        }
        let credit_bytes = consume.credit_bytes;
        let attached = Attached {
            subscription,
            credit_bytes,
        };
        open.consumers.insert(consume.consumer, attached);
        self.volatile
            .readers
            .entry(subscription)
            .or_default()
            .consumers
            .push_back(Consumer {
                session,
                number: consume.consumer,
                credit_messages: consume.credit_messages.into(),
                credit_bytes: consume.credit_bytes,
                held_messages: 0,
                held_bytes: 0,
                visibility_timeout_ms: consume.visibility_timeout_ms,
            });
        self.volatile.touched.insert(subscription);
        Ok(Next::Reply(Answer::Done))
    }

    /// Ends a consumer; what it holds lapses.
    pub(in crate::engine) fn stop_consumer(
        &mut self,
        session: SessionId,
        number: u32,
        effects: &mut Effects,
    ) -> Option<()> {
        let (subscription, grants) = self.volatile.remove_consumer(session, number)?;
        for grants in grants.chunks(PARTS_PER_COMMAND_MAX) {
            let (terms, counters) = grants
                .iter()
                .map(|grant| (grant.term, grant.counter))
                .unzip();
            let returned = Return {
                subscription,
                terms,
                counters,
            };
            propose(Command::Return(returned), Urgency::Awaited, effects);
        }
        Some(())
    }

    pub(super) fn receive(
        &mut self,
        now: Timestamp,
        origin: Origin,
        receive: &request::Receive,
    ) -> Result<Next, Refusal> {
        let subscription = self.readable_at(&receive.address)?;
        let Some(open) = self.volatile.sessions.get_mut(&origin.session) else {
            return Ok(Next::Nothing);
        };
        if open.polls >= RECEIVES_PER_CONNECTION_MAX {
            return Err(full("receives", RECEIVES_PER_CONNECTION_MAX));
        }
        let until = now.plus_ms(receive.wait_ms);
        if !self.volatile.polls.insert((until, subscription, origin)) {
            // The number of a request that is not answered yet names that one.
            return Ok(Next::Nothing);
        }
        open.polls += 1;
        self.volatile
            .readers
            .entry(subscription)
            .or_default()
            .polls
            .push_back(Poll {
                origin,
                max_messages: receive.max_messages.into(),
                max_bytes: receive.max_bytes,
                until,
                visibility_timeout_ms: receive.visibility_timeout_ms,
            });
        self.volatile.touched.insert(subscription);
        Ok(Next::Nothing)
    }
}

/// One connection has as many as it may.
fn full(resource: &'static str, limit: usize) -> Refusal {
    let limit = limit as u64;
    Refusal::Busy {
        resource: resource.into(),
        limit,
        current: limit,
        retry_after_ms: 1_000,
    }
}
