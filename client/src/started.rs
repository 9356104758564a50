//! Notes to the broker of what an application has begun: what it has not, comes back uncharged when the
//! connection is lost.

use std::sync::Arc;

use siding_protocol::event::range_to_wire;
use siding_protocol::limits::SETTLE_RANGES_MAX;
use siding_protocol::types::{Grant, OffsetRange};
use siding_protocol::wire;

/// What was begun under one grant since the last frame.
#[derive(Debug)]
pub(crate) struct Begun {
    address: Arc<str>,
    grant: Grant,
    ranges: Vec<OffsetRange>,
}

/// Adds a range to the notes that wait; neighbours of one grant become one.
pub(crate) fn note(notes: &mut Vec<Begun>, address: &Arc<str>, grant: Grant, range: OffsetRange) {
    let last = notes.last_mut().filter(|last| {
        let room = last.ranges.len() < SETTLE_RANGES_MAX;
        room && last.grant == grant && last.address == *address
    });
    let Some(last) = last else {
        notes.push(Begun {
            address: Arc::clone(address),
            grant,
            ranges: vec![range],
        });
        return;
    };
    match last.ranges.last_mut() {
        Some(before) if before.end == range.start => before.end = range.end,
        _ => last.ranges.push(range),
    }
}

impl Begun {
    /// As on the wire: rising.
    pub(crate) fn into_wire(mut self) -> wire::Started {
        self.ranges.sort_unstable_by_key(|range| range.start);
        wire::Started {
            address: self.address.to_string(),
            grant: Some(wire::Grant {
                term: self.grant.term,
                counter: self.grant.counter,
            }),
            ranges: self.ranges.iter().map(range_to_wire).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_begun_in_order_is_one_range_a_grant() {
        let (jobs, grant): (Arc<str>, _) = (
            "jobs".into(),
            Grant {
                term: 1,
                counter: 1,
            },
        );
        let mut notes = Vec::new();
        for offset in [3, 4, 5, 9, 0] {
            note(&mut notes, &jobs, grant, offset..offset + 1);
        }
        let next = Grant {
            term: 1,
            counter: 2,
        };
        note(&mut notes, &jobs, next, 6..7);
        let wire: Vec<_> = notes.into_iter().map(Begun::into_wire).collect();
        assert_eq!(wire.len(), 2);
        let ranges: Vec<_> = wire[0]
            .ranges
            .iter()
            .map(|range| (range.first, range.count))
            .collect();
        assert_eq!(ranges, [(0, 1), (3, 3), (9, 1)]);
    }
}
