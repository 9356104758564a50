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
use super::context::Context;
use super::ledger::Line;
use super::mailbox::Word;
use crate::accounting::{Event, Ms, Tag};

/// Publishes the next run.
const PUBLISH: Task = 1;
/// Publishes one more run, to see that it is served.
pub const LAST: Task = 2;
/// Runs it lets be unanswered at most.
const WINDOW: usize = 8;
/// A run takes no more messages past it, bytes: with one large one more it fits a small journal.
const RUN_BYTES: usize = 20_000;
/// Refused on a full disk it asks again after so long.
const BUSY_US: u64 = 100_000;

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
    /// What its confirms promise.
    level: Level,
    session: Option<SessionId>,
    producer: Option<u64>,
    opening: Option<u64>,
    sequence: u64,
    next: u64,
    unanswered: BTreeMap<u64, Sent>,
    asked: BTreeMap<u64, u64>,
    has_begun: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Sent {
    numbers: Range<u64>,
    run: ScannedRun,
    level: Level,
    /// When, if once only: what is asked again may be answered from memory.
    at: Option<Ms>,
}

impl Publisher {
    /// The publisher of this number.
    pub fn new(
        own: usize,
        number: u32,
        (name, lines): (Name, Vec<Line>),
        pace: (u64, Level),
    ) -> Self {
        let (pause_us, level) = pace;
        Self {
            own,
            number,
            name,
            lines,
            pause_us,
            level,
            session: None,
            producer: None,
            opening: None,
            sequence: 0,
            next: 0,
            unanswered: BTreeMap::new(),
            asked: BTreeMap::new(),
            has_begun: false,
            is_closed: false,
        }
    }

    /// Does what it had planned.
    pub fn act(&mut self, context: &mut Context, task: Task) {
        if task == CONNECT {
            return self.connect(context);
        }
        if task == LAST {
            if self.producer.is_none() {
                return context.plan(self.own, 10_000, LAST);
            }
            self.is_closed = true;
            return self.publish(context);
        }
        if context.is_closing {
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
                self.leave_place(context, sequence);
                self.send(context, sequence);
            }
        }
        if !self.has_begun {
            self.has_begun = true;
            context.plan(self.own, 0, PUBLISH);
        }
    }

    /// What was refused before and is stored now comes behind what was sent after it.
    fn leave_place(&self, context: &mut Context, sequence: u64) {
        let sent = self.unanswered.get(&sequence);
        if let Some(sent) = sent.filter(|_| context.may_have_refused) {
            self.told(context, sent, Event::Apart);
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
            if self.level == Level::Written {
                context.ledger.note(&self.lines, Event::Weak(tag));
            }
            let (priority, delay_ms) = choose_place(context);
            if priority.is_some() || delay_ms > 0 {
                context.ledger.note(&self.lines, Event::Apart(tag));
            }
            let fields = MessageFields {
                body: &context.ledger.body(tag),
                priority,
                delay_ms,
                ..MessageFields::default()
            };
            builder.push(&fields).expect("within the limits");
        }
        let run = run::scan(builder.take().0, RunLimits::default()).expect("built, so it passes");
        let sent = Sent {
            numbers: first..self.next,
            run,
            level: self.level,
            at: None,
        };
        self.unanswered.insert(self.sequence, sent);
        let at = context.now().ms;
        self.send(context, self.sequence);
        if let Some(sent) = self.unanswered.get_mut(&self.sequence) {
            sent.at = self.session.map(|_| at);
        }
    }

    fn send(&mut self, context: &mut Context, sequence: u64) {
        let (Some(session), Some(producer)) = (self.session, self.producer) else {
            return;
        };
        let Some(sent) = self.unanswered.get_mut(&sequence) else {
            return;
        };
        sent.at = None;
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
            Err(Refusal::Busy { .. }) if context.is_closing => {
                self.told(context, &sent, Event::Refused);
                self.is_closed = false;
                context.plan(self.own, BUSY_US, LAST);
            }
            Err(_) => self.told(context, &sent, Event::Refused),
            Ok(other) => context.astonished(format!("a publish is answered with {other:?}")),
        }
    }

    fn confirmed(&self, context: &mut Context, sent: &Sent, confirm: &Confirm) {
        let at = context.now().ms;
        if let (Level::Synced, Some(asked)) = (confirm.level, sent.at) {
            context.ledger.synced(asked, at);
        }
        if context.is_closing && !context.has_resumed {
            context.has_resumed = true;
            context.ledger.note_everywhere(Event::Resumed { at });
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
        self.unanswered.is_empty() && self.is_closed
    }
}

/// Most messages take their place.
fn choose_place(context: &mut Context) -> (Option<u32>, u64) {
    if context.is_closing {
        return (None, 0);
    }
    match context.rng.u32(0..20) {
        0 => (Some(context.rng.u32(0..10)), 0),
        1 => (None, context.rng.u64(1..5_000)),
        _ => (None, 0),
    }
}

fn count(numbers: &Range<u64>) -> u64 {
    numbers.end - numbers.start
}
