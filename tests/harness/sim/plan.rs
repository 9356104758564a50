//! What a seed means: names, clients, the machine, and what goes wrong how often.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use fastrand::Rng;
use siding_broker::shard::committer::Pace;
use siding_broker::shard::recovery::Settings;
use siding_broker::storage::Filling;
use siding_broker::storage::bodies::Budgets;
use siding_protocol::request::Request;
use siding_protocol::settings::{DeliverySettings, QueueSettings, StartAt, TopicSettings};
use siding_protocol::types::{Address, Level, Name};

use super::client::Client;
use super::consumer::Consumer;
use super::disk::{Lie, Speed};
use super::ledger::Line;
use super::mover::Mover;
use super::node::Setup;
use super::operator::Operator;
use super::publisher::Publisher;
use crate::accounting::Ms;

/// Messages come back many times in a bad run: none of them is to end as a dead letter.
const ATTEMPTS_MAX: u32 = 1_000;
/// A run of a publisher with its last message is a quarter of it at most.
const SMALLEST_FILE_BYTES: u64 = 4 * (64 << 10);
/// Consumers that publish do it under numbers from here on.
const MOVERS: u32 = 1_000;

/// A queue or a topic.
#[derive(Clone, Debug)]
pub struct NamePlan {
    /// Its name.
    pub name: Name,
    /// A topic, with subscriptions.
    pub is_topic: bool,
    /// Who reads it.
    pub lines: Vec<Line>,
    /// Publishers of it.
    pub publishers: u32,
}

/// A subscription, as its clients see it.
#[derive(Clone, Debug)]
pub struct LinePlan {
    /// The name to which its consumers take some of what they are done with.
    pub moves_to: Option<usize>,
    /// Where it is.
    pub address: Address,
    /// Its leases last so long.
    pub visibility: Ms,
    /// What is nacked comes back after so long.
    pub backoff: Ms,
    /// Consumers of it.
    pub consumers: u32,
    /// What one of them may hold.
    pub credit: u32,
}

/// What happens in a run; all of it follows from its seed.
pub struct Plan {
    /// Which run.
    pub seed: u64,
    /// How long things go wrong, in simulated ms.
    pub length_ms: Ms,
    /// Between two faults on average, ms.
    pub fault_every_ms: Ms,
    /// Queues and topics.
    pub names: Vec<NamePlan>,
    /// Subscriptions.
    pub lines: Vec<LinePlan>,
    /// Between two runs of one of them on average, us.
    pub pause_us: u64,
    /// Of the disk.
    pub speed: Speed,
    /// What is wrong with it.
    pub lie: Lie,
    /// Of the broker.
    pub setup: Setup,
}

impl Plan {
    /// The run of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (names, lines) = shape(&mut rng);
        let sync_us = *rng.choice(&[60, 150, 2_000]).expect("some");
        let length_ms = rng.u64(60_000..900_000);
        // What one consumer of little credit can drain in time.
        let runs = *rng.choice(&[30, 100, 200]).expect("some");
        Self {
            seed,
            length_ms,
            fault_every_ms: *rng.choice(&[2_000, 10_000, 30_000]).expect("some"),
            names,
            lines,
            pause_us: length_ms * 1_000 / runs,
            speed: Speed {
                sync_us,
                slow_us: rng.u64(1..50) * 1_000,
            },
            lie: Lie::None,
            setup: Setup {
                settings: Settings {
                    journal_file_bytes: rng.u64(4..10) * (64 << 10),
                    filling: Filling::Ahead,
                    budgets: Budgets {
                        tail_bytes: rng.u64(0..3) * 10_000,
                        read_bytes: rng.u64(0..3) * 10_000,
                    },
                },
                pace: Pace {
                    checkpoint_bytes: *rng.choice(&[8 << 10, 64 << 10, 1 << 20]).expect("some"),
                    flush_ms: 50,
                },
                checks_snapshots: true,
                prepare: Rc::new(|_| {}),
            },
        }
    }

    /// The run of a seed on the smallest journal files, with ten times the traffic: checkpoints move bodies,
    /// cut the journal and remove segments all the time.
    pub fn on_small_files(seed: u64) -> Self {
        let mut plan = Self::new(seed);
        plan.pause_us /= 10;
        plan.length_ms /= 2;
        plan.setup.settings.journal_file_bytes = SMALLEST_FILE_BYTES;
        plan.setup.pace.checkpoint_bytes = 64 << 10;
        for line in &mut plan.lines {
            // A few messages stay long enough that their file is cut behind them.
            line.backoff = 15_000;
            // And all of them can be drained in time.
            line.credit = line.credit.max(20);
        }
        plan
    }

    /// Everybody who talks to the broker; the operator first.
    pub(super) fn clients(&self) -> Vec<Client> {
        let mut rng = Rng::with_seed(self.seed ^ 0xC11E);
        let mut clients = vec![Client::Operator(self.operator())];
        for plan in &self.names {
            for _ in 0..plan.publishers {
                let (own, number) = (clients.len(), number(clients.len()));
                let target = (plan.name.clone(), plan.lines.clone());
                let level = [Level::Synced, Level::Written];
                let level = level.get(usize::from(rng.u32(0..4) == 0));
                let pace = (self.pause_us, level.copied().unwrap_or(Level::Synced));
                let publisher = Publisher::new(own, number, target, pace);
                clients.push(Client::Publisher(publisher));
            }
        }
        for (line, plan) in self.lines.iter().enumerate() {
            for _ in 0..plan.consumers {
                let (own, number) = (clients.len(), number(clients.len()));
                let at = (plan.address.clone(), line);
                let to = plan.moves_to.and_then(|name| self.names.get(name));
                let mover = to.map(|to| {
                    let to = (to.name.clone(), to.lines.clone());
                    Mover::new(MOVERS + number, at.clone(), to)
                });
                let pace = (plan.visibility, plan.credit);
                let consumer = Consumer::new(own, number, at, pace, mover);
                let consumer = match rng.u32(0..4) {
                    0 => consumer.polling(),
                    _ => consumer,
                };
                clients.push(Client::Consumer(Box::new(consumer)));
            }
        }
        clients
    }

    fn operator(&self) -> Operator {
        let mut to_do = VecDeque::new();
        for plan in &self.names {
            let name = plan.name.clone();
            let lines = plan.lines.iter().filter_map(|line| self.lines.get(*line));
            if plan.is_topic {
                let settings = TopicSettings::parse(None).expect("defaults are valid");
                to_do.push_back(Request::CreateTopic { name, settings });
                to_do.extend(lines.map(|line| Request::CreateSubscription {
                    address: line.address.clone(),
                    settings: Box::new(delivery(line)),
                    start: StartAt::Earliest,
                }));
            } else {
                to_do.extend(lines.map(|line| Request::CreateQueue {
                    name: name.clone(),
                    settings: Box::new(QueueSettings {
                        delivery: delivery(line),
                        ..QueueSettings::parse(None).expect("defaults are valid")
                    }),
                }));
            }
        }
        let addresses = self.lines.iter().map(|line| line.address.clone());
        Operator::new(0, to_do, addresses.collect())
    }
}

/// One queue, a queue whose consumers publish into another, or a topic with two readers.
fn shape(rng: &mut Rng) -> (Vec<NamePlan>, Vec<LinePlan>) {
    let addresses: &[&str] = match rng.u32(0..4) {
        0 => &["orders.in", "orders.out"],
        1 => &["news/one", "news/two"],
        _ => &["load"],
    };
    let mut names: Vec<NamePlan> = Vec::new();
    let mut lines = Vec::new();
    for (line, address) in addresses.iter().enumerate() {
        let address: Address = address.parse().expect("an address");
        let is_topic = address.subscription.is_some();
        if names.last().is_none_or(|last| last.name != address.name) {
            names.push(NamePlan {
                name: address.name.clone(),
                is_topic,
                lines: Vec::new(),
                publishers: if line == 0 { rng.u32(1..4) } else { 0 },
            });
        }
        if let Some(name) = names.last_mut() {
            name.lines.push(line);
        }
        let is_moved = line == 0 && !is_topic && addresses.len() > 1;
        lines.push(LinePlan {
            moves_to: is_moved.then_some(1),
            address,
            visibility: rng.u64(1_000..10_000),
            backoff: 20,
            consumers: rng.u32(1..4),
            credit: *rng.choice(&[1, 3, 20, 200]).expect("some"),
        });
    }
    (names, lines)
}

fn delivery(line: &LinePlan) -> DeliverySettings {
    let defaults = QueueSettings::parse(None).expect("defaults are valid");
    DeliverySettings {
        visibility_timeout_ms: line.visibility,
        max_attempts: ATTEMPTS_MAX,
        backoff_ms: vec![line.backoff],
        ..defaults.delivery
    }
}

fn number(own: usize) -> u32 {
    u32::try_from(own).expect("few clients")
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("seed", &self.seed)
            .field("length_ms", &self.length_ms)
            .field("fault_every_ms", &self.fault_every_ms)
            .field("names", &self.names)
            .field("lines", &self.lines)
            .field("pause_us", &self.pause_us)
            .field("speed", &self.speed)
            .field("lie", &self.lie)
            .field("settings", &self.setup.settings)
            .field("pace", &self.setup.pace)
            .finish_non_exhaustive()
    }
}
