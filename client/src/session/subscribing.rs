//! Consumers in a session: subscribed with every connection, ended by a refusal or by request.

use std::sync::Arc;

use siding_protocol::refusal::Refusal;
use siding_protocol::request::Action;
use siding_protocol::types::Grant;
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

use super::event::Event;
use super::{Pending, Session};
use crate::consumer::DeliveryQueue;
use crate::error::{Error, ProtocolError};
use crate::settle::{Listener, SettleQueue, Settlement, Settling};
use crate::shared::Reply;

/// A consumer, subscribed again with each connection.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) consume: wire::Consume,
    pub(super) queue: Arc<DeliveryQueue>,
    /// Who waits for the first subscription.
    pub(super) opener: Option<Reply<()>>,
}

impl Session {
    /// Subscribes a consumer, now and with every connection to come.
    pub(crate) fn subscribe(
        &mut self,
        consume: wire::Consume,
        queue: Arc<DeliveryQueue>,
        reply: Reply<()>,
    ) {
        let consumer = consume.consumer;
        let opener = Some(reply);
        let subscriber = Subscriber {
            consume,
            queue,
            opener,
        };
        self.consumers.insert(consumer, subscriber);
        self.send_subscribe(consumer);
    }

    pub(super) fn send_subscribe(&mut self, consumer: u32) {
        let Some(subscriber) = self.consumers.get(&consumer).filter(|_| self.is_open()) else {
            return;
        };
        let consume = Kind::Consume(subscriber.consume.clone());
        let correlation = self.expect(Pending::Subscribe { consumer });
        self.out.frame(correlation, consume);
    }

    /// Ends a consumer; what it did not hand out is released.
    pub(crate) fn unsubscribe(
        &mut self,
        consumer: u32,
        reply: Option<Reply<()>>,
        events: &mut Vec<Event>,
    ) {
        let subscriber = self.consumers.remove(&consumer);
        let Some(subscriber) = subscriber.filter(|_| self.connected) else {
            events.extend(reply.map(|reply| Event::Replied(reply, Ok(()))));
            return;
        };
        for settlement in subscriber.release_waiting() {
            self.settle(settlement);
        }
        let correlation = self.expect(Pending::Unsubscribe(reply));
        let stop = Kind::StopConsume(wire::StopConsume { consumer });
        self.out.frame(correlation, stop);
        events.push(Event::Ended(subscriber.queue, None));
    }

    /// Ends all consumers: the client closes.
    pub(crate) fn unsubscribe_all(&mut self, events: &mut Vec<Event>) {
        let consumers: Vec<_> = self.consumers.keys().copied().collect();
        for consumer in consumers {
            self.unsubscribe(consumer, None, events);
        }
    }

    pub(super) fn subscribed(
        &mut self,
        consumer: u32,
        kind: Kind,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        let refusal = match kind {
            Kind::Done(_) => {
                let opener = self.consumers.get_mut(&consumer);
                let opener = opener.and_then(|subscriber| subscriber.opener.take());
                events.extend(opener.map(|reply| Event::Replied(reply, Ok(()))));
                return Ok(());
            }
            Kind::Error(error) => Refusal::from_wire(error),
            _ => return Err(ProtocolError::Answer),
        };
        if self.goes_away(&refusal) {
            return Ok(());
        }
        self.end_consumer(consumer, refusal, events);
        Ok(())
    }

    /// The broker ended a consumer: what it reads is gone.
    pub(super) fn consumer_ended(&mut self, ended: wire::ConsumerEnded, events: &mut Vec<Event>) {
        let refusal = Refusal::from_wire(ended.error.unwrap_or_default());
        self.end_consumer(ended.consumer, refusal, events);
    }

    fn end_consumer(&mut self, consumer: u32, refusal: Refusal, events: &mut Vec<Event>) {
        if let Some(subscriber) = self.consumers.remove(&consumer) {
            let error = Error::Refused(refusal);
            if let Some(reply) = subscriber.opener {
                events.push(Event::Replied(reply, Err(error.clone())));
            }
            events.push(Event::Ended(subscriber.queue, Some(error)));
        }
    }
}

impl Subscriber {
    /// Releases of everything pushed and not handed out; what was acked on delivery stays for the
    /// application.
    pub(super) fn release_waiting(&self) -> Vec<Settlement> {
        if self.consume.ack_on_delivery {
            self.queue.keep();
            return Vec::new();
        }
        let mut released = SettleQueue::default();
        let address: Arc<str> = self.consume.address.as_str().into();
        for batch in self.queue.drain() {
            let (Some(grant), count) = (batch.grant, u64::from(batch.count)) else {
                continue;
            };
            released.push(Settling {
                address: Arc::clone(&address),
                grant: Grant {
                    term: grant.term,
                    counter: grant.counter,
                },
                action: Action::Release { delay_ms: 0 },
                rider: None,
                range: batch.first_offset..batch.first_offset.saturating_add(count),
                listener: Listener::Nobody,
            });
        }
        released.take()
    }
}
