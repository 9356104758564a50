//! Segment files as bytes: bodies of one log that were still needed when the journal was cut.
//!
//! ```text
//! shard-0/segments/<log>-<base offset>.<number>.segment    written once, whole before a snapshot names it
//!
//! byte  0        8        12       16       24    32            40           48        52
//!       ┌────────┬────────┬────────┬────────┬─────┬─────────────┬────────────┬─────────┬────────┬────────
//!       │ magic  │ format │ zeros  │ number │ log │ base offset │ generation │ CRC-32C │ blocks │ footer
//!       └────────┴────────┴────────┴────────┴─────┴─────────────┴────────────┴─────────┴────────┴────────
//! block:
//! byte  0             4               8               12         16             24         32
//!       ┌─────────────┬───────────────┬───────────────┬──────────┬──────────────┬──────────┬─────────
//!       │ CRC-32C of  │ CRC-32C of    │ payload bytes │ messages │ first offset │ position │ payload
//!       │ 4 to 32     │ payload       │               │          │              │          │
//!       └─────────────┴───────────────┴───────────────┴──────────┴──────────────┴──────────┴─────────
//! payload:  u32 parts │ for each: u32 messages, u32 bytes, u64 published at (ms) │ the runs, back to back
//! footer:   for each block: u64 position, u32 payload bytes, u32 messages, u64 first offset
//!           then u32 blocks, u32 CRC-32C of all that, magic of the end
//! ```
//!
//! Little endian. The generation is random and under every checksum, and a block says where it stands, so
//! that a stale or misdirected sector is never taken for what belongs there. A block holds consecutive
//! messages: at most one extent, or one larger message. Its parts were published in different milliseconds.
//! The footer says once more what the blocks say, so that the file explains itself without its snapshot.
//!
//! To change this format: raise `FORMAT`, keep reading the older ones, and add a data directory of the
//! release before as a fixture to the tests.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use bytes::{Buf, Bytes};
use siding_protocol::types::{Offset, Timestamp};

use super::record::Checksums;

/// Version of the file format that this release writes.
pub(super) const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"SIDINGB\n";
const END_MAGIC: [u8; 8] = *b"SIDINGE\n";
/// Bytes of a file's header.
pub(super) const HEAD_BYTES: usize = 52;
/// Bytes of a block's header.
pub(super) const BLOCK_HEADER_BYTES: usize = 32;
/// Bytes of the footer behind its rows.
pub(super) const FOOTER_END_BYTES: usize = 16;
/// Bytes of a row of the footer.
pub(super) const FOOTER_ROW_BYTES: usize = 24;
const PART_BYTES: usize = 16;

/// What a segment file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Rises; never used again within a directory that knows of it.
    pub(super) number: u64,
    /// Whose bodies.
    pub(super) log: u64,
    /// Below every offset in it, or equal.
    pub(super) base: Offset,
    /// Random.
    pub(super) generation: u64,
}

/// Messages of a block that were published together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Messages, at least 1.
    pub(super) count: u32,
    /// When they were stored.
    pub(super) published_at: Timestamp,
    /// The run.
    pub(super) bytes: Bytes,
}

/// Where a block stands, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockAt {
    /// Of its header, in bytes.
    pub(super) position: u64,
    /// Of its payload.
    pub(super) bytes: u32,
    /// Messages.
    pub(super) count: u32,
    /// The first one's offset.
    pub(super) first: Offset,
}

pub(super) fn encode_head(head: &Head) -> Vec<u8> {
    let fields: [&[u8]; 7] = [
        &MAGIC,
        &FORMAT.to_le_bytes(),
        &[0; 4],
        &head.number.to_le_bytes(),
        &head.log.to_le_bytes(),
        &head.base.to_le_bytes(),
        &head.generation.to_le_bytes(),
    ];
    let mut bytes = fields.concat();
    let crc = Checksums::new(head.generation).of([bytes.as_slice()]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Format and meaning, if the checksum passes.
pub(super) fn parse_head(bytes: &[u8]) -> Option<(u32, Head)> {
    let header: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
    let generation = long(header, 40)?;
    let meaning = header.get(..48)?;
    let is_whole = header.starts_with(&MAGIC)
        && short(header, 48)? == Checksums::new(generation).of([meaning]);
    let head = Head {
        number: long(header, 16)?,
        log: long(header, 24)?,
        base: long(header, 32)?,
        generation,
    };
    is_whole.then_some((short(header, 8)?, head))
}

/// The generation that stands in a header that fails its check.
pub(super) fn stated_generation(bytes: &[u8; HEAD_BYTES]) -> u64 {
    long(bytes, 40).unwrap_or_default()
}

/// A block at `position`, without the runs that follow what is returned; and what the footer says of it.
pub(super) fn encode_block(
    checksums: &Checksums,
    position: u64,
    (first, parts): (Offset, &[Part]),
) -> (Vec<u8>, BlockAt) {
    let count = parts.iter().map(|part| part.count);
    let count = count.fold(0_u32, u32::saturating_add);
    let mut table = u32_of(parts.len()).to_le_bytes().to_vec();
    for part in parts {
        table.extend_from_slice(&part.count.to_le_bytes());
        table.extend_from_slice(&u32_of(part.bytes.len()).to_le_bytes());
        table.extend_from_slice(&part.published_at.0.to_le_bytes());
    }
    let runs = parts.iter().map(|part| &*part.bytes);
    let payload_crc = checksums.of(std::iter::once(table.as_slice()).chain(runs.clone()));
    let bytes = runs.fold(table.len(), |sum, run| sum.saturating_add(run.len()));
    let at = BlockAt {
        position,
        bytes: u32_of(bytes),
        count,
        first,
    };
    let fields: [&[u8]; 5] = [
        &payload_crc.to_le_bytes(),
        &at.bytes.to_le_bytes(),
        &count.to_le_bytes(),
        &first.to_le_bytes(),
        &position.to_le_bytes(),
    ];
    let meaning = fields.concat();
    let mut block = checksums.of([meaning.as_slice()]).to_le_bytes().to_vec();
    block.extend_from_slice(&meaning);
    block.extend_from_slice(&table);
    (block, at)
}

/// The payload of the block whose bytes these are, if it is the one at `position` and passes its checks.
pub(super) fn parse_block(bytes: &Bytes, checksums: &Checksums, position: u64) -> Option<Bytes> {
    let header: &[u8; BLOCK_HEADER_BYTES] = bytes.first_chunk()?;
    let payload_bytes = usize::try_from(short(header, 8)?).ok()?;
    let is_whole = short(header, 0)? == checksums.of([header.get(4..)?])
        && long(header, 24)? == position
        && bytes.len().checked_sub(BLOCK_HEADER_BYTES) == Some(payload_bytes);
    let payload = bytes.slice_ref(bytes.get(BLOCK_HEADER_BYTES..)?);
    (is_whole && short(header, 4)? == checksums.of([&*payload])).then_some(payload)
}

/// The parts of a payload that passed its checks: messages, when they were stored, and their run.
pub(super) fn parts(payload: &Bytes) -> impl Iterator<Item = Part> {
    let count = short(payload, 0).and_then(|count| usize::try_from(count).ok());
    let table = count.and_then(|count| count.checked_mul(PART_BYTES)?.checked_add(4));
    let table = table
        .and_then(|end| payload.get(4..end))
        .unwrap_or_default();
    let mut runs = payload.slice_ref(
        payload
            .get(table.len().saturating_add(4)..)
            .unwrap_or_default(),
    );
    table.chunks_exact(PART_BYTES).map_while(move |row| {
        let bytes = usize::try_from(short(row, 4)?).ok()?;
        (bytes <= runs.remaining()).then_some(())?;
        Some(Part {
            count: short(row, 0)?,
            published_at: Timestamp(long(row, 8)?),
            bytes: runs.split_to(bytes),
        })
    })
}

pub(super) fn encode_footer(checksums: &Checksums, blocks: &[BlockAt]) -> Vec<u8> {
    let mut footer = Vec::with_capacity(blocks.len().saturating_mul(FOOTER_ROW_BYTES));
    for block in blocks {
        footer.extend_from_slice(&block.position.to_le_bytes());
        footer.extend_from_slice(&block.bytes.to_le_bytes());
        footer.extend_from_slice(&block.count.to_le_bytes());
        footer.extend_from_slice(&block.first.to_le_bytes());
    }
    footer.extend_from_slice(&u32_of(blocks.len()).to_le_bytes());
    let crc = checksums.of([footer.as_slice()]);
    footer.extend_from_slice(&crc.to_le_bytes());
    footer.extend_from_slice(&END_MAGIC);
    footer
}

/// How many rows a footer has, by its last bytes.
pub(super) fn footer_rows(end: &[u8]) -> Option<usize> {
    let end: &[u8; FOOTER_END_BYTES] = end.last_chunk()?;
    end.ends_with(&END_MAGIC).then_some(())?;
    usize::try_from(short(end, 0)?).ok()
}

/// The blocks that a footer names, if it passes its check.
pub(super) fn parse_footer(footer: &[u8], checksums: &Checksums) -> Option<Vec<BlockAt>> {
    let rows = footer_rows(footer)?.checked_mul(FOOTER_ROW_BYTES)?;
    let checked = rows.checked_add(4)?;
    let is_whole = footer.len().checked_sub(FOOTER_END_BYTES)? == rows
        && short(footer, checked)? == checksums.of([footer.get(..checked)?]);
    let rows = footer.get(..rows).filter(|_| is_whole)?;
    let row = |row: &[u8]| {
        Some(BlockAt {
            position: long(row, 0)?,
            bytes: short(row, 8)?,
            count: short(row, 12)?,
            first: long(row, 16)?,
        })
    };
    rows.chunks_exact(FOOTER_ROW_BYTES).map(row).collect()
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Blocks are an extent or one message, files are far below 4 GiB.
fn u32_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        number: 7,
        log: 3,
        base: 1_000,
        generation: 99,
    };

    fn block(position: u64) -> (Bytes, BlockAt, Vec<Part>) {
        let part = |count, at, bytes: &'static [u8]| Part {
            count,
            published_at: Timestamp(at),
            bytes: Bytes::from_static(bytes),
        };
        let parts = vec![part(2, 5, b"abcd"), part(1, 9, b"efghij")];
        let checksums = Checksums::new(HEAD.generation);
        let (mut bytes, at) = encode_block(&checksums, position, (1_000, &parts));
        for part in &parts {
            bytes.extend_from_slice(&part.bytes);
        }
        (bytes.into(), at, parts)
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(parse_head(&encode_head(&HEAD)), Some((FORMAT, HEAD)));
        let checksums = Checksums::new(HEAD.generation);
        let (bytes, at, written) = block(52);
        assert_eq!(
            (at.count, at.bytes as usize),
            (3, bytes.len() - BLOCK_HEADER_BYTES)
        );
        let payload = parse_block(&bytes, &checksums, 52).expect("whole");
        assert_eq!(parts(&payload).collect::<Vec<_>>(), written);
        let blocks = vec![
            at,
            BlockAt {
                position: 300,
                ..at
            },
        ];
        let footer = encode_footer(&checksums, &blocks);
        assert_eq!(footer_rows(&footer), Some(2));
        assert_eq!(parse_footer(&footer, &checksums), Some(blocks));
    }

    #[test]
    fn nothing_with_a_bit_flipped_passes_nor_a_block_at_another_place_or_of_another_file() {
        let flipped = |bytes: &[u8], bit: usize| {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        };
        let head = encode_head(&HEAD);
        for bit in 0..head.len() * 8 {
            assert_eq!(
                parse_head(&flipped(&head, bit)),
                None,
                "bit {bit} of the head"
            );
        }
        let checksums = Checksums::new(HEAD.generation);
        let (whole, at, _) = block(52);
        for bit in 0..whole.len() * 8 {
            let bytes = Bytes::from(flipped(&whole, bit));
            assert_eq!(
                parse_block(&bytes, &checksums, 52),
                None,
                "bit {bit} of the block"
            );
        }
        assert_eq!(parse_block(&whole, &checksums, 84), None);
        assert_eq!(parse_block(&whole, &Checksums::new(98), 52), None);
        assert_eq!(
            parse_block(&whole.slice(..whole.len() - 1), &checksums, 52),
            None
        );
        let footer = encode_footer(&checksums, &[at]);
        for bit in 0..footer.len() * 8 {
            let bytes = flipped(&footer, bit);
            assert_eq!(
                parse_footer(&bytes, &checksums),
                None,
                "bit {bit} of the footer"
            );
        }
    }

    #[test]
    fn a_payload_that_lies_about_its_parts_gives_no_more_than_it_has() {
        for count in [0, 1, 2, u32::MAX] {
            let mut payload = count.to_le_bytes().to_vec();
            payload.extend_from_slice(&[0xFF; 20]);
            assert_eq!(parts(&payload.into()).count(), 0, "{count} parts");
        }
        assert_eq!(parts(&Bytes::new()).count(), 0);
    }
}
