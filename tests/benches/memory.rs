//! What waiting messages cost in memory, by kind, as the resident set grows:
//! `cargo run --release -p siding-benches --bin memory`. Fails past a budget.

#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::process::{Command, ExitCode};
use std::{env, fs};

use siding_benches::{Rig, plain, run_like};
use siding_protocol::run::MessageFields;
use siding_protocol::settings::{Order, QueueSettings};

const RUN: u64 = 1_000;
const PAGE_BYTES: u64 = 4_096;

/// A kind of messages: how many wait, and what one may cost.
struct Kind {
    name: &'static str,
    messages: u64,
    budget_bytes: u64,
    order: Order,
    /// The message at this place.
    message: fn(u64, &str) -> MessageFields<'_>,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "plain",
        messages: 5_000_000,
        budget_bytes: 1,
        order: Order::None,
        message: |_, _| plain(),
    },
    Kind {
        name: "delayed, due one after the other",
        messages: 1_000_000,
        budget_bytes: 100,
        order: Order::None,
        message: |at, _| MessageFields {
            delay_ms: 3_600_000 + at,
            ..plain()
        },
    },
    Kind {
        name: "delayed, due in any order",
        messages: 1_000_000,
        budget_bytes: 100,
        order: Order::None,
        message: |at, _| MessageFields {
            delay_ms: 3_600_000 + scatter(at),
            ..plain()
        },
    },
    Kind {
        name: "of any priority",
        messages: 1_000_000,
        budget_bytes: 100,
        order: Order::None,
        message: |at, _| MessageFields {
            priority: u32::try_from(scatter(at) % 10).ok(),
            ..plain()
        },
    },
    Kind {
        name: "that expire, each at its time",
        messages: 1_000_000,
        budget_bytes: 150,
        order: Order::None,
        message: |at, _| MessageFields {
            ttl_ms: 3_600_000 + scatter(at),
            ..plain()
        },
    },
    Kind {
        name: "behind others of 1,000 keys",
        messages: 1_000_000,
        budget_bytes: 40,
        order: Order::Key,
        message: |_, key| MessageFields { key, ..plain() },
    },
];

/// All numbers below 2^20, in an order that looks like none.
const fn scatter(at: u64) -> u64 {
    at.wrapping_mul(0x9e37_79b9) & ((1 << 20) - 1)
}

/// The resident set of this process.
fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1);
    pages
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * PAGE_BYTES
}

fn cost(kind: &Kind) -> u64 {
    let mut settings = QueueSettings::parse(None).expect("defaults are valid");
    settings.max_bytes = 1 << 40;
    settings.delivery.order = kind.order.into();
    let keys: Vec<_> = (0..RUN).map(|at| format!("user-{at}")).collect();
    let mut rig = Rig::with(settings);
    let before = resident_bytes();
    for first in (0..kind.messages).step_by(1_000) {
        let messages = (first..).zip(&keys);
        rig.publish(run_like(messages.map(|(at, key)| (kind.message)(at, key))));
    }
    let after = resident_bytes();
    let waiting: u64 = rig
        .state()
        .subscriptions
        .values()
        .map(|found| found.books(kind.messages))
        .map(|books| books.ready + books.delayed)
        .sum();
    assert_eq!(waiting, kind.messages, "all of them wait");
    after.saturating_sub(before)
}

/// Each kind in a process of its own, whose memory nobody used before.
fn main() -> ExitCode {
    if let Some(index) = env::args().nth(1) {
        let kind = index.parse().ok().and_then(|index: usize| KINDS.get(index));
        return kind.map_or(ExitCode::FAILURE, measure);
    }
    let program = env::current_exe().expect("this program");
    let mut within = true;
    for index in 0..KINDS.len() {
        let mut child = Command::new(&program);
        let status = child.arg(index.to_string()).status();
        within &= status.is_ok_and(|status| status.success());
    }
    ExitCode::from(u8::from(!within))
}

fn measure(kind: &Kind) -> ExitCode {
    let each = cost(kind).div_ceil(kind.messages);
    println!(
        "{:>9} {:36} {each:>4} bytes each (budget {})",
        kind.messages, kind.name, kind.budget_bytes
    );
    ExitCode::from(u8::from(each > kind.budget_bytes))
}
