//! What a salvage found, for people: every line begins with what it is about.

use std::fmt::{self, Display, Formatter};

use siding_protocol::types::OffsetRange;

use super::Salvage;
use super::behind::Behind;
use crate::engine::runs::RangeSet;

/// Ranges of offsets named at most.
const RANGES_MAX: usize = 10;

/// What a salvage found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// File, bytes and reason of each damage.
    pub damages: Vec<String>,
    /// The last entry of the snapshot it begins with.
    pub snapshot: u64,
    /// Entries behind it that are kept.
    pub replayed: u64,
    /// Damages of the journal: what lay there and is not in the snapshot is not known.
    pub journal_damages: usize,
    /// Every queue and topic.
    pub names: Vec<NameReport>,
    /// Entries that are whole and undone.
    pub behind: Behind,
}

/// What of one queue or topic is kept, and what is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameReport {
    /// Its name.
    pub name: String,
    /// Messages that somebody may still ask for and that are kept.
    pub kept: u64,
    /// Messages that somebody may still ask for and that are lost.
    pub lost: u64,
    /// Where they lie.
    pub ranges: Vec<OffsetRange>,
}

impl Report {
    pub(super) fn of(salvage: &Salvage) -> Self {
        let state = salvage.shard.core.state();
        let names = state.logs.values().map(|log| {
            let all = state.needed(log.id, &(0..log.end));
            let damaged = salvage.lost.get(&log.id);
            let damaged = damaged.into_iter().flat_map(RangeSet::ranges);
            let (mut lost, mut ranges) = (0, Vec::new());
            for range in damaged {
                let stored = all.within(range.start..range.end.min(log.end).max(range.start));
                let tail = range.start.max(log.end)..range.end;
                let tail = std::iter::once(tail).filter(|tail| !tail.is_empty());
                for part in stored.chain(tail) {
                    lost += part.end - part.start;
                    ranges.push(part);
                }
            }
            let in_tail: u64 = ranges
                .iter()
                .map(|part| part.end.saturating_sub(part.start.max(log.end)))
                .sum();
            NameReport {
                name: log.name.clone(),
                kept: all.count() - (lost - in_tail),
                lost,
                ranges,
            }
        });
        Self {
            damages: salvage.damages.clone(),
            snapshot: salvage.snapshot_index,
            replayed: salvage.last_index - salvage.snapshot_index,
            journal_damages: salvage.survey.damages.len(),
            names: names.collect(),
            behind: salvage.behind.clone(),
        }
    }

    /// Messages lost, in all.
    pub fn lost(&self) -> u64 {
        self.names.iter().map(|name| name.lost).sum()
    }
}

impl Display for NameReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            name, kept, lost, ..
        } = self;
        write!(f, "kept {name}: {kept} messages")?;
        if *lost == 0 {
            return Ok(());
        }
        write!(f, "\nlost {name}: {lost} messages, offsets")?;
        for (at, range) in self.ranges.iter().take(RANGES_MAX).enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma} {} to {}", range.start, range.end - 1)?;
        }
        match self.ranges.len().saturating_sub(RANGES_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} ranges more"),
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for damage in &self.damages {
            writeln!(f, "damaged {damage}")?;
        }
        for name in &self.names {
            writeln!(f, "{name}")?;
        }
        let Behind {
            entries,
            missing,
            settled,
            ref made,
            ..
        } = self.behind;
        if entries > 0 {
            writeln!(
                f,
                "undone {entries} entries behind at least {missing} that are gone"
            )?;
            writeln!(
                f,
                "undone {settled} settles: as many messages may come again"
            )?;
        }
        if self.journal_damages > 0 {
            writeln!(
                f,
                "damaged bytes of the journal may have held entries that are not in the snapshot: what they \
                 held is not known, and is not counted above"
            )?;
        }
        for name in made {
            writeln!(
                f,
                "lost {name}: all of it; it was made behind an entry that is gone"
            )?;
        }
        let Self {
            snapshot, replayed, ..
        } = self;
        write!(
            f,
            "kept snapshot {snapshot} and {replayed} entries behind it"
        )
    }
}
