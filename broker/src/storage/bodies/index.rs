//! The index as bytes, for the snapshot: a cut of the journal must not forget what older files hold.
//!
//! Columns of numbers, each row as its difference to the row before, so a piece takes about a dozen
//! bytes. Node-local: positions in the journal mean nothing elsewhere. Whoever keeps the bytes keeps
//! a checksum with them; what passes it and is still no index is refused here.
//!
//! To change this format: add columns with new tags, whose absence keeps the old meaning; else raise
//! [`FORMAT`] and keep reading the older one.

use std::collections::BTreeMap;

use prost::Message;
use siding_protocol::limits::RUN_MESSAGES_MAX;
use siding_protocol::types::Timestamp;

use super::log::{LogPieces, Piece};
use super::records::Records;
use super::{Bodies, Budgets, Placed, RecordAt};
use crate::storage::{FileId, Segment};

/// Version of the index that this release writes.
const FORMAT: u32 = 1;

/// Why bytes are not an index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Not protobuf.
    #[error("bodies index does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// Written by another release.
    #[error("bodies index has format {found}, this release knows {FORMAT}; use a newer release")]
    Format {
        /// The index's format.
        found: u32,
    },
    /// It decodes, but cannot be what was written.
    #[error("bodies index is damaged: {0}")]
    Damaged(IndexDamage),
}

/// What is wrong with an index that decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexDamage {
    /// Columns of one table differ in length.
    #[error("its columns differ in length")]
    Columns,
    /// Records, logs or offsets do not rise.
    #[error("its rows do not rise")]
    Order,
    /// A piece names a record that is not there, or a record is in no piece.
    #[error("its pieces and records do not match")]
    Records,
    /// A piece is empty, longer than a run, or reaches past its record.
    #[error("a piece is out of range")]
    Piece,
}

#[derive(Clone, PartialEq, Message)]
struct Index {
    #[prost(uint32, tag = "1")]
    format: u32,
    /// The records, in order of place.
    #[prost(uint64, repeated, tag = "2")]
    files: Vec<u64>,
    /// Differences to the record before, also across files.
    #[prost(sint64, repeated, tag = "3")]
    positions: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    lengths: Vec<u32>,
    #[prost(message, repeated, tag = "5")]
    logs: Vec<Columns>,
    /// So many of the records, the first ones, lie in segments, the others in the journal.
    #[prost(uint64, tag = "6")]
    in_segments: u64,
    /// The segments, by number.
    #[prost(uint64, repeated, tag = "7")]
    segments: Vec<u64>,
    #[prost(uint64, repeated, tag = "8")]
    segment_logs: Vec<u64>,
    #[prost(uint64, repeated, tag = "9")]
    segment_bases: Vec<u64>,
    #[prost(uint64, repeated, tag = "10")]
    segment_bytes: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Columns {
    #[prost(uint64, tag = "1")]
    log: u64,
    /// Lowest kept offset, as the difference to the highest one kept before it.
    #[prost(uint64, repeated, tag = "2")]
    gaps: Vec<u64>,
    /// Messages kept.
    #[prost(uint32, repeated, tag = "3")]
    kept: Vec<u32>,
    /// Messages before and after them in the piece that are discarded.
    #[prost(uint32, repeated, tag = "4")]
    fronts: Vec<u32>,
    #[prost(uint32, repeated, tag = "5")]
    backs: Vec<u32>,
    #[prost(sint64, repeated, tag = "6")]
    published: Vec<i64>,
    /// Row among the records of this index.
    #[prost(sint64, repeated, tag = "7")]
    records: Vec<i64>,
    #[prost(uint32, repeated, tag = "8")]
    starts: Vec<u32>,
    #[prost(uint32, repeated, tag = "9")]
    bytes: Vec<u32>,
}

/// A column of differences, in either direction. Wrapping, so any bytes make some number.
#[derive(Default)]
struct Delta(u64);

impl Delta {
    fn encode(&mut self, value: u64) -> i64 {
        let step = value.wrapping_sub(self.0).cast_signed();
        self.0 = value;
        step
    }

    fn decode(&mut self, step: i64) -> u64 {
        self.0 = self.0.wrapping_add_signed(step);
        self.0
    }
}

impl Bodies {
    /// Appends the index to `out`. Which bytes are in memory is not part of it.
    pub fn export(&self, out: &mut Vec<u8>) {
        let mut index = Index {
            format: FORMAT,
            ..Index::default()
        };
        let mut rows = vec![0; self.records.rows()];
        let mut position = Delta::default();
        for (dense, (at, row)) in (0_u64..).zip(self.records.iter()) {
            match at.file {
                FileId::Segment(number) => {
                    index.in_segments += 1;
                    index.files.push(number);
                }
                FileId::Journal(number) => index.files.push(number),
            }
            index.positions.push(position.encode(at.position));
            index.lengths.push(at.length);
            if let Some(place) = rows.get_mut(row as usize) {
                *place = dense;
            }
        }
        let logs = self.logs.iter();
        index.logs = logs
            .map(|(log, pieces)| export_log(*log, pieces, &rows))
            .collect();
        for segment in self.segments.values() {
            index.segments.push(segment.number);
            index.segment_logs.push(segment.log);
            index.segment_bases.push(segment.base);
            index.segment_bytes.push(segment.bytes);
        }
        index.encode(out).expect("a vector grows");
    }

    /// Knows what [`Bodies::export`] knew; all of it is to be read from the journal.
    ///
    /// # Errors
    /// Bytes that no export of a known format can have written.
    pub fn import(bytes: &[u8], budgets: Budgets) -> Result<Self, IndexError> {
        let index = Index::decode(bytes)?;
        if index.format != FORMAT {
            return Err(IndexError::Format {
                found: index.format,
            });
        }
        Self::from_index(&index, budgets).map_err(IndexError::Damaged)
    }

    fn from_index(index: &Index, budgets: Budgets) -> Result<Self, IndexDamage> {
        let mut bodies = Self::new(budgets);
        bodies.segments = import_segments(index)?;
        let known = import_records(index, &mut bodies.records)?;
        let mut before = None;
        for log in &index.logs {
            if before.is_some_and(|before| before >= log.log) {
                return Err(IndexDamage::Order);
            }
            before = Some(log.log);
            let pieces = import_log(log, &known, &mut bodies.records)?;
            bodies.logs.insert(log.log, pieces);
        }
        let is_known = |file| match file {
            FileId::Segment(number) => bodies.segments.contains_key(&number),
            FileId::Journal(_) => true,
        };
        if bodies.records.all_held() && bodies.records.files().all(|(file, _)| is_known(file)) {
            Ok(bodies)
        } else {
            Err(IndexDamage::Records)
        }
    }
}

fn export_log(log: u64, pieces: &LogPieces, rows: &[u64]) -> Columns {
    let mut out = Columns {
        log,
        ..Columns::default()
    };
    let (mut end, mut published, mut record) = (0, Delta::default(), Delta::default());
    for piece in pieces.iter_from(0) {
        let kept = piece.kept();
        let (front, back) = piece.discarded();
        out.gaps.push(kept.start - end);
        out.kept.push(piece.count - front - back);
        out.fronts.push(front);
        out.backs.push(back);
        out.published.push(published.encode(piece.published_at.0));
        let row = rows.get(piece.record as usize).copied();
        out.records.push(record.encode(row.unwrap_or_default()));
        out.starts.push(piece.start);
        out.bytes.push(piece.bytes);
        end = kept.end;
    }
    out
}

fn import_segments(index: &Index) -> Result<BTreeMap<u64, Segment>, IndexDamage> {
    let count = index.segments.len();
    let columns = [
        &index.segment_logs,
        &index.segment_bases,
        &index.segment_bytes,
    ];
    if columns.iter().any(|column| column.len() != count) {
        return Err(IndexDamage::Columns);
    }
    let columns = index.segment_logs.iter().zip(&index.segment_bases);
    let rows = index.segments.iter().zip(columns.zip(&index.segment_bytes));
    let segments = rows.map(|(&number, ((&log, &base), &bytes))| {
        let segment = Segment {
            number,
            log,
            base,
            bytes,
        };
        (number, segment)
    });
    let segments: BTreeMap<_, _> = segments.collect();
    if segments.len() == count {
        Ok(segments)
    } else {
        Err(IndexDamage::Order)
    }
}

/// Each record with its row.
fn import_records(
    index: &Index,
    records: &mut Records,
) -> Result<Vec<(RecordAt, u32)>, IndexDamage> {
    let count = index.files.len();
    if index.positions.len() != count || index.lengths.len() != count {
        return Err(IndexDamage::Columns);
    }
    let mut position = Delta::default();
    let mut known: Vec<(RecordAt, u32)> = Vec::with_capacity(count);
    let columns = index.files.iter().zip(&index.positions).zip(&index.lengths);
    for (row, ((file, step), length)) in (0_u64..).zip(columns) {
        let file = if row < index.in_segments {
            FileId::Segment(*file)
        } else {
            FileId::Journal(*file)
        };
        let at = RecordAt {
            file,
            position: position.decode(*step),
            length: *length,
        };
        if known.last().is_some_and(|(before, _)| *before >= at) {
            return Err(IndexDamage::Order);
        }
        known.push((at, records.row(at)));
    }
    Ok(known)
}

fn import_log(
    log: &Columns,
    known: &[(RecordAt, u32)],
    records: &mut Records,
) -> Result<LogPieces, IndexDamage> {
    let count = log.gaps.len();
    let columns = [
        log.kept.len(),
        log.fronts.len(),
        log.backs.len(),
        log.published.len(),
        log.records.len(),
        log.starts.len(),
        log.bytes.len(),
    ];
    if count == 0 || columns.iter().any(|length| *length != count) {
        return Err(IndexDamage::Columns);
    }
    let mut pieces = LogPieces::default();
    let (mut end, mut published, mut record) = (0_u64, Delta::default(), Delta::default());
    let windows = log
        .gaps
        .iter()
        .zip(&log.kept)
        .zip(log.fronts.iter().zip(&log.backs));
    let whats = log
        .published
        .iter()
        .zip(&log.records)
        .zip(log.starts.iter().zip(&log.bytes));
    for (((gap, kept), (front, back)), ((published_step, record_step), (start, bytes))) in
        windows.zip(whats)
    {
        let place = usize::try_from(record.decode(*record_step)).ok();
        let (at, row) = *place
            .and_then(|place| known.get(place))
            .ok_or(IndexDamage::Records)?;
        let kept_start = end.checked_add(*gap).ok_or(IndexDamage::Order)?;
        end = kept_start
            .checked_add(u64::from(*kept))
            .ok_or(IndexDamage::Order)?;
        end.checked_add(u64::from(*back))
            .ok_or(IndexDamage::Piece)?;
        let placed = Placed {
            log: log.log,
            first: kept_start
                .checked_sub(u64::from(*front))
                .ok_or(IndexDamage::Piece)?,
            count: kept.saturating_add(*front).saturating_add(*back),
            published_at: Timestamp(published.decode(*published_step)),
            record: at,
            start: *start,
            bytes: *bytes,
        };
        let reaches_past = u64::from(*start) + u64::from(*bytes) > u64::from(at.length);
        if *kept == 0 || placed.count > RUN_MESSAGES_MAX || reaches_past {
            return Err(IndexDamage::Piece);
        }
        let mut piece = Piece::new(&placed, row);
        piece.keep(&(kept_start..end));
        if pieces.push(piece) {
            records.hold(row);
        }
    }
    Ok(pieces)
}
