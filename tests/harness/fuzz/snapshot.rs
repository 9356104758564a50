//! A snapshot: its sections behind their checksums, and the file around them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use siding_broker::engine::Engine;
use siding_broker::storage::bodies::{Bodies, Budgets};
use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::{Section, Snapshot, Snapshots, StorageError};

use super::Trial;

/// The largest struct of a section's many, for the two bytes of an empty one.
const GROWTH: usize = 1_024;
const SLACK_BYTES: usize = 1 << 20;
const DIRECTORY: &str = "/d/shard-0";
/// Of what the file around a section is tried with.
const SECTION_BYTES_MAX: usize = 8 << 10;

/// A section that is accepted is written as it was read; no number in it is taken for a size. A file
/// gives back its sections, and with any bit flipped it is refused.
pub(super) fn judge(input: &[u8], trial: &Trial) {
    let most = GROWTH * input.len() + SLACK_BYTES;
    let (engine, peak) = trial.measure(|| Engine::restore(input));
    assert!(
        peak <= most,
        "{peak} bytes for an engine of {}",
        input.len()
    );
    if let Ok(engine) = engine {
        let once = durable(&engine);
        let again = Engine::restore(&once).expect("a snapshot just written");
        assert_eq!(durable(&again), once);
        if trial.planted {
            rate(&engine);
        }
    }
    let (bodies, peak) = trial.measure(|| Bodies::import(input, Budgets::default()));
    assert!(peak <= most, "{peak} bytes for an index of {}", input.len());
    if let Ok(bodies) = bodies {
        let once = exported(&bodies);
        let again = Bodies::import(&once, Budgets::default()).expect("an index just written");
        assert_eq!(exported(&again), once);
    }
    judge_file(input);
}

fn durable(engine: &Engine) -> BytesMut {
    let mut bytes = BytesMut::new();
    engine.snapshot(&mut bytes);
    bytes
}

fn exported(bodies: &Bodies) -> Vec<u8> {
    let mut bytes = Vec::new();
    bodies.export(&mut bytes);
    bytes
}

fn judge_file(input: &[u8]) {
    let Some((seed, data)) = input
        .split_first()
        .filter(|_| input.len() <= SECTION_BYTES_MAX)
    else {
        return;
    };
    let disk = MemoryFs::new(1);
    let snapshots = Snapshots::new(Arc::new(disk.clone()), PathBuf::from(DIRECTORY));
    let snapshot = Snapshot {
        index: u64::from(*seed) + 1,
        term: 3,
        node: 7,
        sections: vec![Section {
            name: "engine".into(),
            data: Bytes::copy_from_slice(data),
        }],
    };
    snapshots.write(&snapshot).expect("a sound disk");
    let read = snapshots.latest().expect("just written");
    assert_eq!(read.as_ref(), Some(&snapshot));
    let path = Path::new(DIRECTORY).join(format!("snapshot-{:020}", snapshot.index));
    let file = disk.contents(&path).expect("it has its name");
    // Another place and bit for every input.
    let place = data.iter().fold(usize::from(*seed), |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    let at = place % file.len();
    let flipped = file.get(at).map_or(0, |byte| byte ^ (1 << (place % 8)));
    disk.damage(&path, at as u64, &[flipped]);
    let refused = snapshots.latest();
    let is_named = matches!(
        refused,
        Err(StorageError::Damaged { .. } | StorageError::Format { .. })
    );
    assert!(is_named, "byte {at} changed: {refused:?}");
}

/// Planted: how long it took to fill each extent.
fn rate(engine: &Engine) {
    let logs = engine.state().logs.values();
    for extent in logs.flat_map(|log| &log.extents) {
        let took = extent.last_at.0.checked_sub(extent.first_at.0);
        assert!(took.is_some(), "planted: filled in less than no time");
    }
}
