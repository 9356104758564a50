//! Which queues and topics a damage touches, and how many messages: storage knows bytes, the engine names.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use siding_protocol::types::OffsetRange;
use tracing::error;

use super::core::Core;
use crate::engine::runs::RangeSet;
use crate::storage::bodies::Bodies;
use crate::storage::files::RECORDS_START;
use crate::storage::{FileId, RecordAt, StorageError};

/// Queues and topics named at most; how many more there are is said.
const NAMED_MAX: usize = 20;

/// What of one queue or topic a damage touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The log.
    pub log: u64,
    /// Of the queue or topic.
    pub name: String,
    /// Its messages that somebody may still ask for, by offset.
    pub messages: RangeSet,
}

/// What a damage touches, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// Whose bodies lie there.
    pub touched: Vec<Touch>,
    /// What more may be touched, and why nobody knows.
    pub unknown: &'static str,
}

impl Touches {
    /// What a failure touches, by the places that are known of bodies.
    pub fn of(error: &StorageError, known: Option<(&Core, &Bodies)>) -> Self {
        let StorageError::Damaged { path, bytes, .. } = error else {
            return Self::unknown("which queues it touches is not known");
        };
        let Some((file, (core, bodies))) = FileId::of_path(path).zip(known) else {
            return Self::unknown(
                "which queues it touches, and how many messages, is not known without it",
            );
        };
        // Without its header nothing in a file can be checked; the footer speaks of all of it.
        let is_whole = match file {
            FileId::Segment(_) => true,
            FileId::Journal(_) => bytes.start < RECORDS_START,
        };
        let damaged = if is_whole { 0..u64::MAX } else { bytes.clone() };
        let lying = bodies.lying_in(file, &damaged);
        let unknown = match file {
            FileId::Segment(_) => "",
            FileId::Journal(_) => {
                "entries that are not in the snapshot and stand there or behind it are not counted here"
            }
        };
        Self {
            touched: touched(lying, core),
            unknown,
        }
    }

    fn unknown(unknown: &'static str) -> Self {
        Self {
            touched: Vec::new(),
            unknown,
        }
    }
}

/// Of these messages those that somebody may still ask for, by name.
pub fn touched(lying: BTreeMap<u64, Vec<OffsetRange>>, core: &Core) -> Vec<Touch> {
    let state = core.state();
    let touch = |(log, ranges): (u64, Vec<OffsetRange>)| {
        let name = state.name_of(log)?.to_owned();
        let needed = ranges.iter().map(|range| state.needed(log, range));
        let messages = needed.flat_map(|set| set.ranges().collect::<Vec<_>>());
        Some(Touch {
            log,
            name,
            messages: messages.collect(),
        })
    };
    let touched = lying.into_iter().filter_map(touch);
    touched.filter(|it| !it.messages.is_empty()).collect()
}

/// Messages that lie in `record` cannot be read: nothing more of their queues is handed over.
pub fn fence(core: &mut Core, bodies: &Bodies, record: RecordAt, error: &StorageError) {
    for touch in touched(bodies.lying_in(record.file, &record.bytes()), core) {
        core.fence(touch.log);
        error!(
            %error, file = %record.file, bytes = ?record.bytes(), name = %touch.name,
            messages = touch.messages.count(), lost = %touch,
            "bodies cannot be read: nothing more of this queue or topic is handed over"
        );
    }
}

impl Display for Touch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut ranges = self.messages.ranges();
        let first = ranges.next().map_or(0, |range| range.start);
        let last = ranges.last().map_or_else(
            || self.messages.ranges().next().map_or(0, |range| range.end),
            |range| range.end,
        );
        let (count, last) = (self.messages.count(), last.saturating_sub(1));
        write!(
            f,
            "{:?} with {count} messages (offsets {first} to {last})",
            self.name
        )
    }
}

impl Display for Touches {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.touched.split_first() {
            Some((first, others)) => {
                write!(f, "it touches {first}")?;
                for touch in others.iter().take(NAMED_MAX - 1) {
                    write!(f, ", {touch}")?;
                }
                if let more @ 1.. = others.len().saturating_sub(NAMED_MAX - 1) {
                    write!(f, " and {more} more")?;
                }
                if self.unknown.is_empty() {
                    return Ok(());
                }
                write!(f, "; {}", self.unknown)
            }
            None if self.unknown.is_empty() => {
                write!(f, "no message that is still needed lies there")
            }
            None => write!(f, "{}", self.unknown),
        }
    }
}
