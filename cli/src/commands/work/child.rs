//! One command: started in a process group of its own, fed, watched, and killed with all it started
//! if it must end.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use siding::Delivery;
use siding::protocol::limits::REASON_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

use super::verdict::ChildExit;
use crate::shown::header_bytes;

/// A command has ended, but something it started may hold its stderr open: wait no longer than this.
const STDERR_LINGER: Duration = Duration::from_millis(100);
const HEADER_VARIABLE: &str = "SIDING_HEADER_";
const CHECKPOINT_VARIABLE: &str = "SIDING_CHECKPOINT";

/// How a command gets the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    Stdin,
    /// In place of every `{}` in the arguments.
    Placeholder,
    LastArgument,
}

impl Feed {
    /// `{}` somewhere in the arguments asks for the body there.
    pub(super) fn from_arguments(command: &[OsString]) -> Self {
        if command
            .iter()
            .any(|argument| find(argument.as_bytes()).is_some())
        {
            Self::Placeholder
        } else {
            Self::Stdin
        }
    }
}

/// What to run for each message.
#[derive(Debug)]
pub(super) struct Job {
    command: Vec<OsString>,
    feed: Feed,
    timeout: Option<Duration>,
    /// Whether stdout is wanted; else it is ours.
    capture: bool,
    /// Header variables that we inherited: they are of another message.
    stale: Vec<OsString>,
}

/// How it ended, and what it said.
pub(super) struct Ended {
    pub(super) exit: ChildExit,
    pub(super) stdout: Vec<u8>,
    /// The end of stderr, or the exit code: at most 1 KiB.
    pub(super) reason: String,
}

impl Job {
    pub(super) fn new(
        command: Vec<OsString>,
        feed: Feed,
        timeout: Option<Duration>,
        capture: bool,
    ) -> Self {
        let names = std::env::vars_os().map(|(name, _)| name);
        let stale = names.filter(|name| name.as_bytes().starts_with(HEADER_VARIABLE.as_bytes()));
        Self {
            command,
            feed,
            timeout,
            capture,
            stale: stale.collect(),
        }
    }

    pub(super) fn program(&self) -> &OsStr {
        self.command
            .first()
            .map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// Runs the command for one message.
    ///
    /// # Errors
    /// It cannot be started.
    ///
    /// # Cancel safety
    /// Dropping the future kills the command and all it started.
    pub(super) async fn run(&self, address: &str, delivery: &Delivery) -> std::io::Result<Ended> {
        let mut child = self.command(address, delivery).spawn()?;
        let group = Group::of(&child);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut stdout, mut tail) = (Vec::new(), Tail::default());
        let exit = {
            let talk = async {
                let fed = feed(pipes.0, delivery.body());
                let captured = capture(pipes.1, &mut stdout);
                // A command need not read its stdin: how feeding ended says nothing.
                let (_, captured, ()) = tokio::join!(fed, captured, tee(pipes.2, &mut tail));
                captured
            };
            self.watch(&mut child, &group, talk).await?
        };
        group.forget();
        let reason = tail.reason(exit);
        Ok(Ended {
            exit,
            stdout,
            reason,
        })
    }

    /// Waits for the end of the command, at most for the timeout, while it talks to us.
    async fn watch(
        &self,
        child: &mut Child,
        group: &Group,
        talk: impl Future<Output = std::io::Result<()>>,
    ) -> std::io::Result<ChildExit> {
        tokio::pin!(talk);
        let deadline = async {
            match self.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        let mut talked = false;
        let exit = loop {
            tokio::select! {
                status = child.wait() => break child_exit(status?),
                said = &mut talk, if !talked => {
                    said?;
                    talked = true;
                }
                () = &mut deadline => {
                    group.kill();
                    child.wait().await?;
                    break ChildExit::TimedOut;
                }
            }
        };
        match (talked, self.capture) {
            (true, _) => {}
            // All of stdout is the result, whoever of the group writes it.
            (false, true) => talk.await?,
            (false, false) => drop(tokio::time::timeout(STDERR_LINGER, talk).await),
        }
        Ok(exit)
    }

    fn command(&self, address: &str, delivery: &Delivery) -> Command {
        let body = delivery.body();
        let mut command = Command::new(self.program());
        for argument in self.command.iter().skip(1) {
            if self.feed == Feed::Placeholder {
                command.arg(OsString::from_vec(fill(argument.as_bytes(), body)));
            } else {
                command.arg(argument);
            }
        }
        if self.feed == Feed::LastArgument {
            command.arg(OsStr::from_bytes(body));
        }
        for variable in &self.stale {
            command.env_remove(variable);
        }
        command
            .env("SIDING_ID", format!("{address}@{}", delivery.id().offset))
            .env("SIDING_GRANT", delivery.grant().to_string())
            .env("SIDING_ATTEMPT", delivery.attempt().to_string())
            .env("SIDING_KEY", delivery.key());
        match delivery.checkpoint() {
            // A variable cannot hold a NUL.
            Some(checkpoint) if !checkpoint.contains(&0) => {
                command.env(CHECKPOINT_VARIABLE, OsStr::from_bytes(checkpoint));
            }
            _ => {
                command.env_remove(CHECKPOINT_VARIABLE);
            }
        }
        for (header, value) in delivery.view().headers() {
            command.env(variable(header), OsString::from_vec(header_bytes(value)));
        }
        let stdin = if self.feed == Feed::Stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let stdout = if self.capture {
            Stdio::piped()
        } else {
            Stdio::inherit()
        };
        // A group of its own: a Ctrl-C in the terminal is ours to handle, commands may finish.
        command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// Kills a command's process group unless told that it ended.
struct Group(Option<Pid>);

impl Group {
    /// The command leads its group, so the group has its number.
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(pid) = self.0 {
            // Already gone is as good as killed.
            let _gone = kill_process_group(pid, Signal::KILL);
        }
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes the body.
async fn feed(stdin: Option<ChildStdin>, body: &[u8]) -> std::io::Result<()> {
    match stdin {
        Some(mut stdin) => stdin.write_all(body).await,
        None => Ok(()),
    }
}

async fn capture(
    stdout: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
) -> std::io::Result<()> {
    match stdout {
        Some(mut stdout) => stdout.read_to_end(into).await.map(drop),
        None => Ok(()),
    }
}

/// Passes stderr on to ours and keeps its end.
async fn tee(stderr: Option<impl AsyncRead + Unpin>, tail: &mut Tail) {
    let Some(mut stderr) = stderr else { return };
    let mut block = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut block).await {
        let (said, _) = block.split_at(count);
        tail.push(said);
        // Nobody may be reading our stderr; the tail still counts.
        drop(std::io::stderr().write_all(said));
    }
}

/// The last bytes of a stream, at most as many as a reason may have.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let over = self.0.len().saturating_sub(REASON_BYTES_MAX);
        self.0.drain(..over);
    }

    fn reason(&self, exit: ChildExit) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let text = text.trim();
        if text.is_empty() {
            return match exit {
                ChildExit::Code(code) => format!("exit {code}"),
                ChildExit::Signal(signal) => format!("signal {signal}"),
                ChildExit::TimedOut => "timeout".to_owned(),
            };
        }
        // A byte that is not text becomes three: cut again, from the front, between characters.
        let from = text.ceil_char_boundary(text.len().saturating_sub(REASON_BYTES_MAX));
        text.split_at(from).1.to_owned()
    }
}

fn child_exit(status: ExitStatus) -> ChildExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => ChildExit::Code(code),
        (None, signal) => ChildExit::Signal(signal.unwrap_or(0)),
    }
}

fn variable(header: &str) -> String {
    let upper = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    HEADER_VARIABLE
        .chars()
        .chain(header.chars().map(upper))
        .collect()
}

fn find(argument: &[u8]) -> Option<usize> {
    argument.windows(2).position(|pair| pair == b"{}")
}

/// The argument with the body in place of every `{}`.
fn fill(argument: &[u8], body: &[u8]) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = argument;
    while let Some(at) = find(rest) {
        let (before, from) = rest.split_at(at);
        filled.extend_from_slice(before);
        filled.extend_from_slice(body);
        (_, rest) = from.split_at(2);
    }
    filled.extend_from_slice(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_replaced_by_the_body_everywhere() {
        assert_eq!(fill(b"a{}b{}", b"xy"), b"axybxy");
        assert_eq!(fill(b"none", b"xy"), b"none");
        assert_eq!(fill(b"{}", b"{}"), b"{}");
        let command = |argument: &str| vec![OsString::from("echo"), OsString::from(argument)];
        assert_eq!(Feed::from_arguments(&command("-{}-")), Feed::Placeholder);
        assert_eq!(Feed::from_arguments(&command("x")), Feed::Stdin);
    }

    #[test]
    fn a_header_becomes_a_variable() {
        assert_eq!(variable("trace-id.x"), "SIDING_HEADER_TRACE_ID_X");
    }

    #[test]
    fn a_reason_is_the_end_of_stderr_within_its_limit() {
        let mut tail = Tail::default();
        assert_eq!(tail.reason(ChildExit::Code(65)), "exit 65");
        tail.push(&[b'x'; 5_000]);
        tail.push(b" the end\n");
        let reason = tail.reason(ChildExit::Code(65));
        assert!(reason.ends_with("the end"));
        assert!(reason.len() <= REASON_BYTES_MAX);
        tail.push(&[0xff; 5_000]);
        assert!(tail.reason(ChildExit::Code(65)).len() <= REASON_BYTES_MAX);
    }
}
