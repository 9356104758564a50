//! The lanes of a subscription in a snapshot.

use prost::Message;

use crate::engine::lanes::{Lanes, Turn};

/// Three columns, each of its own length.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredLanes {
    /// Offsets.
    #[prost(uint64, repeated, tag = "1")]
    heads: Vec<u64>,
    /// Offsets whose lane is known, rising.
    #[prost(uint64, repeated, tag = "2")]
    known: Vec<u64>,
    /// Their lanes.
    #[prost(fixed64, repeated, tag = "3")]
    known_lanes: Vec<u64>,
    /// Who stands in line, by lane, then by turn.
    #[prost(fixed64, repeated, tag = "4")]
    line_lanes: Vec<u64>,
    /// Their turns.
    #[prost(uint64, repeated, tag = "5")]
    line_turns: Vec<u64>,
}

impl StoredLanes {
    pub(super) fn of(lanes: &Lanes) -> Option<Self> {
        if lanes.is_empty() {
            return None;
        }
        let (heads, known, line) = lanes.parts();
        let (known, known_lanes) = known.unzip();
        let (line_lanes, line_turns) = line.map(|(lane, turn)| (lane, turn.number())).unzip();
        Some(Self {
            heads: heads.collect(),
            known,
            known_lanes,
            line_lanes,
            line_turns,
        })
    }

    pub(super) fn into_lanes(self) -> Lanes {
        let mut lanes = Lanes::default();
        for (offset, lane) in self.known.into_iter().zip(self.known_lanes) {
            lanes.know(offset, lane);
        }
        for head in self.heads {
            let lane = lanes.known(head..head + 1).next();
            if let Some((_, lane)) = lane {
                lanes.lead(lane, head);
            }
        }
        for (lane, turn) in self.line_lanes.into_iter().zip(self.line_turns) {
            lanes.join(lane, Turn::of_number(turn));
        }
        lanes
    }
}
