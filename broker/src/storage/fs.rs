//! The disk as storage sees it: two small traits, and the real disk behind them.
//!
//! Everything storage asks of an operating system goes through [`Fs`] and [`File`], so that tests
//! can put a disk underneath that loses, tears and refuses (`memory_fs.rs`). The traits promise
//! exactly what Linux promises and no more: a write is durable after a sync of its file, a name
//! after a sync of its directory, and a write with `dsync` only for the bytes of its own call.

use std::fmt::Debug;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::rand::GetRandomFlags;

/// Most slices one `pwritev2` takes (`IOV_MAX` of Linux).
const SLICES_PER_CALL: usize = 1024;
/// Written again and again to fill a file.
static ZEROS: Zeros = Zeros([0; ZEROS_BYTES]);
/// Past the system's cache a large piece costs no more of the processor than a small one.
const ZEROS_BYTES: usize = 1 << 20;
/// Through the cache, so many are written and synced at once: more would occupy the disk for so long that a
/// group committed meanwhile waits for milliseconds.
const CACHED_ZEROS_BYTES: usize = 256 << 10;

/// As aligned as any disk wants what does not come out of the system's cache.
#[repr(align(4096))]
struct Zeros([u8; ZEROS_BYTES]);

/// What the system caches at once, or a multiple of it.
pub const PAGE_BYTES: usize = 4096;
/// Files are the owner's alone.
const FILE_MODE: u32 = 0o600;
/// Directories are the owner's alone.
const DIRECTORY_MODE: u32 = 0o700;

/// How a file is opened. No mode truncates: what is on a disk is never thrown away by opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// An existing file, for reading.
    ReadOnly,
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether its bytes are durable: `dsync` was asked for and one call, which carried it, wrote them all. Else
    /// they are not before [`File::sync_data`].
    pub synced: bool,
}

/// A held lock; dropping it (or the death of the process) releases it.
pub trait Lock: Send + Sync + Debug {}

/// A directory tree on a disk.
pub trait Fs: Send + Sync + Debug {
    /// Creates a directory and its missing parents (mode 0700). An existing one is left as it is.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Opens or creates a file (mode 0600).
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>>;
    /// The names in a directory, sorted. Names that are not UTF-8 are nobody's here and left out.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Renames within one file system, replacing what was there, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
    /// Takes an exclusive advisory lock on a file, creating it; [`ErrorKind::WouldBlock`] when
    /// another holder has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// A random number: the generation of a file, the id of a node. It stands here because it is
    /// the operating system's, and must be repeatable in a simulation.
    fn random(&self) -> io::Result<u64>;
}

/// An open file. Positions are bytes from the start.
pub trait File: Send + Sync + Debug {
    /// Writes all slices at `offset`. With `dsync` the bytes are durable on return if, and only
    /// if, the answer says so. An interrupted call is repeated; an error leaves any part written.
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64, dsync: bool) -> io::Result<Written>;
    /// Fills the buffer from `offset`; answers how many bytes there were before the file's end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// So many bytes from `offset` on, fewer at the file's end.
    fn read(&self, length: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let read = self.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }
    /// Makes everything written to this file durable. Never to be repeated after a failure: the
    /// kernel then forgets what was dirty, and the second call succeeds falsely.
    fn sync_data(&self) -> io::Result<()>;
    /// Fills this part with zeros. They are for a later write and not for a reader: if both numbers are
    /// multiples of 4 KiB they go past the system's cache, where the file system lets them.
    fn write_zeros(&self, offset: u64, bytes: u64) -> io::Result<()>;
    /// Takes room for so many bytes from the start, whether they are written or not: a full disk does not
    /// refuse a later write there. The length may grow to it.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Drops what memory holds of this file, so that the next read sees the disk itself.
    fn drop_cache(&self) -> io::Result<()>;
}

/// The real disk, through the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFs;

impl Fs for SystemFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::ReadOnly)
            .create_new(mode == OpenMode::CreateNew)
            .mode(FILE_MODE)
            .open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in std::fs::read_dir(directory)? {
            if let Ok(name) = item?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        std::fs::File::open(directory)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(SystemLock { _file: file }))
    }

    fn random(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        // Reads of up to 256 bytes are never short once the system's pool is up.
        rustix::io::retry_on_intr(|| {
            rustix::rand::getrandom(&mut bytes[..], GetRandomFlags::empty())
        })?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

/// `flock` belongs to the open file: it goes when the file is closed.
#[derive(Debug)]
struct SystemLock {
    _file: std::fs::File,
}

impl Lock for SystemLock {}

#[derive(Debug)]
struct SystemFile(std::fs::File);

impl SystemFile {
    /// One `pwritev2` of as many slices as one call takes; answers the bytes written, never 0.
    fn write_once(
        &self,
        slices: &[IoSlice<'_>],
        offset: u64,
        flags: ReadWriteFlags,
    ) -> io::Result<usize> {
        loop {
            match rustix::io::pwritev2(&self.0, first_call(slices), offset, flags) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => return Ok(written),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Whether writes go past the system's cache from now on; not every file system can.
    fn set_direct(&self, is_direct: bool) -> io::Result<()> {
        let flags = if is_direct {
            OFlags::DIRECT
        } else {
            OFlags::empty()
        };
        Ok(rustix::fs::fcntl_setfl(&self.0, flags)?)
    }

    fn write_zeros_in(
        &self,
        part: Range<u64>,
        piece: usize,
        flags: ReadWriteFlags,
    ) -> io::Result<()> {
        let mut offset = part.start;
        while offset < part.end {
            let length = usize::try_from(part.end - offset).unwrap_or(piece);
            let some = ZEROS.0.get(..length.min(piece)).unwrap_or(&ZEROS.0);
            let written = self.write_once(&[IoSlice::new(some)], offset, flags)?;
            offset += u64::try_from(written).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Writes what a first call left over. Without `dsync`: the caller must sync the file anyway.
    fn write_rest(&self, slices: &[IoSlice<'_>], offset: u64, written: usize) -> io::Result<()> {
        let mut slices = slices.to_vec();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, written);
        let mut offset = offset + u64::try_from(written).map_err(io::Error::other)?;
        while !rest.is_empty() {
            let written = self.write_once(rest, offset, ReadWriteFlags::empty())?;
            IoSlice::advance_slices(&mut rest, written);
            offset += u64::try_from(written).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

impl File for SystemFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64, dsync: bool) -> io::Result<Written> {
        let total = bytes_of(slices);
        if total == 0 {
            return Ok(Written { synced: false });
        }
        // Several calls end with a sync of the whole file: then the flag would only cost time.
        let dsync = dsync && bytes_of(first_call(slices)) == total;
        let flags = if dsync {
            ReadWriteFlags::DSYNC
        } else {
            ReadWriteFlags::empty()
        };
        let written = self.write_once(slices, offset, flags)?;
        if written == total {
            return Ok(Written { synced: dsync });
        }
        self.write_rest(slices, offset, written)?;
        Ok(Written { synced: false })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset + u64::try_from(filled).map_err(io::Error::other)?;
            match self.0.read_at(rest, at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Without zeros before: a backlog is read in pieces of a mebibyte.
    fn read(&self, length: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = offset + u64::try_from(bytes.len()).map_err(io::Error::other)?;
            match rustix::io::pread(&self.0, spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        // EINTR is not repeated either: what a failed sync left behind nobody knows.
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn write_zeros(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let part = offset..offset + bytes;
        if self.set_direct(true).is_ok() {
            let flags = ReadWriteFlags::empty();
            let written = self.write_zeros_in(part.clone(), ZEROS_BYTES, flags);
            self.set_direct(false)?;
            // Some take the flag and refuse the write.
            if written.as_ref().err().and_then(io::Error::raw_os_error)
                != Some(Errno::INVAL.raw_os_error())
            {
                return written;
            }
        }
        self.write_zeros_in(part, CACHED_ZEROS_BYTES, ReadWriteFlags::DSYNC)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let allocated = rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, bytes)
        });
        match allocated {
            // A file system that cannot: what is written has room.
            Err(Errno::OPNOTSUPP) => self.write_zeros(0, bytes),
            allocated => Ok(allocated?),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.0, 0, None, Advice::DontNeed)?)
    }
}

/// As many slices as one call takes.
fn first_call<'a, 'b>(slices: &'a [IoSlice<'b>]) -> &'a [IoSlice<'b>] {
    slices.get(..SLICES_PER_CALL).unwrap_or(slices)
}

fn bytes_of(slices: &[IoSlice<'_>]) -> usize {
    slices.iter().map(|slice| slice.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_several_calls_is_written_whole_and_not_called_synced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = SystemFs.open(&path, OpenMode::CreateNew).unwrap();
        let bytes: Vec<[u8; 3]> = (0..3000_u32)
            .map(|n| {
                let [low, high, ..] = n.to_le_bytes();
                [low, high, 7]
            })
            .collect();
        let slices: Vec<_> = bytes.iter().map(|b| IoSlice::new(b)).collect();
        let synced = |slices: &[_], dsync| file.write_at(slices, 5, dsync).unwrap().synced;
        assert!(!synced(&slices, true));
        assert!(synced(&slices[..9], true));
        assert!(!synced(&slices[..9], false));
        let mut read = vec![0; 9010];
        assert_eq!(file.read_at(&mut read, 5).unwrap(), 9000);
        assert_eq!(&read[..9000], bytes.concat());
        assert_eq!(file.length().unwrap(), 9005);
        file.sync_data().unwrap();
        file.drop_cache().unwrap();
    }

    /// The flag was left out for the number of slices alone, and the one call that sufficed was taken for synced.
    #[test]
    fn what_is_called_synced_was_written_by_a_call_that_syncs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = SystemFs.open(&path, OpenMode::CreateNew).unwrap();
        let mut slices = vec![IoSlice::new(b"x"); SLICES_PER_CALL];
        slices.push(IoSlice::new(b""));
        assert!(file.write_at(&slices, 0, true).unwrap().synced);
        slices.push(IoSlice::new(b"x"));
        assert!(!file.write_at(&slices, 0, true).unwrap().synced);
    }

    #[test]
    fn a_file_is_the_owners_alone_and_a_lock_has_one_holder() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        SystemFs.create_dir_all(&inner).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&inner), 0o700);
        let path = inner.join("lock");
        let held = SystemFs.lock(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            SystemFs.lock(&path).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        drop(held);
        SystemFs.lock(&path).unwrap();
    }
}
