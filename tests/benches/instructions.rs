//! Instructions that 64 batches take in the bare engine, on the wire and in the journal, counted by valgrind:
//! `cargo bench -p siding-benches --bench instructions`, with valgrind and `gungraun-runner` installed.
//!
//! `instructions.txt` keeps what was counted before, and `siding-lab guard` compares.

#![expect(
    missing_docs,
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the macros of gungraun make the main function"
)]

use bytes::{Bytes, BytesMut};
use gungraun::prelude::*;
use siding_benches::{Rig, plain_run};
use siding_broker::storage::Kind;
use siding_broker::storage::record::{self, Checksums, HEADER_BYTES, Header};
use siding_protocol::request::Request;
use siding_protocol::run::{RunLimits, ScannedRun};
use siding_protocol::{frame, wire};

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

fn frames(count: u32) -> Vec<Bytes> {
    let frame = |sequence| {
        let publish = wire::Publish {
            name: "jobs".into(),
            producer: 1,
            sequence,
            run: plain_run(count).bytes,
            ..wire::Publish::default()
        };
        let mut out = BytesMut::new();
        frame::encode(sequence, wire::frame::Kind::Publish(publish), &mut out);
        frame::split(&mut out, usize::MAX)
            .expect("a frame")
            .expect("whole")
    };
    (1..=u64::from(BATCHES)).map(frame).collect()
}

#[library_benchmark]
#[bench::one(args = (1), setup = frames)]
#[bench::many(args = (256), setup = frames)]
fn decode(frames: Vec<Bytes>) -> Vec<Request> {
    let request = |payload| {
        let frame = frame::decode(payload, frame::Sender::Client).expect("a frame");
        let kind = frame.kind.expect("a known kind");
        Request::parse(kind, RunLimits::default()).expect("within the limits")
    };
    frames.into_iter().map(request).collect()
}

fn entries(count: u32) -> Vec<Bytes> {
    (0..BATCHES).map(|_| plain_run(count).bytes).collect()
}

#[library_benchmark]
#[bench::one(args = (1), setup = entries)]
#[bench::many(args = (256), setup = entries)]
fn encode(payloads: Vec<Bytes>) -> Vec<[u8; HEADER_BYTES]> {
    let checksums = Checksums::new(1);
    let header = |(index, payload): (u64, Bytes)| {
        let header = Header {
            kind: Kind::Entry,
            shard: 0,
            index,
            term: 1,
            node: 1,
            group: index,
            synced: 4096,
            before: 0,
            payload_bytes: u32::try_from(payload.len()).expect("small"),
            payload_crc: checksums.of([payload.as_ref()]),
            head_bytes: 0,
            head_crc: 0,
        };
        record::encode(&header, &checksums, 4096)
    };
    (1..).zip(payloads).map(header).collect()
}

library_benchmark_group!(name = engine, benchmarks = [publish, deliver, settle]);
library_benchmark_group!(name = frame_of_a_publish, benchmarks = [decode]);
library_benchmark_group!(name = record_of_an_entry, benchmarks = [encode]);
main!(library_benchmark_groups = [engine, frame_of_a_publish, record_of_an_entry]);
