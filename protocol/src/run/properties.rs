//! Scan, views and builder against each other and against prost, on generated runs.

use bytes::{BufMut, Bytes};
use proptest::prelude::*;
use prost::Message as _;

use super::tests::{LIMITS, judge, run_of};
use super::*;
use crate::limits::{EXTENT_BYTES_MAX, EXTENT_MESSAGES_MAX, PRIORITY_DEFAULT};
use crate::wire;

fn header_strategy() -> impl Strategy<Value = wire::Header> {
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|v| [&[0][..], &v].concat()),
        "\\PC{0,8}".prop_map(|v| [&[1][..], v.as_bytes()].concat()),
        any::<i64>().prop_map(|v| [&[2][..], &v.to_be_bytes()].concat()),
        any::<f32>().prop_map(|v| [&[3][..], &f64::from(v).to_be_bytes()].concat()),
        any::<bool>().prop_map(|v| vec![4, u8::from(v)]),
    ];
    ("\\PC{1,9}", value).prop_map(|(name, value)| wire::Header {
        name,
        value: value.into(),
    })
}

fn message_strategy() -> impl Strategy<Value = wire::Message> {
    let plain = prop::collection::vec(any::<u8>(), 0..300).prop_map(|body| wire::Message {
        body: body.into(),
        ..Default::default()
    });
    let time = prop_oneof![
        Just((0, 0)),
        (1..=crate::limits::DELAY_MS_MAX).prop_map(|delay| (delay, 0)),
        any::<u64>().prop_map(|at| (0, at)),
    ];
    let full = (
        prop::collection::vec(any::<u8>(), 0..200),
        ("\\PC{0,9}", "[a-z.]{0,9}", "\\PC{0,9}"),
        prop::collection::vec(header_strategy(), 0..4),
        prop::option::of(0..=9_u32),
        time,
        prop_oneof![Just(0), 1..=crate::limits::DELAY_MS_MAX],
    )
        .prop_map(
            |(body, texts, headers, priority, time, ttl_ms)| wire::Message {
                body: body.into(),
                key: texts.0,
                routing_key: texts.1,
                headers,
                priority,
                delay_ms: time.0,
                deliver_at_ms: time.1,
                ttl_ms,
                dedup_id: texts.2,
            },
        );
    prop_oneof![plain, full]
}

fn run_strategy() -> impl Strategy<Value = wire::Run> {
    prop::collection::vec(message_strategy(), 1..12).prop_map(|message| wire::Run { message })
}

fn build(run: &wire::Run) -> (Bytes, u32) {
    let mut builder = RunBuilder::new(LIMITS);
    for message in &run.message {
        let headers: Vec<_> = message
            .headers
            .iter()
            .map(|h| {
                (
                    h.name.as_str(),
                    HeaderValue::decode(&h.value).expect("typed"),
                )
            })
            .collect();
        let fields = MessageFields {
            body: &message.body,
            key: &message.key,
            routing_key: &message.routing_key,
            headers: &headers,
            priority: message.priority,
            delay_ms: message.delay_ms,
            deliver_at_ms: message.deliver_at_ms,
            ttl_ms: message.ttl_ms,
            dedup_id: &message.dedup_id,
        };
        let before = builder.len_bytes();
        builder.push(&fields).expect("within the limits");
        assert_eq!(builder.len_bytes() - before, encoded_len(&fields));
    }
    builder.take()
}

/// Views read what prost decodes.
fn assert_views(bytes: &[u8], run: &wire::Run) {
    assert_eq!(messages(bytes).count(), run.message.len());
    for (view, message) in messages(bytes).zip(&run.message) {
        assert_eq!(view.body(), message.body);
        assert_eq!(view.key(), message.key);
        assert_eq!(view.routing_key(), message.routing_key);
        assert_eq!(
            view.priority(),
            message.priority.unwrap_or(PRIORITY_DEFAULT)
        );
        assert_eq!(view.delay_ms(), message.delay_ms);
        assert_eq!(view.deliver_at_ms(), message.deliver_at_ms);
        assert_eq!(view.ttl_ms(), message.ttl_ms);
        assert_eq!(view.dedup_id(), message.dedup_id);
        assert_eq!(view.headers().count(), message.headers.len());
        for ((name, value), header) in view.headers().zip(&message.headers) {
            assert_eq!(name, header.name);
            let mut encoded = Vec::new();
            value.encode(&mut encoded);
            assert_eq!(encoded.len(), value.encoded_len());
            assert_eq!(encoded, header.value);
        }
    }
}

/// What must be true of any run that passes.
fn assert_passed(scanned: &ScannedRun) {
    let run = wire::Run::decode(scanned.bytes.clone()).expect("passed, so it decodes");
    assert_eq!(run.message.len(), scanned.count as usize);
    assert_views(&scanned.bytes, &run);
    assert_specials(scanned);
    let mut at = 0;
    for piece in &scanned.pieces {
        let bytes = skip(&scanned.bytes[at..], piece.count).expect("at a boundary");
        assert_eq!(bytes, piece.bytes as usize);
        assert!(piece.count == 1 || piece.bytes <= EXTENT_BYTES_MAX);
        assert!((1..=EXTENT_MESSAGES_MAX).contains(&piece.count));
        at += bytes;
    }
    assert_eq!(at, scanned.bytes.len());
}

/// What is handed over of special messages is what their views say.
fn assert_specials(scanned: &ScannedRun) {
    let mut specials = scanned.specials.iter().peekable();
    for (index, view) in (0..).zip(messages(&scanned.bytes)) {
        let special = specials.next_if(|special| special.message == index);
        let special = special.cloned().unwrap_or_default();
        let id = special.dedup_id.start as usize..special.dedup_id.end as usize;
        assert_eq!(view.priority(), special.priority);
        assert_eq!(view.delay_ms(), special.delay_ms);
        assert_eq!(view.deliver_at_ms(), special.deliver_at_ms);
        assert_eq!(view.ttl_ms(), special.ttl_ms);
        assert_eq!(view.dedup_id().as_bytes(), &scanned.bytes[id]);
        let key = special.key.start as usize..special.key.end as usize;
        assert_eq!(view.key().as_bytes(), &scanned.bytes[key]);
        if special != Special::default() {
            let place = special.bytes.start as usize..special.bytes.end as usize;
            let mut alone = messages(&scanned.bytes[place]);
            assert_eq!(alone.next().map(|view| view.body()), Some(view.body()));
            assert!(alone.next().is_none(), "one message");
        }
    }
    assert!(specials.next().is_none(), "all are messages of the run");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_the_builder_writes_passes_the_scan_and_is_what_prost_writes(run in run_strategy()) {
        let (bytes, count) = build(&run);
        prop_assert_eq!(&bytes[..], &run.encode_to_vec()[..]);
        let scanned = scan(bytes, LIMITS).expect("built, so it passes");
        prop_assert_eq!(scanned.count, count);
        assert_passed(&scanned);
    }

    #[test]
    fn a_mutated_run_that_passes_decodes_and_none_panics(
        run in run_strategy(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let mut bytes = run.encode_to_vec();
        for (index, byte, kind) in mutations {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte & 7),
                2 => bytes.insert(at, byte),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        for view in messages(&bytes) {
            let _ = (view.body(), view.dedup_id(), view.ttl_ms(), view.headers().count());
        }
        let _ = skip(&bytes, 3);
        if let Ok(scanned) = judge(&bytes) {
            assert_passed(&scanned);
        }
    }

    #[test]
    fn short_garbage_that_passes_decodes(fields in prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(&[0, 1, 2, 8, 10, 18, 34, 40, 128, 130][..])], 0..12,
    )) {
        if let Ok(scanned) = judge(&run_of(&fields)) {
            assert_passed(&scanned);
        }
    }

    #[test]
    fn a_slice_of_a_run_is_a_run_and_two_joined_are_one(run in run_strategy(), cut in any::<prop::sample::Index>()) {
        let (bytes, count) = build(&run);
        let cut = cut.index(count as usize + 1);
        let at = skip(&bytes, u32::try_from(cut).expect("small")).expect("within");
        let (left, right) = (&bytes[..at], &bytes[at..]);
        let mut decoded = wire::Run::decode(left).expect("a run");
        decoded.message.extend(wire::Run::decode(right).expect("a run").message);
        prop_assert_eq!(decoded, run);
        let mut joined = bytes.to_vec();
        joined.put_slice(&bytes);
        prop_assert_eq!(judge(&joined).map(|s| s.count), Ok(2 * count));
    }
}
