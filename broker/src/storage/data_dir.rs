//! The data directory: one broker at a time, one node for ever.
//!
//! ```text
//! data/
//!   siding.lock   held by the broker that runs
//!   node.toml     format = 1, node = <u64>
//!   salvage.redo  a salvage was interrupted (redo.rs); salvaged-<n>/ what one put aside
//!   journal/      files.rs
//!   shard-0/      snapshot.rs; segments/ in segment.rs
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Damage, StorageError};
use super::files::JournalOptions;
use super::fs::{Fs, Lock, OpenMode};
use super::making;
use super::redo;
use super::segments::Segments;
use super::snapshot::Snapshots;

/// The format of the directory that this release writes.
const FORMAT: u32 = 1;
/// More than `node.toml` ever holds, in bytes.
const NODE_FILE_BYTES_MAX: usize = 4096;

/// An open data directory. No other broker can open it while this lives.
#[derive(Debug)]
pub struct DataDir {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    node: u64,
    _lock: Box<dyn Lock>,
}

impl DataDir {
    /// Opens a data directory, creating it (mode 0700) and its node id if it is new.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another broker has it. [`StorageError::Damaged`] if it holds
    /// data and its `node.toml` is missing or unreadable: that is never taken for a new directory.
    pub fn open(fs: Arc<dyn Fs>, path: &Path) -> Result<Self, StorageError> {
        for directory in [
            path.to_path_buf(),
            path.join("journal"),
            path.join("shard-0"),
        ] {
            fs.create_dir_all(&directory)
                .map_err(StorageError::io("create", &directory))?;
        }
        let lock = lock(&*fs, path)?;
        if redo::is_pending(&*fs, path)? {
            return Err(StorageError::SalvageUnfinished {
                path: path.to_path_buf(),
            });
        }
        let node = read_or_make_node(&*fs, path)?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        for directory in [path, parent.unwrap_or(Path::new("."))] {
            fs.sync_dir(directory)
                .map_err(StorageError::io("sync", directory))?;
        }
        Ok(Self {
            fs,
            path: path.to_path_buf(),
            node,
            _lock: lock,
        })
    }

    /// Finishes a salvage that was interrupted while it changed names; false: there is none.
    ///
    /// # Errors
    /// Another process has the directory, or the disk fails.
    pub fn finish_salvage(fs: &dyn Fs, path: &Path) -> Result<bool, StorageError> {
        let _lock = lock(fs, path)?;
        let is_pending = redo::is_pending(fs, path)?;
        if is_pending {
            redo::finish(fs, path)?;
        }
        Ok(is_pending)
    }

    /// The disk it is on.
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// This node's id: random, drawn when the directory was made.
    pub fn node(&self) -> u64 {
        self.node
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// 128 random bits of the operating system's.
    ///
    /// # Errors
    /// It has none.
    pub fn draw(&self) -> Result<[u64; 2], StorageError> {
        let draw = || {
            self.fs
                .random()
                .map_err(StorageError::io("draw a secret for", &self.path))
        };
        Ok([draw()?, draw()?])
    }

    /// The journal's settings, at their defaults.
    pub fn journal(&self) -> JournalOptions {
        JournalOptions::new(Arc::clone(&self.fs), self.path.join("journal"), self.node)
    }

    /// The segments of shard 0.
    pub fn segments(&self) -> Segments {
        let directory = self.path.join("shard-0").join("segments");
        Segments::new(Arc::clone(&self.fs), directory)
    }

    /// The snapshots of shard 0.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(Arc::clone(&self.fs), self.path.join("shard-0"))
    }
}

fn lock(fs: &dyn Fs, path: &Path) -> Result<Box<dyn Lock>, StorageError> {
    let lock_path = path.join("siding.lock");
    fs.lock(&lock_path).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => StorageError::Locked {
            path: path.to_path_buf(),
        },
        _ => StorageError::io("lock", &lock_path)(error),
    })
}

fn read_or_make_node(fs: &dyn Fs, directory: &Path) -> Result<u64, StorageError> {
    let path = directory.join("node.toml");
    let file = match fs.open(&path, OpenMode::ReadOnly) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return make_node(fs, directory, &path);
        }
        opened => opened.map_err(StorageError::io("open", &path))?,
    };
    let mut bytes = vec![0; NODE_FILE_BYTES_MAX];
    let read = file
        .read_at(&mut bytes, 0)
        .map_err(StorageError::io("read", &path))?;
    let text = bytes
        .get(..read)
        .and_then(|bytes| std::str::from_utf8(bytes).ok());
    let value = |key: &str| {
        let mut lines = text
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split_once('='));
        lines
            .find(|(name, _)| name.trim() == key)?
            .1
            .trim()
            .parse::<u64>()
            .ok()
    };
    let damaged = || {
        StorageError::damaged(
            &path,
            0..bytes.len().min(read) as u64,
            Damage::Checksum {
                what: "content of the file",
            },
        )
    };
    let format = value("format").and_then(|format| u32::try_from(format).ok());
    match format.ok_or_else(damaged)? {
        FORMAT => value("node").ok_or_else(damaged),
        found => Err(StorageError::Format {
            path,
            found,
            known: FORMAT,
        }),
    }
}

fn make_node(fs: &dyn Fs, directory: &Path, path: &Path) -> Result<u64, StorageError> {
    for inside in ["journal", "shard-0"].map(|name| directory.join(name)) {
        let names = fs
            .list(&inside)
            .map_err(StorageError::io("list", &inside))?;
        if !names.is_empty() {
            return Err(StorageError::damaged(path, 0..0, Damage::Missing));
        }
    }
    let node = fs
        .random()
        .map_err(StorageError::io("draw a node id for", path))?;
    let making = directory.join("node.making");
    let text = format!("format = {FORMAT}\nnode = {node}\n");
    making::write(fs, &making, text.as_bytes())?;
    fs.rename(&making, path)
        .map_err(StorageError::io("rename", &making))?;
    Ok(node)
}
