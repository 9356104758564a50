//! Frames against prost, cut everywhere, and from hostile hands.

use bytes::{Buf, Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::limits::{
    FRAME_BYTES_BEFORE_WELCOME_MAX, FRAME_BYTES_MAX, REQUEST_HEAD_BYTES_MAX,
    TRANSACTION_OPERATIONS_MAX,
};
use crate::wire::frame::Kind;

fn read(outgoing: &mut Outgoing) -> wire::Frame {
    let mut bytes = BytesMut::from(&outgoing.copy_to_bytes(outgoing.remaining())[..]);
    let payload = split(&mut bytes, FRAME_BYTES_MAX)
        .expect("short")
        .expect("whole");
    assert!(bytes.is_empty(), "one frame");
    wire::Frame::decode(payload).expect("a frame")
}

fn publish(name: &str, run: Vec<u8>) -> wire::Publish {
    wire::Publish {
        name: name.into(),
        producer: 7,
        sequence: 300,
        level: wire::Level::Synced.into(),
        run: run.into(),
    }
}

fn encoded(correlation: u64, kind: Kind) -> BytesMut {
    let mut out = BytesMut::new();
    encode(correlation, kind, &mut out);
    out
}

fn request(kind: Kind) -> Result<wire::Frame, FrameError> {
    let mut bytes = encoded(9, kind);
    let payload = split(&mut bytes, FRAME_BYTES_MAX)?.expect("whole");
    decode(payload, Sender::Client)
}

#[test]
fn a_frame_is_whole_only_when_its_last_byte_came() {
    let kind = Kind::Publish(publish("jobs", vec![1; 300]));
    let whole = encoded(5, kind.clone());
    for at in 0..whole.len() {
        let mut part = BytesMut::from(&whole[..at]);
        assert_eq!(split(&mut part, FRAME_BYTES_MAX), Ok(None), "cut at {at}");
        assert_eq!(part.len(), at, "nothing taken");
        let wanted = if at < LENGTH_BYTES {
            LENGTH_BYTES
        } else {
            whole.len()
        };
        assert_eq!(missing(&part), wanted - at);
    }
    let mut two = BytesMut::from(&[&whole[..], &whole[..]].concat()[..]);
    for _ in 0..2 {
        assert_eq!(missing(&two), 0);
        let payload = split(&mut two, FRAME_BYTES_MAX)
            .expect("short")
            .expect("whole");
        let frame = decode(payload, Sender::Client).expect("a request");
        assert_eq!((frame.correlation, frame.kind), (5, Some(kind.clone())));
    }
    assert!(two.is_empty());
}

#[test]
fn a_declared_length_reserves_nothing_and_over_the_maximum_is_refused_at_once() {
    let mut hostile = BytesMut::from(&[0xFF; 4][..]);
    let capacity = hostile.capacity();
    assert_eq!(
        split(&mut hostile, FRAME_BYTES_BEFORE_WELCOME_MAX),
        Err(FrameError::TooLong {
            bytes: u32::MAX as usize,
            max: 4_096
        })
    );
    assert_eq!(hostile.capacity(), capacity);
    assert_eq!(missing(&[0xFF; 4]), AHEAD_BYTES_MAX);
    let mut longest = BytesMut::from(&[0, 0, 0x10, 0][..]);
    assert_eq!(split(&mut longest, 4_096), Ok(None));
}

#[test]
fn a_run_shares_the_memory_of_its_frame() {
    let mut bytes = encoded(1, Kind::Publish(publish("jobs", vec![1; 10_000])));
    let payload = split(&mut bytes, FRAME_BYTES_MAX)
        .expect("short")
        .expect("whole");
    let memory = payload.as_ptr_range();
    let frame = decode(payload, Sender::Client).expect("a request");
    let Some(Kind::Publish(publish)) = frame.kind else {
        unreachable!("a publish")
    };
    assert!(memory.contains(&publish.run.as_ptr()));
}

#[test]
fn a_request_of_many_tiny_elements_is_refused_before_it_is_decoded() {
    let operations = |count| {
        Kind::Transaction(wire::Transaction {
            operations: vec![wire::Operation::default(); count],
            ..Default::default()
        })
    };
    assert!(request(operations(TRANSACTION_OPERATIONS_MAX)).is_ok());
    let refused = |field, max: usize| {
        Err(FrameError::OutOfRange {
            correlation: 9,
            range: OutOfRange {
                field,
                min: 0,
                max: max as u64,
                too_large: true,
            },
        })
    };
    assert_eq!(
        request(operations(TRANSACTION_OPERATIONS_MAX + 1)),
        refused("operations", TRANSACTION_OPERATIONS_MAX)
    );
    let settle = |count| wire::Settle {
        ranges: vec![wire::OffsetRange::default(); count],
        ..Default::default()
    };
    let many = REQUEST_HEAD_BYTES_MAX / 2;
    assert!(request(Kind::Settle(settle(many - 10))).is_ok());
    let too_many = refused("request", REQUEST_HEAD_BYTES_MAX);
    assert_eq!(request(Kind::Settle(settle(many))), too_many);
    let within = wire::Operation {
        kind: Some(wire::operation::Kind::Settle(settle(many))),
    };
    let transaction = wire::Transaction {
        operations: vec![within],
        ..Default::default()
    };
    assert_eq!(request(Kind::Transaction(transaction)), too_many);
}

#[test]
fn runs_do_not_count_as_elements() {
    let run = vec![1; 4 << 20];
    assert!(request(Kind::Publish(publish("jobs", run.clone()))).is_ok());
    let operation = wire::Operation {
        kind: Some(wire::operation::Kind::Publish(publish("jobs", run))),
    };
    let transaction = wire::Transaction {
        operations: vec![operation.clone(), operation],
        ..Default::default()
    };
    assert!(request(Kind::Transaction(transaction)).is_ok());
}

#[test]
fn a_client_cannot_say_what_a_broker_says_but_both_answer_a_ping() {
    let done = Kind::Done(wire::Done {});
    assert_eq!(request(done), Err(FrameError::NotARequest { field: 66 }));
    assert!(request(Kind::Pong(wire::Pong {})).is_ok());
}

#[test]
fn small_frames_lie_in_one_buffer_and_large_runs_are_not_copied() {
    let mut outgoing = Outgoing::default();
    outgoing.frame(1, Kind::Done(wire::Done {}));
    outgoing.publish(2, publish("jobs", vec![1; COPIED_BYTES_MAX - 1]));
    let mut room = [std::io::IoSlice::new(&[]); 8];
    assert_eq!(outgoing.chunks_vectored(&mut room), 1);

    let large = Bytes::from(vec![1; COPIED_BYTES_MAX]);
    let parts = BatchParts {
        head: wire::Batch::default(),
        run: vec![large.clone()],
    };
    outgoing.deliver(Recipient::Consumer(1), None, &[parts]);
    outgoing.frame(3, Kind::Done(wire::Done {}));
    let mut room = [std::io::IoSlice::new(&[]); 8];
    assert_eq!(outgoing.chunks_vectored(&mut room), 3);
    assert_eq!(room[1].as_ptr(), large.as_ptr());
}

fn batch_strategy() -> impl Strategy<Value = BatchParts> {
    let slice = prop_oneof![
        0..10_usize,
        Just(COPIED_BYTES_MAX - 1),
        COPIED_BYTES_MAX..5_000
    ];
    let run = prop::collection::vec(slice, 0..4);
    let head = (any::<u64>(), any::<u32>(), prop::option::of(any::<u64>()));
    (head, run).prop_map(|((number, small, grant), run)| BatchParts {
        head: wire::Batch {
            log_id: number,
            first_offset: number >> (small % 64),
            count: small,
            published_at_ms: number,
            attempt: small % 3,
            grant: grant.map(|term| wire::Grant {
                term,
                counter: number,
            }),
            deadline_ms: number % 7,
            checkpoint: None,
            run: Bytes::new(),
        },
        run: run
            .into_iter()
            .map(|bytes| vec![0x0A; bytes].into())
            .collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_delivery_is_what_prost_writes(
        consumer in any::<u32>(),
        correlation in any::<u64>(),
        parts in prop::collection::vec(batch_strategy(), 0..4),
        gap in prop::option::of((any::<u32>(), 1..900_u64)),
    ) {
        let gap = gap.map(|(first, count)| u64::from(first)..u64::from(first) + count);
        let told = gap.clone().map(|gap| wire::OffsetRange {
            first: gap.start,
            count: gap.end - gap.start,
        });
        let batches: Vec<_> = parts.iter().map(|parts| wire::Batch {
            run: parts.run.concat().into(),
            ..parts.head.clone()
        }).collect();
        let deliver = Kind::Deliver(wire::Deliver { consumer, batches: batches.clone(), gap: told });
        let received = Kind::Received(wire::Received { batches, gap: told });
        for (to, correlation, kind) in [
            (Recipient::Consumer(consumer), 0, deliver),
            (Recipient::Receive(correlation), correlation, received),
        ] {
            let mut outgoing = Outgoing::default();
            outgoing.deliver(to, gap.as_ref(), &parts);
            let expected = encoded(correlation, kind.clone());
            prop_assert_eq!(outgoing.len_bytes(), expected.len());
            prop_assert_eq!(outgoing.copy_to_bytes(expected.len()), &expected[..]);
            outgoing.deliver(to, gap.as_ref(), &parts);
            prop_assert_eq!(read(&mut outgoing), wire::Frame { correlation, kind: Some(kind) });
        }
    }

    #[test]
    fn a_publish_is_what_prost_writes_however_it_is_consumed(
        name in "[a-z]{0,9}",
        correlation in any::<u64>(),
        bytes in prop_oneof![0..300_usize, 4_000..20_000_usize],
        steps in prop::collection::vec(1..5_000_usize, 1..20),
    ) {
        let publish = publish(&name, vec![7; bytes]);
        let expected = encoded(correlation, Kind::Publish(publish.clone()));
        let mut outgoing = Outgoing::default();
        outgoing.publish(correlation, publish);
        let mut written = Vec::new();
        for step in steps.into_iter().cycle() {
            let chunk = outgoing.chunk();
            let step = step.min(chunk.len());
            written.extend_from_slice(&chunk[..step]);
            outgoing.advance(step);
            if outgoing.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&written[..], &expected[..]);
    }

    #[test]
    fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = BytesMut::from(&garbage[..]);
        prop_assert!(missing(&bytes) <= AHEAD_BYTES_MAX);
        drop(split(&mut bytes, FRAME_BYTES_MAX));
        for sender in [Sender::Client, Sender::Broker] {
            drop(decode(Bytes::copy_from_slice(&garbage), sender));
        }
    }
}
