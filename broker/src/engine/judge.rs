//! What a publish may store: dedup ids and limits, judged before anything is changed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use siding_protocol::event::Duplicate;
use siding_protocol::refusal::Refusal;
use siding_protocol::types::Timestamp;

use super::command::{LoggedRange, Piece, Publish, Verdict};
use super::dedup::{DedupId, Original};
use super::log::{Kind, Log};
use super::meter::clamp_hint;
use super::planted::Bug;
use super::special::Special;
use super::state::{State, gone};

/// What one request asks of one log, so far.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// It fits once others have made room.
    pub(super) crowds_out: bool,
    /// New ids, by the first operation that brings them.
    ids: BTreeMap<DedupId, Original>,
}

/// What becomes of a publish.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Messages that are stored.
    pub(super) count: u32,
    /// What the dedup ids said, where there are any to be remembered.
    pub(super) known: Option<Box<Known>>,
}

/// What the dedup ids of a publish said.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What was stored before, rising.
    pub(super) duplicates: Vec<Duplicate>,
    /// Where these lie in the run: start and length, bytes.
    skipped: Vec<(u32, u32)>,
    /// What is to be remembered.
    pub(super) fresh: Vec<Original>,
}

impl Known {
    /// What of a publish's messages and bytes is not stored.
    fn skips(&self) -> (u32, u64) {
        let bytes = self.skipped.iter().map(|(_, bytes)| u64::from(*bytes));
        let count = u32::try_from(self.duplicates.len()).unwrap_or(u32::MAX);
        (count, bytes.sum())
    }

    /// What the publish says of the messages that are stored, counted without the duplicates.
    pub(super) fn arriving<'a>(&self, publish: &'a Publish) -> Cow<'a, Publish> {
        if self.duplicates.is_empty() {
            return Cow::Borrowed(publish);
        }
        let specials = publish.specials.iter().filter_map(|special| {
            let (first, end) = (self.moved(special.first), self.moved(special.end()));
            let more = (end - first).checked_sub(1)?;
            Some(Special {
                first,
                more,
                ..*special
            })
        });
        let verdicts = publish.verdicts.iter().map(|verdict| Verdict {
            subscriptions: verdict.subscriptions.clone(),
            matches: self.moved_ranges(&verdict.matches),
        });
        // No field is left to a default: whatever is said by a message's place must be moved.
        Cow::Owned(Publish {
            log: publish.log,
            producer: publish.producer,
            sequence: publish.sequence,
            pieces: Vec::new(),
            specials: specials.collect(),
            verdicts: verdicts.collect(),
            dedup_ids: Vec::new(),
        })
    }

    fn moved_ranges(&self, ranges: &[LoggedRange]) -> Vec<LoggedRange> {
        let moved = |index: u64| u64::from(self.moved(u32::try_from(index).unwrap_or(u32::MAX)));
        let ranges = ranges.iter().map(|range| {
            let first = moved(range.first);
            let count = moved(range.first + range.count) - first;
            LoggedRange { first, count }
        });
        ranges.filter(|range| range.count > 0).collect()
    }

    /// The place in the run without the duplicates.
    fn moved(&self, index: u32) -> u32 {
        let duplicates = &self.duplicates;
        let before = duplicates.partition_point(|duplicate| duplicate.index < index);
        index - u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// The pieces that are stored, each with where it begins in the run: those of the command, cut
    /// where a duplicate lies.
    pub(super) fn stored(&self, publish: &Publish) -> Vec<(u32, Piece)> {
        let mut stored = Vec::with_capacity(publish.pieces.len() + self.skipped.len());
        let mut skipped = self.duplicates.iter().zip(&self.skipped).peekable();
        let (mut index, mut start) = (0, 0);
        for piece in &publish.pieces {
            let (end_index, end) = (index + piece.count, start + piece.bytes);
            while let Some((duplicate, (at, bytes))) =
                skipped.next_if(|(duplicate, _)| duplicate.index < end_index)
            {
                push(&mut stored, start, duplicate.index - index, at - start);
                (index, start) = (duplicate.index + 1, at + bytes);
            }
            push(&mut stored, start, end_index - index, end - start);
            (index, start) = (end_index, end);
        }
        stored
    }
}

fn push(stored: &mut Vec<(u32, Piece)>, start: u32, count: u32, bytes: u32) {
    if count > 0 {
        stored.push((start, Piece { count, bytes }));
    }
}

impl State {
    /// What becomes of a publish, and whether there is room for it behind what the same request
    /// asked before.
    ///
    /// # Errors
    /// `DedupConflict`; `Busy` or `TooLarge` with the limit that it does not keep.
    pub(super) fn judge_publish(
        &self,
        publish: &Publish,
        now: Timestamp,
        asked: &mut Asked,
    ) -> Result<Judged, Refusal> {
        let log = self.logs.get(&publish.log).ok_or_else(gone)?;
        let judged = log.judge(publish, now, asked)?;
        self.could_store(log, asked)?;
        Ok(judged)
    }
}

impl Log {
    fn judge(
        &self,
        publish: &Publish,
        now: Timestamp,
        asked: &mut Asked,
    ) -> Result<Judged, Refusal> {
        let (mut count, mut bytes) = publish.size();
        let mut known = None;
        if !publish.dedup_ids.is_empty() && self.dedup_window_ms() > 0 {
            let said = self.judge_ids(publish, now, asked)?;
            self.has_room_for_ids(asked.ids.len(), now)?;
            let (skipped, skipped_bytes) = said.skips();
            (count, bytes) = (count - skipped, bytes - skipped_bytes);
            known = Some(Box::new(said));
        }
        asked.messages += u64::from(count);
        asked.bytes += bytes;
        Ok(Judged { count, known })
    }

    fn judge_ids(
        &self,
        publish: &Publish,
        now: Timestamp,
        asked: &mut Asked,
    ) -> Result<Known, Refusal> {
        let mut said = Known::default();
        let late = u64::from(self.planted.has(Bug::DedupWindowOffByOne));
        let window_ms = self.dedup_window_ms() + late;
        let first = self.end + asked.messages;
        for named in &publish.dedup_ids {
            let id = named.id();
            let known = self.dedup.find(id, window_ms, now);
            match known.or_else(|| asked.ids.get(&id)) {
                Some(original) if original.body != named.body => {
                    return Err(Refusal::DedupConflict {
                        index: named.index,
                        offset: original.offset,
                    });
                }
                Some(original) => {
                    said.skipped.push((named.start, named.bytes));
                    said.duplicates.push(Duplicate {
                        index: named.index,
                        offset: original.offset,
                    });
                }
                None => {
                    let before = named.index as usize - said.duplicates.len();
                    let original = Original {
                        id,
                        offset: first + before as u64,
                        body: named.body,
                        at: now,
                    };
                    asked.ids.insert(id, original);
                    said.fresh.push(original);
                }
            }
        }
        Ok(said)
    }

    fn has_room_for_ids(&self, more: usize, now: Timestamp) -> Result<(), Refusal> {
        let (limit, window_ms) = (self.max_dedup_ids(), self.dedup_window_ms());
        if more as u64 > limit {
            return Err(Refusal::TooLarge {
                field: "max_dedup_ids".into(),
                max: limit,
            });
        }
        let current = self.dedup.count(window_ms, now);
        let excess = (current + more).saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        if excess == 0 {
            return Ok(());
        }
        let room_at = self.dedup.room_at(excess, window_ms, now);
        Err(Refusal::Busy {
            resource: "dedup".into(),
            limit,
            current: current as u64,
            retry_after_ms: clamp_hint(room_at.map_or(0, |at| at.ms_since(now))),
        })
    }

    /// Whether so much more fits its limits.
    ///
    /// # Errors
    /// `TooLarge` if it does not fit an empty queue: no waiting helps. Otherwise `Busy` with the limit
    /// that is hit; the hint when to retry is the caller's to add.
    pub fn has_room(&self, messages: u64, bytes: u64) -> Result<(), Refusal> {
        let Kind::Queue(settings) = &self.kind else {
            return Ok(());
        };
        let fits = |held: u64, more: u64, limit| held.saturating_add(more) <= limit;
        if fits(self.messages, messages, settings.max_messages)
            && fits(self.bytes, bytes, settings.max_bytes)
        {
            return Ok(());
        }
        let limits = [
            (
                "max_messages",
                settings.max_messages,
                self.messages,
                messages,
            ),
            ("max_bytes", settings.max_bytes, self.bytes, bytes),
        ];
        if let Some((field, max, _, _)) = limits.iter().find(|(_, limit, _, more)| more > limit) {
            return Err(Refusal::TooLarge {
                field: (*field).into(),
                max: *max,
            });
        }
        for (resource, limit, current, more) in limits {
            // A redrive may have filled it past the limit; what takes no room is not refused for that.
            if more > 0 && current.saturating_add(more) > limit {
                let resource = resource.into();
                return Err(Refusal::Busy {
                    resource,
                    limit,
                    current,
                    retry_after_ms: 0,
                });
            }
        }
        Ok(())
    }

    /// Forgets dedup ids that nobody threw out before.
    pub(super) fn forget_ids(&mut self, now: Timestamp) {
        let window_ms = self.dedup_window_ms();
        self.dedup.clean(usize::MAX, window_ms, now);
    }

    /// ms that a dedup id is remembered; 0: not at all.
    pub fn dedup_window_ms(&self) -> u64 {
        match &self.kind {
            Kind::Queue(settings) => settings.dedup_window_ms,
            Kind::Topic(settings) => settings.dedup_window_ms,
        }
    }

    fn max_dedup_ids(&self) -> u64 {
        match &self.kind {
            Kind::Queue(settings) => settings.max_dedup_ids,
            Kind::Topic(settings) => settings.max_dedup_ids,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_cut_out_of_the_pieces() {
        let piece = |count, bytes| Piece { count, bytes };
        let publish = Publish {
            pieces: vec![piece(3, 30), piece(2, 40), piece(1, 5)],
            ..Publish::default()
        };
        let cut = |skipped: &[(u32, u32, u32)]| {
            let duplicates = skipped.iter();
            let duplicates = duplicates.map(|(index, _, _)| Duplicate {
                index: *index,
                offset: 0,
            });
            let known = Known {
                duplicates: duplicates.collect(),
                skipped: skipped.iter().map(|(_, at, bytes)| (*at, *bytes)).collect(),
                fresh: Vec::new(),
            };
            let stored = known.stored(&publish);
            let count: u32 = stored.iter().map(|(_, piece)| piece.count).sum();
            let bytes: u32 = stored.iter().map(|(_, piece)| piece.bytes).sum();
            let (skipped, skipped_bytes) = known.skips();
            let left = (count + skipped, u64::from(bytes) + skipped_bytes);
            assert_eq!(left, publish.size());
            stored
        };
        let whole = [(0, piece(3, 30)), (30, piece(2, 40)), (70, piece(1, 5))];
        assert_eq!(cut(&[]), whole);
        assert_eq!(
            cut(&[(1, 10, 10), (3, 30, 25)]),
            [
                (0, piece(1, 10)),
                (20, piece(1, 10)),
                (55, piece(1, 15)),
                (70, piece(1, 5))
            ]
        );
        assert_eq!(
            cut(&[(0, 0, 10), (1, 10, 10), (2, 20, 10), (5, 70, 5)]),
            [(30, piece(2, 40))]
        );
    }
}
