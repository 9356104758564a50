//! The servers as processes: each in a directory and on a port of its own, gone when they are dropped.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use crate::clock;
use crate::peer::Peer;
use crate::usage;

/// The slowest of them boots in half of it.
const START_WITHIN: Duration = Duration::from_mins(1);
/// While a server starts it is asked so often whether it serves.
const ASK_EVERY: Duration = Duration::from_millis(2);
/// A connection that is not made by then is tried anew.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// A process that was killed is gone by then.
const GONE_WITHIN: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};
/// Of a server that does not start so many lines are told.
const LAST_LINES: usize = 5;
/// What the kernel calls a file system that lives in memory.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Where a server lives.
#[derive(Debug)]
pub(crate) struct Place {
    dir: TempDir,
    pub(crate) port: u16,
    /// For what a server needs besides.
    #[cfg_attr(
        not(feature = "peers"),
        expect(dead_code, reason = "one port is enough for Siding")
    )]
    pub(crate) more_ports: [u16; 2],
}

impl Place {
    fn new(base: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("siding-compare-")
            .tempdir_in(base)?;
        // All at once, so that they differ.
        let any = || TcpListener::bind(("127.0.0.1", 0));
        let listeners = [any()?, any()?, any()?];
        let [first, second, third] = listeners.each_ref().map(TcpListener::local_addr);
        Ok(Self {
            dir,
            port: first?.port(),
            more_ports: [second?.port(), third?.port()],
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn log(&self) -> Result<File> {
        let path = self.dir().join("log");
        Ok(OpenOptions::new().create(true).append(true).open(path)?)
    }

    fn last_lines(&self) -> String {
        let log = fs::read(self.dir().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..);
        last.unwrap_or_default().join(" | ")
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    // Before the directory: what runs in it ends first.
    running: Running,
    pub(crate) place: Place,
}

impl Server {
    /// Starts it in an empty directory and waits until it serves.
    pub(crate) async fn start(peer: &dyn Peer, base: &Path) -> Result<Self> {
        let place = Place::new(base)?;
        peer.prepare(&place).context("it cannot be prepared")?;
        let running = Running::start(peer, &place)?;
        let mut server = Self { running, place };
        server.serves(peer).await?;
        Ok(server)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.server.0.id()
    }

    /// Kills it as a crash would and starts it on the same directory; when that began.
    pub(crate) async fn restart(&mut self, peer: &dyn Peer) -> Result<Instant> {
        self.running.end();
        let began = clock::now();
        self.running = Running::start(peer, &self.place)?;
        self.serves(peer).await?;
        Ok(began)
    }

    async fn serves(&mut self, peer: &dyn Peer) -> Result<()> {
        let began = clock::now();
        let mut ask = tokio::time::interval(ASK_EVERY);
        loop {
            ask.tick().await;
            let asked = tokio::time::timeout(ASK_WITHIN, peer.ready(&self.place)).await;
            let Err(error) = asked.context("no answer").flatten() else {
                return Ok(());
            };
            if let Some(status) = self.running.server.0.try_wait()? {
                bail!("it ended with {status}: {}", self.place.last_lines());
            }
            if began.elapsed() > START_WITHIN {
                let log = self.place.last_lines();
                return Err(error.context(format!("it does not serve: {log}")));
            }
        }
    }
}

/// Processes that end with this.
#[derive(Debug)]
struct Running {
    server: Ending,
    helper: Option<Ending>,
}

/// A process that is killed with all below it when this is dropped.
#[derive(Debug)]
struct Ending(Child);

impl Running {
    fn start(peer: &dyn Peer, place: &Place) -> Result<Self> {
        let start = |mut command: Command| -> Result<Ending> {
            command
                .current_dir(place.dir())
                .stdin(Stdio::null())
                .stdout(place.log()?)
                .stderr(place.log()?);
            let child = command.spawn();
            let program = command.get_program().display().to_string();
            Ok(Ending(
                child.with_context(|| format!("{program} does not start"))?,
            ))
        };
        Ok(Self {
            helper: peer.helper(place).map(start).transpose()?,
            server: start(peer.command(place)?)?,
        })
    }

    fn end(&mut self) {
        self.server.end();
        if let Some(helper) = &mut self.helper {
            helper.end();
        }
    }
}

impl Ending {
    fn end(&mut self) {
        // Once it is reaped, its number may be another's.
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        let pids = usage::tree(self.0.id()).into_iter();
        let pids = pids.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        // One that has ended meanwhile cannot be opened: that is what is wanted.
        let all: Vec<_> = pids
            .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            .collect();
        for process in &all {
            pidfd_send_signal(process, Signal::KILL).ok();
        }
        // Those below are nobody's to wait for, and hold memory and ports as long as they are there.
        for process in &all {
            let mut gone = [PollFd::new(process, PollFlags::IN)];
            poll(&mut gone, Some(&GONE_WITHIN)).ok();
        }
        self.0.wait().ok();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether what is written there comes to a disk.
pub(crate) fn ensure_on_disk(base: &Path) -> Result<()> {
    let kind = rustix::fs::statfs(base).with_context(|| base.display().to_string())?;
    let in_memory = u64::try_from(kind.f_type).is_ok_and(|kind| kind == TMPFS_MAGIC);
    let base = base.display();
    ensure!(!in_memory, "{base} lies in memory: say --dir on a disk");
    Ok(())
}

/// The program of that name, where one is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from);
    let mut candidates = std::env::split_paths(&path).chain(more);
    candidates.find_map(|dir| Some(dir.join(name)).filter(|path| path.is_file()))
}

/// The first line it says of its version.
pub(crate) fn version(program: &Path, flag: &str) -> String {
    let output = Command::new(program).arg(flag).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
