//! A small store, and every flip of one of its bits.
//!
//! The store is one journal file of 64 KiB, full of live records and left idle past its mark: then all
//! that it holds is known to have been synced, and nothing of it may be taken for a torn tail. What
//! recovery makes of each flip is held against what was written, and so is what a journal that is
//! open already reads.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context, Result, bail, ensure};
use siding_broker::storage::memory_fs::MemoryFs;
use siding_broker::storage::record::HEADER_BYTES;
use siding_broker::storage::{Level, Reader, RecordAt, Recovered, StorageError, Writer};

use crate::journal::{FILE_BYTES, Rig, body, path, recover_from};

/// Bits of the store.
pub const BITS: u64 = FILE_BYTES * 8;
/// Bodies of the records, over and over: some end on a word, some do not.
const LENGTHS: [usize; 7] = [1000, 1, 257, 0, 3000, 64, 713];
/// Room for the mark, and for no record.
const ROOM: u64 = 2 * HEADER_BYTES as u64;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Bits flipped.
    pub tried: u64,
    /// Those inside live records.
    pub live: u64,
    /// Of these: refused, and named.
    pub refused: u64,
    /// Of these: cut as a torn tail, and reported. A store that was idle has none.
    pub cut: u64,
    /// Bits elsewhere: the file's header and its padding, marks, the padding of records.
    pub elsewhere: u64,
    /// Of these: refused, and named.
    pub elsewhere_refused: u64,
    /// Records read from a journal that was open already, and refused.
    pub reads_refused: u64,
    /// Flips after which a recovery or a read answered with bytes that nobody wrote.
    pub wrong: u64,
    /// Flips that cost a record without a word.
    pub silent: u64,
}

impl Swept {
    /// Inside live records all is detected, and nothing wrong is served anywhere.
    pub fn is_clean(&self) -> bool {
        let all = self.refused == self.live && self.cut == 0;
        all && self.reads_refused == self.live && self.wrong == 0 && self.silent == 0
    }

    /// Both of them.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        Self {
            tried: self.tried + other.tried,
            live: self.live + other.live,
            refused: self.refused + other.refused,
            cut: self.cut + other.cut,
            elsewhere: self.elsewhere + other.elsewhere,
            elsewhere_refused: self.elsewhere_refused + other.elsewhere_refused,
            reads_refused: self.reads_refused + other.reads_refused,
            wrong: self.wrong + other.wrong,
            silent: self.silent + other.silent,
        }
    }
}

impl Display for Swept {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "bits flipped               {}", self.tried)?;
        writeln!(f, "inside live records        {}", self.live)?;
        writeln!(f, "  detected by recovery     {}", self.refused + self.cut)?;
        writeln!(f, "    of these a cut         {}", self.cut)?;
        writeln!(f, "  detected by a read       {}", self.reads_refused)?;
        writeln!(f, "elsewhere                  {}", self.elsewhere)?;
        writeln!(f, "  detected by recovery     {}", self.elsewhere_refused)?;
        writeln!(f, "wrong bytes served         {}", self.wrong)?;
        write!(f, "silent losses              {}", self.silent)
    }
}

/// The store, whole.
#[derive(Debug)]
pub struct Store {
    disk: MemoryFs,
    bytes: Vec<u8>,
    places: Vec<RecordAt>,
    bodies: Vec<Vec<u8>>,
    /// A journal that is open while its disk is damaged.
    open: MemoryFs,
    reader: Reader,
    _writer: Writer,
}

impl Store {
    /// Fills it.
    ///
    /// # Errors
    /// It does not even open undamaged.
    pub fn new() -> Result<Self> {
        let mut rig = Rig::new(MemoryFs::new(1));
        loop {
            let end = rig
                .places
                .last()
                .map_or(0, |at| end(*at).next_multiple_of(8));
            let room = usize::try_from(FILE_BYTES.saturating_sub(end + ROOM))?;
            let next = LENGTHS.get(rig.lengths.len() % LENGTHS.len());
            let length = next.map_or(0, |next| (*next).min(room.saturating_sub(8)));
            if room < HEADER_BYTES {
                break;
            }
            rig.append(&[length], Level::Synced)?;
        }
        rig.writer.mark()?;
        let disk = rig.fs.crash(&mut |_, newest| newest);
        let open = disk.kill();
        let found = recover_from(&open, 0)?;
        let store = Self {
            bytes: disk.contents(&path(1)).context("the journal's file")?,
            disk,
            bodies: (1..)
                .zip(&rig.lengths)
                .map(|(index, &length)| body(index, length))
                .collect(),
            places: rig.places,
            open,
            reader: found.writer.reader(),
            _writer: found.writer,
        };
        ensure!(store.bytes.len() as u64 == FILE_BYTES, "one file");
        ensure!(store.is_served(&found.records), "it opens undamaged");
        Ok(store)
    }

    /// The share of its bits that lie inside live records, in percent.
    pub fn live_percent(&self) -> u64 {
        let live: u64 = self.places.iter().map(|at| end(*at) - at.position).sum();
        live * 100 / FILE_BYTES
    }

    /// Flips one bit.
    ///
    /// # Errors
    /// Recovery fails for no reason of the damage.
    pub fn flip(&self, bit: u64, swept: &mut Swept) -> Result<()> {
        let (byte, mask) = (bit / 8, 1 << (bit % 8));
        let was = *self
            .bytes
            .get(usize::try_from(byte)?)
            .context("inside the store")?;
        let hit = self
            .places
            .iter()
            .position(|at| (at.position..end(*at)).contains(&byte));
        swept.tried += 1;
        swept.live += u64::from(hit.is_some());
        swept.elsewhere += u64::from(hit.is_none());
        self.recover(byte, was ^ mask, hit.is_some(), swept)?;
        if let Some(at) = hit.and_then(|hit| self.places.get(hit)) {
            self.open.damage(&path(1), byte, &[was ^ mask]);
            let read = self.reader.read(*at);
            self.open.damage(&path(1), byte, &[was]);
            swept.reads_refused += u64::from(matches!(read, Err(StorageError::Damaged { .. })));
            swept.wrong += u64::from(read.is_ok());
        }
        Ok(())
    }

    fn recover(&self, byte: u64, now: u8, live: bool, swept: &mut Swept) -> Result<()> {
        let disk = self.disk.kill();
        disk.damage(&path(1), byte, &[now]);
        match recover_from(&disk, 0) {
            Err(StorageError::Damaged { .. }) if live => swept.refused += 1,
            Err(StorageError::Damaged { .. }) => swept.elsewhere_refused += 1,
            Err(other) => bail!("damage at byte {byte}: {other}"),
            Ok(found) => {
                let is_cut = found.report.torn.is_some();
                swept.cut += u64::from(live && is_cut);
                swept.wrong += u64::from(!self.is_served(&found.records));
                swept.silent += u64::from(!is_cut && found.records.len() < self.places.len());
            }
        }
        Ok(())
    }

    /// Whether all of these records are what was written.
    fn is_served(&self, records: &[Recovered]) -> bool {
        let written = self.places.iter().zip(&self.bodies).zip(1..);
        records.len() <= self.places.len()
            && records
                .iter()
                .zip(written)
                .all(|(record, ((at, body), index))| {
                    record.index == index
                        && (record.shard, record.term) == (0, 1)
                        && record.at == *at
                        && record.payload == *body
                })
    }
}

/// Where a record ends, without its padding.
fn end(at: RecordAt) -> u64 {
    at.position + HEADER_BYTES as u64 + u64::from(at.length)
}

/// Flips every `step`-th bit, on so many threads.
///
/// # Errors
/// Recovery fails for no reason of the damage.
pub fn sweep(step: usize, threads: usize) -> Result<Swept> {
    std::thread::scope(|scope| {
        let parts =
            (0..threads).map(|first| scope.spawn(move || sweep_from(first * step, step * threads)));
        let parts: Vec<_> = parts.collect();
        let mut all = Swept::default();
        for part in parts {
            let Ok(swept) = part.join() else {
                bail!("a sweep panicked");
            };
            all = all.joined(swept?);
        }
        Ok(all)
    })
}

/// Flips every `step`-th bit from the `first` on, here.
///
/// # Errors
/// Recovery fails for no reason of the damage.
pub fn sweep_from(first: usize, step: usize) -> Result<Swept> {
    let (store, mut swept) = (Store::new()?, Swept::default());
    for bit in (0..BITS).skip(first).step_by(step) {
        store.flip(bit, &mut swept)?;
    }
    Ok(swept)
}
