//! A consumer: takes what is pushed, works for a while, and says what became of it.

use std::collections::BTreeMap;
use std::ops::Range;

use siding::Grant;
use siding_broker::engine::effect::SessionId;
use siding_protocol::event::{Answer, SettleOutcomeKind, Settled};
use siding_protocol::frame::BatchParts;
use siding_protocol::limits::CREDIT_BYTES_MAX;
use siding_protocol::request::{Action, Consume, Request, Settle};
use siding_protocol::types::Address;

use super::client::{CONNECT, Task};
use super::ledger::{Line, grant};
use super::mailbox::Word;
use super::world::Context;
use crate::accounting::{Event, Ms};

/// It is told its messages under this number.
const CONSUMER: u32 = 1;

/// Consumes from one subscription.
#[derive(Debug)]
pub struct Consumer {
    own: usize,
    number: u32,
    address: Address,
    line: Line,
    visibility: Ms,
    credit: u32,
    session: Option<SessionId>,
    attaching: Option<u64>,
    held: BTreeMap<Task, Held>,
    last_task: Task,
    asked: BTreeMap<u64, (Said, Held)>,
}

/// Messages it has, of one batch.
#[derive(Clone, Debug)]
struct Held {
    grant: Grant,
    range: Range<u64>,
    /// In the world's time.
    deadline: Ms,
}

/// What it says of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Ack,
    Nack,
    Release,
    Extend(Ms),
}

impl Consumer {
    /// The consumer of this number.
    pub fn new(
        own: usize,
        number: u32,
        (address, line): (Address, Line),
        (visibility, credit): (Ms, u32),
    ) -> Self {
        Self {
            own,
            number,
            address,
            line,
            visibility,
            credit,
            session: None,
            attaching: None,
            held: BTreeMap::new(),
            last_task: CONNECT,
            asked: BTreeMap::new(),
        }
    }

    /// Does what it had planned.
    pub fn act(&mut self, context: &mut Context, task: Task) {
        if task == CONNECT {
            return self.connect(context);
        }
        let Some(held) = self.held.remove(&task) else {
            return;
        };
        if self.session.is_none() {
            // It says so when it is back.
            return self.hold(context, held, 100_000);
        }
        let said = self.choose(context, &held);
        self.say(context, said, held);
    }

    fn connect(&mut self, context: &mut Context) {
        let session = context.connect(self.own, &format!("consumer-{}", self.number));
        self.session = Some(session);
        let consume = Consume {
            address: self.address.clone(),
            consumer: CONSUMER,
            credit_messages: self.credit,
            credit_bytes: CREDIT_BYTES_MAX,
            visibility_timeout_ms: None,
            ack_on_delivery: false,
        };
        self.attaching = Some(context.ask(session, Request::Consume(consume), 100));
        // What was said before and not answered is said again: to whom it was done before, it is
        // done still.
        for (said, held) in std::mem::take(&mut self.asked).into_values() {
            match said {
                Said::Ack if context.rng.bool() => self.say(context, said, held),
                _ => {}
            }
        }
    }

    fn choose(&self, context: &mut Context, held: &Held) -> Said {
        if context.is_closing {
            return Said::Ack;
        }
        match context.rng.u32(0..100) {
            0..5 => Said::Nack,
            5..8 => Said::Release,
            8..13 if context.now().ms < held.deadline => Said::Extend(self.visibility),
            _ => Said::Ack,
        }
    }

    fn say(&mut self, context: &mut Context, said: Said, held: Held) {
        let Some(session) = self.session else {
            return;
        };
        let given_back = matches!(said, Said::Nack | Said::Release);
        for offset in held.range.clone().filter(|_| given_back) {
            let grant = held.grant;
            let event = Event::GivenBack { offset, grant };
            context.ledger.note(&[self.line], event);
        }
        let settle = Settle {
            address: self.address.clone(),
            grant: held.grant,
            ranges: vec![held.range.clone()],
            action: match said {
                Said::Ack => Action::Ack,
                Said::Nack => Action::Nack {
                    delay_ms: context.rng.bool().then_some(0),
                    reason: String::new(),
                },
                Said::Release => Action::Release { delay_ms: 0 },
                Said::Extend(remaining_ms) => Action::Extend { remaining_ms },
            },
            rider: None,
        };
        let correlation = context.ask(session, Request::Settle(settle), 100);
        self.asked.insert(correlation, (said, held));
    }

    /// The broker says something.
    pub fn hear(&mut self, context: &mut Context, word: Word) {
        match word {
            Word::Delivered(CONSUMER, gap, batches) => {
                if let Some(gap) = gap {
                    context.astonished(format!("a queue has a gap: {gap:?}"));
                }
                for batch in &batches {
                    self.take(context, batch);
                }
            }
            Word::Answer(correlation, answer) if self.attaching == Some(correlation) => {
                self.attaching = None;
                if answer != Ok(Answer::Done) {
                    context.astonished(format!("a consumer is not attached: {answer:?}"));
                }
            }
            Word::Answer(correlation, answer) => {
                let Some((said, held)) = self.asked.remove(&correlation) else {
                    return;
                };
                match answer {
                    Ok(Answer::Settled(settled)) => self.settled(context, (said, held), &settled),
                    other => context.astonished(format!("a settle is answered with {other:?}")),
                }
            }
            Word::Ended(_, why) => context.astonished(format!("a consumer is ended: {why:?}")),
            _ => {}
        }
    }

    fn take(&mut self, context: &mut Context, batch: &BatchParts) {
        let now = context.now();
        let own = (self.number, self.visibility);
        let count = context.ledger.delivered(self.line, own, &now, batch);
        let first = batch.head.first_offset;
        let mut range = first..first + count;
        let held = |range| Held {
            grant: grant(batch),
            range,
            deadline: now.in_the_world(batch.head.deadline_ms),
        };
        // Some are done one after the other.
        while context.rng.u32(0..3) == 0 && range.end - range.start > 1 {
            let cut = context.rng.u64(range.start + 1..range.end);
            let work_us = self.work_us(context);
            self.hold(context, held(range.start..cut), work_us);
            range.start = cut;
        }
        let work_us = self.work_us(context);
        self.hold(context, held(range), work_us);
    }

    fn work_us(&self, context: &mut Context) -> u64 {
        if context.is_closing {
            return 1_000;
        }
        match context.rng.u32(0..100) {
            // Past its deadline.
            0..3 => self.visibility * context.rng.u64(900..1_500),
            3..10 => self.visibility * context.rng.u64(1..900),
            _ => context.around(20_000),
        }
    }

    fn hold(&mut self, context: &mut Context, held: Held, work_us: u64) {
        self.last_task += 1;
        self.held.insert(self.last_task, held);
        context.plan(self.own, work_us, self.last_task);
    }

    fn settled(&mut self, context: &mut Context, (said, held): (Said, Held), settled: &Settled) {
        let at = context.now().ms;
        let grant = held.grant;
        for offset in held.range.clone() {
            let mut outcomes = settled.outcomes.iter();
            let outcome = outcomes.find(|outcome| outcome.range.contains(&offset));
            let lost = outcome.is_some_and(|it| matches!(it.kind, SettleOutcomeKind::LeaseLost(_)));
            match (said, lost) {
                (Said::Ack, false) => {
                    let acked = Event::Acked { offset, grant, at };
                    context.ledger.note(&[self.line], acked);
                }
                (Said::Ack, true) => {
                    let lost = Event::LeaseLost { offset, grant };
                    context.ledger.note(&[self.line], lost);
                }
                _ => {}
            }
        }
        if let Said::Extend(_) = said {
            let work_us = self.work_us(context);
            self.hold(context, held, work_us);
        }
    }

    /// Its connection is no more.
    pub fn lose(&mut self) -> (usize, Option<SessionId>) {
        self.attaching = None;
        (self.own, self.session.take())
    }

    /// Its number in the accounting.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What its line is.
    pub fn line(&self) -> Line {
        self.line
    }
}
