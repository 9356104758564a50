//! What the wire can say and this engine does not do yet: refused, so that nobody believes it is done.

use siding_protocol::refusal::Refusal;
use siding_protocol::request::Request;

/// Refuses what would be stored or answered as if it had been done.
pub(super) fn check(request: &Request) -> Result<(), Refusal> {
    match request {
        Request::Consume(consume) => none_of(&[("ack_on_delivery", consume.ack_on_delivery)]),
        _ => Ok(()),
    }
}

/// A field that this engine does not act on yet.
pub(super) fn unsupported(field: &'static str) -> Refusal {
    Refusal::Unsupported {
        field: field.into(),
    }
}

fn none_of(fields: &[(&'static str, bool)]) -> Result<(), Refusal> {
    let asked = fields.iter().find(|(_, asked)| *asked);
    asked.map_or(Ok(()), |(field, _)| Err(unsupported(field)))
}
