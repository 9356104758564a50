//! The payload of a client's frame: what it asks.

use bytes::{Bytes, BytesMut};
use siding_protocol::frame::{Sender, decode, encode, split};
use siding_protocol::refusal::Refusal;
use siding_protocol::request::Request;
use siding_protocol::run::RunLimits;
use siding_protocol::wire::frame::Kind;

use super::Trial;

/// A request is parsed or refused, both for good: it means the same when it is written again, and a
/// refusal arrives as it was said.
pub(super) fn judge(input: &[u8], trial: &Trial) {
    let Some(kind) = kind_of(Bytes::copy_from_slice(input)) else {
        return;
    };
    let parsed = Request::parse(kind.clone(), RunLimits::default());
    let mut written = BytesMut::new();
    encode(1, kind, &mut written);
    let payload = split(&mut written, usize::MAX).expect("short enough");
    let again = kind_of(payload.expect("whole")).expect("just written");
    assert_eq!(Request::parse(again, RunLimits::default()), parsed);
    match parsed {
        Ok(request) if trial.planted => quote_filter(&request),
        Ok(_) => {}
        Err(refusal) => {
            let told = refusal.to_wire();
            let heard = Refusal::from_wire(told.clone());
            assert_eq!(heard.to_wire(), told, "{refusal}");
        }
    }
}

fn kind_of(payload: Bytes) -> Option<Kind> {
    decode(payload, Sender::Client).ok()?.kind
}

/// Planted: it ends where a character may not.
fn quote_filter(request: &Request) {
    let filter = match request {
        Request::Browse { filter, .. } => filter,
        Request::Purge(sieve) | Request::DropDead(sieve) => &sieve.filter,
        Request::CreateSubscription { settings, .. } => &settings.filter,
        _ => return,
    };
    let end = filter.len().saturating_sub(1);
    assert!(filter.is_char_boundary(end), "within a character: {filter}");
}
