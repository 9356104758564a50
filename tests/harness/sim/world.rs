//! The simulated world: one queue of what happens next, a broker, its disk, and its clients.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fastrand::Rng;
use siding_broker::engine::effect::SessionId;
use siding_broker::shard::core::Input;
use siding_broker::storage::memory_fs::MemoryFs;

use super::client::{CONNECT, Client};
use super::context::{Context, EPOCH_MS, Happening, WAY_US, What};
use super::disk::{Machine, SimFs};
use super::mailbox::Mailbox;
use super::node::Node;
use super::plan::Plan;
use super::trace::Trace;
use super::watch::Watch;
use crate::accounting::Ms;

/// All of it.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) context: Context,
    pub(super) clients: Vec<Client>,
    pub(super) node: Option<Node>,
    pub(super) fs: SimFs,
    /// The disk is full past so many bytes.
    pub(super) capacity: Option<u64>,
    /// Starts so far.
    pub(super) life: u64,
    wakes_at: Option<u64>,
    stepping: BTreeSet<&'static str>,
    pub(super) trace: Trace,
    pub(super) machine: Machine,
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// So far the wall clock of the machine is ahead.
    pub(super) skew_ms: i64,
    /// Starts that failed, since the last that did not.
    pub(super) failed_starts: u32,
    /// Since then nothing goes wrong.
    pub(super) healed_at: Ms,
    pub(super) died: Vec<String>,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let machine = Machine {
            trace: Trace::default(),
            watch: Watch::default(),
            lie: plan.lie,
            speed: plan.speed,
        };
        let disk = MemoryFs::new(rng.u64(..));
        let fs = SimFs::new(disk, machine.clone(), rng.u64(..));
        let lines = plan.lines.len();
        let mut context = Context::new(plan.seed, lines, rng);
        let clients = plan.clients();
        context.happens_in(0, What::Start);
        context.plan(0, 1_000, CONNECT);
        Self {
            plan,
            context,
            clients,
            node: None,
            fs,
            capacity: None,
            life: 0,
            wakes_at: None,
            stepping: BTreeSet::new(),
            trace: machine.trace.clone(),
            machine,
            faults: BTreeMap::new(),
            skew_ms: 0,
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
        let until_us = self.context.now_us() + ms * 1_000;
        while let Some(Reverse(next)) = self.context.happenings.peek() {
            if next.at_us > until_us || is_enough(self) {
                return;
            }
            let Some(Reverse(happening)) = self.context.happenings.pop() else {
                return;
            };
            let ahead_us = happening.at_us.saturating_sub(self.context.now_us());
            self.context.clocks.pass(ahead_us);
            self.happen(happening);
        }
    }

    fn happen(&mut self, Happening { at_us, order, what }: Happening) {
        self.trace.happening(at_us, order, &what);
        match what {
            What::ToBroker(session, input) => self.arrive(at_us, session, input),
            What::ToClient(session, word) => {
                if let Some(client) = self.context.net.hearer(session) {
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
            What::Room => self.set_capacity(None),
            What::Start if self.node.is_some() => {}
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
        let now_us = self.context.now_us();
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
        if let Some(node) = &self.node {
            let said = Rc::clone(node.mailbox());
            self.deliver(&said);
        }
        match driven {
            // A thread that only reads found it.
            Ok(()) if self.fs.is_dead() => self.ended("its power is gone"),
            Ok(()) => self.plan_ahead(),
            Err(error) => self.ended(&error.to_string()),
        }
    }

    /// What was said is on its way.
    pub(super) fn deliver(&mut self, said: &Mailbox) {
        for (session, word) in said.take() {
            let way_us = self.context.rng.u64(WAY_US);
            let now_us = self.context.now_us();
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
        let now_us = self.context.now_us();
        if let Some(at_us) = node.wakes_in_us().map(|in_us| now_us + in_us)
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
