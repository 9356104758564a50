//! What a publish costs the bare engine by kind of message, one at a time and 256 at once:
//! `cargo bench -p siding-benches --bench publishes`. No kind may cost more than three times a plain one.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use siding_benches::{Rig, plain, run_like};
use siding_protocol::run::{MessageFields, ScannedRun};
use siding_protocol::settings::{Order, QueueSettings};

const BATCHES: usize = 64;

/// Name, whether by key, and the message at a place with its own words.
type Kind = (&'static str, Order, fn(u64, &str) -> MessageFields<'_>);

const KINDS: [Kind; 6] = [
    ("plain", Order::None, |_, _| plain()),
    ("priority", Order::None, |at, _| MessageFields {
        priority: u32::try_from(at % 10).ok(),
        ..plain()
    }),
    ("key", Order::Key, |_, key| MessageFields { key, ..plain() }),
    ("delay", Order::None, |at, _| MessageFields {
        delay_ms: 3_600_000 + at * 7 % 1_000,
        ..plain()
    }),
    ("ttl", Order::None, |at, _| MessageFields {
        ttl_ms: 3_600_000 + at * 7 % 1_000,
        ..plain()
    }),
    ("dedup", Order::None, |_, dedup_id| MessageFields {
        dedup_id,
        ..plain()
    }),
];

fn runs(kind: &Kind, count: usize, round: usize) -> Vec<ScannedRun> {
    let words: Vec<_> = (0..BATCHES * count)
        .map(|at| format!("{round}-{at}"))
        .collect();
    let places: Vec<_> = (0_u64..).zip(&words).collect();
    let runs = places.chunks(count).map(|run| {
        let messages = run.iter().map(|(at, words)| (kind.2)(*at, words));
        run_like(messages)
    });
    runs.collect()
}

fn publishes(criterion: &mut Criterion) {
    for count in [1, 256] {
        let mut group = criterion.benchmark_group(format!("publish {count}"));
        group.throughput(Throughput::Elements((BATCHES * count) as u64));
        for kind in &KINDS {
            let mut settings = QueueSettings::parse(None).expect("defaults are valid");
            settings.delivery.order = kind.1.into();
            let mut round = 0;
            group.bench_function(kind.0, |bencher| {
                let setup = || {
                    round += 1;
                    (Rig::with(settings.clone()), runs(kind, count, round))
                };
                let publish = |(mut rig, runs): (Rig, Vec<ScannedRun>)| {
                    for run in runs {
                        rig.publish(run);
                    }
                    rig
                };
                bencher.iter_batched(setup, publish, BatchSize::LargeInput);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, publishes);
criterion_main!(benches);
