//! What clients may touch of the world: its time, its chances, the network, and what is written down.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use siding_broker::ManualTime;
use siding_broker::engine::effect::{Origin, SessionId};
use siding_broker::shard::core::Input;
use siding_protocol::request::Request;
use siding_protocol::types::Timestamp;

use super::client::Task;
use super::disk::Clocks;
use super::ledger::Ledger;
use super::mailbox::Word;
use super::net::Net;
use crate::accounting::{Event, Ms};

/// The world begins here: Unix ms.
pub(super) const EPOCH_MS: u64 = 1_800_000_000_000;
/// A message is on its way for so long, us.
pub(super) const WAY_US: std::ops::Range<u64> = 50..2_000;

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
    /// Whoever filled the disk gives the room back.
    Room,
    /// A broker is started.
    Start,
}

#[derive(Debug)]
pub(super) struct Happening {
    pub(super) at_us: u64,
    pub(super) order: u64,
    pub(super) what: What,
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
    pub(super) clocks: Clocks,
    pub(super) rng: Rng,
    pub(super) net: Net,
    pub(super) happenings: BinaryHeap<Reverse<Happening>>,
    order: u64,
    correlation: u64,
    pub(super) broker_ahead: i64,
    /// What was seen.
    pub ledger: Ledger,
    /// Nothing goes wrong any more, and everything is to be drained.
    pub is_closing: bool,
    /// A publish may have been refused for want of room, and nobody heard.
    pub may_have_refused: bool,
    /// Something was published since.
    pub has_resumed: bool,
    /// Messages confirmed.
    pub messages: u64,
    /// What no client should see.
    pub(super) surprises: Vec<String>,
}

impl Context {
    pub(super) fn new(seed: u64, lines: usize, rng: Rng) -> Self {
        Self {
            clocks: Clocks {
                world: ManualTime::new(Timestamp(EPOCH_MS)),
                broker: ManualTime::new(Timestamp(EPOCH_MS)),
            },
            ledger: Ledger::new(seed, lines),
            rng,
            net: Net::default(),
            happenings: BinaryHeap::new(),
            order: 0,
            correlation: 0,
            broker_ahead: 0,
            is_closing: false,
            may_have_refused: false,
            has_resumed: false,
            messages: 0,
            surprises: Vec::new(),
        }
    }

    /// The world's time, us.
    pub(super) fn now_us(&self) -> u64 {
        self.clocks.world.now_us()
    }

    /// The time.
    pub fn now(&self) -> Now {
        Now {
            ms: self.now_us() / 1_000,
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
        let session = self.net.connect(client, self.now_us());
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
        let at_us = self.net.to_broker(session, self.now_us() + way_us);
        self.happens_at(at_us, What::ToBroker(session, input));
    }

    /// A connection breaks: what is on its way may arrive, or not; the broker hears of it, and the
    /// client does. Whose it was.
    pub(super) fn cut(&mut self, session: SessionId) -> Option<usize> {
        let now_us = self.now_us();
        let (ends_in, lost_in) = (self.rng.u64(0..4_000), self.rng.u64(0..4_000));
        let link = self.net.link(session)?;
        link.ends_us = Some(now_us + ends_in);
        let client = link.client;
        let closed = Input::Closed { session };
        self.happens_in(ends_in, What::ToBroker(session, closed));
        self.happens_in(lost_in, What::Lost(session));
        Some(client)
    }

    /// The broker is gone: clients see it soon. What was on its way to them never arrives if it went
    /// at once.
    pub(super) fn cut_all(&mut self, at_once: bool) {
        for session in self.net.open() {
            let now_us = self.now_us();
            let in_us = self.rng.u64(WAY_US.end..2 * WAY_US.end);
            if let Some(link) = self.net.link(session) {
                // What had not arrived never does.
                link.ends_us = Some(link.ends_us.unwrap_or(now_us).min(now_us));
                link.is_deaf = at_once;
            }
            self.happens_in(in_us, What::Lost(session));
        }
    }

    /// A connection takes nothing until so much has passed.
    pub(super) fn pause(&mut self, session: SessionId, us: u64) {
        for (in_us, paused) in [(0, true), (us, false)] {
            let input = Input::Paused { session, paused };
            self.happens_in(in_us, What::ToBroker(session, input));
        }
    }

    /// Something that no client should see.
    pub fn astonished(&mut self, words: String) {
        self.surprises.push(words);
    }

    pub(super) fn happens_in(&mut self, in_us: u64, what: What) {
        let at_us = self.now_us() + in_us;
        self.happens_at(at_us, what);
    }

    pub(super) fn happens_at(&mut self, at_us: u64, what: What) {
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
