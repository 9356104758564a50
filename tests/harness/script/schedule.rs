//! The words of schedules.

use std::fmt::Write as _;

use siding_protocol::event::ScheduleInfo;
use siding_protocol::limits::CATCH_UP_MS_DEFAULT;
use siding_protocol::request::{Cron, Overlap, ScheduleSettings, When};
use siding_protocol::types::Timestamp;

use super::Words;
use crate::stage::BEGINNING_MS;

impl Words {
    /// When a schedule fires, and into what; an instant is counted from the beginning.
    pub fn schedule_settings(&self) -> ScheduleSettings {
        let at = self.ms("at").map(|ms| When::At(BEGINNING_MS + ms));
        let cron = self.text("cron").map(|text| {
            When::Cron(Cron {
                expression: text.replace('_', " "),
                zone: self.text("zone").unwrap_or("").to_owned(),
            })
        });
        let overlap = match self.text("overlap") {
            None | Some("skip") => Overlap::Skip,
            Some("allow") => Overlap::Allow,
            Some("buffer_one") => Overlap::BufferOne,
            Some(other) => panic!("no overlap {other}"),
        };
        ScheduleSettings {
            target: self.word(2).to_owned(),
            when: at.or(cron).or(self.ms("every").map(When::Every)),
            overlap: overlap.into(),
            catch_up_ms: self.ms("catch_up").unwrap_or(CATCH_UP_MS_DEFAULT),
        }
    }
}

/// One schedule as it is listed.
pub(super) fn schedule_text(info: &ScheduleInfo) -> String {
    let mut text = info.name.clone();
    if let Some(next) = info.next {
        write!(text, " next {}", instant(next)).expect("a String takes all");
    }
    if let Some(last) = info.last {
        write!(text, ", last {}", instant(last)).expect("a String takes all");
    }
    if info.fired > 0 {
        write!(text, ", fired {}", info.fired).expect("a String takes all");
    }
    if !info.missed.is_empty() {
        let missed: Vec<_> = info.missed.iter().map(|at| instant(*at)).collect();
        write!(text, ", missed {}", missed.join(" ")).expect("a String takes all");
    }
    text
}

/// Since the beginning.
fn instant(at: Timestamp) -> String {
    let ms = at.0 - BEGINNING_MS;
    match ms % 1_000 {
        0 => format!("+{}s", ms / 1_000),
        _ => format!("+{ms}ms"),
    }
}
