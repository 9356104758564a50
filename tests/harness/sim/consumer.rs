//! A consumer: takes what is pushed, works for a while, and says what became of it.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use siding::Grant;
use siding_broker::engine::effect::SessionId;
use siding_protocol::event::{Answer, SettleOutcomeKind, Settled};
use siding_protocol::frame::BatchParts;
use siding_protocol::limits::CREDIT_BYTES_MAX;
use siding_protocol::request::{Action, Consume, Receive, Request, Settle};
use siding_protocol::types::Address;

use super::client::{CONNECT, Task};
use super::context::Context;
use super::ledger::{Line, grant};
use super::mailbox::Word;
use super::mover::Mover;
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
    /// What it does with some of what it is done with.
    mover: Option<Mover>,
    /// It asks for its messages instead of having them pushed: a poll that is open.
    polls: bool,
    polling: Option<u64>,
    session: Option<SessionId>,
    attaching: Option<u64>,
    held: BTreeMap<Task, Held>,
    last_task: Task,
    /// With when it was asked.
    asked: BTreeMap<u64, (Said, Held, Ms)>,
}

/// Messages it has, of one batch.
#[derive(Clone, Debug)]
pub struct Held {
    /// Under which grant.
    pub grant: Grant,
    /// Which.
    pub range: Range<u64>,
    /// In the world's time.
    pub deadline: Ms,
    /// The transaction that was to ack it was refused.
    pub is_undone: bool,
}

/// What it says of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Ack,
    Nack,
    Release,
    Reject,
    Extend(Ms),
}

impl Consumer {
    /// The consumer of this number.
    pub fn new(
        own: usize,
        number: u32,
        (address, line): (Address, Line),
        (visibility, credit): (Ms, u32),
        mover: Option<Mover>,
    ) -> Self {
        Self {
            own,
            number,
            address,
            line,
            visibility,
            credit,
            mover,
            polls: false,
            polling: None,
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
        if let Some(mover) = &mut self.mover {
            mover.connect(context, session);
        }
        if self.polls {
            self.poll(context);
        } else {
            self.attach(context, session);
        }
        // What was said before and not answered is said again: to whom it was done before, it is
        // done still.
        for (said, held, _) in std::mem::take(&mut self.asked).into_values() {
            match said {
                Said::Ack if context.rng.bool() => self.say(context, said, held),
                _ => {}
            }
        }
    }

    /// Asks for messages instead of having them pushed.
    pub fn polling(mut self) -> Self {
        self.polls = true;
        self
    }

    fn poll(&mut self, context: &mut Context) {
        let Some(session) = self.session else { return };
        let receive = Receive {
            address: self.address.clone(),
            max_messages: self.credit,
            max_bytes: CREDIT_BYTES_MAX,
            wait_ms: context.rng.u64(0..20_000),
            visibility_timeout_ms: None,
            request_id: Bytes::new(),
        };
        self.polling = Some(context.ask(session, Request::Receive(receive), 100));
    }

    fn attach(&mut self, context: &mut Context, session: SessionId) {
        let consume = Consume {
            address: self.address.clone(),
            consumer: CONSUMER,
            credit_messages: self.credit,
            credit_bytes: CREDIT_BYTES_MAX,
            visibility_timeout_ms: None,
            ack_on_delivery: false,
        };
        self.attaching = Some(context.ask(session, Request::Consume(consume), 100));
    }

    fn choose(&self, context: &mut Context, held: &Held) -> Said {
        if held.is_undone {
            return Said::Nack;
        }
        if context.is_closing {
            return Said::Ack;
        }
        match context.rng.u32(0..100) {
            0..5 => Said::Nack,
            5..8 => Said::Release,
            8 => Said::Reject,
            9..14 if context.now().ms < held.deadline => Said::Extend(self.visibility),
            _ => Said::Ack,
        }
    }

    fn say(&mut self, context: &mut Context, said: Said, held: Held) {
        let Some(session) = self.session else {
            return;
        };
        if said == Said::Ack
            && let Some(mover) = self.mover.as_mut().filter(|mover| mover.is_ready())
            && context.rng.bool()
        {
            return mover.start(context, session, held);
        }
        let (grant, at) = (held.grant, context.now().ms);
        for offset in held.range.clone() {
            let event = match said {
                Said::Nack | Said::Release => Event::GivenBack { offset, grant },
                Said::Ack => Event::AckAsked { offset, grant, at },
                Said::Reject => Event::RejectAsked { offset, grant },
                Said::Extend(_) => break,
            };
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
                Said::Reject => Action::Reject {
                    reason: "seen enough".to_owned(),
                },
                Said::Extend(remaining_ms) => Action::Extend { remaining_ms },
            },
            rider: None,
        };
        let correlation = context.ask(session, Request::Settle(settle), 100);
        self.asked.insert(correlation, (said, held, at));
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
            Word::Received(correlation, batches) if self.polling == Some(correlation) => {
                for batch in &batches {
                    self.take(context, batch);
                }
                self.poll(context);
            }
            Word::Answer(correlation, answer) => {
                let own = self.mover.as_mut();
                if let Some(own) = own
                    && own.hear(context, correlation, &answer)
                {
                    // It is not acked by itself: it must come again. But it takes credit until
                    // something is said of it.
                    if let Some(mut held) = own.take_undone() {
                        held.is_undone = true;
                        let wait_us = self.visibility * 1_100;
                        self.hold(context, held, wait_us);
                    }
                    return;
                }
                let Some(asked) = self.asked.remove(&correlation) else {
                    return;
                };
                match answer {
                    Ok(Answer::Settled(settled)) => self.settled(context, asked, &settled),
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
            is_undone: false,
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

    fn settled(
        &mut self,
        context: &mut Context,
        (said, held, asked_at): (Said, Held, Ms),
        settled: &Settled,
    ) {
        let at = context.now().ms;
        let grant = held.grant;
        for offset in held.range.clone() {
            let mut outcomes = settled.outcomes.iter();
            let outcome = outcomes.find(|outcome| outcome.range.contains(&offset));
            let lost = outcome.is_some_and(|it| matches!(it.kind, SettleOutcomeKind::LeaseLost(_)));
            let event = match said {
                Said::Ack | Said::Reject if lost => Event::LeaseLost { offset, grant },
                _ if lost => continue,
                Said::Ack => Event::Acked { offset, grant, at },
                Said::Reject => Event::Rejected { offset, grant },
                Said::Extend(remaining_ms) => Event::Extended {
                    offset,
                    grant,
                    until: asked_at + remaining_ms,
                },
                Said::Nack | Said::Release => continue,
            };
            context.ledger.note(&[self.line], event);
        }
        if let Said::Extend(_) = said {
            let work_us = self.work_us(context);
            self.hold(context, held, work_us);
        }
    }

    /// Its connection is no more.
    pub fn lose(&mut self) -> (usize, Option<SessionId>) {
        self.attaching = None;
        self.polling = None;
        (self.own, self.session.take())
    }

    /// Whether every transaction of it is answered.
    pub fn is_done(&self) -> bool {
        self.mover.as_ref().is_none_or(Mover::is_done)
    }
}
