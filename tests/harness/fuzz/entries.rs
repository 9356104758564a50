//! The bytes of the journal, behind their checksums: a record's header, and an entry.

use bytes::Bytes;
use siding_broker::engine::command::{Command, Entry};
use siding_broker::storage::record::{self, Checksums, HEADER_BYTES};

use super::Trial;

const POSITION: u64 = 4096;

/// A header that passes is what is written for it, to the bit. An entry that decodes is written as it
/// was read. Neither panics, although both are trusted behind their checksum.
pub(super) fn judge(input: &[u8], trial: &Trial) {
    judge_header(input);
    let Ok((mut entry, runs_start)) = Entry::decode(Bytes::copy_from_slice(input)) else {
        return;
    };
    let runs: usize = entry.runs.iter().map(Bytes::len).sum();
    assert_eq!(
        runs_start + runs,
        input.len(),
        "every byte belongs somewhere"
    );
    let before = entry.clone();
    if trial.planted {
        entry.commands.iter_mut().for_each(lose_delay);
    }
    let mut written = Vec::new();
    entry.encode_head(&mut written);
    for run in &entry.runs {
        written.extend_from_slice(run);
    }
    let (again, _) = Entry::decode(written.into()).expect("just written");
    assert_eq!(again, before);
}

fn judge_header(input: &[u8]) {
    let Some((mut sealed, rest)) = input
        .first_chunk::<HEADER_BYTES>()
        .map(|head| (*head, input))
    else {
        return;
    };
    let checksums = Checksums::new(7);
    let (crc, covered) = sealed.split_at_mut(4);
    let sum = checksums.of([&POSITION.to_le_bytes()[..], covered]);
    crc.copy_from_slice(&sum.to_le_bytes());
    let Some(header) = record::parse(&sealed, &checksums, POSITION) else {
        return;
    };
    assert_eq!(record::encode(&header, &checksums, POSITION), sealed);
    assert!(header.record_bytes() >= u64::from(header.payload_bytes));
    if let Some(payload) = record::payload(&header, rest, &checksums) {
        assert_eq!(payload.len(), header.payload_bytes as usize);
    }
}

/// Planted.
fn lose_delay(command: &mut Command) {
    if let Command::Settle(settle) = command {
        settle.delay_ms = settle.delay_ms.filter(|delay_ms| *delay_ms > 0);
    }
}
