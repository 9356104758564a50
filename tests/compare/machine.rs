//! The machine: what it is, and what nobody on it can be faster than.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::clock;
use crate::figures::{float, round};
use crate::latency::Latency;

const BLOCK_BYTES: usize = 4 << 10;
const MIB: usize = 1 << 20;
/// Blocks of the file that is written over and over.
const BLOCKS: u64 = 1_024;
/// The file that grows ends here.
const GROWN_MIB_MAX: u64 = 1_024;
/// One read or write of a stream.
const STREAM_BYTES: usize = 256 << 10;
const ECHO_BYTES: usize = 100;
/// The length of each of the four, without its scale.
const SECONDS: f64 = 0.7;

/// What the machine can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Processes that ran, over the minute before: what else goes on here is measured too.
    pub(crate) load: f64,
    pub(crate) sync_p50_us: f64,
    pub(crate) write_mib_per_second: f64,
    pub(crate) loopback_mib_per_second: f64,
    pub(crate) echo_p50_us: f64,
}

impl Limits {
    pub(crate) fn measure(base: &Path, scale: f64) -> Result<Self> {
        let dir = tempfile::tempdir_in(base)?;
        // What others wrote before is not waited for in what follows.
        rustix::fs::sync();
        let seconds = SECONDS * scale.min(1.0);
        Ok(Self {
            load: load(&fs::read_to_string("/proc/loadavg")?).unwrap_or_default(),
            sync_p50_us: sync(&dir.path().join("over"), seconds)?,
            write_mib_per_second: write(&dir.path().join("grown"), seconds)?,
            loopback_mib_per_second: loopback(seconds)?,
            echo_p50_us: echo(seconds)?,
        })
    }

    pub(crate) fn record(&self) -> Value {
        json!({
            "load": self.load,
            "fdatasync_4_kib_overwritten_p50_us": round(self.sync_p50_us),
            "sequential_write_synced_each_mib_mib_per_second": round(self.write_mib_per_second),
            "loopback_tcp_mib_per_second": round(self.loopback_mib_per_second),
            "tcp_echo_p50_us": round(self.echo_p50_us),
        })
    }
}

/// One write of 4 KiB with its sync, in a file whose blocks are there already: microseconds at p50.
fn sync(path: &Path, seconds: f64) -> Result<f64> {
    let file = OpenOptions::new().create_new(true).write(true).open(path)?;
    let block = [1; BLOCK_BYTES];
    for at in 0..BLOCKS {
        file.write_all_at(&block, at * BLOCK_BYTES as u64)?;
    }
    file.sync_all()?;
    let mut latency = Latency::new()?;
    let (started, mut at) = (clock::now(), 0);
    while clock::seconds_since(started) < seconds {
        let began = clock::now();
        file.write_all_at(&block, at % BLOCKS * BLOCK_BYTES as u64)?;
        file.sync_data()?;
        latency.record(clock::now().saturating_duration_since(began));
        at += 1;
    }
    Ok(latency.micros(0.5))
}

/// A file that grows, with a sync after each MiB: MiB a second.
fn write(path: &Path, seconds: f64) -> Result<f64> {
    let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
    let part = vec![1; MIB];
    let (started, mut written) = (clock::now(), 0);
    while clock::seconds_since(started) < seconds && written < GROWN_MIB_MAX {
        file.write_all(&part)?;
        file.sync_data()?;
        written += 1;
    }
    Ok(float(written) / clock::seconds_since(started))
}

/// One stream from a thread to another: MiB a second.
fn loopback(seconds: f64) -> Result<f64> {
    let (mut near, mut far) = pair()?;
    let sending = thread::spawn(move || {
        let part = vec![1; STREAM_BYTES];
        // Ends when the other side is gone.
        while near.write_all(&part).is_ok() {}
    });
    let mut part = vec![0; STREAM_BYTES];
    let (started, mut came) = (clock::now(), 0);
    while clock::seconds_since(started) < seconds {
        came += far.read(&mut part)?;
    }
    let rate = float(came as u64) / float(MIB as u64) / clock::seconds_since(started);
    drop(far);
    sending.join().ok().context("the sender failed")?;
    Ok(rate)
}

/// There and back between two threads that block: microseconds at p50.
fn echo(seconds: f64) -> Result<f64> {
    let (mut near, mut far) = pair()?;
    let answering = thread::spawn(move || {
        let mut body = [0; ECHO_BYTES];
        while far.read_exact(&mut body).is_ok() && far.write_all(&body).is_ok() {}
    });
    let mut body = [1; ECHO_BYTES];
    let mut latency = Latency::new()?;
    let started = clock::now();
    while clock::seconds_since(started) < seconds {
        let began = clock::now();
        near.write_all(&body)?;
        near.read_exact(&mut body)?;
        latency.record(clock::now().saturating_duration_since(began));
    }
    drop(near);
    answering.join().ok().context("the answerer failed")?;
    Ok(latency.micros(0.5))
}

fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

fn load(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// What it is, for the record.
pub(crate) fn describe(base: &Path) -> Value {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    json!({
        "cpu": behind(&cpus, "model name").unwrap_or("unknown"),
        "cores": thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": behind(&memory, "MemTotal").unwrap_or("unknown"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "file_system": file_system(&read("/proc/mounts"), base).unwrap_or("unknown"),
    })
}

/// What stands behind the name and its colon.
fn behind<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

/// The kind of the innermost mount that holds the path.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let parts = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = parts.filter(|parts| parts.get(1).is_some_and(|dir| path.starts_with(dir)));
    let innermost = holding.max_by_key(|parts| parts.get(1).map(|dir| dir.len()));
    innermost?.get(2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_tells_the_file_system() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/var/tmp")), Some("ext4"));
        assert_eq!(file_system("", Path::new("/")), None);
    }

    #[test]
    fn the_load_is_that_of_the_last_minute() {
        assert_eq!(load("2.81 2.35 2.80 3/214 5\n"), Some(2.81));
        assert_eq!(load(""), None);
    }

    #[test]
    fn the_processor_has_a_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\n";
        assert_eq!(behind(text, "model name"), Some("AMD EPYC"));
        assert_eq!(behind(text, "flags"), None);
    }
}
