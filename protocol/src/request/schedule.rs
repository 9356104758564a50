//! Settings of schedules: wire to domain, parsed once; also on disk.

use super::{limits, text, within};
use crate::refusal::Refusal;
use crate::types::Name;
use crate::wire;
use crate::wire::schedule_settings;

/// When a schedule publishes, and into what. Complete.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ScheduleSettings {
    /// Queue or topic.
    #[prost(string, tag = "1")]
    pub target: String,
    /// Its times.
    #[prost(oneof = "When", tags = "2, 3, 4")]
    pub when: Option<When>,
    /// Whether to fire while the last one fired has not ended.
    #[prost(enumeration = "Overlap", tag = "5")]
    pub overlap: i32,
    /// ms after which a missed firing is not made up for.
    #[prost(uint64, tag = "6")]
    pub catch_up_ms: u64,
}

/// The times of a schedule.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum When {
    /// Once, Unix ms.
    #[prost(uint64, tag = "2")]
    At(u64),
    /// ms, 1 s to 10 years.
    #[prost(uint64, tag = "3")]
    Every(u64),
    /// By the calendar.
    #[prost(message, tag = "4")]
    Cron(Cron),
}

/// Times by the calendar of a zone.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Cron {
    /// 5 fields, or 6 with seconds first.
    #[prost(string, tag = "1")]
    pub expression: String,
    /// IANA; empty: UTC.
    #[prost(string, tag = "2")]
    pub zone: String,
}

/// Whether to fire while the last one fired has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Overlap {
    /// No: the firing is missed.
    Skip = 0,
    /// Yes.
    Allow = 1,
    /// Once, when it has ended.
    BufferOne = 2,
}

impl ScheduleSettings {
    /// Parses the wire form; absent fields take their default. Whether a cron expression and a zone
    /// exist is for the broker to say.
    ///
    /// # Errors
    /// `Invalid` names the first field out of its range.
    pub(super) fn parse(wire: Option<wire::ScheduleSettings>) -> Result<Self, Refusal> {
        let wire = wire.unwrap_or_default();
        let target: Result<Name, _> = wire.target.parse();
        target.map_err(|error| Refusal::bad_name("target", error))?;
        let (default, max) = (limits::CATCH_UP_MS_DEFAULT, limits::DELAY_MS_MAX);
        let when = match wire.when {
            None => return Err(Refusal::malformed("when", "missing")),
            Some(schedule_settings::When::AtMs(at)) => When::At(at),
            Some(schedule_settings::When::EveryMs(ms)) => {
                When::Every(within("every_ms", Some(ms), 0, limits::EVERY_MS_MIN, max)?)
            }
            Some(schedule_settings::When::Cron(cron)) => When::Cron(Cron {
                expression: text("expression", cron.expression, limits::CRON_BYTES_MAX)?,
                zone: text("zone", cron.zone, limits::CRON_BYTES_MAX)?,
            }),
        };
        Ok(Self {
            target: wire.target,
            when: Some(when),
            overlap: parse_overlap(wire.overlap)?.into(),
            catch_up_ms: within("catch_up_ms", wire.catch_up_ms, default, 0, max)?,
        })
    }

    /// As on the wire, complete.
    pub fn to_wire(&self) -> wire::ScheduleSettings {
        let when = self.when.as_ref().map(|when| match when {
            When::At(at) => schedule_settings::When::AtMs(*at),
            When::Every(ms) => schedule_settings::When::EveryMs(*ms),
            When::Cron(Cron { expression, zone }) => schedule_settings::When::Cron(wire::Cron {
                expression: expression.clone(),
                zone: zone.clone(),
            }),
        });
        let overlap = match self.overlap() {
            Overlap::Skip => wire::Overlap::Skip,
            Overlap::Allow => wire::Overlap::Allow,
            Overlap::BufferOne => wire::Overlap::BufferOne,
        };
        wire::ScheduleSettings {
            target: self.target.clone(),
            when,
            overlap: overlap.into(),
            catch_up_ms: Some(self.catch_up_ms),
        }
    }
}

fn parse_overlap(overlap: i32) -> Result<Overlap, Refusal> {
    match wire::Overlap::try_from(overlap) {
        Ok(wire::Overlap::Unspecified | wire::Overlap::Skip) => Ok(Overlap::Skip),
        Ok(wire::Overlap::Allow) => Ok(Overlap::Allow),
        Ok(wire::Overlap::BufferOne) => Ok(Overlap::BufferOne),
        Err(_) => Err(Refusal::malformed("overlap", "no such choice")),
    }
}
