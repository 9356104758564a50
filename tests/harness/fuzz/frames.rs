//! Bytes from a socket: frames.

use bytes::{Bytes, BytesMut};
use siding_protocol::frame::{AHEAD_BYTES_MAX, Outgoing, Sender, decode, encode, missing, split};
use siding_protocol::limits::{FRAME_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};
use siding_protocol::wire::frame::Kind;
use siding_protocol::wire::{self, operation};

use super::{Trial, growing, modest};

/// Whatever comes is taken apart without a panic; what is a frame is written as it was read; and memory
/// follows what came, not what it declares.
pub(super) fn judge(input: &[u8], trial: &Trial) {
    let mut arrived = BytesMut::from(input);
    assert!(missing(&arrived) <= AHEAD_BYTES_MAX, "reserved ahead");
    while let Ok(Some(payload)) = split(&mut arrived, FRAME_BYTES_MAX) {
        for sender in [Sender::Client, Sender::Broker] {
            let (frame, peak) = trial.measure(|| decode(payload.clone(), sender));
            if sender == Sender::Client {
                let most = most_bytes(&payload, frame.as_ref().ok());
                assert!(
                    peak <= most,
                    "{peak} bytes for {} on the wire",
                    payload.len()
                );
            }
            if let Ok(wire::Frame {
                correlation,
                kind: Some(kind),
            }) = frame
            {
                assert_written_as_read(correlation, &kind, trial);
            }
        }
    }
}

fn assert_written_as_read(correlation: u64, kind: &Kind, trial: &Trial) {
    let kept = if trial.planted {
        u32::MAX.into()
    } else {
        u64::MAX
    };
    let written = correlation & kept;
    let mut bytes = BytesMut::new();
    encode(written, kind.clone(), &mut bytes);
    if let Kind::Publish(publish) = kind {
        let mut outgoing = Outgoing::default();
        outgoing.publish(written, publish.clone());
        assert_eq!(
            outgoing.len_bytes(),
            bytes.len(),
            "two ways to write a publish"
        );
    }
    assert_eq!(missing(&bytes), 0, "what was written is whole");
    let payload = split(&mut bytes, usize::MAX).expect("short enough");
    let again = decode(payload.expect("whole"), Sender::Broker).expect("just written");
    let read = wire::Frame {
        correlation,
        kind: Some(kind.clone()),
    };
    assert_eq!(again, read);
}

/// A run costs nothing; a number of a list takes a byte on the wire and 8 in memory, an operation two
/// and a struct, but there are only so many.
fn most_bytes(payload: &Bytes, frame: Option<&wire::Frame>) -> usize {
    let runs = frame.and_then(|frame| frame.kind.as_ref()).map_or(0, runs);
    let head = payload.len().saturating_sub(runs);
    let operations = TRANSACTION_OPERATIONS_MAX.min(head / 2);
    modest(payload.len()) + growing::<u64>(head) + growing::<wire::Operation>(operations)
}

fn runs(kind: &Kind) -> usize {
    match kind {
        Kind::Publish(publish) => publish.run.len(),
        Kind::Transaction(transaction) => {
            let runs = transaction.operations.iter().map(|one| match &one.kind {
                Some(operation::Kind::Publish(publish)) => publish.run.len(),
                _ => 0,
            });
            runs.sum()
        }
        _ => 0,
    }
}
