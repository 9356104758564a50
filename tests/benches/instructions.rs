//! Instructions that the bare engine takes for 64 batches, counted by valgrind:
//! `cargo bench -p siding-benches --bench instructions`, with valgrind and `gungraun-runner` installed.
//!
//! `instructions.txt` keeps what was counted before.

#![expect(
    missing_docs,
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the macros of gungraun make the main function"
)]

use gungraun::prelude::*;
use siding_benches::{Rig, plain_run};
use siding_protocol::run::ScannedRun;

const BATCHES: u32 = 64;
/// Before what is counted, so that no buffer grows for the first time.
const WARM: u32 = 64;

fn publishing(count: u32) -> (Rig, Vec<ScannedRun>) {
    let mut rig = Rig::new();
    for _ in 0..WARM {
        rig.publish(plain_run(count));
        rig.receive(count);
        rig.ack();
    }
    (rig, (0..BATCHES).map(|_| plain_run(count)).collect())
}

fn delivering(count: u32) -> (Rig, u32) {
    let (mut rig, runs) = publishing(count);
    for run in runs {
        rig.publish(run);
    }
    (rig, count)
}

fn settling(count: u32) -> Rig {
    let (mut rig, count) = delivering(count);
    for _ in 0..BATCHES {
        rig.receive(count);
    }
    rig
}

#[library_benchmark]
#[bench::one(args = (1), setup = publishing)]
#[bench::many(args = (256), setup = publishing)]
fn publish((mut rig, runs): (Rig, Vec<ScannedRun>)) -> Rig {
    for run in runs {
        rig.publish(run);
    }
    rig
}

#[library_benchmark]
#[bench::one(args = (1), setup = delivering)]
#[bench::many(args = (256), setup = delivering)]
fn deliver((mut rig, count): (Rig, u32)) -> Rig {
    for _ in 0..BATCHES {
        rig.receive(count);
    }
    rig
}

#[library_benchmark]
#[bench::one(args = (1), setup = settling)]
#[bench::many(args = (256), setup = settling)]
fn settle(mut rig: Rig) -> Rig {
    while rig.ack() {}
    rig
}

library_benchmark_group!(name = engine, benchmarks = [publish, deliver, settle]);
main!(library_benchmark_groups = engine);
