//! One schedule, described.

use crate::request::ScheduleSettings;
use crate::types::Timestamp;
use crate::wire;

/// One schedule, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// Complete.
    pub settings: ScheduleSettings,
    /// The next nominal time; `None`: never again.
    pub next: Option<Timestamp>,
    /// The nominal time that fired last.
    pub last: Option<Timestamp>,
    /// Nominal times that were not made up for, newest last.
    pub missed: Vec<Timestamp>,
    /// How often it has fired.
    pub fired: u64,
}

impl ScheduleInfo {
    pub(super) fn to_wire(&self) -> wire::ScheduleInfo {
        wire::ScheduleInfo {
            name: self.name.clone(),
            settings: Some(self.settings.to_wire()),
            next_ms: self.next.map(|at| at.0),
            last_ms: self.last.map(|at| at.0),
            missed_ms: self.missed.iter().map(|at| at.0).collect(),
            fired: self.fired,
        }
    }
}
