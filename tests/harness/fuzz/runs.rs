//! The bytes of a run: the scan that every publish passes.

use bytes::Bytes;
use prost::Message as _;
use siding_protocol::limits::{EXTENT_MESSAGES_MAX, PRIORITY_DEFAULT};
use siding_protocol::run::{
    HeaderValue, MessageView, RunLimits, ScannedRun, Special, messages, scan, skip,
};
use siding_protocol::wire;

use super::{Trial, growing, modest};

/// A run that passes the scan is the same messages to prost, to the views and to the scan; it can be cut
/// where its pieces end; and the scan keeps nothing of a plain message.
pub(super) fn judge(input: &[u8], trial: &Trial) {
    let limits = RunLimits::default();
    let (scanned, peak) = trial.measure(|| scan(Bytes::copy_from_slice(input), limits));
    let Ok(scanned) = scanned else {
        // Views of what did not pass end early.
        assert!(messages(input).take(input.len() + 1).count() <= input.len());
        return;
    };
    // What is special is kept by message; so are pieces, of at least 1,024 of them or 64 KiB.
    let most = modest(input.len()) + growing::<Special>(scanned.specials.len());
    assert!(peak <= most, "{peak} bytes for {}", input.len());
    let run = wire::Run::decode(input).expect("a run that passed decodes everywhere");
    assert_eq!(run.message.len(), scanned.count as usize);
    assert_pieces(input, &scanned);
    let mut specials = scanned.specials.iter().peekable();
    for (at, (view, message)) in messages(input).zip(&run.message).enumerate() {
        assert_same(&view, message, trial);
        let special = specials.next_if(|special| special.message as usize == at);
        assert_special(input, special, message);
    }
    assert_eq!(specials.next(), None, "one that is no message");
    let again = scan(run.encode_to_vec().into(), limits).expect("without what is carried");
    assert_eq!(again.count, scanned.count);
}

fn assert_pieces(input: &[u8], scanned: &ScannedRun) {
    let (mut count, mut end) = (0, 0);
    for piece in &scanned.pieces {
        assert!((1..=EXTENT_MESSAGES_MAX).contains(&piece.count));
        count += piece.count;
        end += piece.bytes as usize;
        assert_eq!(
            skip(input, count),
            Some(end),
            "a piece ends where a message does"
        );
    }
    assert_eq!((count, end), (scanned.count, input.len()));
    assert_eq!(skip(input, count + 1), None);
}

fn assert_same(view: &MessageView<'_>, message: &wire::Message, trial: &Trial) {
    if trial.planted {
        let dropped = view.body().is_empty() && !view.key().is_empty() && view.ttl_ms() > 0;
        assert!(!dropped, "planted");
    }
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
    let headers: Vec<_> = view.headers().collect();
    assert_eq!(headers.len(), message.headers.len());
    for ((name, value), header) in headers.iter().zip(&message.headers) {
        let mut encoded = Vec::new();
        value.encode(&mut encoded);
        assert_eq!((*name, &encoded[..]), (&*header.name, &*header.value));
        assert_eq!(encoded.len(), value.encoded_len());
        assert!(HeaderValue::decode(&encoded).is_some());
    }
}

fn assert_special(input: &[u8], special: Option<&Special>, message: &wire::Message) {
    let Some(special) = special else {
        let times = message.delay_ms | message.deliver_at_ms | message.ttl_ms;
        let is_plain = message.key.is_empty() && message.dedup_id.is_empty() && times == 0;
        assert!(is_plain, "a message that is special was passed over");
        return;
    };
    let slice = |range: &std::ops::Range<u32>| {
        let bytes = input.get(range.start as usize..range.end as usize);
        bytes.expect("within the run")
    };
    let alone = wire::Run::decode(slice(&special.bytes)).expect("a slice of a run is a run");
    assert_eq!(alone.message, std::slice::from_ref(message));
    assert_eq!(slice(&special.key), message.key.as_bytes());
    assert_eq!(slice(&special.dedup_id), message.dedup_id.as_bytes());
    assert_eq!(
        special.priority,
        message.priority.unwrap_or(PRIORITY_DEFAULT)
    );
    let times = (special.delay_ms, special.deliver_at_ms, special.ttl_ms);
    assert_eq!(
        times,
        (message.delay_ms, message.deliver_at_ms, message.ttl_ms)
    );
}
