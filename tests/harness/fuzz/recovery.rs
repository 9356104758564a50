//! A journal whose files were damaged, or written by somebody who knows the checksums.
//!
//! The input is a program of [`Step`]s against a small journal of known entries: random bytes alone
//! would never come past a checksum.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::record::{self, Checksums, HEADER_BYTES, Header};
use siding_broker::storage::{
    Append, Filling, JournalOptions, Kind, Level, Recovered, StorageError, Writer, recover,
};

use super::Trial;

const FILE_BYTES: u64 = 64 << 10;
const RECORDS_START: u64 = 4096;
/// Lengths of the entries' payloads, a group each: the first file is full, the second begun, and the
/// last two groups lie behind the last durable mark on the disk.
const LENGTHS: [usize; 14] = [
    200, 30, 0, 9_000, 16_000, 8_000, 14_000, 11_000, 64, 700, 20, 3_000, 90, 1_100,
];
const KINDS: [Kind; 8] = [
    Kind::Entry,
    Kind::Start,
    Kind::Mark,
    Kind::Vote,
    Kind::Truncate,
    Kind::Purge,
    Kind::Committed,
    Kind::Membership,
];
/// Payloads of more bytes are not checked where a bug is planted.
const PLANTED_BYTES: usize = 13_000;
const STEP_BYTES: usize = 8;
const STEPS_MAX: usize = 64;

/// One change of the journal's files: eight bytes of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bits further on, one flips.
    Flip(Place, u8),
    /// So many words are zeros.
    Zero(Place, u8),
    /// So many words appear in another place too, perhaps of the other file.
    Copy(Place, Place, u8),
    /// A record with valid checksums, whatever it says.
    Forge(Place, Forged),
}

/// A word of one of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 0 or 1.
    pub file: u8,
    /// From the start of the file.
    pub word: u16,
}

/// What a forged record says: small numbers, counted from both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged {
    /// Of [`KINDS`].
    pub kind: u8,
    /// Negative: that far below the largest there is.
    pub index: i8,
    /// As `index`.
    pub group: i8,
    /// As `index`, in steps of 32 words.
    pub mark: i8,
}

/// The journal before it is changed.
struct Base {
    disk: MemoryFs,
    paths: [PathBuf; 2],
    checksums: [Checksums; 2],
    /// Where each entry stands, from index 1.
    places: Vec<Written>,
}

/// A record of the base: its file, 0 or 1, and its bytes there, without padding.
struct Written {
    file: u8,
    bytes: Range<u64>,
}

/// Damage is refused and named, or cut where it may be. What is recovered was written at its index, or
/// forged; no entry is lost of which no byte was damaged; and what was recovered once can be continued and
/// is recovered again.
pub(super) fn judge(input: &[u8], trial: &Trial) {
    static BASE: OnceLock<Base> = OnceLock::new();
    let base = BASE.get_or_init(Base::new);
    let disk = base.disk.kill();
    let steps: Vec<_> = input
        .chunks_exact(STEP_BYTES)
        .take(STEPS_MAX)
        .map(Step::of)
        .collect();
    let mut forged = Vec::new();
    for step in &steps {
        base.take(step, &disk, &mut forged);
    }
    if trial.planted {
        base.forget_checksums(&disk);
    }
    let (found, mut writer) = match recovered(&disk) {
        Ok(recovered) => recovered,
        Err(StorageError::Damaged { .. }) => return,
        Err(other) => panic!("{steps:?}: {other}"),
    };
    for (record, due) in found.iter().zip(1..) {
        let is_forged = forged.contains(&record.payload);
        let is_written =
            record.index == due && written(record.index) == Some(record.payload.to_vec());
        assert!(
            is_forged || is_written,
            "{steps:?}: entry {} {:?}",
            record.index,
            record.at
        );
    }
    if !forged.is_empty() {
        return;
    }
    for (at, place) in base.places.iter().enumerate().skip(found.len()) {
        let is_touched = steps.iter().any(|step| step.touches(place));
        assert!(is_touched, "{steps:?}: entry {} is lost", at + 1);
    }
    let next = found.len() as u64 + 1;
    let entry = entry(next, vec![7; 100]);
    writer
        .append(&[entry], Level::Synced, &mut Vec::new())
        .expect("a sound disk");
    drop(writer);
    let again = recovered(&disk.kill()).map(|(again, _)| again);
    let again = again.expect("what was recovered once");
    assert_eq!(again.len(), found.len() + 1, "{steps:?}");
    assert_eq!(again.get(..found.len()), Some(&found[..]), "{steps:?}");
}

fn recovered(disk: &MemoryFs) -> Result<(Vec<Recovered>, Writer), StorageError> {
    let mut options = JournalOptions::new(Arc::new(disk.clone()), PathBuf::from("/j"), 77);
    options.file_bytes = FILE_BYTES;
    options.filling = Filling::Inline;
    options.spares = 1;
    options.recycled_max = 1;
    let mut found = Vec::new();
    let (writer, _) = recover(&options, &|_| 1, &mut |record| {
        if record.kind.is_indexed() {
            found.push(record);
        }
    })?;
    Ok((found, writer))
}

fn entry(index: u64, payload: Vec<u8>) -> Append {
    Append {
        kind: Kind::Entry,
        shard: 0,
        index,
        term: 1,
        payload: vec![Bytes::from(payload)],
    }
}

/// The payload of an entry of the base.
fn written(index: u64) -> Option<Vec<u8>> {
    let at = usize::try_from(index.checked_sub(1)?).ok()?;
    let mut rng = fastrand::Rng::with_seed(index);
    let length = *LENGTHS.get(at)?;
    Some((0..length).map(|_| rng.u8(..)).collect())
}

impl Base {
    fn new() -> Self {
        let disk = MemoryFs::new(1);
        let (_, mut writer) = recovered(&disk).expect("a new journal");
        let mut places = Vec::new();
        for index in (1..).take(LENGTHS.len()) {
            let payload = written(index).expect("one of them");
            writer
                .append(&[entry(index, payload)], Level::Synced, &mut places)
                .expect("a sound disk");
        }
        drop(writer);
        let paths = [1, 2].map(|number| PathBuf::from(format!("/j/{number:020}.journal")));
        let checksums = paths.clone().map(|path| {
            let contents = disk.contents(&path).expect("two files");
            let generation = contents.get(24..).and_then(|rest| rest.first_chunk());
            Checksums::new(u64::from_le_bytes(*generation.expect("a header")))
        });
        let places: Vec<_> = places
            .into_iter()
            .map(|at| Written {
                file: u8::from(at.file.number() > 1),
                bytes: at.position..at.position + HEADER_BYTES as u64 + u64::from(at.length),
            })
            .collect();
        assert!(
            places.iter().any(|place| place.file == 1),
            "two files are used"
        );
        Self {
            disk,
            paths,
            checksums,
            places,
        }
    }

    fn path(&self, place: Place) -> &PathBuf {
        let [first, second] = &self.paths;
        if place.file == 0 { first } else { second }
    }

    fn take(&self, step: &Step, disk: &MemoryFs, forged: &mut Vec<Bytes>) {
        match *step {
            Step::Flip(place, bit) => {
                let at = place.position() + u64::from(bit / 8);
                let byte = self.bytes(disk, place, usize::from(bit / 8) + 1).pop();
                let flipped = byte.unwrap_or(0) ^ (1 << (bit % 8));
                disk.damage(self.path(place), at, &[flipped]);
            }
            Step::Zero(place, _) => {
                let zeros = vec![0; self.bytes(disk, place, step.bytes()).len()];
                disk.damage(self.path(place), place.position(), &zeros);
            }
            Step::Copy(from, to, _) => {
                let mut bytes = self.bytes(disk, from, step.bytes());
                bytes.truncate(self.bytes(disk, to, step.bytes()).len());
                disk.damage(self.path(to), to.position(), &bytes);
            }
            Step::Forge(place, says) => {
                let payload = Bytes::from(vec![0xF0; usize::from(says.kind)]);
                let record = self.forge(place, says, &payload);
                let room = self.bytes(disk, place, record.len()).len();
                if room == record.len() {
                    disk.damage(self.path(place), place.position(), &record);
                    forged.push(payload);
                }
            }
        }
    }

    /// Bytes from a place on, as far as the file reaches.
    fn bytes(&self, disk: &MemoryFs, place: Place, most: usize) -> Vec<u8> {
        let contents = disk.contents(self.path(place)).unwrap_or_default();
        let from = usize::from(place.word) * 8;
        let rest = contents.get(from..).unwrap_or_default();
        rest.get(..most).unwrap_or(rest).to_vec()
    }

    fn forge(&self, place: Place, says: Forged, payload: &[u8]) -> Vec<u8> {
        let [first, second] = &self.checksums;
        let checksums = if place.file == 0 { first } else { second };
        // The largest that a record may say, and what is below it.
        let beyond = u64::MAX / 2 + 1;
        let far = |number: i8| match u64::try_from(number) {
            Ok(small) => small,
            Err(_) => beyond.wrapping_add_signed(number.into()),
        };
        let words = far(says.mark).wrapping_mul(32) & u64::from(u32::MAX);
        let header = Header {
            kind: KINDS
                .into_iter()
                .cycle()
                .nth(says.kind.into())
                .unwrap_or(Kind::Entry),
            shard: u32::from(says.kind >= 64),
            index: far(says.index),
            term: 1,
            node: 77,
            group: far(says.group),
            synced: words * 8,
            before: if says.kind >= 128 { words * 8 } else { 0 },
            payload_bytes: says.kind.into(),
            payload_crc: checksums.of([payload]),
            head_bytes: 0,
            head_crc: 0,
        };
        let mut record = record::encode(&header, checksums, place.position()).to_vec();
        record.extend_from_slice(payload);
        record
    }

    /// Planted: large payloads of the base pass again, whatever became of them.
    fn forget_checksums(&self, disk: &MemoryFs) {
        for Written { file, bytes } in &self.places {
            let (position, length) = (
                bytes.start,
                usize::try_from(bytes.end - bytes.start).unwrap_or(0),
            );
            if length < PLANTED_BYTES {
                continue;
            }
            let word = u16::try_from(position / 8).unwrap_or(0);
            let place = Place { file: *file, word };
            let [first, second] = &self.checksums;
            let checksums = if *file == 0 { first } else { second };
            let bytes = self.bytes(disk, place, length);
            let header = record::parse(&bytes, checksums, position);
            let payload = bytes.get(HEADER_BYTES..).unwrap_or_default();
            let Some(header) = header.filter(|_| bytes.len() == length) else {
                continue;
            };
            let payload_crc = checksums.of([payload]);
            let header = Header {
                payload_crc,
                ..header
            };
            let sealed = record::encode(&header, checksums, position);
            disk.damage(self.path(place), position, &sealed);
        }
    }
}

impl Place {
    /// Of a record's number of bytes from the start of the records on.
    #[must_use]
    pub fn behind_header(file: u8, bytes: u64) -> Self {
        let word = u16::try_from((RECORDS_START + bytes) / 8).unwrap_or(u16::MAX);
        Self { file, word }
    }

    fn position(self) -> u64 {
        u64::from(self.word) * 8
    }

    fn of(file: u8, low: u8, high: u8) -> Self {
        let word = u16::from_le_bytes([low, high]) & 0x1FFF;
        let file = file & 1;
        Self { file, word }
    }
}

impl Step {
    /// Any eight bytes are a step.
    fn of(bytes: &[u8]) -> Self {
        let &[kind, file, low, high, much, rest @ ..] =
            bytes.first_chunk().unwrap_or(&[0; STEP_BYTES]);
        let [index, group, mark] = rest;
        let place = Place::of(file, low, high);
        match kind % 4 {
            0 => Self::Flip(place, much),
            1 => Self::Zero(place, much),
            2 => Self::Copy(place, Place::of(file >> 1, index, group), much),
            _ => Self::Forge(
                place,
                Forged {
                    kind: much,
                    index: index.cast_signed(),
                    group: group.cast_signed(),
                    mark: mark.cast_signed(),
                },
            ),
        }
    }

    /// What it is read from.
    #[must_use]
    pub fn to_bytes(self) -> [u8; STEP_BYTES] {
        let words = |place: Place| place.word.to_le_bytes();
        match self {
            Self::Flip(place, bit) => {
                let [low, high] = words(place);
                [0, place.file, low, high, bit, 0, 0, 0]
            }
            Self::Zero(place, count) => {
                let [low, high] = words(place);
                [1, place.file, low, high, count, 0, 0, 0]
            }
            Self::Copy(from, to, count) => {
                let ([low, high], [to_low, to_high]) = (words(from), words(to));
                let files = from.file | (to.file << 1);
                [2, files, low, high, count, to_low, to_high, 0]
            }
            Self::Forge(place, says) => {
                let [low, high] = words(place);
                let numbers = [says.index, says.group, says.mark].map(i8::cast_unsigned);
                let [index, group, mark] = numbers;
                [3, place.file, low, high, says.kind, index, group, mark]
            }
        }
    }

    /// Bytes that are zeroed or copied.
    fn bytes(self) -> usize {
        match self {
            Self::Zero(_, words) | Self::Copy(_, _, words) => usize::from(words) * 8,
            Self::Flip(..) | Self::Forge(..) => 0,
        }
    }

    /// Whether it may change a byte of a record.
    fn touches(self, written: &Written) -> bool {
        let bytes = self.bytes() as u64;
        let (place, changed) = match self {
            Self::Flip(place, bit) => {
                let at = place.position() + u64::from(bit / 8);
                (place, at..at + 1)
            }
            Self::Zero(place, _) | Self::Copy(_, place, _) => {
                (place, place.position()..place.position() + bytes)
            }
            Self::Forge(..) => return true,
        };
        place.file == written.file
            && changed.start < written.bytes.end
            && written.bytes.start < changed.end
    }
}
