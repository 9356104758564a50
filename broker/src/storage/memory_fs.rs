//! A disk in memory, for tests and the simulator: it records, loses, tears and refuses.
//!
//! It keeps apart what a program sees (the page cache) and what would survive a power cut. A write
//! changes the first at once; a sync brings it to the second. In between, each 512-byte sector
//! reaches the disk or not, in any order, on its own; so does each change of a directory. Whatever
//! a real disk may do, [`MemoryFs::crash`] can be told to do, and it answers with a new disk: one
//! recorded run gives as many crashes as one likes.
//!
//! A failed sync behaves as on Linux: the sectors are clean in the cache and perhaps not on the
//! disk, and the next sync succeeds without writing them.

mod content;
mod disk;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::disk::{Change, Disk, Inode, apply, sector_start, size};
use super::fs::{File, Fs, Lock, OpenMode, Written};

/// Bytes that reach a disk together or not at all.
pub const SECTOR_BYTES: usize = 512;

/// An operation that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Opening or creating a file.
    Open,
    /// Writing to a file, with or without `dsync`.
    Write,
    /// Syncing a file.
    Sync,
    /// Reading from a file.
    Read,
    /// Renaming or removing.
    Rename,
    /// Syncing a directory.
    SyncDir,
}

/// Something that was written but not synced when the power went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// A sector of a file, counted from 0.
    Sector {
        /// The file's inode number.
        inode: u64,
        /// Which sector.
        sector: u64,
        /// The write that made each of its versions, oldest first.
        deeds: Vec<u64>,
    },
    /// A change of a directory: a name that now means a file, or none.
    Name {
        /// The names changed.
        paths: Vec<PathBuf>,
        /// The number of the change, in one row with those of the writes.
        deed: u64,
    },
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryFs(Arc<Mutex<Disk>>);

impl MemoryFs {
    /// An empty disk. `seed` decides its random numbers.
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.disk().random = seed;
        disk
    }

    /// Makes the `nth` (from 1) of the following operations of one kind fail, once. A failing
    /// write changes nothing.
    pub fn fail(&self, operation: Operation, nth: u64, error: ErrorKind) {
        let mut disk = self.disk();
        let done = disk.counts.get(&operation).copied().unwrap_or(0);
        disk.faults.insert(operation, (done + nth, error));
    }

    /// How many operations of a kind were tried.
    pub fn count(&self, operation: Operation) -> u64 {
        self.disk().counts.get(&operation).copied().unwrap_or(0)
    }

    /// Limits the bytes of all files together; a write beyond fails with
    /// [`ErrorKind::StorageFull`].
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Bytes of all files that have a name, or that are kept for them.
    pub fn used_bytes(&self) -> u64 {
        self.disk().used_bytes(None)
    }

    /// Limits the bytes of one write call, so that larger writes need several.
    pub fn set_call_bytes(&self, bytes: Option<usize>) {
        self.disk().call_bytes = bytes;
    }

    /// Makes [`File::drop_cache`] do nothing, as on file systems that live in memory.
    pub fn set_keeps_cache(&self, keeps_cache: bool) {
        self.disk().keeps_cache = keeps_cache;
    }

    /// Everything a power cut could lose now.
    pub fn unsynced(&self) -> Vec<Unsynced> {
        let mut all = Vec::new();
        drop(self.crash(&mut |what, _| {
            all.push(what.clone());
            0
        }));
        all
    }

    /// The disk after a power cut. For each thing not synced, `choose` says which of its versions
    /// is found: 0 for the one before, up to the given count for the newest.
    #[must_use]
    pub fn crash(&self, choose: &mut dyn FnMut(&Unsynced, usize) -> usize) -> Self {
        let disk = self.disk();
        let mut durable_names = disk.durable_names.clone();
        for Change { deed, names } in &disk.changes {
            let paths = names.iter().map(|(path, _)| path.clone()).collect();
            if choose(&Unsynced::Name { paths, deed: *deed }, 1) > 0 {
                apply(&mut durable_names, names);
            }
        }
        let mut inodes = BTreeMap::new();
        for (&number, inode) in &disk.inodes {
            if !disk.is_named(number) {
                continue;
            }
            let mut content = inode.durable.clone();
            for (&sector, dirty) in &inode.dirty {
                let count = dirty.versions.len();
                let what = Unsynced::Sector {
                    inode: number,
                    sector,
                    deeds: dirty.versions.iter().map(|version| version.deed).collect(),
                };
                let version = choose(&what, count).checked_sub(1);
                if let Some(found) = version.and_then(|version| dirty.versions.get(version)) {
                    content.write(sector_start(sector), &found.bytes);
                }
            }
            inodes.insert(
                number,
                Inode {
                    seen: content.clone(),
                    durable: content,
                    ..Inode::default()
                },
            );
        }
        let after = Disk {
            inodes,
            names: durable_names.clone(),
            durable_names,
            deed: disk.deed,
            next_inode: disk.next_inode,
            random: disk.random,
            ..Disk::default()
        };
        Self::from(after)
    }

    /// The disk after the process was killed: nothing written is lost, nothing more is synced.
    #[must_use]
    pub fn kill(&self) -> Self {
        Self::from(self.disk().copy())
    }

    /// From now on keeps a copy of the disk after every step that changes it, each a moment at
    /// which the power may go. A write with `dsync` is two steps: it is seen before it is durable.
    pub fn record(&self) {
        self.disk().recorded.get_or_insert_default();
    }

    /// The copies kept since the last call, oldest first.
    pub fn recorded(&self) -> Vec<Self> {
        let mut disk = self.disk();
        let recorded = disk.recorded.as_mut().map(std::mem::take);
        recorded.unwrap_or_default()
    }

    /// A hash of every file that has a name, as a program sees it.
    pub fn fingerprint(&self) -> u64 {
        let disk = self.disk();
        let mut hasher = DefaultHasher::new();
        for (path, number) in &disk.names {
            path.hash(&mut hasher);
            if let Some(inode) = disk.inodes.get(number) {
                inode.seen.hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// The bytes of a file as a program sees them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.inodes
            .get(disk.names.get(path)?)
            .map(|inode| inode.seen.bytes(0, usize::MAX))
    }

    /// Changes bytes on the disk behind everybody's back: damage.
    pub fn damage(&self, path: &Path, offset: u64, bytes: &[u8]) {
        let mut disk = self.disk();
        let Some(number) = disk.names.get(path).copied() else {
            return;
        };
        let inode = disk.inodes.entry(number).or_default();
        inode.seen.write(size(offset), bytes);
        inode.durable.write(size(offset), bytes);
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // A panic while it is held is a failed test already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Disk> for MemoryFs {
    fn from(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }
}

impl Fs for MemoryFs {
    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let mut disk = self.disk();
        disk.step(Operation::Open)?;
        let inode = match (disk.named(path), mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
            (Ok(inode), _) => inode,
            (Err(_), OpenMode::CreateNew) => {
                let inode = disk.next_inode;
                disk.next_inode += 1;
                disk.inodes.insert(inode, Inode::default());
                disk.change(vec![(path.to_path_buf(), Some(inode))]);
                inode
            }
            (Err(error), _) => return Err(error),
        };
        Ok(Box::new(MemoryFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        let inside = disk
            .names
            .keys()
            .filter(|path| path.parent() == Some(directory));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.step(Operation::Rename)?;
        let inode = disk.named(from)?;
        disk.change(vec![
            (from.to_path_buf(), None),
            (to.to_path_buf(), Some(inode)),
        ]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.step(Operation::Rename)?;
        disk.named(path)?;
        disk.change(vec![(path.to_path_buf(), None)]);
        // The inode stays: open files keep it, and a crash may bring its name back.
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.step(Operation::SyncDir)?;
        let here = |change: &Change| {
            let mut paths = change.names.iter().map(|(path, _)| path);
            paths.any(|path| path.parent() == Some(directory))
        };
        let (now, later) = std::mem::take(&mut disk.changes)
            .into_iter()
            .partition(here);
        disk.changes = later;
        let now: Vec<_> = now;
        for change in &now {
            apply(&mut disk.durable_names, &change.names);
        }
        disk.note();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut disk = self.disk();
        if disk.locks.iter().any(|held| held == path) {
            return Err(ErrorKind::WouldBlock.into());
        }
        disk.locks.push(path.to_path_buf());
        Ok(Box::new(MemoryLock {
            disk: self.clone(),
            path: path.to_path_buf(),
        }))
    }

    fn random(&self) -> io::Result<u64> {
        // SplitMix64: repeatable, and different at every call.
        let mut disk = self.disk();
        disk.random = disk.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (disk.random ^ (disk.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Ok(mixed ^ (mixed >> 31))
    }
}

#[derive(Debug)]
struct MemoryLock {
    disk: MemoryFs,
    path: PathBuf,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.disk().locks.retain(|held| *held != self.path);
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryFs,
    inode: u64,
}

impl File for MemoryFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64, dsync: bool) -> io::Result<Written> {
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        let mut disk = self.disk.disk();
        disk.step(Operation::Write)?;
        let offset = size(offset);
        if !disk.has_room(self.inode, offset + bytes.len()) {
            return Err(ErrorKind::StorageFull.into());
        }
        let is_one_call = disk.call_bytes.is_none_or(|most| bytes.len() <= most);
        disk.deed += 1;
        let deed = disk.deed;
        let inode = disk.inodes.entry(self.inode).or_default();
        inode.write(offset, &bytes, deed);
        disk.note();
        let synced = dsync && is_one_call;
        if synced {
            let inode = disk.inodes.entry(self.inode).or_default();
            inode.sync(offset, bytes.len());
            disk.note();
        }
        Ok(Written { synced })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.disk();
        disk.step(Operation::Read)?;
        let inode = disk.inodes.entry(self.inode).or_default();
        Ok(inode.seen.read(size(offset), buffer))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let step = disk.step(Operation::Sync);
        let inode = disk.inodes.entry(self.inode).or_default();
        let length = inode.seen.length();
        if step.is_err() {
            inode.forget(0, length);
        } else {
            inode.sync(0, length);
        }
        disk.note();
        step
    }

    fn write_zeros(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let zeros = vec![0; size(bytes)];
        self.write_at(&[IoSlice::new(&zeros)], offset, false)?;
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.step(Operation::Write)?;
        if !disk.has_room(self.inode, size(bytes)) {
            return Err(ErrorKind::StorageFull.into());
        }
        let inode = disk.inodes.entry(self.inode).or_default();
        inode.allocated = inode.allocated.max(size(bytes));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let disk = self.disk.disk();
        let length = disk
            .inodes
            .get(&self.inode)
            .map_or(0, |inode| inode.seen.length());
        Ok(u64::try_from(length).unwrap_or(u64::MAX))
    }

    fn drop_cache(&self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        if !disk.keeps_cache {
            disk.inodes.entry(self.inode).or_default().drop_cache();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
