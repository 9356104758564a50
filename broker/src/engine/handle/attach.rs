//! Consumers and long polls come and go.

use siding_protocol::event::Answer;
use siding_protocol::limits::{
    CONSUMERS_PER_CONNECTION_MAX, CREDIT_BYTES_PER_CONNECTION_MAX, RECEIVES_PER_CONNECTION_MAX,
    VISIBILITY_MS_MAX, VISIBILITY_MS_MIN,
};
use siding_protocol::refusal::Refusal;
use siding_protocol::request;
use siding_protocol::settings::within;
use siding_protocol::types::{Address, Grant, Offset, OffsetRange, Timestamp};

use super::Next;
use crate::engine::command::{Command, LoggedRange, Mark, Return};
use crate::engine::consumer::{Attached, Consumer, Poll};
use crate::engine::dispatch::nothing;
use crate::engine::effect::{DeliverTo, Delivery, Effect, Effects, Origin, SessionId, Urgency};
use crate::engine::forward::refuse_reader;
use crate::engine::job::carry::apart;
use crate::engine::select::push_attempts;
use crate::engine::subscription::Subscription;
use crate::engine::{Engine, PARTS_PER_COMMAND_MAX, propose};

impl Engine {
    /// The subscription at an address that may be read with such a visibility timeout.
    fn readable_at(&self, address: &Address, visibility_ms: Option<u64>) -> Result<u64, Refusal> {
        let id = self.subscription_at(address)?;
        if let Some(found) = self.state.subscriptions.get(&id) {
            refuse_reader(found)?;
            refuse_past_hold(found, visibility_ms)?;
        }
        Ok(id)
    }

    pub(super) fn consume(
        &mut self,
        session: SessionId,
        consume: &request::Consume,
    ) -> Result<Next, Refusal> {
        let subscription = self.readable_at(&consume.address, consume.visibility_timeout_ms)?;
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
                ack_on_delivery: consume.ack_on_delivery,
            });
        self.volatile.touched.insert(subscription);
        Ok(Next::Reply(Answer::Done))
    }

    pub(super) fn stop(
        &mut self,
        session: SessionId,
        consumer: u32,
        effects: &mut Effects,
    ) -> Result<Next, Refusal> {
        let missing = || Refusal::NotFound {
            name: format!("consumer {consumer}"),
            nearest: Vec::new(),
        };
        let stopped = self.stop_consumer(session, consumer, effects);
        stopped.ok_or_else(missing)?;
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
        let open = self.volatile.sessions.get(&session);
        let marks_started = open.is_some_and(|open| open.marks_started);
        for grants in grants.chunks(PARTS_PER_COMMAND_MAX) {
            let (terms, counters) = grants
                .iter()
                .map(|grant| (grant.term, grant.counter))
                .unzip();
            let returned = Return {
                subscription,
                terms,
                counters,
                marks_started,
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
        effects: &mut Effects,
    ) -> Result<Next, Refusal> {
        let subscription = self.readable_at(&receive.address, receive.visibility_timeout_ms)?;
        let request_id = &receive.request_id;
        if !request_id.is_empty() {
            if let Some(delivery) = self.given_before(now, subscription, request_id) {
                let to = DeliverTo::Receive(origin);
                effects.push(Effect::Deliver(Delivery { to, ..delivery }));
                return Ok(Next::Nothing);
            }
            if let Some(earlier) = self.volatile.take_poll(subscription, request_id) {
                let delivery = nothing(earlier, (0, subscription), now);
                effects.push(Effect::Deliver(delivery));
            }
        }
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
                request_id: receive.request_id.clone(),
                until,
                visibility_timeout_ms: receive.visibility_timeout_ms,
            });
        self.volatile.touched.insert(subscription);
        Ok(Next::Nothing)
    }

    /// What a receive of this name was given in the last minute, as far as it is held still.
    fn given_before(&self, now: Timestamp, id: u64, request_id: &bytes::Bytes) -> Option<Delivery> {
        let subscription = self.state.subscriptions.get(&id)?;
        if let Some(given) = self.volatile.given(id, request_id) {
            return still_there(given, subscription);
        }
        let (grant, lease, gap) = subscription.asked(request_id, now)?;
        let mut ranges = Vec::new();
        for (range, _) in lease.ranges.iter() {
            push_attempts(subscription, &range, &mut ranges);
        }
        let held = lease.ranges.iter();
        let checkpoints = held.flat_map(|(range, _)| subscription.jobs.checkpoints(range));
        let checkpoints: Vec<_> = checkpoints.map(|(at, left)| (at, left.clone())).collect();
        let deadline = lease.ranges.iter().map(|(_, deadline)| *deadline).min()?;
        Some(Delivery {
            to: DeliverTo::Receive(Origin {
                session: 0,
                correlation: 0,
            }),
            log: subscription.log,
            subscription: id,
            grant,
            deadline,
            ranges: apart(ranges, &checkpoints),
            gap,
            checkpoints,
        })
    }

    /// Notes what a holder has begun; nobody waits for the note.
    pub(super) fn started(
        &self,
        address: &Address,
        grant: Grant,
        ranges: Vec<OffsetRange>,
        effects: &mut Effects,
    ) -> Result<Next, Refusal> {
        let mark = Mark {
            subscription: self.subscription_at(address)?,
            term: grant.term,
            counter: grant.counter,
            ranges: ranges.into_iter().map(LoggedRange::from).collect(),
        };
        propose(Command::Mark(mark), Urgency::Lazy, effects);
        Ok(Next::Reply(Answer::Done))
    }
}

/// What was handed over and is not leased yet may have left by another way: that is not given again.
fn still_there(given: &Delivery, subscription: &Subscription) -> Option<Delivery> {
    let ranges = given.ranges.iter();
    let ranges = ranges.flat_map(|(range, attempt)| {
        let ready = subscription.ready.within(range.clone());
        let in_line = subscription.lanes.waiting().within(range.clone());
        let mut parts: Vec<_> = ready.chain(in_line).collect();
        parts.sort_unstable_by_key(|part| part.start);
        parts.into_iter().map(|part| (part, *attempt))
    });
    let ranges: Vec<_> = ranges.collect();
    let is_there = |at: &Offset| ranges.iter().any(|(range, _)| range.contains(at));
    let checkpoints = given.checkpoints.iter().filter(|(at, _)| is_there(at));
    let checkpoints = checkpoints.cloned().collect();
    (!ranges.is_empty()).then(|| Delivery {
        ranges,
        checkpoints,
        ..given.clone()
    })
}

/// A lease may not last longer than it may be held.
fn refuse_past_hold(found: &Subscription, visibility_ms: Option<u64>) -> Result<(), Refusal> {
    let most = match found.settings.max_hold_ms {
        0 => VISIBILITY_MS_MAX,
        most => most.min(VISIBILITY_MS_MAX),
    };
    visibility_ms.map_or(Ok(()), |ms| {
        within(
            "visibility_timeout_ms",
            Some(ms),
            ms,
            VISIBILITY_MS_MIN,
            most,
        )
        .map(drop)
    })
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
