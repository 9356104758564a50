//! Room on the disk that is kept for what makes room.
//!
//! A disk that is full of journal is emptied by a checkpoint, and a checkpoint needs room itself: for the
//! bodies that move out of the journal, and for the snapshot that lets it be cut. So a file of that size,
//! `journal/reserve`, stands there while nothing is wrong. A checkpoint that finds no room is lent it: the
//! file goes, and until it stands again no publish is taken and no new journal file is filled.
//!
//! ```text
//! unasked ─hold─► held ─lend─► lent ─take back─► missing ─hold─► held
//!          └─ no room ─────────────────────────────▲ │
//!                                                   └┘ no room
//! ```
//!
//! Nothing is ever read from it, so it is never synced: a crash may leave any or none of it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StorageError;
use super::fs::{Fs, OpenMode};
use super::making;

/// A snapshot finds at least so much, in bytes.
const SNAPSHOT_BYTES_MIN: u64 = 1 << 20;

/// Room that is kept. Clones share it; every call but [`Reserve::is_missing`] may block for the disk.
#[derive(Clone, Debug)]
pub struct Reserve(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// For the bodies that move.
    bodies_bytes: u64,
    /// For the snapshot.
    snapshot_bytes: AtomicU64,
    is_missing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has asked for it yet.
    Unasked,
    /// It stands, so large.
    Held(u64),
    /// Somebody makes room in it.
    Lent,
    /// There was no room for it.
    Missing,
}

impl Reserve {
    /// The reserve in a directory: room for so many bytes of bodies, and for a snapshot.
    pub(super) fn new(fs: Arc<dyn Fs>, directory: &Path, bodies_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            fs,
            path: directory.join("reserve"),
            bodies_bytes,
            snapshot_bytes: AtomicU64::new(SNAPSHOT_BYTES_MIN),
            is_missing: AtomicBool::new(false),
            state: Mutex::new(State::Unasked),
        }))
    }

    /// Bodies of so many bytes find room in it, and a snapshot beside them.
    pub fn bodies_bytes(&self) -> u64 {
        self.0.bodies_bytes
    }

    /// A snapshot took so many bytes: from the next [`Self::hold`] on there is room for one twice as large.
    pub fn expect_snapshot(&self, bytes: u64) {
        let wanted = bytes.saturating_mul(2).max(SNAPSHOT_BYTES_MIN);
        self.0.snapshot_bytes.store(wanted, Ordering::Relaxed);
    }

    /// Whether it was asked for and does not stand: nothing that could wait may take room.
    pub fn is_missing(&self) -> bool {
        self.0.is_missing.load(Ordering::Relaxed)
    }

    /// Sees to it that it stands.
    ///
    /// # Errors
    /// There is no room for it; it is lent.
    pub(super) fn hold(&self) -> Result<(), StorageError> {
        let mut state = self.state();
        let snapshot_bytes = self.0.snapshot_bytes.load(Ordering::Relaxed);
        let wanted = self.0.bodies_bytes.saturating_add(snapshot_bytes);
        let made = match *state {
            State::Held(bytes) if bytes >= wanted => return Ok(()),
            State::Held(_) => self.grow(wanted),
            State::Lent => Err(ErrorKind::WouldBlock.into()),
            State::Unasked | State::Missing => self.make(wanted),
        };
        match (&made, *state) {
            (Ok(()), _) => self.set(&mut state, State::Held(wanted)),
            // What there was is still there; what is lent stays so.
            (Err(_), State::Held(_) | State::Lent) => {}
            (Err(_), State::Unasked | State::Missing) => self.set(&mut state, State::Missing),
        }
        made.map_err(StorageError::io("keep room in", &self.0.path))
    }

    /// Gives the room to whoever makes room with it; false if there is none to give.
    pub fn lend(&self) -> bool {
        let mut state = self.state();
        if !matches!(*state, State::Held(_)) {
            return *state == State::Lent;
        }
        let is_lent = self.0.fs.remove(&self.0.path).is_ok();
        if is_lent {
            self.set(&mut state, State::Lent);
        }
        is_lent
    }

    /// What it was lent for is done.
    pub fn take_back(&self) {
        let mut state = self.state();
        if *state == State::Lent {
            self.set(&mut state, State::Missing);
        }
    }

    fn make(&self, bytes: u64) -> std::io::Result<()> {
        let Shared { fs, path, .. } = &*self.0;
        // What an earlier start left, or an attempt that found too little room.
        making::clear(&**fs, path)?;
        let allocated = fs
            .open(path, OpenMode::CreateNew)
            .and_then(|file| file.allocate(bytes));
        if allocated.is_err() {
            fs.remove(path).ok();
        }
        allocated
    }

    fn grow(&self, bytes: u64) -> std::io::Result<()> {
        let file = self.0.fs.open(&self.0.path, OpenMode::ReadWrite)?;
        file.allocate(bytes)
    }

    fn set(&self, state: &mut State, to: State) {
        *state = to;
        let is_missing = matches!(to, State::Lent | State::Missing);
        self.0.is_missing.store(is_missing, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::super::memory_fs::MemoryFs;
    use super::*;

    const BODIES: u64 = 1 << 20;

    fn reserve(fs: &MemoryFs) -> Reserve {
        fs.create_dir_all(Path::new("/j")).unwrap();
        Reserve::new(Arc::new(fs.clone()), Path::new("/j"), BODIES)
    }

    fn take(fs: &MemoryFs, name: &str, bytes: usize) -> std::io::Result<()> {
        let file = fs.open(&Path::new("/j").join(name), OpenMode::CreateNew)?;
        file.write_at(&[IoSlice::new(&vec![1; bytes])], 0, false)?;
        Ok(())
    }

    #[test]
    fn what_is_held_nobody_else_gets_and_whoever_is_lent_it_does() {
        let fs = MemoryFs::new(1);
        fs.set_capacity(Some(3 << 20));
        let reserve = reserve(&fs);
        assert!(!reserve.is_missing(), "nobody has asked");
        reserve.hold().unwrap();
        assert!(take(&fs, "one", 2 << 20).is_err(), "a mebibyte is free");
        assert!(reserve.lend() && reserve.is_missing());
        fs.remove(Path::new("/j/one")).unwrap();
        take(&fs, "two", 2 << 20).unwrap();
        assert!(reserve.hold().is_err() && reserve.lend(), "it is lent");
        reserve.take_back();
        assert!(reserve.hold().is_err() && reserve.is_missing());
        assert!(!reserve.lend(), "there is none to give");
        fs.remove(Path::new("/j/two")).unwrap();
        reserve.hold().unwrap();
        assert!(!reserve.is_missing());
    }

    #[test]
    fn it_grows_with_the_snapshot_and_an_earlier_start_leaves_nothing_behind() {
        let fs = MemoryFs::new(1);
        reserve(&fs).hold().unwrap();
        fs.set_capacity(Some(5 << 20));
        let again = reserve(&fs);
        again.hold().unwrap();
        again.expect_snapshot(3 << 19);
        again.hold().unwrap();
        assert!(
            take(&fs, "one", 3 << 19).is_err(),
            "four mebibytes are held"
        );
        fs.remove(Path::new("/j/one")).unwrap();
        again.expect_snapshot(4 << 20);
        assert!(
            again.hold().is_err() && !again.is_missing(),
            "what there was stands"
        );
    }
}
