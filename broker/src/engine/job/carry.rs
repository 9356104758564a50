//! What the last attempt left behind goes with the next one.

use bytes::Bytes;
use siding_protocol::limits::DELIVERED_CHECKPOINT_BYTES_MAX;
use siding_protocol::types::{Offset, OffsetRange};

use super::Jobs;
use crate::engine::log::Log;
use crate::engine::select::Selection;

impl Jobs {
    /// The checkpoints of what is selected, rising. The selection is cut behind the one that makes
    /// them too much for a delivery.
    pub(in crate::engine) fn carry(
        &self,
        log: &Log,
        selection: &mut Selection,
    ) -> Vec<(Offset, Bytes)> {
        let mut carried: Vec<(Offset, Bytes)> = Vec::new();
        if self.checkpoints == 0 {
            return carried;
        }
        let mut bytes = 0;
        let mut cut = None;
        for (index, (range, _)) in selection.ranges.iter().enumerate() {
            for (offset, checkpoint) in self.checkpoints(range.clone()) {
                if cut.is_none() && bytes < DELIVERED_CHECKPOINT_BYTES_MAX {
                    bytes += checkpoint.len();
                    carried.push((offset, checkpoint.clone()));
                } else {
                    cut.get_or_insert((index, offset));
                }
            }
        }
        if let Some((index, offset)) = cut {
            selection.cut_at(log, index, offset);
        }
        carried.sort_unstable_by_key(|(offset, _)| *offset);
        carried
    }
}

impl Selection {
    /// Ends before `offset` of the range at `index`.
    fn cut_at(&mut self, log: &Log, index: usize, offset: Offset) {
        self.ranges.truncate(index + 1);
        if let Some((last, _)) = self.ranges.last_mut() {
            last.end = offset;
            if last.is_empty() {
                self.ranges.pop();
            }
        }
        let ranges = self.ranges.iter();
        self.bytes = ranges.map(|(range, _)| log.bytes_of(range)).sum();
    }
}

/// The same ranges, each message with a checkpoint a range of its own.
pub(in crate::engine) fn apart(
    ranges: Vec<(OffsetRange, u32)>,
    checkpoints: &[(Offset, Bytes)],
) -> Vec<(OffsetRange, u32)> {
    if checkpoints.is_empty() {
        return ranges;
    }
    let mut parts = Vec::with_capacity(ranges.len() + checkpoints.len());
    for (range, attempt) in ranges {
        let from = checkpoints.partition_point(|(offset, _)| *offset < range.start);
        let mut at = range.start;
        for (offset, _) in checkpoints.iter().skip(from) {
            if *offset >= range.end {
                break;
            }
            parts.push((at..*offset, attempt));
            parts.push((*offset..offset + 1, attempt));
            at = offset + 1;
        }
        parts.push((at..range.end, attempt));
    }
    parts.retain(|(range, _)| !range.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use siding_protocol::settings::QueueSettings;
    use siding_protocol::types::Timestamp;

    use crate::engine::command::Piece;
    use crate::engine::job::Report;
    use crate::engine::log::Kind;
    use crate::engine::seed::Seed;

    use super::*;

    #[test]
    fn a_delivery_carries_so_many_checkpoints_and_each_message_of_one_is_apart() {
        let settings = QueueSettings::parse(None).unwrap();
        let mut log = Log::new(1, "jobs".into(), Kind::Queue(settings), Seed::default());
        let piece = Piece {
            count: 10,
            bytes: 100,
        };
        log.append(piece, Timestamp(1));
        let mut jobs = Jobs::default();
        for offset in [2, 5, 8] {
            let report = Report {
                checkpoint: Some(vec![0; DELIVERED_CHECKPOINT_BYTES_MAX / 2].into()),
                ..Report::default()
            };
            jobs.set_report(offset, report);
        }
        let mut selection = Selection {
            ranges: vec![(0..3, 2), (3..10, 1)],
            bytes: 100,
        };
        let checkpoints = jobs.carry(&log, &mut selection);
        assert_eq!(
            (selection.ranges.as_slice(), selection.bytes),
            (&[(0..3, 2), (3..8, 1)][..], 80)
        );
        let offsets: Vec<_> = checkpoints.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [2, 5]);
        let parts = apart(selection.ranges, &checkpoints);
        assert_eq!(
            parts,
            [(0..2, 2), (2..3, 2), (3..5, 1), (5..6, 1), (6..8, 1)]
        );
    }
}
