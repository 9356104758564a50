//! Files that get their name when they are whole: what a crash leaves of one stands under another name.

use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;

use super::error::StorageError;
use super::fs::{File, Fs, OpenMode};

/// Bytes that are written and synced at once. A large file in one go occupies the disk for so long that a
/// group committed meanwhile waits for milliseconds; in pieces this small it hardly notices.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// Removes a file, if it is there.
pub(super) fn clear(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A new and empty file. What a crash left there may be longer than what is written now, so it goes.
///
/// # Errors
/// The operating system refuses.
pub(super) fn begin(fs: &dyn Fs, making: &Path) -> Result<Box<dyn File>, StorageError> {
    clear(fs, making).map_err(StorageError::io("remove", making))?;
    fs.open(making, OpenMode::CreateNew)
        .map_err(StorageError::io("create", making))
}

/// A new file of these bytes, synced; its name is not.
///
/// # Errors
/// The operating system refuses.
pub(super) fn write(fs: &dyn Fs, making: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let file = begin(fs, making)?;
    file.write_at(&[IoSlice::new(bytes)], 0, false)
        .map_err(StorageError::io("write", making))?;
    file.sync_data().map_err(StorageError::io("sync", making))
}

/// A new file that is written from front to back, and synced as it grows.
#[derive(Debug)]
pub(super) struct Growing {
    file: Box<dyn File>,
    end: u64,
    unsynced: usize,
    syncs: bool,
}

impl Growing {
    /// An empty file. Without `syncs` nothing of it is ever synced: a bug that tests plant.
    pub(super) fn new(file: Box<dyn File>, syncs: bool) -> Self {
        Self {
            file,
            end: 0,
            unsynced: 0,
            syncs,
        }
    }

    /// Where the next byte goes.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Writes at its end, and syncs it if that has become due.
    ///
    /// # Errors
    /// The operating system refuses: nothing more is to be written to it.
    pub(super) fn append(&mut self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        self.file.write_at(slices, self.end, false)?;
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        self.end += bytes as u64;
        self.unsynced += bytes;
        if self.unsynced >= PIECE_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    /// Waits until all of it is durable; its name is not.
    ///
    /// # Errors
    /// The operating system refuses: nothing more is to be written to it.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        if self.syncs {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_fs::MemoryFs;
    use super::*;

    #[test]
    fn a_file_that_grows_owes_the_disk_less_than_a_piece() {
        let fs = MemoryFs::new(1);
        let path = Path::new("/f");
        let mut file = Growing::new(begin(&fs, path).unwrap(), true);
        fs.sync_dir(Path::new("/")).unwrap();
        let half = vec![7; PIECE_BYTES / 2];
        for _ in 0..3 {
            file.append(&[IoSlice::new(&half)]).unwrap();
        }
        let length = |fs: &MemoryFs| {
            let file = fs.open(path, OpenMode::ReadOnly).unwrap();
            file.length().unwrap()
        };
        let nothing_more = fs.crash(&mut |_, _| 0);
        assert_eq!(length(&nothing_more), PIECE_BYTES as u64);
        file.sync().unwrap();
        assert_eq!(length(&fs.crash(&mut |_, _| 0)), file.end());
    }
}
