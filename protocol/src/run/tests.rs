//! What the scan refuses and names, case by case.

use bytes::Bytes;
use prost::Message as _;

use super::*;
use crate::error_code::ErrorCode;
use crate::limits::{PRIORITY_DEFAULT, RUN_MESSAGES_MAX};
use crate::wire;

pub(super) const LIMITS: RunLimits = RunLimits {
    body_bytes_max: 1 << 20,
};

/// One message of a run, from its fields' bytes.
pub(super) fn run_of(fields: &[u8]) -> Vec<u8> {
    let mut run = vec![FIELD_1];
    prost::encoding::encode_varint(fields.len() as u64, &mut run);
    run.extend_from_slice(fields);
    run
}

pub(super) fn judge(run: &[u8]) -> Result<ScannedRun, ScanError> {
    scan(Bytes::copy_from_slice(run), LIMITS)
}

fn reason(fields: &[u8]) -> Option<ScanReason> {
    judge(&run_of(fields)).err().map(|error| error.reason)
}

fn range(fields: &[u8]) -> Option<(&'static str, u64, u64)> {
    let error = judge(&run_of(fields)).err()?;
    error.out_of_range().map(|r| (r.field, r.min, r.max))
}

fn plain(bodies: &[&[u8]]) -> Vec<u8> {
    let message = bodies
        .iter()
        .map(|body| wire::Message {
            body: Bytes::copy_from_slice(body),
            ..Default::default()
        })
        .collect();
    wire::Run { message }.encode_to_vec()
}

#[test]
fn plain_messages_of_every_length_pass_and_are_not_special() {
    let bytes = vec![7_u8; 70_000];
    let lengths = (0..300).chain(16_370..16_400).chain([69_999]);
    for length in lengths {
        let run = plain(&[&bytes[..length], b"next"]);
        let scanned = judge(&run).expect("valid");
        assert_eq!(scanned.count, 2, "{length}");
        assert!(scanned.specials.is_empty(), "{length}");
        let bodies: Vec<_> = messages(&run).map(|m| m.body().len()).collect();
        assert_eq!(bodies, [length, 4]);
        assert_eq!(skip(&run, 2), Some(run.len()));
        assert_eq!(skip(&run, 3), None);
        for cut in [1, 3, run.len() - 1] {
            assert!(judge(&run[..cut]).is_err(), "{length} cut at {cut}");
        }
    }
}

#[test]
fn pieces_are_cut_at_an_extents_messages_and_bytes() {
    let pieces = |bodies: &[&[u8]]| judge(&plain(bodies)).expect("valid").pieces;
    let piece = |count, bytes| Piece { count, bytes };
    assert_eq!(
        pieces(&vec![b"1".as_slice(); 2_500]),
        [piece(1_024, 5_120), piece(1_024, 5_120), piece(452, 2_260)]
    );
    let large = vec![0; 100_000];
    let half = vec![0; 30_000];
    assert_eq!(
        pieces(&[b"1", &large, &half, &half, &half]),
        [
            piece(1, 5),
            piece(1, 100_008),
            piece(2, 60_016),
            piece(1, 30_008)
        ]
    );
}

#[test]
fn a_run_holds_1_to_65_536_messages_and_nothing_else() {
    assert_eq!(
        judge(&[])
            .expect_err("empty")
            .out_of_range()
            .map(|r| r.field),
        Some("run")
    );
    let most = vec![b"".as_slice(); RUN_MESSAGES_MAX as usize];
    assert_eq!(judge(&plain(&most)).map(|s| s.count), Ok(RUN_MESSAGES_MAX));
    let more = judge(&plain(&[&most[..], &[b""]].concat())).expect_err("one too many");
    assert_eq!(more.message, RUN_MESSAGES_MAX);
    assert_eq!(
        more.out_of_range().map(|r| (r.field, r.max)),
        Some(("message", 65_536))
    );
    let stray = judge(&[0x0A, 0x00, 0x12, 0x00]).expect_err("field 2 in the run");
    assert_eq!(
        (stray.message, stray.position, stray.reason),
        (1, 2, ScanReason::RunTag)
    );
}

#[test]
fn each_field_keeps_its_wire_type_its_number_and_its_one_place() {
    use ScanReason::{Cut, FieldNumber, Repeated, UnknownField, Varint, WireType};
    let cases: &[(&[u8], ScanReason)] = &[
        (&[0x08, 0x01], WireType { field: 1 }),
        (&[0x0A, 0x00, 0x0A, 0x00], Repeated { field: 1 }),
        (&[0x28, 0x01, 0x28, 0x01], Repeated { field: 5 }),
        (&[0x2A, 0x01, 0x00], WireType { field: 5 }),
        (&[0x20, 0x01], WireType { field: 4 }),
        (&[0x50, 0x01], UnknownField { field: 10 }),
        (&[0xF8, 0x03, 0x01], UnknownField { field: 63 }),
        (&[0x00, 0x01], FieldNumber),
        (&[0x0B, 0x0C], WireType { field: 1 }),
        (&[0x83, 0x04, 0x84, 0x04], WireType { field: 64 }),
        (&[0x8A, 0x00, 0x00], Varint),
        (&[0x0A, 0x80, 0x00], Varint),
        (&[0x28, 0x81, 0x00], Varint),
        (&[0x0A, 0x05, 0x00], Cut),
        (&[0x81, 0x04, 0, 0, 0], Cut),
        (&[0x22, 0x02, 0x08, 0x01], WireType { field: 1 }),
        (&[0x22, 0x02, 0x18, 0x01], UnknownField { field: 3 }),
        (
            &[0x22, 0x06, 0x0A, 1, b'a', 0x0A, 1, b'a'],
            Repeated { field: 1 },
        ),
        (
            &[0x22, 0x06, 0x0A, 1, b'a', 0x12, 1, 5],
            ScanReason::HeaderValue,
        ),
        (
            &[0x22, 0x07, 0x0A, 1, b'a', 0x12, 2, 4, 2],
            ScanReason::HeaderValue,
        ),
        (
            &[0x22, 0x07, 0x0A, 1, b'a', 0x12, 2, 2, 2],
            ScanReason::HeaderValue,
        ),
        (
            &[0x22, 0x07, 0x0A, 1, b'a', 0x12, 2, 1, 0xFF],
            ScanReason::HeaderValue,
        ),
        (&[0x12, 1, 0xFF], ScanReason::NotUtf8 { field: "key" }),
        (
            &[0x1A, 1, 0xFF],
            ScanReason::NotUtf8 {
                field: "routing_key",
            },
        ),
        (&[0x4A, 1, 0xFF], ScanReason::NotUtf8 { field: "dedup_id" }),
        (&[0x30, 1, 0x38, 1], ScanReason::DelayAndDeliverAt),
    ];
    for (fields, expected) in cases {
        assert_eq!(reason(fields), Some(*expected), "{fields:02x?}");
    }
    // Varint, fixed64, bytes, fixed32 of fields 64 and 2^29 - 1.
    for key in [64_u64 << 3, ((1 << 29) - 1) << 3] {
        let mut fields = Vec::new();
        for (wire_type, value) in [(0, &[1][..]), (1, &[1; 8]), (2, &[1, 1]), (5, &[1; 4])] {
            prost::encoding::encode_varint(key | wire_type, &mut fields);
            fields.extend_from_slice(value);
        }
        assert_eq!(reason(&fields), None, "carried");
    }
}

fn bytes(key: &[u8], length: usize) -> Vec<u8> {
    let mut fields = key.to_vec();
    prost::encoding::encode_varint(length as u64, &mut fields);
    fields.resize(fields.len() + length, b'x');
    fields
}

fn number(key: u8, value: u64) -> Vec<u8> {
    let mut fields = vec![key];
    prost::encoding::encode_varint(value, &mut fields);
    fields
}

fn header(name: usize, value: usize) -> Vec<u8> {
    let header = wire::Header {
        name: "n".repeat(name),
        value: vec![0; value].into(),
    };
    let mut fields = vec![0x22];
    header.encode_length_delimited(&mut fields).expect("room");
    fields
}

#[test]
fn a_broken_limit_is_told_with_field_and_range() {
    let years = crate::limits::DELAY_MS_MAX;
    for (within, beyond, told) in [
        (
            bytes(&[0x0A], 1 << 20),
            bytes(&[0x0A], (1 << 20) + 1),
            ("body", 0, 1 << 20),
        ),
        (bytes(&[0x12], 256), bytes(&[0x12], 257), ("key", 0, 256)),
        (
            bytes(&[0x1A], 256),
            bytes(&[0x1A], 257),
            ("routing_key", 0, 256),
        ),
        (
            bytes(&[0x4A], 128),
            bytes(&[0x4A], 129),
            ("dedup_id", 0, 128),
        ),
        (number(0x28, 9), number(0x28, 10), ("priority", 0, 9)),
        (
            number(0x30, years),
            number(0x30, years + 1),
            ("delay_ms", 0, years),
        ),
        (
            number(0x40, years),
            number(0x40, years + 1),
            ("ttl_ms", 0, years),
        ),
        (header(128, 1), header(129, 1), ("headers.name", 1, 128)),
        (header(1, 1), header(0, 1), ("headers.name", 1, 128)),
        (
            header(1, 4_096),
            header(1, 4_097),
            ("headers.value", 1, 4_096),
        ),
        (header(1, 1), header(1, 0), ("headers.value", 1, 4_096)),
        (
            header(1, 1).repeat(32),
            header(1, 1).repeat(33),
            ("headers", 0, 32),
        ),
        (
            header(96, 4_000).repeat(4),
            header(97, 4_000).repeat(4),
            ("headers.bytes", 0, 16_384),
        ),
        (
            bytes(&[0x82, 4], 16_380),
            bytes(&[0x82, 4], 16_381),
            ("carried", 0, 16_384),
        ),
    ] {
        assert_eq!(reason(&within), None, "{told:?}");
        assert_eq!(range(&beyond), Some(told));
    }
}

#[test]
fn a_size_over_its_limit_is_too_large_and_all_else_is_invalid() {
    let code = |fields: &[u8]| {
        let error = judge(&run_of(fields)).expect_err("bad");
        error.to_refusal().code()
    };
    assert_eq!(code(&bytes(&[0x12], 257)), ErrorCode::TooLarge);
    assert_eq!(code(&header(1, 0)), ErrorCode::Invalid);
    assert_eq!(code(&number(0x28, 10)), ErrorCode::Invalid);
    assert_eq!(code(&[0x12, 1, 0xFF]), ErrorCode::Invalid);
}

#[test]
fn the_configured_body_limit_holds_and_the_place_is_named() {
    let small = RunLimits { body_bytes_max: 3 };
    let run = Bytes::from(plain(&[b"123", b"1234"]));
    let error = scan(run, small).expect_err("the second body");
    assert_eq!((error.message, error.position), (1, 9));
    assert_eq!(error.out_of_range().map(|r| r.max), Some(3));
}

#[test]
fn a_message_that_is_not_plain_is_handed_over_with_its_place_and_what_makes_it_so() {
    let message = wire::Message::default;
    let plain = wire::Message {
        routing_key: "r".into(),
        priority: Some(PRIORITY_DEFAULT),
        headers: vec![wire::Header {
            name: "h".into(),
            value: vec![0].into(),
        }],
        ..message()
    };
    let special = wire::Message {
        body: vec![7; 200].into(),
        priority: Some(9),
        delay_ms: 5,
        ttl_ms: 6,
        dedup_id: "order-7".into(),
        key: "user-3".into(),
        ..message()
    };
    let later = wire::Message {
        deliver_at_ms: u64::MAX,
        ..message()
    };
    let run = wire::Run {
        message: vec![plain.clone(), special.clone(), plain, later.clone()],
    }
    .encode_to_vec();
    let found = judge(&run).expect("valid").specials;
    let alone = |message: wire::Message| {
        wire::Run {
            message: vec![message],
        }
        .encode_to_vec()
    };
    let at = |special: &Special| special.bytes.start as usize..special.bytes.end as usize;
    let [first, second] = &found[..] else {
        panic!("two are special: {found:?}");
    };
    assert_eq!((first.message, second.message), (1, 3));
    assert_eq!(run[at(first)], alone(special));
    assert_eq!(run[at(second)], alone(later));
    assert_eq!((first.priority, first.delay_ms, first.ttl_ms), (9, 5, 6));
    let id = first.dedup_id.start as usize..first.dedup_id.end as usize;
    assert_eq!(&run[id], b"order-7");
    assert_eq!(
        &run[first.key.start as usize..first.key.end as usize],
        b"user-3"
    );
    assert_eq!((first.deliver_at_ms, second.deliver_at_ms), (0, u64::MAX));
    assert_eq!(
        (second.priority, &second.dedup_id),
        (PRIORITY_DEFAULT, &(0..0))
    );
}

#[test]
fn a_bad_message_is_refused_before_it_is_written() {
    let mut builder = RunBuilder::new(RunLimits { body_bytes_max: 4 });
    let too_large = MessageFields {
        body: b"12345",
        ..Default::default()
    };
    let range = OutOfRange {
        field: "body",
        min: 0,
        max: 4,
        too_large: true,
    };
    assert_eq!(builder.push(&too_large), Err(range.into()));
    let both = MessageFields {
        delay_ms: 1,
        deliver_at_ms: 1,
        ..Default::default()
    };
    assert_eq!(builder.push(&both), Err(MessageError::DelayAndDeliverAt));
    assert_eq!((builder.len_bytes(), builder.count()), (0, 0));

    for _ in 0..RUN_MESSAGES_MAX {
        builder.push(&MessageFields::default()).expect("room");
    }
    assert_eq!(
        builder.push(&MessageFields::default()),
        Err(MessageError::RunFull)
    );
    let (run, count) = builder.take();
    assert_eq!((run.len(), count), (131_072, 65_536));
    assert!(builder.is_empty());
    builder.push(&MessageFields::default()).expect("a new run");
    assert_eq!(builder.take(), (Bytes::from_static(&[0x0A, 0]), 1));
}
