//! A publisher: sends runs under its ticket, and sends again what was not answered.

use std::collections::BTreeMap;
use std::ops::Range;

use siding_broker::engine::effect::SessionId;
use siding_protocol::event::{Answer, Confirm};
use siding_protocol::refusal::Refusal;
use siding_protocol::request::{ProducerTicket, Request};
use siding_protocol::run::{self, MessageFields, RunBuilder, RunLimits, ScannedRun};
use siding_protocol::types::{Level, Name};

use super::client::{CONNECT, Task};
use super::ledger::Line;
use super::mailbox::Word;
use super::world::Context;
use crate::accounting::{Event, Ms, Tag};

/// Publishes the next run.
const PUBLISH: Task = 1;
/// Runs it lets be unanswered at most.
const WINDOW: usize = 8;
/// A run takes no more messages past it, bytes: with one large one more it fits a small journal.
const RUN_BYTES: usize = 20_000;

/// Publishes to one name.
#[derive(Debug)]
pub struct Publisher {
    own: usize,
    number: u32,
    name: Name,
    /// Who reads that name.
    lines: Vec<Line>,
    /// Between two runs, on average.
    pause_us: u64,
    session: Option<SessionId>,
    producer: Option<u64>,
    opening: Option<u64>,
    sequence: u64,
    next: u64,
    unanswered: BTreeMap<u64, Sent>,
    asked: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Sent {
    numbers: Range<u64>,
    run: ScannedRun,
    level: Level,
    at: Ms,
}

impl Publisher {
    /// The publisher of this number.
    pub fn new(own: usize, number: u32, (name, lines): (Name, Vec<Line>), pause_us: u64) -> Self {
        Self {
            own,
            number,
            name,
            lines,
            pause_us,
            session: None,
            producer: None,
            opening: None,
            sequence: 0,
            next: 0,
            unanswered: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Does what it had planned.
    pub fn act(&mut self, context: &mut Context, task: Task) {
        if task == CONNECT {
            return self.connect(context);
        }
        if context.is_closing && self.next > 0 {
            return;
        }
        // In bursts, so that groups form.
        let pause_us = match context.rng.u32(0..3) {
            0 => context.around(self.pause_us * 3),
            _ => context.around(1_000),
        };
        context.plan(self.own, pause_us, PUBLISH);
        if self.producer.is_some() && self.unanswered.len() < WINDOW {
            self.publish(context);
        }
    }

    fn connect(&mut self, context: &mut Context) {
        let session = context.connect(self.own, &format!("publisher-{}", self.number));
        self.session = Some(session);
        if self.producer.is_none() {
            self.opening = Some(context.ask(session, Request::OpenProducer, 100));
        } else {
            for sequence in self.unanswered.keys().copied().collect::<Vec<_>>() {
                self.send(context, sequence);
            }
        }
        if self.sequence == 0 {
            context.plan(self.own, 0, PUBLISH);
        }
    }

    fn publish(&mut self, context: &mut Context) {
        let count = match context.rng.u32(0..10) {
            0 => context.rng.u64(10..60),
            _ => context.rng.u64(1..6),
        };
        let first = self.next;
        self.sequence += 1;
        let mut builder = RunBuilder::new(RunLimits::default());
        while self.next < first + count && builder.len_bytes() < RUN_BYTES {
            let tag = self.tag(self.next);
            self.next += 1;
            context.ledger.note(&self.lines, Event::Sent(tag));
            let fields = MessageFields {
                body: &context.ledger.body(tag),
                ..MessageFields::default()
            };
            builder.push(&fields).expect("within the limits");
        }
        let run = run::scan(builder.take().0, RunLimits::default()).expect("built, so it passes");
        let sent = Sent {
            numbers: first..self.next,
            run,
            level: Level::Synced,
            at: context.now().ms,
        };
        self.unanswered.insert(self.sequence, sent);
        self.send(context, self.sequence);
    }

    fn send(&mut self, context: &mut Context, sequence: u64) {
        let (Some(session), Some(producer)) = (self.session, self.producer) else {
            return;
        };
        let Some(sent) = self.unanswered.get_mut(&sequence) else {
            return;
        };
        sent.at = context.now().ms;
        let request = Request::Publish {
            name: self.name.clone(),
            ticket: ProducerTicket { producer, sequence },
            level: Some(sent.level),
            run: sent.run.clone(),
        };
        let charge = sent.run.bytes.len() + 100;
        self.asked
            .insert(context.ask(session, request, charge), sequence);
    }

    fn tag(&self, number: u64) -> Tag {
        Tag {
            publisher: self.number,
            number,
        }
    }

    /// The broker says something.
    pub fn hear(&mut self, context: &mut Context, word: Word) {
        let Word::Answer(correlation, answer) = word else {
            return;
        };
        if self.opening == Some(correlation) {
            self.opening = None;
            if let Ok(Answer::ProducerOpened(producer)) = answer {
                self.producer = Some(producer);
            } else {
                context.astonished(format!("a producer is not opened: {answer:?}"));
            }
            return;
        }
        let Some(sequence) = self.asked.remove(&correlation) else {
            return;
        };
        let Some(sent) = self.unanswered.remove(&sequence) else {
            return;
        };
        match answer {
            Ok(Answer::Confirm(confirm)) => self.confirmed(context, &sent, &confirm),
            Err(Refusal::ProducerUnknown) => self.told(context, &sent, Event::Unknown),
            Err(_) => self.told(context, &sent, Event::Refused),
            Ok(other) => context.astonished(format!("a publish is answered with {other:?}")),
        }
    }

    fn confirmed(&self, context: &mut Context, sent: &Sent, confirm: &Confirm) {
        if confirm.level == Level::Synced {
            context.ledger.synced(sent.at);
        }
        if confirm.level > sent.level || u64::from(confirm.count) != count(&sent.numbers) {
            context.astonished(format!("{:?} is confirmed as {confirm:?}", sent.numbers));
        }
        context.messages += u64::from(confirm.count);
        for (number, offset) in sent.numbers.clone().zip(confirm.first_offset..) {
            let confirmed = Event::Confirmed(self.tag(number), offset);
            context.ledger.note(&self.lines, confirmed);
        }
    }

    fn told(&self, context: &mut Context, sent: &Sent, event: fn(Tag) -> Event) {
        for number in sent.numbers.clone() {
            context.ledger.note(&self.lines, event(self.tag(number)));
        }
    }

    /// Its connection is no more.
    pub fn lose(&mut self) -> (usize, Option<SessionId>) {
        self.asked.clear();
        self.opening = None;
        (self.own, self.session.take())
    }

    /// Whether it waits for nothing.
    pub fn is_done(&self) -> bool {
        self.unanswered.is_empty() && self.next > 0
    }
}

fn count(numbers: &Range<u64>) -> u64 {
    numbers.end - numbers.start
}
