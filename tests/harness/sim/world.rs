//! The simulated world: one queue of what happens next, a broker, its disk, and its clients.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use fastrand::Rng;
use siding_broker::ManualTime;
use siding_broker::engine::effect::{Origin, SessionId};
use siding_broker::shard::core::Input;
use siding_broker::storage::memory_fs::MemoryFs;
use siding_protocol::request::Request;
use siding_protocol::types::Timestamp;

use super::client::{CONNECT, Client, Task};
use super::disk::SimFs;
use super::ledger::Ledger;
use super::mailbox::Word;
use super::net::Net;
use super::node::Node;
use super::plan::Plan;
use super::trace::Trace;
use crate::accounting::{Event, Ms};

/// The world begins here: Unix ms.
const EPOCH_MS: u64 = 1_800_000_000_000;
/// A message is on its way for so long, us.
const WAY_US: std::ops::Range<u64> = 50..2_000;

/// Something that happens.
#[derive(Debug)]
pub(super) enum What {
    /// A word arrives at the broker.
    ToBroker(SessionId, Input),
    /// A word arrives at a client.
    ToClient(SessionId, Word),
    /// A client sees that its connection is no more.
    Lost(SessionId),
    /// A client does what it planned.
    Act(usize, Task),
    /// The broker of this start has something to do.
    Wake(u64),
    /// A thread of the broker of this start does its next piece.
    Step(u64, &'static str),
    /// Something goes wrong.
    Fault,
    /// A broker is started.
    Start,
}

#[derive(Debug)]
struct Happening {
    at_us: u64,
    order: u64,
    what: What,
}

/// The time, and the broker's.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The world's, Unix ms.
    pub ms: Ms,
    /// So far is the broker's clock ahead of it, ms.
    pub(super) broker_ahead: i64,
}

/// What clients may touch of the world.
#[derive(Debug)]
pub struct Context {
    pub(super) time: ManualTime,
    pub(super) rng: Rng,
    pub(super) net: Net,
    happenings: BinaryHeap<Reverse<Happening>>,
    order: u64,
    correlation: u64,
    pub(super) broker_ahead: i64,
    /// What was seen.
    pub ledger: Ledger,
    /// Nothing goes wrong any more, and everything is to be drained.
    pub is_closing: bool,
    /// Messages confirmed.
    pub messages: u64,
    /// What no client should see.
    pub(super) surprises: Vec<String>,
}

/// All of it.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) context: Context,
    pub(super) clients: Vec<Client>,
    pub(super) node: Option<Node>,
    pub(super) fs: SimFs,
    /// Starts so far.
    pub(super) life: u64,
    wakes_at: Option<u64>,
    stepping: BTreeSet<&'static str>,
    pub(super) trace: Trace,
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Starts that failed, since the last that did not.
    pub(super) failed_starts: u32,
    /// Since then nothing goes wrong.
    pub(super) healed_at: Ms,
    pub(super) died: Vec<String>,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let trace = Trace::default();
        let disk = MemoryFs::new(rng.u64(..));
        let fs = SimFs::new(disk, (trace.clone(), plan.lie), plan.speed, rng.u64(..));
        let mut context = Context {
            time: ManualTime::new(Timestamp(EPOCH_MS)),
            ledger: Ledger::new(plan.seed, plan.lines.len()),
            rng,
            net: Net::default(),
            happenings: BinaryHeap::new(),
            order: 0,
            correlation: 0,
            broker_ahead: 0,
            is_closing: false,
            messages: 0,
            surprises: Vec::new(),
        };
        let clients = plan.clients();
        context.happens_in(0, What::Start);
        context.plan(0, 1_000, CONNECT);
        Self {
            plan,
            context,
            clients,
            node: None,
            fs,
            life: 0,
            wakes_at: None,
            stepping: BTreeSet::new(),
            trace,
            faults: BTreeMap::new(),
            failed_starts: 0,
            healed_at: 0,
            died: Vec::new(),
        }
    }

    /// How long the world has been there.
    pub(super) fn passed_ms(&self) -> Ms {
        self.context.now().ms - EPOCH_MS
    }

    /// Lets everything happen for so long, or until it is enough.
    pub(super) fn run_until(&mut self, ms: Ms, is_enough: impl Fn(&Self) -> bool) {
        let until_us = self.context.time.now_us() + ms * 1_000;
        while let Some(Reverse(next)) = self.context.happenings.peek() {
            if next.at_us > until_us || is_enough(self) {
                return;
            }
            let Some(Reverse(happening)) = self.context.happenings.pop() else {
                return;
            };
            let ahead_us = happening.at_us.saturating_sub(self.context.time.now_us());
            self.context.time.advance_us(ahead_us);
            self.happen(happening);
        }
    }

    fn happen(&mut self, Happening { at_us, order, what }: Happening) {
        self.trace.happening(at_us, order, &what);
        match what {
            What::ToBroker(session, input) => self.arrive(at_us, session, input),
            What::ToClient(session, word) => {
                if let Some(client) = self.context.net.listener(session) {
                    self.with(client, |client, context| client.hear(context, word));
                }
            }
            What::Lost(session) => {
                if let Some(client) = self.context.net.listener(session) {
                    self.context.net.over(session);
                    self.with(client, |client, context| client.lose(context, session));
                }
            }
            What::Act(client, task) => {
                self.with(client, |client, context| client.act(context, task));
            }
            What::Wake(life) if life == self.life => {
                self.wakes_at = None;
                self.drive();
            }
            What::Step(life, name) if life == self.life => self.step(name),
            What::Wake(_) | What::Step(..) => {}
            What::Fault => self.fault(),
            What::Start => self.start(),
        }
    }

    fn with(&mut self, client: usize, act: impl FnOnce(&mut Client, &mut Context)) {
        if let Some(client) = self.clients.get_mut(client) {
            act(client, &mut self.context);
        }
    }

    fn arrive(&mut self, at_us: u64, session: SessionId, input: Input) {
        if !self.context.net.carries(session, at_us) {
            return;
        }
        let Some(node) = &self.node else {
            // Nobody listens, and nobody will on this connection.
            if let Some(link) = self.context.net.link(session) {
                link.ends_us = Some(0);
            }
            let way_us = self.context.rng.u64(WAY_US);
            return self.context.happens_in(way_us, What::Lost(session));
        };
        node.push(input);
        self.wake_now();
    }

    /// The broker looks at what came, once for all that comes at this time.
    fn wake_now(&mut self) {
        let now_us = self.context.time.now_us();
        if self.wakes_at.is_none_or(|at| at > now_us) {
            self.wakes_at = Some(now_us);
            let life = self.life;
            self.context.happens_in(0, What::Wake(life));
        }
    }

    fn step(&mut self, name: &'static str) {
        self.stepping.remove(name);
        if let Some(node) = &self.node {
            node.step(name);
        }
        self.drive();
    }

    /// The broker does what it can; what it says leaves; what it will do is planned.
    pub(super) fn drive(&mut self) {
        let Some(node) = &mut self.node else {
            return;
        };
        let driven = node.drive(&self.fs);
        self.deliver();
        match driven {
            Ok(()) => self.plan_ahead(),
            Err(error) => self.ended(&error.to_string()),
        }
    }

    fn deliver(&mut self) {
        let Some(node) = &self.node else {
            return;
        };
        for (session, word) in node.mailbox().take() {
            let way_us = self.context.rng.u64(WAY_US);
            let now_us = self.context.time.now_us();
            let at_us = self.context.net.to_client(session, now_us + way_us);
            self.context
                .happens_at(at_us, What::ToClient(session, word));
        }
    }

    fn plan_ahead(&mut self) {
        let Some(node) = &self.node else {
            return;
        };
        let life = self.life;
        if let Some(at_us) = node.wake_at_us()
            && self.wakes_at.is_none_or(|planned| planned > at_us)
        {
            self.wakes_at = Some(at_us);
            self.context.happens_at(at_us, What::Wake(life));
        }
        for name in node.waiting() {
            if self.stepping.insert(name) {
                let took_us = self.plan.speed.took(&mut self.context.rng);
                self.context.happens_in(took_us, What::Step(life, name));
            }
        }
    }

    /// Nothing of this start's doings is of interest any more.
    pub(super) fn forget_doings(&mut self) {
        self.life += 1;
        self.wakes_at = None;
        self.stepping.clear();
    }
}

impl Context {
    /// The time.
    pub fn now(&self) -> Now {
        Now {
            ms: self.time.now_us() / 1_000,
            broker_ahead: self.broker_ahead,
        }
    }

    /// Something like it: exponential, within ten times.
    pub fn around(&mut self, mean_us: u64) -> u64 {
        let mean = mean_us.max(1);
        let doublings = self.rng.u32(0..7);
        // A half, a quarter ... of the time, up to eight times the mean.
        let scale = (mean * 8) >> doublings;
        self.rng.u64(0..=scale)
    }

    /// A client plans something.
    pub fn plan(&mut self, client: usize, in_us: u64, task: Task) {
        self.happens_in(in_us, What::Act(client, task));
    }

    /// A client connects.
    pub fn connect(&mut self, client: usize, holder: &str) -> SessionId {
        let session = self.net.connect(client, self.time.now_us());
        let opened = Input::Opened {
            session,
            holder: holder.to_owned(),
            marks_started: false,
        };
        self.send(session, opened);
        session
    }

    /// A client asks; the number its answer will have.
    pub fn ask(&mut self, session: SessionId, request: Request, charge: usize) -> u64 {
        self.correlation += 1;
        let origin = Origin {
            session,
            correlation: self.correlation,
        };
        let input = Input::Request {
            origin,
            request,
            charge,
        };
        self.send(session, input);
        self.correlation
    }

    fn send(&mut self, session: SessionId, input: Input) {
        let way_us = self.rng.u64(WAY_US);
        let at_us = self.net.to_broker(session, self.time.now_us() + way_us);
        self.happens_at(at_us, What::ToBroker(session, input));
    }

    /// A connection breaks: what is on its way may arrive, or not; the broker hears of it, and the
    /// client does. Whose it was.
    pub(super) fn cut(&mut self, session: SessionId) -> Option<usize> {
        let now_us = self.time.now_us();
        let (ends_in, lost_in) = (self.rng.u64(0..4_000), self.rng.u64(0..4_000));
        let link = self.net.link(session)?;
        link.ends_us = Some(now_us + ends_in);
        let client = link.client;
        let closed = Input::Closed { session };
        self.happens_in(ends_in, What::ToBroker(session, closed));
        self.happens_in(lost_in, What::Lost(session));
        Some(client)
    }

    /// The broker is gone: clients see it soon, and what it sent before may arrive until then.
    pub(super) fn cut_all(&mut self) {
        for session in self.net.open() {
            let now_us = self.time.now_us();
            let in_us = self.rng.u64(0..4_000);
            if let Some(link) = self.net.link(session) {
                // What had not arrived never does.
                link.ends_us = Some(link.ends_us.unwrap_or(now_us).min(now_us));
            }
            self.happens_in(in_us, What::Lost(session));
        }
    }

    /// Something that no client should see.
    pub fn astonished(&mut self, words: String) {
        self.surprises.push(words);
    }

    pub(super) fn happens_in(&mut self, in_us: u64, what: What) {
        let at_us = self.time.now_us() + in_us;
        self.happens_at(at_us, what);
    }

    fn happens_at(&mut self, at_us: u64, what: What) {
        self.order += 1;
        let order = self.order;
        self.happenings
            .push(Reverse(Happening { at_us, order, what }));
    }

    /// An event of every line.
    pub(super) fn note_everywhere(&mut self, event: Event) {
        self.ledger.note_everywhere(event);
    }
}

impl Now {
    /// An instant of the broker's clock, by the world's.
    pub fn in_the_world(&self, broker_ms: Ms) -> Ms {
        broker_ms.saturating_add_signed(-self.broker_ahead)
    }
}

impl PartialEq for Happening {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Happening {}

impl PartialOrd for Happening {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Happening {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.order).cmp(&(other.at_us, other.order))
    }
}
