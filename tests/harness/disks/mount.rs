//! File systems of a test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A mounted file system; gone on drop.
#[derive(Debug)]
pub(super) struct Mount {
    place: PathBuf,
    /// What lies under it, if it is an image.
    device: Option<String>,
}

/// Why nothing can be mounted here; `None`: it can.
pub fn why_not() -> Option<String> {
    let place = tempfile::tempdir().ok()?;
    Mount::tmpfs(place.path(), 1 << 20)
        .err()
        .map(|error| format!("{error:#}"))
}

impl Mount {
    /// An empty file system of so many bytes, in memory.
    pub(super) fn tmpfs(place: &Path, bytes: u64) -> Result<Self> {
        let size = format!("size={bytes},mode=0700");
        let place = place.to_owned();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "siding"])
            .arg(&place))?;
        let device = None;
        Ok(Self { place, device })
    }

    /// The ext4 in an image, as a disk that is written a page at a time. A loop device takes a write of
    /// which its file took the first part only for done; that is a drive which lies about what it was
    /// told to keep, and nothing is promised on one. A page is taken whole or refused.
    pub(super) fn image(image: &Path, place: &Path) -> Result<Self> {
        let device = run(Command::new("losetup")
            .args(["--find", "--show"])
            .arg(image))?;
        let mount = Self {
            place: place.to_owned(),
            device: Some(device),
        };
        let device = mount.device.as_deref().unwrap_or_default();
        let number = device.trim_start_matches("/dev/");
        let queue = format!("/sys/block/{number}/queue/max_sectors_kb");
        std::fs::write(&queue, "4").context(queue)?;
        run(Command::new("mount").arg(device).arg(place))?;
        Ok(mount)
    }

    /// Where it is.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Waits until all of it is written.
    pub(super) fn sync(&self) -> Result<()> {
        run(Command::new("sync").arg("-f").arg(&self.place)).map(drop)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nothing to be done about one that stays: a process of the test's still works in it.
        drop(run(Command::new("umount").arg(&self.place)));
        if let Some(device) = &self.device {
            drop(run(Command::new("losetup").args(["--detach", device])));
        }
    }
}

/// A sparse image with an empty ext4 of so many bytes, without a journal of its own: what it cannot
/// write is lost to one file, and nothing else stops.
pub(super) fn make_image(image: &Path, bytes: u64) -> Result<()> {
    std::fs::File::create(image)?.set_len(bytes)?;
    run(Command::new("mkfs.ext4")
        .args(["-q", "-F", "-b", "4096", "-m", "0", "-N", "256"])
        .args(["-O", "^has_journal"])
        .arg(image))
    .map(drop)
}

/// Gives back the room of what is zeros in a file: it reads as before.
pub(super) fn dig_holes(file: &Path) -> Result<()> {
    run(Command::new("fallocate").arg("--dig-holes").arg(file)).map(drop)
}

/// A file that takes so much room.
pub(super) fn allocate(file: &Path, bytes: u64) -> Result<()> {
    let length = bytes.to_string();
    run(Command::new("fallocate")
        .args(["--length", &length])
        .arg(file))
    .map(drop)
}

/// A file that takes all the room there is.
pub(super) fn allocate_rest(file: &Path) -> Result<u64> {
    let folder = file.parent().context("in a folder")?;
    let space = rustix::fs::statvfs(folder)?;
    let bytes = space.f_bavail * space.f_frsize;
    if bytes > 0 {
        allocate(file, bytes)?;
    }
    Ok(bytes)
}

/// What it wrote to stdout.
fn run(command: &mut Command) -> Result<String> {
    let name = format!("{command:?}");
    let output = command.output().with_context(|| name.clone())?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}", told.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
