//! The state of a disk in memory: what is seen, what is durable, and what lies between.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::content::Content;
use super::{MemoryFs, Operation, SECTOR_BYTES};

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) inodes: BTreeMap<u64, Inode>,
    /// Names as a program sees them.
    pub(super) names: BTreeMap<PathBuf, u64>,
    /// Names that survive a power cut.
    pub(super) durable_names: BTreeMap<PathBuf, u64>,
    /// Changes between the two, oldest first.
    pub(super) changes: Vec<Change>,
    /// Number of the last write or change.
    pub(super) deed: u64,
    /// A copy after every step, if they are kept.
    pub(super) recorded: Option<Vec<MemoryFs>>,
    pub(super) locks: Vec<PathBuf>,
    pub(super) next_inode: u64,
    pub(super) random: u64,
    pub(super) faults: BTreeMap<Operation, (u64, ErrorKind)>,
    pub(super) counts: BTreeMap<Operation, u64>,
    /// Most bytes in all files together.
    pub(super) capacity: Option<u64>,
    /// Longest write of one call.
    pub(super) call_bytes: Option<usize>,
    /// Dropping the cache does nothing, as on some file systems.
    pub(super) keeps_cache: bool,
}

/// A change of a directory; several names change in one rename, atomically.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) deed: u64,
    pub(super) names: Vec<(PathBuf, Option<u64>)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) seen: Content,
    pub(super) durable: Content,
    pub(super) dirty: BTreeMap<u64, Dirty>,
    /// So many bytes have room, written or not.
    pub(super) allocated: usize,
}

/// A sector whose newest content is not known to be on the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Dirty {
    /// What it held after each write since the last sync, oldest first.
    pub(super) versions: Vec<Version>,
    /// A sync of it failed: the kernel believes it clean.
    pub(super) forgotten: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Version {
    /// The write that made it.
    pub(super) deed: u64,
    pub(super) bytes: Arc<[u8]>,
}

impl Disk {
    pub(super) fn step(&mut self, operation: Operation) -> io::Result<()> {
        let count = self.counts.entry(operation).or_default();
        *count += 1;
        match self.faults.get(&operation) {
            Some(&(nth, error)) if nth == *count => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn change(&mut self, names: Vec<(PathBuf, Option<u64>)>) {
        apply(&mut self.names, &names);
        self.deed += 1;
        let deed = self.deed;
        self.changes.push(Change { deed, names });
        self.note();
    }

    /// The disk as it is now: another one, that shares no later write.
    pub(super) fn copy(&self) -> Self {
        Self {
            inodes: self.inodes.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            changes: self.changes.clone(),
            deed: self.deed,
            next_inode: self.next_inode,
            random: self.random,
            keeps_cache: self.keeps_cache,
            ..Self::default()
        }
    }

    /// Keeps a copy, if a recording runs.
    pub(super) fn note(&mut self) {
        if self.recorded.is_some() {
            let now = MemoryFs::from(self.copy());
            self.recorded.get_or_insert_default().push(now);
        }
    }

    pub(super) fn named(&self, path: &Path) -> io::Result<u64> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Whether a file has a name, or may get one back in a crash.
    pub(super) fn is_named(&self, inode: u64) -> bool {
        let changed = self
            .changes
            .iter()
            .flat_map(|change| &change.names)
            .any(|(_, named)| *named == Some(inode));
        changed || self.durable_names.values().any(|named| *named == inode)
    }

    /// By files that have a name; what has none any more is gone.
    pub(super) fn used_bytes(&self, apart_from: Option<u64>) -> u64 {
        let named = self
            .names
            .values()
            .filter(|named| Some(**named) != apart_from);
        let inodes = named.filter_map(|named| self.inodes.get(named));
        let taken: usize = inodes.map(Inode::taken).sum();
        u64::try_from(taken).unwrap_or(u64::MAX)
    }

    pub(super) fn has_room(&self, inode: u64, end: usize) -> bool {
        let used = size(self.used_bytes(Some(inode)));
        let own = self.inodes.get(&inode).map_or(0, Inode::taken);
        // Overwriting takes no room, even on a full disk.
        end <= own || self.capacity.is_none_or(|room| used + end <= size(room))
    }
}

impl Inode {
    /// Bytes it takes of the disk.
    fn taken(&self) -> usize {
        self.seen.length().max(self.allocated)
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8], deed: u64) {
        self.seen.write(offset, bytes);
        for sector in sectors(offset, bytes.len()) {
            let bytes = self.seen.bytes(sector_start(sector), SECTOR_BYTES).into();
            let dirty = self.dirty.entry(sector).or_default();
            dirty.versions.push(Version { deed, bytes });
            dirty.forgotten = false;
        }
    }

    /// Brings the dirty sectors of a range to the disk, the forgotten ones excepted.
    pub(super) fn sync(&mut self, offset: usize, length: usize) {
        let range = sectors(offset, length);
        let mut inside = self.dirty.split_off(&range.start);
        let mut behind = inside.split_off(&range.end);
        for (sector, mut dirty) in inside {
            if dirty.forgotten {
                self.dirty.insert(sector, dirty);
            } else if let Some(newest) = dirty.versions.pop() {
                self.durable.write(sector_start(sector), &newest.bytes);
            }
        }
        self.dirty.append(&mut behind);
    }

    pub(super) fn forget(&mut self, offset: usize, length: usize) {
        for sector in sectors(offset, length) {
            if let Some(dirty) = self.dirty.get_mut(&sector) {
                dirty.forgotten = true;
            }
        }
    }

    /// What was forgotten is read from the disk again, where it never arrived.
    pub(super) fn drop_cache(&mut self) {
        let forgotten = |dirty: &Dirty| dirty.forgotten;
        if self.dirty.values().any(forgotten) {
            self.dirty.retain(|_, dirty| !forgotten(dirty));
            self.seen.clone_from(&self.durable);
            for (sector, dirty) in &self.dirty {
                if let Some(newest) = dirty.versions.last() {
                    self.seen.write(sector_start(*sector), &newest.bytes);
                }
            }
        }
    }
}

pub(super) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

pub(super) fn sector_start(sector: u64) -> usize {
    size(sector) * SECTOR_BYTES
}

pub(super) fn sectors(offset: usize, length: usize) -> std::ops::Range<u64> {
    let first = offset / SECTOR_BYTES;
    let end = (offset + length).div_ceil(SECTOR_BYTES);
    u64::try_from(first).unwrap_or(u64::MAX)..u64::try_from(end).unwrap_or(u64::MAX)
}

pub(super) fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &[(PathBuf, Option<u64>)]) {
    for (path, inode) in change {
        match inode {
            Some(inode) => names.insert(path.clone(), *inode),
            None => names.remove(path),
        };
    }
}
