//! The real broker as a process: started on a loopback address of its own, killed on drop.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use siding::{Client, Options};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;

use crate::binaries::binary;
use crate::limit::awaiting;

/// Whatever a test waits for comes within this, on a slow and busy machine too.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Small files, so that a start takes milliseconds; little memory, so that bodies are read back.
const SMALL: [&str; 6] = [
    "--journal-file-bytes",
    "1MiB",
    "--checkpoint-bytes",
    "2MiB",
    "--tail-bytes",
    "1MiB",
];

/// A `sidingd` on a data directory of the test's.
#[derive(Debug)]
pub struct Broker {
    data_dir: PathBuf,
    address: SocketAddr,
    admin: SocketAddr,
    sizes: Vec<String>,
    log: Log,
    /// `None`: it has ended.
    child: Option<Child>,
}

/// How a process that did not serve ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it wrote to stderr.
    pub log: String,
}

/// What brokers on one data directory wrote to stderr, line by line.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Lined>);

#[derive(Debug, Default)]
struct Lined {
    lines: Mutex<Vec<String>>,
    grown: Notify,
}

/// Waits for what must come.
///
/// # Panics
/// It does not come within [`DEADLINE`].
pub async fn within<T>(what: &str, coming: impl Future<Output = T>) -> T {
    awaiting(what);
    let came = tokio::time::timeout(DEADLINE, coming).await;
    awaiting(format!("what follows {what}"));
    came.unwrap_or_else(|_| panic!("not within {} s: {what}", DEADLINE.as_secs()))
}

/// An address of this machine that nothing else of it uses: a client's own end lies on 127.0.0.1, so
/// it can neither take the port of a broker that is down nor connect to itself.
fn own_address() -> Ipv4Addr {
    let byte = || fastrand::u8(1..=254);
    Ipv4Addr::new(127, byte(), byte(), byte())
}

impl Broker {
    /// Starts a broker and waits until it serves.
    ///
    /// # Errors
    /// It ended instead; the text holds its log.
    pub async fn start(data_dir: &Path) -> Result<Self> {
        Self::start_with(data_dir, &[]).await
    }

    /// As [`start`](Self::start), with further flags.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(data_dir: &Path, flags: &[&str]) -> Result<Self> {
        Self::start_as(data_dir, &SMALL, flags).await
    }

    /// As [`start`](Self::start), with other sizes of files and memory, now and after every restart.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_sized(data_dir: &Path, sizes: &[&str]) -> Result<Self> {
        Self::start_as(data_dir, sizes, &[]).await
    }

    async fn start_as(data_dir: &Path, sizes: &[&str], flags: &[&str]) -> Result<Self> {
        let any = SocketAddr::from((own_address(), 0));
        let mut broker = Self {
            data_dir: data_dir.to_owned(),
            address: any,
            admin: any,
            sizes: sizes.iter().map(|&size| size.to_owned()).collect(),
            log: Log::default(),
            child: None,
        };
        broker.serve(flags).await?;
        Ok(broker)
    }

    /// Its process; `None`: it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }

    /// Starts it again on the same directory and address, and waits until it serves.
    ///
    /// # Errors
    /// It ended instead; the text holds its log.
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "it still runs");
        self.serve(&[]).await
    }

    /// Starts it again, but kills it before it says that it serves: somewhere in its recovery.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn kill_while_it_starts(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "it still runs");
        let (child, mut stdout) = self.spawn(&[])?;
        self.child = Some(child);
        for _ in 0..fastrand::u32(0..200) {
            tokio::task::yield_now().await;
        }
        self.kill().await?;
        while stdout.next_line().await?.is_some() {}
        Ok(())
    }

    /// SIGKILL; waits until it is gone.
    ///
    /// # Errors
    /// It is gone already.
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        child.kill().await?;
        Ok(())
    }

    /// SIGTERM; waits until it has ended.
    ///
    /// # Errors
    /// It is gone already.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("it does not run")?;
        terminate(&child)?;
        Ok(within("the broker ends", child.wait()).await?)
    }

    /// Sends it a signal that does not end it.
    ///
    /// # Errors
    /// It is gone already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(self.child.as_ref().context("it does not run")?, signal)
    }

    /// Waits until it ends by itself, for as long as that takes. Cancel-safe: it goes on meanwhile.
    ///
    /// # Errors
    /// It is gone already.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("it does not run")?;
        let status = child.wait().await?;
        self.child = None;
        Ok(status)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/livez` and `/readyz` are.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// As clients write it.
    pub fn url(&self) -> String {
        format!("siding://{}", self.address)
    }

    /// Where its data lie.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What it wrote to stderr, before a restart too.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// A client with a holder's name of its own.
    ///
    /// # Errors
    /// No connection.
    pub async fn client(&self, holder: &str) -> Result<Client, siding::Error> {
        let options = Options {
            holder: Some(holder.to_owned()),
            ..Options::default()
        };
        Client::connect_with(&self.url(), options).await
    }

    async fn serve(&mut self, flags: &[&str]) -> Result<()> {
        let (mut child, mut stdout) = self.spawn(flags)?;
        let serves = async {
            while let Some(line) = stdout.next_line().await? {
                if let Some(address) = line.strip_prefix("admin on http://") {
                    self.admin = address.parse()?;
                } else if let Some(address) = line.strip_prefix("listening on ") {
                    self.address = address.parse()?;
                    return Ok(true);
                }
            }
            anyhow::Ok(false)
        };
        if !within("the broker serves", serves).await? {
            let status = child.wait().await?;
            bail!("the broker ended with {status}: {}", self.log.text());
        }
        self.child = Some(child);
        Ok(())
    }

    fn spawn(&self, flags: &[&str]) -> Result<(Child, Lines<BufReader<ChildStdout>>)> {
        let mut all: Vec<_> = self.sizes.iter().map(String::as_str).collect();
        all.extend(flags);
        let (mut child, stdout) = spawn(&self.data_dir, self.address, self.admin, &all)?;
        let stderr = child.stderr.take().context("piped")?;
        tokio::spawn(gather(self.log.clone(), BufReader::new(stderr).lines()));
        Ok((child, stdout))
    }
}

/// Runs a `sidingd` that is expected to refuse; waits until it has ended.
///
/// # Errors
/// It cannot be started.
pub async fn refused_start(data_dir: &Path, listen: SocketAddr, flags: &[&str]) -> Result<Ended> {
    let admin = SocketAddr::from((own_address(), 0));
    let (child, _) = spawn(data_dir, listen, admin, &[&SMALL, flags].concat())?;
    let output = within("the broker refuses", child.wait_with_output()).await?;
    Ok(Ended {
        status: output.status,
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Sends SIGTERM.
///
/// # Errors
/// It is gone already.
pub fn terminate(child: &Child) -> Result<()> {
    send(child, Signal::TERM)
}

fn send(child: &Child, signal: Signal) -> Result<()> {
    let id = child.id().context("it has ended")?;
    let pid = Pid::from_raw(i32::try_from(id)?).context("a process id")?;
    Ok(kill_process(pid, signal)?)
}

fn spawn(
    data_dir: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
    flags: &[&str],
) -> Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut child = Command::new(binary("sidingd"))
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--listen", &listen.to_string()])
        .args(["--admin-listen", &admin.to_string()])
        .args(flags)
        .env("RUST_LOG", "siding_broker=debug,info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().context("piped")?;
    Ok((child, BufReader::new(stdout).lines()))
}

async fn gather(log: Log, mut lines: Lines<impl AsyncRead + AsyncBufReadExt + Unpin>) {
    while let Ok(Some(line)) = lines.next_line().await {
        log.push(line);
    }
}

impl Log {
    fn push(&self, line: String) {
        self.lines().push(line);
        self.0.grown.notify_waiters();
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last lines.
    pub fn last(&self, count: usize) -> Vec<String> {
        let lines = self.lines();
        lines
            .iter()
            .skip(lines.len().saturating_sub(count))
            .cloned()
            .collect()
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// The lines that hold all of these words.
    pub fn with(&self, words: &[&str]) -> Vec<String> {
        let lines = self.lines();
        let holds = |line: &&String| words.iter().all(|word| line.contains(word));
        lines.iter().filter(holds).cloned().collect()
    }

    /// Waits until so many lines hold all of these words.
    ///
    /// # Panics
    /// They do not come within [`DEADLINE`].
    pub async fn until(&self, count: usize, words: &[&str]) {
        let come = async {
            loop {
                let grown = self.0.grown.notified();
                tokio::pin!(grown);
                grown.as_mut().enable();
                if self.with(words).len() >= count {
                    return;
                }
                grown.await;
            }
        };
        within(&format!("{count} lines with {words:?} in the log"), come).await;
    }
}
