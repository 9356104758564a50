//! The disk of a simulated machine: a disk in memory that takes time, loses its power in the middle
//! of anything, and fails.

use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use siding_broker::ManualTime;
use siding_broker::storage::fs::{File, Fs, Lock, OpenMode, Written};
use siding_broker::storage::memory_fs::{MemoryFs, Operation};

use super::trace::Trace;
use super::watch::Watch;

/// What a disk does wrong on purpose: bugs that the simulator must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    #[default]
    None,
    /// It says that it has synced, and has not.
    Sync,
    /// It says that it has synced a directory, and has not.
    SyncDir,
}

/// How fast a disk is, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Of most syncs.
    pub sync_us: u64,
    /// Of one in a hundred.
    pub slow_us: u64,
}

/// The world's clock and the broker's, which go together.
#[derive(Clone, Debug)]
pub struct Clocks {
    /// The world's.
    pub world: ManualTime,
    /// The broker's.
    pub broker: ManualTime,
}

impl Clocks {
    /// Time passes.
    pub fn pass(&self, us: u64) {
        self.world.advance_us(us);
        self.broker.advance_us(us);
    }
}

/// The disk under one start of a broker. Clones are the same.
#[derive(Clone, Debug)]
pub struct SimFs {
    disk: MemoryFs,
    shared: Arc<Mutex<Shared>>,
    machine: Machine,
}

/// What stays the same of a machine whenever it gets another disk.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Notes what happens.
    pub trace: Trace,
    /// Judges what happens to files.
    pub watch: Watch,
    /// What is wrong with its disks.
    pub lie: Lie,
    /// How fast they are.
    pub speed: Speed,
}

#[derive(Debug)]
struct Shared {
    rng: Rng,
    speed: Speed,
    /// Passes while the core thread waits; other threads take their time outside.
    core: Option<Clocks>,
    operations: u64,
    /// With this operation the power goes: it and all that follow do nothing.
    cut_at: Option<u64>,
    /// This operation fails, once.
    fail_at: Option<u64>,
    failed: u64,
    is_dead: bool,
}

impl SimFs {
    /// A machine with this disk in it.
    pub fn new(disk: MemoryFs, machine: Machine, random: u64) -> Self {
        machine.watch.starts();
        let shared = Shared {
            rng: Rng::with_seed(random),
            speed: machine.speed,
            core: None,
            operations: 0,
            cut_at: None,
            fail_at: None,
            failed: 0,
            is_dead: false,
        };
        let shared = Arc::new(Mutex::new(shared));
        Self {
            disk,
            shared,
            machine,
        }
    }

    /// What is on it.
    pub fn disk(&self) -> &MemoryFs {
        &self.disk
    }

    /// From now on whoever uses it holds up the core thread, or nobody does.
    pub fn hold_up(&self, core: Option<Clocks>) {
        self.shared().core = core;
    }

    /// The power goes in the middle of the `nth` operation from now, from 1.
    pub fn cut_power_in(&self, nth: u64) {
        let mut shared = self.shared();
        shared.cut_at = Some(shared.operations + nth);
    }

    /// The power goes now.
    pub fn cut_power(&self) {
        self.shared().is_dead = true;
    }

    /// The `nth` operation from now fails, once.
    pub fn fail_in(&self, nth: u64) {
        let mut shared = self.shared();
        shared.fail_at = Some(shared.operations + nth);
    }

    /// Nothing that was planned to go wrong does.
    pub fn heal(&self) {
        let mut shared = self.shared();
        (shared.cut_at, shared.fail_at) = (None, None);
    }

    /// Operations that failed, the power apart.
    pub fn failed(&self) -> u64 {
        self.shared().failed
    }

    /// Whether the power is gone.
    pub fn is_dead(&self) -> bool {
        self.shared().is_dead
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before each operation; whether a write of it is to be torn off by the power.
    fn step(&self, operation: Operation, (place, length): (u64, u64)) -> io::Result<()> {
        self.machine.trace.note(&[operation as u64, place, length]);
        let mut shared = self.shared();
        shared.operations += 1;
        let number = Some(shared.operations);
        if shared.cut_at == number {
            shared.is_dead = true;
        }
        if shared.is_dead {
            return Err(io::Error::other("the power is gone"));
        }
        if matches!(operation, Operation::Sync | Operation::SyncDir) {
            shared.pass_sync();
        }
        if shared.fail_at == number {
            shared.fail_at = None;
            shared.failed += 1;
            drop(shared);
            // What a failed operation leaves behind is the disk's business.
            self.disk.fail(operation, 1, ErrorKind::Other);
        }
        Ok(())
    }
}

impl Speed {
    /// How long one takes.
    pub(super) fn took(self, rng: &mut Rng) -> u64 {
        let typical = match rng.u32(0..100) {
            0 => self.slow_us,
            _ => self.sync_us,
        };
        rng.u64(typical / 2..=typical * 2)
    }
}

impl Shared {
    fn pass_sync(&mut self) {
        let took = self.speed.took(&mut self.rng);
        if let Some(core) = &self.core {
            core.pass(took);
        }
    }
}

impl Fs for SimFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        self.step(Operation::Open, (0, mode as u64))?;
        let file = self.disk.open(path, mode)?;
        if matches!(mode, OpenMode::CreateNew) {
            self.machine.watch.made(path);
        }
        let (fs, path) = (self.clone(), path.to_owned());
        Ok(Box::new(SimFile { fs, path, file }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Operation::Rename, (0, 0))?;
        self.machine.watch.gives_away(&self.disk, from, Some(to));
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Operation::Rename, (0, 1))?;
        self.machine.watch.gives_away(&self.disk, path, None);
        self.disk.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.step(Operation::SyncDir, (0, 0))?;
        if self.machine.lie == Lie::SyncDir {
            return Ok(());
        }
        self.disk.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }

    fn random(&self) -> io::Result<u64> {
        self.disk.random()
    }
}

#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    path: PathBuf,
    file: Box<dyn File>,
}

impl File for SimFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64, dsync: bool) -> io::Result<Written> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        self.fs.step(Operation::Write, (offset, length as u64))?;
        self.fs.machine.watch.wrote(&self.path, offset);
        if dsync {
            self.fs.shared().pass_sync();
        }
        let dsync = dsync && self.fs.machine.lie != Lie::Sync;
        self.file.write_at(slices, offset, dsync)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let length = buffer.len() as u64;
        self.fs.step(Operation::Read, (offset, length))?;
        self.fs.machine.watch.read(&self.path);
        self.file.read_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.step(Operation::Sync, (0, 0))?;
        if self.fs.machine.lie == Lie::Sync {
            return Ok(());
        }
        self.file.sync_data()
    }

    fn write_zeros(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.fs.step(Operation::Write, (offset, bytes))?;
        self.file.write_zeros(offset, bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.fs.step(Operation::Write, (0, bytes))?;
        self.file.allocate(bytes)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.file.drop_cache()
    }
}
