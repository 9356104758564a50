//! The jobs of a subscription in a snapshot: reports, words, asked cancels, records of what ended.

use bytes::Bytes;
use prost::Message;
use siding_protocol::refusal::State;
use siding_protocol::types::{Offset, Timestamp};

use super::SnapshotError;
use crate::engine::command::LoggedRange;
use crate::engine::job::{Ended, Jobs, Report};
use crate::engine::subscription::Reason;

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredJobs {
    #[prost(message, repeated, tag = "1")]
    reports: Vec<StoredReport>,
    #[prost(message, repeated, tag = "3")]
    cancels: Vec<LoggedRange>,
    #[prost(message, repeated, tag = "4")]
    ended: Vec<StoredEnding>,
    #[prost(message, repeated, tag = "5")]
    ended_reports: Vec<StoredReport>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredReport {
    #[prost(uint64, tag = "1")]
    offset: u64,
    #[prost(uint32, optional, tag = "2")]
    progress: Option<u32>,
    #[prost(string, tag = "3")]
    note: String,
    #[prost(bytes = "bytes", optional, tag = "4")]
    checkpoint: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    result: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredEnding {
    #[prost(message, required, tag = "1")]
    range: LoggedRange,
    #[prost(enumeration = "siding_protocol::wire::State", tag = "2")]
    state: i32,
    #[prost(uint64, tag = "3")]
    at_ms: u64,
    #[prost(uint32, tag = "4")]
    attempts: u32,
    #[prost(uint32, tag = "5")]
    acquires: u32,
    #[prost(enumeration = "Reason", optional, tag = "6")]
    reason: Option<i32>,
    #[prost(string, tag = "7")]
    words: String,
    #[prost(uint32, tag = "8")]
    generation: u32,
}

impl StoredJobs {
    /// `None`: nobody said anything, and nothing is recorded.
    pub(super) fn of(jobs: &Jobs) -> Option<Self> {
        if *jobs == Jobs::default() {
            return None;
        }
        let ended = jobs.records.ended().map(|(range, ended)| StoredEnding {
            range: range.into(),
            state: ended.state.to_wire().into(),
            at_ms: ended.at.0,
            attempts: ended.attempts,
            acquires: ended.acquires,
            reason: ended.reason.map(Into::into),
            words: ended.words.clone(),
            generation: ended.generation,
        });
        Some(Self {
            reports: jobs.reports().map(StoredReport::of).collect(),
            cancels: jobs.cancels().ranges().map(LoggedRange::from).collect(),
            ended: ended.collect(),
            ended_reports: jobs.records.reports().map(StoredReport::of).collect(),
        })
    }

    pub(super) fn into_jobs(self) -> Result<Jobs, SnapshotError> {
        let mut jobs = Jobs::default();
        for stored in self.reports {
            let (offset, report) = stored.into_report();
            jobs.set_report(offset, report);
        }
        for range in self.cancels {
            jobs.cancels.add(range.into());
        }
        for stored in self.ended {
            let state = State::from_wire(stored.state);
            let reason = stored.reason.map(Reason::try_from).transpose()?;
            let ended = Ended {
                state: state.ok_or(SnapshotError::Inconsistent("the state of an ending"))?,
                at: Timestamp(stored.at_ms),
                attempts: stored.attempts,
                acquires: stored.acquires,
                reason,
                generation: stored.generation,
                words: stored.words,
            };
            jobs.records.add(stored.range.into(), ended);
        }
        for stored in self.ended_reports {
            let (offset, report) = stored.into_report();
            jobs.records.add_report(offset, report);
        }
        Ok(jobs)
    }
}

impl StoredReport {
    fn of((offset, report): (Offset, &Report)) -> Self {
        let report = report.clone();
        Self {
            offset,
            progress: report.progress,
            note: report.note,
            checkpoint: report.checkpoint,
            result: report.result,
        }
    }

    fn into_report(self) -> (Offset, Report) {
        let report = Report {
            progress: self.progress,
            note: self.note,
            checkpoint: self.checkpoint,
            result: self.result,
        };
        (self.offset, report)
    }
}
