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
use siding_protocol::settings::{DeliverySettings, QueueSettings};
use siding_protocol::types::{Address, Name};

use super::client::Client;
use super::consumer::Consumer;
use super::disk::{Lie, Speed};
use super::node::Setup;
use super::operator::Operator;
use super::publisher::Publisher;
use crate::accounting::Ms;

/// Messages come back many times in a bad run: none of them is to end as a dead letter.
const ATTEMPTS_MAX: u32 = 1_000;

/// A subscription, as its clients see it.
#[derive(Clone, Debug)]
pub struct LinePlan {
    /// Where it is.
    pub address: Address,
    /// Its leases last so long.
    pub visibility: Ms,
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
    /// Subscriptions.
    pub lines: Vec<LinePlan>,
    /// Publishers of each queue.
    pub publishers: u32,
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
        let lines = vec![LinePlan {
            address: "load".parse().expect("an address"),
            visibility: rng.u64(1_000..10_000),
            consumers: rng.u32(1..4),
            credit: *rng.choice(&[1, 3, 20, 200]).expect("some"),
        }];
        let sync_us = *rng.choice(&[60, 150, 2_000]).expect("some");
        let length_ms = rng.u64(60_000..900_000);
        let runs = *rng.choice(&[30, 100, 300]).expect("some");
        Self {
            seed,
            length_ms,
            fault_every_ms: *rng.choice(&[2_000, 10_000, 30_000]).expect("some"),
            lines,
            publishers: rng.u32(1..4),
            pause_us: length_ms * 1_000 / runs,
            speed: Speed {
                sync_us,
                slow_us: rng.u64(1..200) * 1_000,
            },
            lie: Lie::None,
            setup: Setup {
                settings: Settings {
                    journal_file_bytes: rng.u64(4..10) * (64 << 10),
                    filling: Filling::Inline,
                    budgets: Budgets {
                        tail_bytes: rng.u64(0..3) * 10_000,
                        read_bytes: rng.u64(0..3) * 10_000,
                    },
                },
                pace: Pace {
                    checkpoint_bytes: *rng.choice(&[8 << 10, 64 << 10, 1 << 20]).expect("some"),
                    flush_ms: 50,
                },
                prepare: Rc::new(|_| {}),
            },
        }
    }

    /// Everybody who talks to the broker; the operator first.
    pub(super) fn clients(&self) -> Vec<Client> {
        let mut clients = vec![Client::Operator(self.operator())];
        for (line, plan) in self.lines.iter().enumerate() {
            let name: Name = plan.address.name.clone();
            for _ in 0..self.publishers {
                let (own, number) = (clients.len(), number(clients.len()));
                let target = (name.clone(), vec![line]);
                let publisher = Publisher::new(own, number, target, self.pause_us);
                clients.push(Client::Publisher(publisher));
            }
            for _ in 0..plan.consumers {
                let (own, number) = (clients.len(), number(clients.len()));
                let at = (plan.address.clone(), line);
                let consumer = Consumer::new(own, number, at, (plan.visibility, plan.credit));
                clients.push(Client::Consumer(consumer));
            }
        }
        clients
    }

    fn operator(&self) -> Operator {
        let queues = self.lines.iter().map(|line| {
            let defaults = QueueSettings::parse(None).expect("defaults are valid");
            let delivery = DeliverySettings {
                visibility_timeout_ms: line.visibility,
                max_attempts: ATTEMPTS_MAX,
                backoff_ms: vec![20],
                ..defaults.delivery.clone()
            };
            Request::CreateQueue {
                name: line.address.name.clone(),
                settings: Box::new(QueueSettings {
                    delivery,
                    ..defaults
                }),
            }
        });
        let addresses = self.lines.iter().map(|line| line.address.clone());
        Operator::new(0, queues.collect::<VecDeque<_>>(), addresses.collect())
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
            .field("lines", &self.lines)
            .field("publishers", &self.publishers)
            .field("pause_us", &self.pause_us)
            .field("speed", &self.speed)
            .field("lie", &self.lie)
            .field("settings", &self.setup.settings)
            .field("pace", &self.setup.pace)
            .finish_non_exhaustive()
    }
}
