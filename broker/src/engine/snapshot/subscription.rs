//! One subscription in a snapshot: leases, dead letters, exceptions, the last settles.

use std::collections::BTreeMap;

use prost::Message;
use siding_protocol::limits::PRIORITY_MAX;
use siding_protocol::settings::DeliverySettings;
use siding_protocol::types::{Grant, OffsetRange, Timestamp};

use super::SnapshotError;
use super::job::StoredJobs;
use super::lanes::StoredLanes;
use super::lease::StoredLease;
use crate::engine::command::{LoggedRange, SettleKind};
use crate::engine::subscription::{
    Attributes, Death, Exception, Reason, Redriving, Remembered, Subscription,
};

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredSubscription {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(uint64, tag = "2")]
    log: u64,
    #[prost(string, optional, tag = "3")]
    name: Option<String>,
    #[prost(message, required, tag = "4")]
    settings: DeliverySettings,
    #[prost(uint64, tag = "5")]
    start: u64,
    #[prost(message, repeated, tag = "6")]
    ready: Vec<LoggedRange>,
    #[prost(message, repeated, tag = "7")]
    leases: Vec<StoredLease>,
    #[prost(message, repeated, tag = "8")]
    dead: Vec<StoredDeath>,
    #[prost(message, repeated, tag = "9")]
    exceptions: Vec<StoredException>,
    #[prost(message, repeated, tag = "10")]
    remembered: Vec<StoredSettle>,
    #[prost(uint64, tag = "11")]
    settled: u64,
    #[prost(uint64, tag = "12")]
    purged: u64,
    #[prost(uint64, tag = "13")]
    evicted: u64,
    #[prost(message, repeated, tag = "14")]
    lapsed: Vec<StoredLapsed>,
    #[prost(message, repeated, tag = "15")]
    attributes: Vec<StoredAttributes>,
    #[prost(message, repeated, tag = "30")]
    words: Vec<StoredWords>,
    #[prost(message, repeated, tag = "31")]
    generations: Vec<StoredGeneration>,
    #[prost(message, optional, tag = "32")]
    redriving: Option<StoredRedriving>,
    #[prost(bool, tag = "33")]
    paused: bool,
    #[prost(message, repeated, tag = "40")]
    unjudged: Vec<StoredUnjudged>,
    #[prost(uint64, tag = "41")]
    filtered: u64,
    #[prost(message, repeated, tag = "16")]
    arrivals: Vec<StoredArrival>,
    #[prost(uint64, tag = "17")]
    expired: u64,
    #[prost(message, repeated, tag = "42")]
    gaps: Vec<LoggedRange>,
    #[prost(uint64, tag = "50")]
    cancelled: u64,
    /// Absent: none.
    #[prost(message, optional, tag = "51")]
    jobs: Option<StoredJobs>,
    #[prost(message, optional, tag = "18")]
    lanes: Option<StoredLanes>,
    #[prost(uint64, tag = "43")]
    forwarded: u64,
    #[prost(uint64, tag = "70")]
    salvage_lost: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredUnjudged {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    /// 0: not delayed.
    #[prost(uint64, tag = "2")]
    due_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct StoredGrant {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    counter: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredDeath {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    #[prost(enumeration = "Reason", tag = "2")]
    reason: i32,
    #[prost(uint64, tag = "3")]
    at_ms: u64,
    #[prost(string, tag = "4")]
    detail: String,
    #[prost(uint64, tag = "5")]
    each_bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredWords {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    #[prost(string, tag = "2")]
    words: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredRedriving {
    #[prost(message, repeated, tag = "1")]
    left: Vec<LoggedRange>,
    #[prost(uint64, tag = "2")]
    rate: u64,
    #[prost(uint64, tag = "3")]
    next_at_ms: u64,
    #[prost(uint64, tag = "4")]
    fed_by: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredGeneration {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    #[prost(uint32, tag = "2")]
    times: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredException {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    #[prost(uint32, tag = "2")]
    attempts: u32,
    /// 0: not delayed.
    #[prost(uint64, tag = "3")]
    due_ms: u64,
    #[prost(uint32, tag = "5")]
    acquires: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredLapsed {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    #[prost(message, required, tag = "2")]
    grant: StoredGrant,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredArrival {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    #[prost(uint64, tag = "2")]
    since_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredAttributes {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    #[prost(uint32, tag = "2")]
    priority: u32,
    /// 0: never.
    #[prost(uint64, tag = "3")]
    expires_at_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredSettle {
    #[prost(message, required, tag = "1")]
    grant: StoredGrant,
    #[prost(message, required, tag = "2")]
    range: LoggedRange,
    #[prost(enumeration = "SettleKind", tag = "3")]
    kind: i32,
}

impl StoredSubscription {
    pub(super) fn of(subscription: &Subscription) -> Self {
        let leases = subscription.leases.iter();
        let leases = leases.map(|(grant, lease)| StoredLease::of(*grant, lease));
        let dead = subscription.dead.iter();
        let dead = dead.map(|(range, death)| StoredDeath::of(range, death));
        let words = subscription.words.iter();
        let words = words.map(|(range, words)| StoredWords {
            range: range.into(),
            words: words.clone(),
        });
        let generations = subscription.generations.iter();
        let generations = generations.map(|(range, times)| StoredGeneration {
            range: range.into(),
            times: *times,
        });
        let unjudged = subscription.unjudged.iter();
        let unjudged = unjudged.map(|(range, due)| StoredUnjudged {
            range: range.into(),
            due_ms: due.0,
        });
        let remembered = subscription.remembered.iter().map(|settle| StoredSettle {
            grant: settle.grant.into(),
            range: settle.range.clone().into(),
            kind: settle.kind.into(),
        });
        Self {
            id: subscription.id,
            log: subscription.log,
            name: subscription.name.clone(),
            settings: subscription.settings.clone(),
            start: subscription.start,
            ready: subscription.ready.ranges().map(LoggedRange::from).collect(),
            leases: leases.collect(),
            dead: dead.collect(),
            exceptions: subscription
                .exceptions
                .iter()
                .map(StoredException::of)
                .collect(),
            remembered: remembered.collect(),
            settled: subscription.settled,
            purged: subscription.purged,
            evicted: subscription.evicted,
            lapsed: subscription.lapsed.iter().map(StoredLapsed::of).collect(),
            attributes: subscription
                .attributes
                .iter()
                .map(StoredAttributes::of)
                .collect(),
            words: words.collect(),
            generations: generations.collect(),
            unjudged: unjudged.collect(),
            filtered: subscription.filtered,
            forwarded: subscription.forwarded,
            salvage_lost: subscription.salvage_lost,
            arrivals: subscription
                .arrivals
                .iter()
                .map(StoredArrival::of)
                .collect(),
            expired: subscription.expired,
            gaps: subscription.gaps.ranges().map(LoggedRange::from).collect(),
            cancelled: subscription.cancelled,
            jobs: StoredJobs::of(&subscription.jobs),
            lanes: StoredLanes::of(&subscription.lanes),
            redriving: subscription.redriving.as_ref().map(StoredRedriving::of),
            paused: subscription.paused,
        }
    }

    pub(super) fn into_subscription(self) -> Result<Subscription, SnapshotError> {
        let (id, log, start) = (self.id, self.log, self.start);
        let mut subscription = Subscription::new(id, log, self.name, self.settings, start);
        for stored in self.attributes {
            let range = stored.range.into();
            subscription.set_attributes(range, stored.try_into()?);
        }
        for stored in self.ready {
            subscription.fill(stored.into());
        }
        if let Some(stored) = self.lanes {
            subscription.lanes = stored.into_lanes();
        }
        for stored in self.arrivals {
            let since = Timestamp(stored.since_ms);
            subscription.arrivals.insert(stored.range.into(), since);
        }
        for stored in self.exceptions {
            let exception = Exception {
                attempts: stored.attempts,
                acquires: stored.acquires,
                due: Timestamp(stored.due_ms),
            };
            subscription.set_exception(stored.range.into(), exception);
        }
        for stored in self.lapsed {
            let (range, grant) = (stored.range.into(), stored.grant.into());
            subscription.lapsed.insert(range, grant);
        }
        for stored in self.remembered {
            let kind = SettleKind::try_from(stored.kind)?;
            let (grant, range) = (stored.grant.into(), stored.range.into());
            subscription.remember(Remembered { grant, range, kind });
        }
        for stored in self.words {
            subscription.words.say(stored.range.into(), stored.words);
        }
        for stored in self.generations {
            subscription
                .generations
                .insert(stored.range.into(), stored.times);
        }
        subscription.redriving = self.redriving.map(StoredRedriving::into_redriving);
        subscription.paused = self.paused;
        (subscription.settled, subscription.purged) = (self.settled, self.purged);
        (subscription.evicted, subscription.expired) = (self.evicted, self.expired);
        (subscription.filtered, subscription.forwarded) = (self.filtered, self.forwarded);
        subscription.salvage_lost = self.salvage_lost;
        subscription.gaps = self.gaps.into_iter().map(OffsetRange::from).collect();
        for stored in self.unjudged {
            let range = stored.range.into();
            subscription
                .unjudged
                .insert(range, Timestamp(stored.due_ms));
        }
        subscription.cancelled = self.cancelled;
        let jobs = self.jobs.map(StoredJobs::into_jobs).transpose()?;
        subscription.jobs = jobs.unwrap_or_default();
        let leases = self.leases.into_iter().map(StoredLease::into_lease);
        let dead = self.dead.into_iter().map(StoredDeath::into_death);
        let dead = dead.collect::<Result<Vec<_>, SnapshotError>>()?;
        subscription.restore(leases.collect::<BTreeMap<_, _>>(), dead);
        Ok(subscription)
    }
}

impl StoredRedriving {
    fn of(redriving: &Redriving) -> Self {
        Self {
            left: redriving.left.ranges().map(LoggedRange::from).collect(),
            rate: redriving.rate,
            next_at_ms: redriving.next_at.0,
            fed_by: redriving.fed_by,
        }
    }

    fn into_redriving(self) -> Redriving {
        Redriving {
            left: self.left.into_iter().map(OffsetRange::from).collect(),
            rate: self.rate,
            next_at: Timestamp(self.next_at_ms),
            fed_by: self.fed_by,
        }
    }
}

impl StoredDeath {
    fn of(range: OffsetRange, death: &Death) -> Self {
        Self {
            range: range.into(),
            reason: death.reason.into(),
            at_ms: death.at.0,
            detail: death.detail.clone(),
            each_bytes: death.each_bytes,
        }
    }

    fn into_death(self) -> Result<(OffsetRange, Death), SnapshotError> {
        let death = Death {
            reason: Reason::try_from(self.reason)?,
            at: Timestamp(self.at_ms),
            detail: self.detail,
            each_bytes: self.each_bytes,
        };
        Ok((self.range.into(), death))
    }
}

impl StoredException {
    fn of((range, exception): (OffsetRange, &Exception)) -> Self {
        Self {
            range: range.into(),
            attempts: exception.attempts,
            due_ms: exception.due.0,
            acquires: exception.acquires,
        }
    }
}

impl StoredLapsed {
    fn of((range, grant): (OffsetRange, &Grant)) -> Self {
        Self {
            range: range.into(),
            grant: (*grant).into(),
        }
    }
}

impl StoredAttributes {
    fn of((range, attributes): (OffsetRange, &Attributes)) -> Self {
        Self {
            range: range.into(),
            priority: attributes.priority.into(),
            expires_at_ms: attributes.expires_at.0,
        }
    }
}

impl StoredArrival {
    fn of((range, since): (OffsetRange, &Timestamp)) -> Self {
        Self {
            range: range.into(),
            since_ms: since.0,
        }
    }
}

impl TryFrom<StoredAttributes> for Attributes {
    type Error = SnapshotError;

    fn try_from(stored: StoredAttributes) -> Result<Self, SnapshotError> {
        let priority = u8::try_from(stored.priority).ok();
        let priority = priority.filter(|priority| u32::from(*priority) <= PRIORITY_MAX);
        Ok(Self {
            priority: priority.ok_or(SnapshotError::Inconsistent("a priority"))?,
            expires_at: Timestamp(stored.expires_at_ms),
        })
    }
}

impl From<Grant> for StoredGrant {
    fn from(grant: Grant) -> Self {
        Self {
            term: grant.term,
            counter: grant.counter,
        }
    }
}

impl From<StoredGrant> for Grant {
    fn from(grant: StoredGrant) -> Self {
        Self {
            term: grant.term,
            counter: grant.counter,
        }
    }
}
