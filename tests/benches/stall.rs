//! How long a checkpoint holds up publishing: `cargo run --release -p siding-benches --bin stall`.
//!
//! One publisher asks, waits for its confirm and asks again, while checkpoints come and go. Of each
//! checkpoint and of the pause before it the longest publish counts; medians and worst ones are printed,
//! and what the same shard takes to gather its state, which is what a checkpoint must not do on the thread
//! that serves. `stall delayed` does so for that state alone,
//! `stall cpu` says instead what publishing costs with checkpoints and without.

#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use siding_benches::{Desk, plain, recover, run_like};
use siding_protocol::run::{MessageFields, ScannedRun};
use siding_protocol::types::Name;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::time::Instant;

/// Far more than a run writes: no checkpoint.
const NEVER: u64 = 1 << 50;
/// Journal between two checkpoints while publishes are timed: more than is written during one, or the next
/// begins in the turn in which the last one ends, and there is no pause to compare with.
const EVERY_BYTES: u64 = 4 << 20;
const CHECKPOINTS: usize = 9;
/// Publishes on their way while a queue is filled.
const WINDOW: u64 = 512;
const DAY_MS: u64 = 86_400_000;

/// A state: how many publishes fill it, and the run of each.
struct Kind {
    name: &'static str,
    publishes: u64,
    run: fn(u64) -> ScannedRun,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "hardly anything",
        publishes: 1,
        run: |_| run_like(std::iter::once(plain())),
    },
    Kind {
        name: "1,000,000 delayed messages, due in any order",
        publishes: 1_000,
        run: |at| {
            run_like((at * 1_000..(at + 1) * 1_000).map(|at| MessageFields {
                delay_ms: DAY_MS + scatter(at),
                body: b"later",
                ..MessageFields::default()
            }))
        },
    },
    Kind {
        name: "400,000 pieces of two queues in the journal",
        publishes: 400_000,
        run: |_| {
            run_like(std::iter::once(MessageFields {
                body: &[b'x'; 1_000],
                ..MessageFields::default()
            }))
        },
    },
];

/// All numbers below 2^20, in an order that looks like none.
const fn scatter(at: u64) -> u64 {
    at.wrapping_mul(0x9e37_79b9) & ((1 << 20) - 1)
}

fn names() -> [Name; 2] {
    ["jobs", "more"].map(|name| name.parse().expect("a valid name"))
}

fn main() {
    let directory = env::temp_dir().join(format!("siding-stall-{}", std::process::id()));
    if env::args().nth(1).is_some_and(|it| it == "cpu") {
        for _ in 0..3 {
            for checkpoint_bytes in [NEVER, 256 << 20] {
                in_directory(&directory, || cpu(&directory, checkpoint_bytes));
            }
        }
    } else {
        let wanted = env::args().nth(1);
        let is_wanted = |kind: &&Kind| wanted.as_ref().is_none_or(|it| kind.name.contains(it));
        for kind in KINDS.iter().filter(is_wanted) {
            in_directory(&directory, || stall(kind, &directory));
        }
    }
}

fn in_directory(directory: &Path, work: impl FnOnce()) {
    fs::create_dir_all(directory).expect("a directory");
    work();
    fs::remove_dir_all(directory).expect("it goes");
}

fn runtime() -> LocalRuntime {
    let mut builder = Builder::new_current_thread();
    let built = builder.enable_all().build_local(LocalOptions::default());
    built.expect("a runtime")
}

fn stall(kind: &Kind, directory: &Path) {
    println!("{}:", kind.name);
    runtime().block_on(fill(kind, directory));
    gather(directory);
    runtime().block_on(publish_beside(kind.publishes, directory));
}

/// Publishes to the queues by turns: two runs of one queue never lie back to back.
async fn fill(kind: &Kind, directory: &Path) {
    let names = names();
    let mut desk = Desk::start(recover(directory), NEVER);
    desk.prepare(&names).await;
    for (sequence, name) in (0..kind.publishes).zip(names.iter().cycle()) {
        desk.publish(name, sequence + 1, (kind.run)(sequence));
        desk.answered(WINDOW).await;
    }
    desk.answered(0).await;
    desk.finish().await;
}

/// What it takes to gather a shard's state, and to say what is to be moved: whoever writes a snapshot does it.
fn gather(directory: &Path) {
    let recovery = recover(directory);
    let started = Instant::now();
    let engine = recovery.core.snapshot();
    let of_engine = started.elapsed();
    let (started, mut index) = (Instant::now(), Vec::new());
    recovery.bodies.export(&mut index);
    let of_bodies = started.elapsed();
    let files = recovery.writer.files();
    let full = files.recyclable(&|_| u64::MAX).into_iter();
    let full: Vec<_> = full.map(|file| (file, files.bytes(file))).collect();
    let started = Instant::now();
    let plan = recovery.bodies.plan(&full);
    println!(
        "  gathering: {of_engine:.1?} for {} KiB of the engine, {of_bodies:.1?} for {} KiB of {} pieces; \
         choosing {} moves: {:.1?}",
        engine.len() >> 10,
        index.len() >> 10,
        recovery.bodies.pieces(),
        plan.pieces(),
        started.elapsed()
    );
}

async fn publish_beside(sequence: u64, directory: &Path) {
    let [name, _] = names();
    let mut desk = Desk::start(recover(directory), EVERY_BYTES);
    let (mut beside, mut between) = (Vec::new(), Vec::new());
    let mut longest = [Duration::ZERO; 2];
    let mut sequence = sequence;
    while beside.len() < CHECKPOINTS {
        let before = desk.is_checkpointing();
        let started = Instant::now();
        sequence += 1;
        desk.publish(&name, sequence, run_like(std::iter::once(plain())));
        desk.answered(0).await;
        let took = started.elapsed();
        let after = desk.is_checkpointing();
        let [quiet, busy] = &mut longest;
        if before || after {
            *busy = took.max(*busy);
        } else {
            *quiet = took.max(*quiet);
        }
        if before && !after {
            between.push(std::mem::take(quiet));
            beside.push(std::mem::take(busy));
        }
    }
    desk.finish().await;
    let (beside, between) = (Longest::of(beside), Longest::of(between));
    println!(
        "  longest publish of each: with a checkpoint median {:.1?}, worst {:.1?}; without median {:.1?}, \
         worst {:.1?}; ratio of medians {:.1}",
        beside.median,
        beside.worst,
        between.median,
        between.worst,
        beside.median.as_secs_f64() / between.median.as_secs_f64()
    );
}

struct Longest {
    median: Duration,
    worst: Duration,
}

impl Longest {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |index| all.get(index).copied().unwrap_or_default();
        Self {
            median: at(all.len() / 2),
            worst: at(all.len() - 1),
        }
    }
}

/// What a million of messages costs this process, all of it, from the request in memory on.
fn cpu(directory: &Path, checkpoint_bytes: u64) {
    // Ten million messages.
    const RUNS: u64 = 40_000;
    let run = siding_benches::plain_run(250);
    let [name, other] = names();
    let before = cpu_seconds();
    runtime().block_on(async {
        let mut desk = Desk::start(recover(directory), checkpoint_bytes);
        desk.prepare(&[name.clone(), other]).await;
        for sequence in 1..=RUNS {
            desk.publish(&name, sequence, run.clone());
            desk.answered(WINDOW).await;
        }
        desk.answered(0).await;
        desk.finish().await;
    });
    let each = (cpu_seconds() - before) / 10.0;
    let which = if checkpoint_bytes == NEVER {
        "without checkpoints"
    } else {
        "with one every 256 MiB"
    };
    println!("{each:.4} CPU-seconds per million messages of 100 bytes, {which}");
}

/// Of this process, user and system.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>() / 100.0
}
