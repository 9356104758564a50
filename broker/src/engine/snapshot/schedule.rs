//! Schedules in a snapshot.

use bytes::Bytes;
use prost::Message;
use siding_protocol::request::ScheduleSettings;
use siding_protocol::types::Timestamp;

use crate::engine::schedule::{Fired, Schedule};

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredSchedule {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    id: u64,
    #[prost(message, required, tag = "3")]
    settings: ScheduleSettings,
    #[prost(bytes = "bytes", tag = "4")]
    run: Bytes,
    #[prost(uint64, tag = "5")]
    created_ms: u64,
    #[prost(uint64, tag = "6")]
    judged_ms: u64,
    #[prost(message, optional, tag = "7")]
    last: Option<StoredFired>,
    #[prost(uint64, optional, tag = "8")]
    kept_ms: Option<u64>,
    #[prost(uint64, repeated, tag = "9")]
    missed_ms: Vec<u64>,
    #[prost(uint64, tag = "10")]
    fired: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredFired {
    #[prost(uint64, tag = "1")]
    nominal_ms: u64,
    #[prost(uint64, tag = "2")]
    log: u64,
    #[prost(uint64, tag = "3")]
    offset: u64,
}

impl StoredSchedule {
    pub(super) fn of((name, schedule): (&String, &Schedule)) -> Self {
        Self {
            name: name.clone(),
            id: schedule.id,
            settings: schedule.settings.clone(),
            run: schedule.run.clone(),
            created_ms: schedule.created.0,
            judged_ms: schedule.judged.0,
            last: schedule.last.map(|fired| StoredFired {
                nominal_ms: fired.nominal.0,
                log: fired.log,
                offset: fired.offset,
            }),
            kept_ms: schedule.kept.map(|at| at.0),
            missed_ms: schedule.missed.iter().map(|at| at.0).collect(),
            fired: schedule.fired,
        }
    }

    pub(super) fn into_schedule(self) -> (String, Schedule) {
        let schedule = Schedule {
            id: self.id,
            settings: self.settings,
            run: self.run,
            created: Timestamp(self.created_ms),
            judged: Timestamp(self.judged_ms),
            last: self.last.map(|fired| Fired {
                nominal: Timestamp(fired.nominal_ms),
                log: fired.log,
                offset: fired.offset,
            }),
            kept: self.kept_ms.map(Timestamp),
            missed: self.missed_ms.into_iter().map(Timestamp).collect(),
            fired: self.fired,
        };
        (self.name, schedule)
    }
}
