//! The last step of a salvage: names change, all of them or, after a crash, the rest of them.
//!
//! ```text
//! data/salvage.redo     <from> TAB <to>, a line each, below the data directory: a salvage is under way
//! data/salvaged-<n>/    what it put aside: never deleted by any program of this project
//! ```
//!
//! Everything that is to get a name is there and synced before the list is, and the list is durable before
//! the first name changes. While it is there nobody else opens the directory: half of the names are old. Each
//! line can be done twice.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::{Damage, StorageError};
use super::fs::{Fs, OpenMode};
use super::making;

/// The list, in the data directory.
const LIST: &str = "salvage.redo";
const MAKING: &str = "salvage.making";
const ASIDE: &str = "salvaged-";
/// The last line: the list is whole.
const END: &str = "end";

/// Whether a salvage has begun to change names and has not come to its end.
///
/// # Errors
/// The operating system refuses.
pub fn is_pending(fs: &dyn Fs, data: &Path) -> Result<bool, StorageError> {
    let names = fs.list(data).map_err(StorageError::io("list", data))?;
    Ok(names.iter().any(|name| name == LIST))
}

/// A new directory beside the data, for what is put aside; its name.
///
/// # Errors
/// The operating system refuses.
pub fn make_aside(fs: &dyn Fs, data: &Path) -> Result<String, StorageError> {
    let names = fs.list(data).map_err(StorageError::io("list", data))?;
    let numbers = names
        .iter()
        .filter_map(|name| name.strip_prefix(ASIDE)?.parse::<u64>().ok());
    let name = format!("{ASIDE}{}", numbers.max().unwrap_or(0).saturating_add(1));
    let path = data.join(&name);
    fs.create_dir_all(&path)
        .map_err(StorageError::io("create", &path))?;
    Ok(name)
}

/// Makes the list durable, then follows it. Paths are below the data directory.
///
/// # Errors
/// The disk fails. If the list is durable by then, [`finish`] goes on with it.
pub fn rename_all(
    fs: &dyn Fs,
    data: &Path,
    renames: &[(PathBuf, PathBuf)],
) -> Result<(), StorageError> {
    let lines = renames
        .iter()
        .map(|(from, to)| format!("{}\t{}\n", from.display(), to.display()));
    let text: String = lines.chain([format!("{END}\n")]).collect();
    let making = data.join(MAKING);
    making::write(fs, &making, text.as_bytes())?;
    sync(fs, data)?;
    fs.rename(&making, &data.join(LIST))
        .map_err(StorageError::io("rename", &making))?;
    sync(fs, data)?;
    finish(fs, data)
}

/// Follows a durable list to its end.
///
/// # Errors
/// The disk fails: it can be called again.
pub fn finish(fs: &dyn Fs, data: &Path) -> Result<(), StorageError> {
    let list = data.join(LIST);
    let renames = read(fs, &list)?;
    for (from, to) in &renames {
        let (from, to) = (data.join(from), data.join(to));
        match fs.rename(&from, &to) {
            // Done by whoever began.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => done.map_err(StorageError::io("rename", &from))?,
        }
    }
    let mut directories: Vec<_> = renames
        .iter()
        .flat_map(|(from, to)| [from, to])
        .filter_map(|path| data.join(path).parent().map(Path::to_path_buf))
        .collect();
    directories.sort_unstable();
    directories.dedup();
    for directory in directories {
        sync(fs, &directory)?;
    }
    fs.remove(&list)
        .map_err(StorageError::io("remove", &list))?;
    sync(fs, data)
}

fn read(fs: &dyn Fs, list: &Path) -> Result<Vec<(PathBuf, PathBuf)>, StorageError> {
    let file = fs
        .open(list, OpenMode::ReadOnly)
        .map_err(StorageError::io("open", list))?;
    let length = file.length().map_err(StorageError::io("read", list))?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_at(&mut bytes, 0)
        .map_err(StorageError::io("read", list))?;
    let parse = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let lines = text.strip_suffix(END)?.lines();
        let pair = |line: &str| {
            let (from, to) = line.split_once('\t')?;
            Some((PathBuf::from(from), PathBuf::from(to)))
        };
        lines.map(pair).collect::<Option<Vec<_>>>()
    };
    parse(&bytes).ok_or_else(|| {
        let what = "list of names";
        StorageError::damaged(list, 0..length, Damage::Checksum { what })
    })
}

fn sync(fs: &dyn Fs, directory: &Path) -> Result<(), StorageError> {
    fs.sync_dir(directory)
        .map_err(StorageError::io("sync", directory))
}
