//! Jobs: what consumers said of messages on their way, and what is known of those that have ended.
//!
//! A message that nobody said anything of takes no room. What was said goes with the message; where
//! the subscription tracks its jobs, it goes into the message's [`record`].

mod cancel;
pub(super) mod carry;
mod info;
mod record;
pub mod waits;

use std::collections::BTreeMap;

use bytes::Bytes;
use siding_protocol::limits::JOB_BYTES_MAX;
use siding_protocol::refusal::Refusal;
use siding_protocol::types::{Offset, OffsetRange, Timestamp};

pub use record::{Ended, Last, Records};

use super::command::{Rider, Settle, SettleKind};
use super::runs::RangeSet;
use super::settle::Standing;
use super::subscription::Subscription;

/// When to try again what there was no room for: as soon as another job has ended.
const RETRY_MS: u64 = 1_000;

/// What the holders of a message reported of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Percent.
    pub progress: Option<u32>,
    /// Beside the progress.
    pub note: String,
    /// Handed to the next attempt.
    pub checkpoint: Option<Bytes>,
    /// What came of it.
    pub result: Option<Bytes>,
}

impl Report {
    fn bytes(&self) -> u64 {
        length(self.checkpoint.as_ref()) + length(self.result.as_ref()) + self.note.len() as u64
    }

    /// Takes what a settle says; what it does not say stands.
    fn hear(&mut self, rider: &Rider) {
        // A small value must not pin the chunk it was read into.
        let owned = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        if let Some(checkpoint) = &rider.checkpoint {
            self.checkpoint = Some(owned(checkpoint));
        }
        if let Some(result) = &rider.result {
            self.result = Some(owned(result));
        }
        if rider.progress.is_some() {
            self.progress = rider.progress;
            self.note.clone_from(&rider.note);
        }
    }
}

fn length(bytes: Option<&Bytes>) -> u64 {
    bytes.map_or(0, |bytes| bytes.len() as u64)
}

/// The jobs of one subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    /// Of messages that have not ended.
    reports: BTreeMap<Offset, Report>,
    /// Of `reports`: derived.
    bytes: u64,
    /// Reports with a checkpoint: derived.
    checkpoints: usize,
    /// Leased messages that somebody asked to cancel.
    pub(super) cancels: RangeSet,
    /// What is known of those that have ended.
    pub records: Records,
}

impl Jobs {
    /// What was reported of a message.
    pub fn report(&self, offset: Offset) -> Option<&Report> {
        self.reports.get(&offset)
    }

    /// All reports, rising.
    pub fn reports(&self) -> impl Iterator<Item = (Offset, &Report)> {
        self.reports
            .iter()
            .map(|(offset, report)| (*offset, report))
    }

    /// Leased messages that somebody asked to cancel.
    pub fn cancels(&self) -> &RangeSet {
        &self.cancels
    }

    /// Checkpoints of messages in `range`, rising.
    pub fn checkpoints(&self, range: OffsetRange) -> impl Iterator<Item = (Offset, &Bytes)> {
        let none = self.checkpoints == 0;
        let range = if none { 0..0 } else { range };
        let reports = self.reports.range(range);
        reports.filter_map(|(offset, report)| Some((*offset, report.checkpoint.as_ref()?)))
    }

    /// Replaces what was reported of a message.
    pub fn set_report(&mut self, offset: Offset, report: Report) {
        self.take_report(offset);
        self.bytes += report.bytes();
        self.checkpoints += usize::from(report.checkpoint.is_some());
        self.reports.insert(offset, report);
    }

    fn take_report(&mut self, offset: Offset) -> Option<Report> {
        let report = self.reports.remove(&offset)?;
        self.bytes -= report.bytes();
        self.checkpoints -= usize::from(report.checkpoint.is_some());
        Some(report)
    }

    fn hear(&mut self, offset: Offset, rider: &Rider) {
        let mut report = self.take_report(offset).unwrap_or_default();
        report.hear(rider);
        self.set_report(offset, report);
    }

    /// Bytes that a rider adds and takes away.
    fn change(&self, offset: Offset, rider: &Rider) -> (u64, u64) {
        let old = self.reports.get(&offset).cloned().unwrap_or_default();
        let mut new = old.clone();
        new.hear(rider);
        (new.bytes(), old.bytes())
    }

    /// Messages have left: nothing about them is kept here.
    pub(super) fn forget(&mut self, range: OffsetRange) {
        if !self.reports.is_empty() {
            let gone: Vec<_> = self
                .reports
                .range(range.clone())
                .map(|(at, _)| *at)
                .collect();
            for offset in gone {
                self.take_report(offset);
            }
        }
        self.cancels.remove(range);
    }
}

impl Subscription {
    /// Refuses a rider that finds no room; `asked` are bytes that were asked for just before, in one
    /// piece with it. Only what the grant may settle is carried.
    pub(super) fn judge_rider(&self, settle: &Settle, asked: &mut u64) -> Result<(), Refusal> {
        let Some((rider, offset)) = settle
            .carried()
            .filter(|_| settle.kind() != SettleKind::Ack)
        else {
            return Ok(());
        };
        let (more, less) = self.jobs.change(offset, rider);
        *asked = (*asked + more).saturating_sub(less);
        if self.jobs.bytes + *asked <= JOB_BYTES_MAX {
            return Ok(());
        }
        let is_held = |standing| matches!(standing, Standing::Live | Standing::Lapsed);
        let parts = self.classify(settle);
        if !parts.into_iter().any(|(_, standing)| is_held(standing)) {
            return Ok(());
        }
        Err(Refusal::Busy {
            resource: "job_bytes".into(),
            limit: JOB_BYTES_MAX,
            current: self.jobs.bytes,
            retry_after_ms: RETRY_MS,
        })
    }

    /// Takes what rides on a settle that takes effect.
    pub(super) fn hear(&mut self, settle: &Settle) {
        if let Some((rider, offset)) = settle.carried() {
            self.jobs.hear(offset, rider);
        }
    }

    /// When a record has been kept long enough.
    pub(super) fn record_due(&self) -> Option<Timestamp> {
        let oldest = self.jobs.records.oldest()?;
        Some(oldest.plus_ms(self.settings.done_retention_ms))
    }
}

impl Settle {
    /// What rides on it, and of which message.
    fn carried(&self) -> Option<(&Rider, Offset)> {
        let range = self.ranges.first()?;
        Some((self.rider.as_ref()?, range.first))
    }
}

#[cfg(test)]
mod tests {
    use siding_protocol::settings::DeliverySettings;
    use siding_protocol::types::{Grant, Timestamp};

    use super::*;
    use crate::engine::command::LoggedRange;
    use crate::engine::runs::RangeMap;
    use crate::engine::subscription::Lease;

    #[test]
    fn what_rides_on_settles_adds_up_and_is_forgotten_with_its_message() {
        let mut jobs = Jobs::default();
        let rider = |checkpoint: &'static str, progress| Rider {
            checkpoint: Some(Bytes::from_static(checkpoint.as_bytes())),
            result: None,
            progress,
            note: "half".into(),
        };
        jobs.hear(3, &rider("abc", Some(50)));
        assert_eq!((jobs.bytes, jobs.checkpoints), (7, 1));
        assert_eq!(jobs.change(3, &rider("a", None)), (5, 7));
        jobs.hear(3, &rider("a", None));
        let report = jobs.report(3).unwrap();
        assert_eq!((report.progress, report.note.as_str()), (Some(50), "half"));
        jobs.forget(0..3);
        assert_eq!(jobs.checkpoints(0..10).count(), 1);
        jobs.forget(3..4);
        assert_eq!((jobs.bytes, jobs.checkpoints), (0, 0));
        assert_eq!(jobs, Jobs::default());
    }

    #[test]
    fn what_rides_on_settles_has_a_limit_that_an_ack_and_what_takes_less_pass() {
        let (now, later) = (Timestamp(1), Timestamp(9));
        let settings = DeliverySettings::parse(None).unwrap();
        let mut subscription = Subscription::new(1, 2, None, settings, 0);
        subscription.begin(0..2, now);
        let held = Lease {
            ranges: RangeMap::default(),
            visibility_timeout_ms: 8,
            hold_until: Timestamp(0),
            holder: String::new(),
            begun: RangeSet::default(),
            asked: None,
        };
        subscription.lease(Grant::default(), std::iter::once(0..2), later, held);
        let full = Report {
            checkpoint: Some(vec![0; usize::try_from(JOB_BYTES_MAX).unwrap()].into()),
            ..Report::default()
        };
        subscription.jobs.set_report(0, full);
        let asks = |kind: SettleKind, first, counter| {
            let rider = Rider {
                checkpoint: Some(Bytes::from_static(b"x")),
                ..Rider::default()
            };
            let settle = Settle {
                kind: kind.into(),
                counter,
                ranges: vec![LoggedRange { first, count: 1 }],
                rider: Some(rider.into()),
                ..Settle::default()
            };
            subscription.judge_rider(&settle, &mut 0)
        };
        let busy = asks(SettleKind::Nack, 1, 0);
        assert!(
            matches!(&busy, Err(Refusal::Busy { resource, .. }) if resource == "job_bytes"),
            "{busy:?}"
        );
        assert_eq!(asks(SettleKind::Ack, 1, 0), Ok(()));
        assert_eq!(asks(SettleKind::Nack, 0, 0), Ok(()), "it takes less");
        assert_eq!(asks(SettleKind::Nack, 1, 7), Ok(()), "it is lost anyway");
    }
}
