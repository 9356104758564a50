//! The journal's record: one header, one payload, two checksums.
//!
//! ```text
//! byte  0        4    5    6        8           12           16       20        24        28
//!       ┌────────┬────┬────┬────────┬───────────┬────────────┬────────┬─────────┬─────────┬────────┐
//!       │ header │ver-│kind│ head   │ payload   │ payload    │ shard  │ synced  │ before  │ head   │
//!       │ CRC    │sion│    │ bytes  │ bytes     │ CRC        │        │ (words) │ (words) │ CRC    │
//!       ├────────┴────┴────┴────────┼───────────┴────────────┼────────┴─────────┼─────────┴────────┤
//!       │ 32  node                  │ 40  index              │ 48  term         │ 56  group        │
//!       └───────────────────────────┴────────────────────────┴──────────────────┴──────────────────┘
//!       │ 64  payload …                                     │ zeros to the next multiple of 8 │
//! ```
//!
//! Little endian. A *word* is 8 bytes: records start on words, so a `u32` of words reaches through
//! the largest file. Checksums are CRC-32C.
//!
//! - **header CRC** covers the file's generation, the record's position in the file and bytes 4 to
//!   64. Only after it passes is any length trusted. With the position under it, a sector written
//!   to the wrong place of the right file is not a record.
//! - **payload CRC** covers the generation and the payload.
//! - **head CRC** covers the generation and the first *head bytes* of the payload, so that these can be read
//!   without the others. Both are 0 where nobody would gain by that, and in what older releases wrote.
//! - **synced** is the durable mark: everything in this file before it had been synced when this
//!   record was written. It is the start of the record's group.
//! - **before** is where the records of the file before this one end (0: there is none). Every
//!   record of a file says so, therefore any one that survives proves how far the file before
//!   reaches.
//! - **group** rises by one with each sync, through all files. Only the last group of a journal can
//!   be partly on disk.
//! - **node** wrote the record; **index** and **term** are 0 where a kind has none. They and the group leave
//!   room to count on: none has its highest bit set.
//!
//! To change this format:
//! 1. Raise [`VERSION`] and keep parsing the versions that released brokers wrote.
//! 2. A new kind takes a new number in [`Kind`]; a number is never given to another meaning.
//! 3. No byte of the header is unused any more. The head's fields took the last ones; 0 kept its old meaning.
//! 4. A longer header is a new `format` in the file's header (`files.rs`) as well: recovery tells
//!    versions apart by file first, by record second.
//! 5. Add a data directory of the release before as a fixture to the tests.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use crc_fast::{CrcAlgorithm, Digest};

use crate::planted::{self, Bug};

/// The version of the record's format that this release writes.
pub const VERSION: u8 = 1;
/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 64;
/// Records start on multiples of this many bytes.
pub(super) const WORD: u64 = 8;
const HEADER_BYTES_U64: u64 = 64;
/// No index, term or group is larger: no journal gets there.
const NUMBER_MAX: u64 = u64::MAX / 2;

/// What a record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A logged batch of commands of one shard; has an index.
    Entry,
    /// The first entry of a start or a leadership; has an index.
    Start,
    /// Nothing but the durable mark in its header.
    Mark,
    /// A vote of this node (cluster).
    Vote,
    /// Entries of the shard behind this index are void (cluster).
    Truncate,
    /// Entries of the shard up to this index are no longer needed (cluster).
    Purge,
    /// Entries of the shard up to this index are committed (cluster).
    Committed,
    /// A change of the voters; has an index (cluster).
    Membership,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Entry,
        Self::Start,
        Self::Mark,
        Self::Vote,
        Self::Truncate,
        Self::Purge,
        Self::Committed,
        Self::Membership,
    ];

    /// The number on disk.
    const fn code(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Start => 2,
            Self::Mark => 3,
            Self::Vote => 4,
            Self::Truncate => 5,
            Self::Purge => 6,
            Self::Committed => 7,
            Self::Membership => 8,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether records of this kind are the positions of a shard, one index after the other.
    pub const fn is_indexed(self) -> bool {
        matches!(self, Self::Entry | Self::Start | Self::Membership)
    }
}

/// A record's header, parsed or to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record means.
    pub kind: Kind,
    /// The shard it belongs to; 0 where a kind has none.
    pub shard: u32,
    /// Position in the shard; 0 where a kind has none.
    pub index: u64,
    /// The term it was proposed in; 0 where a kind has none.
    pub term: u64,
    /// The node that wrote it.
    pub node: u64,
    /// The group it was written in.
    pub group: u64,
    /// Everything in the file before this position was synced, in bytes; a multiple of 8.
    pub synced: u64,
    /// Where the records of the file before this one end, in bytes; a multiple of 8; 0: no file.
    pub before: u64,
    /// Bytes of the payload, without padding.
    pub payload_bytes: u32,
    /// CRC-32C over generation and payload.
    pub payload_crc: u32,
    /// So many bytes of the payload can be read without the others; 0: none.
    pub head_bytes: u16,
    /// CRC-32C over generation and those.
    pub head_crc: u32,
}

impl Header {
    /// Bytes of the whole record with its padding.
    pub fn record_bytes(&self) -> u64 {
        record_bytes(u64::from(self.payload_bytes))
    }
}

/// Bytes of a record with a payload of so many bytes: header, payload, padding.
pub const fn record_bytes(payload_bytes: u64) -> u64 {
    payload_bytes
        .saturating_add(HEADER_BYTES_U64)
        .next_multiple_of(WORD)
}

/// The checksums of one file: its random generation is under every one of them, so that what an
/// earlier life of a recycled file left behind never passes.
#[derive(Clone, Copy, Debug)]
pub struct Checksums {
    generation: u64,
    /// State of a checksum that has already read the generation.
    seed: u64,
}

impl Checksums {
    /// The checksums of the file with this generation.
    pub fn new(generation: u64) -> Self {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&generation.to_le_bytes());
        Self {
            generation,
            seed: digest.get_state(),
        }
    }

    /// The generation they belong to.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// CRC-32C over the generation and all parts.
    pub fn of<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
        let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, self.seed);
        for part in parts {
            digest.update(part);
        }
        // A CRC-32 fills the lower half.
        u32::try_from(digest.finalize() & u64::from(u32::MAX)).unwrap_or(u32::MAX)
    }
}

/// Writes the header of a record that stands at `position` of its file.
///
/// # Panics
/// If `synced` or `before` lies beyond 32 GiB: no file is that large.
pub fn encode(header: &Header, checksums: &Checksums, position: u64) -> [u8; HEADER_BYTES] {
    let mut body = [0; HEADER_BYTES];
    let fields: [&[u8]; 13] = [
        &[0; 4],
        &[VERSION, header.kind.code()],
        &header.head_bytes.to_le_bytes(),
        &header.payload_bytes.to_le_bytes(),
        &header.payload_crc.to_le_bytes(),
        &header.shard.to_le_bytes(),
        &words(header.synced).to_le_bytes(),
        &words(header.before).to_le_bytes(),
        &header.head_crc.to_le_bytes(),
        &header.node.to_le_bytes(),
        &header.index.to_le_bytes(),
        &header.term.to_le_bytes(),
        &header.group.to_le_bytes(),
    ];
    let mut rest = body.as_mut_slice();
    for field in fields {
        let (place, after) = rest.split_at_mut(field.len());
        place.copy_from_slice(field);
        rest = after;
    }
    let (crc, covered) = body.split_at_mut(4);
    crc.copy_from_slice(
        &checksums
            .of([&position.to_le_bytes()[..], covered])
            .to_le_bytes(),
    );
    body
}

fn words(bytes: u64) -> u32 {
    debug_assert_eq!(bytes % WORD, 0, "records start on words");
    u32::try_from(bytes / WORD).expect("a journal file is at most 1 GiB")
}

/// Parses the header at `position` of a file, given the bytes from there on. `None`: no record of
/// this generation stands here, whatever else does.
pub fn parse(bytes: &[u8], checksums: &Checksums, position: u64) -> Option<Header> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    // Cheap tests first: recovery looks at every word behind a journal's end.
    if *header.get(4)? != VERSION {
        return None;
    }
    let kind = Kind::from_code(*header.get(5)?)?;
    let crc = u32::from_le_bytes(*header.first_chunk()?);
    if crc != checksums.of([&position.to_le_bytes()[..], header.get(4..)?])
        && !planted::has(Bug::LengthTrustedUnchecked)
    {
        return None;
    }
    let head_bytes = u16::from_le_bytes(*header.get(6..)?.first_chunk()?);
    let long = |at: usize| Some(u64::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let short = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    // Whoever continues a journal counts on from here, so there must be room to.
    if [long(40)?, long(48)?, long(56)?]
        .iter()
        .any(|&number| number > NUMBER_MAX)
    {
        return None;
    }
    Some(Header {
        kind,
        shard: short(16)?,
        index: long(40)?,
        term: long(48)?,
        node: long(32)?,
        group: long(56)?,
        synced: u64::from(short(20)?).checked_mul(WORD)?,
        before: u64::from(short(24)?).checked_mul(WORD)?,
        payload_bytes: short(8)?,
        payload_crc: short(12)?,
        head_bytes,
        head_crc: short(28)?,
    })
}

/// The head behind a parsed header, given as much of the record; `None` if there is none, or it fails its
/// check.
pub fn head<'a>(header: &Header, record: &'a [u8], checksums: &Checksums) -> Option<&'a [u8]> {
    let bytes = usize::from(header.head_bytes);
    let head = record.get(HEADER_BYTES..)?.get(..bytes)?;
    (bytes > 0 && checksums.of([head]) == header.head_crc).then_some(head)
}

/// Whether a header may start so, before any checksum is looked at.
pub(super) fn may_start(bytes: &[u8]) -> bool {
    let (version, kind) = (bytes.get(4), bytes.get(5));
    version == Some(&VERSION) && kind.is_some_and(|kind| Kind::from_code(*kind).is_some())
}

/// The payload behind a parsed header, given the record's bytes; `None` if it fails its check.
pub fn payload<'a>(header: &Header, record: &'a [u8], checksums: &Checksums) -> Option<&'a [u8]> {
    let bytes = usize::try_from(header.payload_bytes).ok()?;
    let payload = record.get(HEADER_BYTES..)?.get(..bytes)?;
    let passes = checksums.of([payload]) == header.payload_crc;
    (passes || planted::has(Bug::PayloadTrustedUnchecked)).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(payload: &[u8], checksums: &Checksums) -> Header {
        Header {
            kind: Kind::Entry,
            shard: 3,
            index: 41,
            term: 7,
            node: u64::MAX - 1,
            group: 1 << 40,
            synced: 8192,
            before: 1 << 30,
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            payload_crc: checksums.of([payload]),
            head_bytes: 0,
            head_crc: 0,
        }
    }

    #[test]
    fn a_head_is_read_without_the_rest_and_with_any_bit_flipped_it_does_not_pass() {
        let checksums = Checksums::new(5);
        let payload = b"head and the rest";
        let header = Header {
            head_bytes: 4,
            head_crc: checksums.of([b"head".as_slice()]),
            ..header(payload, &checksums)
        };
        let mut record = encode(&header, &checksums, 64).to_vec();
        record.extend_from_slice(payload);
        let parsed = parse(&record, &checksums, 64).unwrap();
        assert_eq!(parsed, header);
        record.truncate(HEADER_BYTES + 4);
        assert_eq!(head(&parsed, &record, &checksums), Some(&b"head"[..]));
        for bit in HEADER_BYTES * 8..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(head(&parsed, &flipped, &checksums), None, "bit {bit}");
        }
        record.pop();
        assert_eq!(head(&parsed, &record, &checksums), None, "cut short");
    }

    fn record(payload: &[u8], checksums: &Checksums, position: u64) -> Vec<u8> {
        let mut record = encode(&header(payload, checksums), checksums, position).to_vec();
        record.extend_from_slice(payload);
        record.resize(
            usize::try_from(record_bytes(payload.len() as u64)).unwrap(),
            0,
        );
        record
    }

    #[test]
    fn a_record_reads_back_as_written() {
        let checksums = Checksums::new(99);
        for length in [0, 1, 7, 8, 9, 4000] {
            let body: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
            let record = record(&body, &checksums, 4096);
            assert_eq!(record.len() % 8, 0);
            let parsed = parse(&record, &checksums, 4096).unwrap();
            assert_eq!(parsed, header(&body, &checksums));
            assert_eq!(parsed.record_bytes(), record.len() as u64);
            assert_eq!(payload(&parsed, &record, &checksums).unwrap(), body);
        }
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.code()), Some(kind));
        }
    }

    #[test]
    fn a_record_torn_at_any_byte_or_with_any_bit_flipped_does_not_pass() {
        let checksums = Checksums::new(5);
        let whole = record(b"twenty-one bytes here", &checksums, 64);
        let end = HEADER_BYTES + 21;
        let passes = |bytes: &[u8]| {
            parse(bytes, &checksums, 64)
                .is_some_and(|header| payload(&header, bytes, &checksums).is_some())
        };
        assert!(passes(&whole));
        for torn in 0..end {
            assert!(!passes(&whole[..torn]), "short at {torn}");
            let mut old = vec![0xAB; whole.len()];
            old[..torn].copy_from_slice(&whole[..torn]);
            assert!(!passes(&old), "old bytes behind {torn}");
        }
        for bit in 0..end * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!passes(&flipped), "bit {bit}");
        }
    }

    #[test]
    fn a_header_that_leaves_no_room_to_count_on_is_no_record() {
        let checksums = Checksums::new(5);
        let passes =
            |header: &Header| parse(&encode(header, &checksums, 64), &checksums, 64).is_some();
        let whole = header(b"body", &checksums);
        assert!(passes(&whole));
        let more = NUMBER_MAX + 1;
        assert!(passes(&Header {
            group: more - 1,
            ..whole
        }));
        assert!(!passes(&Header {
            group: more,
            ..whole
        }));
        assert!(!passes(&Header {
            index: more,
            ..whole
        }));
        assert!(!passes(&Header {
            term: more,
            ..whole
        }));
    }

    #[test]
    fn another_generation_or_another_place_is_no_record() {
        let checksums = Checksums::new(5);
        let whole = record(b"body", &checksums, 64);
        assert!(parse(&whole, &checksums, 64).is_some());
        assert!(parse(&whole, &Checksums::new(6), 64).is_none());
        assert!(parse(&whole, &checksums, 72).is_none());
    }

    #[test]
    fn the_bytes_on_disk_stay_what_they_are() {
        // A change of this test is a change of the format: see the procedure above.
        let checksums = Checksums::new(1);
        let header = Header {
            synced: 4096,
            before: 4104,
            ..header(b"x", &checksums)
        };
        let bytes = encode(&header, &checksums, 4096);
        assert_eq!(hex(&bytes), GOLDEN);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(digit)
            .collect()
    }

    fn digit(half: u8) -> char {
        char::from_digit(u32::from(half), 16).unwrap()
    }

    const GOLDEN: &str = "76801078010100000100000029b29ab403000000000200000102000000000000\
        feffffffffffffff290000000000000007000000000000000000000000010000";

    #[test]
    fn parsing_never_panics_whatever_the_bytes() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let length = random.usize(..200);
            let mut bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            if length > 6 {
                bytes[4] = VERSION;
                bytes[5] = random.u8(1..9);
            }
            let checksums = Checksums::new(random.u64(..));
            assert!(parse(&bytes, &checksums, random.u64(..)).is_none());
            let lying = Header {
                payload_bytes: random.u32(..),
                ..header(b"", &checksums)
            };
            assert!(payload(&lying, &bytes, &checksums).is_none());
        }
    }
}
