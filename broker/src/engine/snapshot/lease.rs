//! One lease in a snapshot.

use prost::Message;
use siding_protocol::types::{Grant, OffsetRange, Timestamp};

use super::subscription::StoredGrant;
use crate::engine::command::LoggedRange;
use crate::engine::runs::RangeMap;
use crate::engine::subscription::{Asked, Lease};

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredLease {
    #[prost(message, required, tag = "1")]
    grant: StoredGrant,
    #[prost(message, repeated, tag = "2")]
    ranges: Vec<LoggedRange>,
    /// One a range.
    #[prost(uint64, repeated, tag = "3")]
    deadlines_ms: Vec<u64>,
    #[prost(uint64, tag = "4")]
    visibility_timeout_ms: u64,
    #[prost(string, tag = "5")]
    holder: String,
    #[prost(message, repeated, tag = "6")]
    begun: Vec<LoggedRange>,
    #[prost(bytes = "vec", tag = "7")]
    request_id: Vec<u8>,
    #[prost(uint64, tag = "8")]
    asked_until_ms: u64,
    #[prost(message, optional, tag = "9")]
    asked_gap: Option<LoggedRange>,
    /// 0: no limit.
    #[prost(uint64, tag = "10")]
    hold_until_ms: u64,
}

impl StoredLease {
    pub(super) fn of(grant: Grant, lease: &Lease) -> Self {
        let deadlines = lease.ranges.iter().map(|(_, deadline)| deadline.0);
        let asked = lease.asked.clone();
        Self {
            grant: grant.into(),
            ranges: lease.ranges.iter().map(|(range, _)| range.into()).collect(),
            deadlines_ms: deadlines.collect(),
            visibility_timeout_ms: lease.visibility_timeout_ms,
            holder: lease.holder.clone(),
            begun: lease.begun.ranges().map(LoggedRange::from).collect(),
            asked_until_ms: asked.as_ref().map_or(0, |asked| asked.until.0),
            asked_gap: asked
                .as_ref()
                .and_then(|asked| asked.gap.clone())
                .map(LoggedRange::from),
            request_id: asked.map_or_else(Vec::new, |asked| asked.request_id),
            hold_until_ms: lease.hold_until.0,
        }
    }

    pub(super) fn into_lease(self) -> (Grant, Lease) {
        let ranges = self.ranges.into_iter().map(OffsetRange::from);
        let ranges: RangeMap<Timestamp> = ranges
            .zip(self.deadlines_ms.into_iter().map(Timestamp))
            .collect();
        let (visibility_timeout_ms, holder) = (self.visibility_timeout_ms, self.holder);
        let (request_id, until) = (self.request_id, Timestamp(self.asked_until_ms));
        let gap = self.asked_gap.map(OffsetRange::from);
        let asked = Asked {
            request_id,
            until,
            gap,
        };
        (
            self.grant.into(),
            Lease {
                ranges,
                visibility_timeout_ms,
                hold_until: Timestamp(self.hold_until_ms),
                holder,
                begun: self.begun.into_iter().map(OffsetRange::from).collect(),
                asked: (!asked.request_id.is_empty()).then(|| Box::new(asked)),
            },
        )
    }
}
