//! Leader only: choose, reserve, deliver, propose leases.

use std::collections::VecDeque;

use bytes::Bytes;
use siding_protocol::types::{Grant, OffsetRange, Timestamp};

use super::command::{Command, Lease, LoggedRange};
use super::consumer::{Consumer, Poll, Readers, Room};
use super::effect::{DeliverTo, Delivery, Effect, Effects, Origin, SessionId, Urgency};
use super::job::carry::apart;
use super::select::{Selection, count, select};
use super::{Engine, propose};

/// Whom to serve next, and how.
struct Turn {
    to: DeliverTo,
    room: Room,
    visibility_timeout_ms: Option<u64>,
    /// Of a receive that names itself.
    request_id: Bytes,
    ack_on_delivery: bool,
}

impl Engine {
    /// Hands over what is ready to who has room, after every batch; ends long polls that are due.
    pub fn dispatch(&mut self, now: Timestamp, effects: &mut Effects) {
        let due = self.volatile.reads.take_due(now);
        self.volatile.touched.extend(due);
        while !self.volatile.starting && !self.volatile.touched.is_empty() {
            for id in self.volatile.touched.take() {
                self.serve(id, now, effects);
                self.read_behind(id, now, effects);
            }
        }
        self.end_polls(now, effects);
    }

    fn serve(&mut self, id: u64, now: Timestamp, effects: &mut Effects) {
        if self.is_fenced(id) {
            return;
        }
        let Some(mut readers) = self.volatile.readers.remove(&id) else {
            return;
        };
        self.serve_polls(id, &mut readers, now, effects);
        self.serve_consumers(id, &mut readers, now, effects);
        if !readers.is_empty() {
            self.volatile.readers.insert(id, readers);
        }
    }

    /// Long polls first, in the order they came: each ends with its first hand-over.
    fn serve_polls(
        &mut self,
        id: u64,
        readers: &mut Readers,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let mut waiting = std::mem::take(&mut readers.polls);
        let mut left = VecDeque::new();
        while let Some(poll) = waiting.pop_front() {
            if !self.volatile.listens(poll.origin.session) {
                left.push_back(poll);
            } else if self.hand_over(id, readers, &poll_turn(&poll), now, effects) {
                self.volatile.polls.remove(&(poll.until, id, poll.origin));
                self.volatile.forget_poll(poll.origin);
            } else {
                left.push_back(poll);
                break;
            }
        }
        left.append(&mut waiting);
        readers.polls = left;
    }

    /// Chunks of ceil(ready / consumers with free credit), round robin.
    fn serve_consumers(
        &mut self,
        id: u64,
        readers: &mut Readers,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let willing = readers.consumers.iter();
        let willing = willing.filter(|consumer| self.takes(consumer)).count() as u64;
        let Some(subscription) = self.state.subscriptions.get(&id) else {
            return;
        };
        if willing == 0 {
            return;
        }
        let ready = count(subscription, &readers.reserved, now);
        if ready == 0 {
            return;
        }
        let chunk = ready.div_ceil(willing);
        let mut idle = 0;
        while idle < readers.consumers.len() {
            let Some(consumer) = readers.consumers.pop_front() else {
                return;
            };
            let room = consumer.room(self.volatile.shortage);
            let room = room.filter(|_| self.takes(&consumer));
            let turn = room.map(|room| consumer_turn(&consumer, room, chunk));
            readers.consumers.push_back(consumer);
            // `hand_over` charges the consumer at the back of the line.
            match turn {
                Some(turn) if self.hand_over(id, readers, &turn, now, effects) => idle = 0,
                // It keeps its turn for what comes next.
                Some(_) => return readers.consumers.rotate_right(1),
                None => idle += 1,
            }
        }
    }

    pub(super) fn takes(&self, consumer: &Consumer) -> bool {
        consumer.room(self.volatile.shortage).is_some() && self.volatile.listens(consumer.session)
    }

    /// False if nothing is ready.
    fn hand_over(
        &mut self,
        id: u64,
        readers: &mut Readers,
        turn: &Turn,
        now: Timestamp,
        effects: &mut Effects,
    ) -> bool {
        let Some(subscription) = self.state.subscriptions.get(&id) else {
            return false;
        };
        let Some(log) = self.state.logs.get(&subscription.log) else {
            return false;
        };
        let mut selection = select(log, subscription, &readers.reserved, now, turn.room);
        if selection.ranges.is_empty() {
            return false;
        }
        let checkpoints = subscription.jobs.carry(log, &mut selection);
        let own = subscription.settings.visibility_timeout_ms;
        let visibility_timeout_ms = turn.visibility_timeout_ms.unwrap_or(own);
        let deadline = now.plus_ms(visibility_timeout_ms);
        let log = log.id;
        let gap = subscription.untold_gap(&readers.told);
        let grant = self.next_grant();
        reserve(readers, turn.to, &selection, gap.as_ref());
        let offsets = || selection.offsets();
        let leased = offsets().map(LoggedRange::from).collect();
        self.volatile
            .hold(turn.to, grant, id, offsets(), selection.bytes);
        let delivery = Delivery {
            to: turn.to,
            log,
            subscription: id,
            grant,
            deadline,
            ranges: apart(selection.ranges, &checkpoints),
            gap,
            checkpoints,
        };
        if turn.ack_on_delivery {
            let deadline = Timestamp(0);
            let delivery = Delivery {
                deadline,
                ..delivery
            };
            self.read_to_take(delivery, effects);
            return true;
        }
        let command = Command::Lease(Lease {
            gap: delivery.gap.clone().map(LoggedRange::from),
            subscription: id,
            term: grant.term,
            counter: grant.counter,
            ranges: leased,
            deadline_ms: deadline.0,
            visibility_timeout_ms,
            holder: self.volatile.holder(turn.session()).to_owned(),
            request_id: turn.request_id.to_vec(),
        });
        if let DeliverTo::Consumer { .. } = turn.to {
            self.volatile.notices.arm(now, grant, deadline);
        } else if !turn.request_id.is_empty() {
            let request_id = turn.request_id.clone();
            self.volatile.give(request_id, delivery.clone());
        }
        effects.push(Effect::Deliver(delivery));
        propose(command, Urgency::Lazy, effects);
        true
    }

    /// Answers long polls whose time is up with nothing.
    pub(super) fn end_polls(&mut self, now: Timestamp, effects: &mut Effects) {
        let first = self.volatile.polls.first();
        if first.is_none_or(|(until, _, _)| *until > now) {
            return;
        }
        for (until, id, origin) in self.volatile.take_due_polls(now) {
            let log = self
                .state
                .subscriptions
                .get(&id)
                .map_or(0, |subscription| subscription.log);
            effects.push(Effect::Deliver(nothing(origin, (log, id), until)));
        }
    }
}

/// Nobody else gets what is selected; a consumer, the last in line, is charged.
fn reserve(readers: &mut Readers, to: DeliverTo, selection: &Selection, gap: Option<&OffsetRange>) {
    let mut messages = 0;
    for (range, _) in &selection.ranges {
        messages += range.end - range.start;
        readers.reserved.add(range.clone());
    }
    if let Some(gap) = gap {
        readers.told.add(gap.clone());
    }
    if let DeliverTo::Consumer { .. } = to
        && let Some(consumer) = readers.consumers.back_mut()
    {
        consumer.held_messages += messages;
        consumer.held_bytes += selection.bytes;
    }
}

/// The answer to a long poll that found nothing.
pub(super) fn nothing(
    origin: Origin,
    (log, subscription): (u64, u64),
    deadline: Timestamp,
) -> Delivery {
    Delivery {
        to: DeliverTo::Receive(origin),
        log,
        subscription,
        grant: Grant::default(),
        deadline,
        ranges: Vec::new(),
        gap: None,
        checkpoints: Vec::new(),
    }
}

impl Turn {
    fn session(&self) -> SessionId {
        match self.to {
            DeliverTo::Consumer { session, .. } => session,
            DeliverTo::Receive(origin) => origin.session,
        }
    }
}

fn poll_turn(poll: &Poll) -> Turn {
    Turn {
        to: DeliverTo::Receive(poll.origin),
        room: Room {
            messages: poll.max_messages,
            bytes: poll.max_bytes,
        },
        visibility_timeout_ms: poll.visibility_timeout_ms,
        request_id: poll.request_id.clone(),
        ack_on_delivery: false,
    }
}

fn consumer_turn(consumer: &Consumer, room: Room, chunk: u64) -> Turn {
    Turn {
        to: DeliverTo::Consumer {
            session: consumer.session,
            consumer: consumer.number,
        },
        room: Room {
            messages: room.messages.min(chunk),
            ..room
        },
        visibility_timeout_ms: consumer.visibility_timeout_ms,
        request_id: Bytes::new(),
        ack_on_delivery: consumer.ack_on_delivery,
    }
}
