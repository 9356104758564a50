//! What an exit code means for a message, and the books of a run.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::clock;

/// The command says: this message can never be done.
const REJECT: i32 = 65;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChildExit {
    Code(i32),
    Signal(i32),
    /// Killed after `--timeout`.
    TimedOut,
}

/// What becomes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ack,
    Nack,
    Reject,
}

impl Verdict {
    /// 0 ack, 65 reject, anything else (75 by agreement) or a signal nack.
    pub(super) const fn of(exit: ChildExit) -> Self {
        match exit {
            ChildExit::Code(0) => Self::Ack,
            ChildExit::Code(REJECT) => Self::Reject,
            ChildExit::Code(_) | ChildExit::Signal(_) | ChildExit::TimedOut => Self::Nack,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Nack => "nack",
            Self::Reject => "reject",
        }
    }
}

/// What truly happened to the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Settled(Verdict),
    /// The lease had ended and somebody else has the message.
    LeaseLost,
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        Self::Settled(verdict)
    }
}

/// The books of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    acked: u64,
    nacked: u64,
    rejected: u64,
    lease_lost: u64,
    pub(super) released: u64,
}

impl Counts {
    pub(super) fn add(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Settled(Verdict::Ack) => &mut self.acked,
            Outcome::Settled(Verdict::Nack) => &mut self.nacked,
            Outcome::Settled(Verdict::Reject) => &mut self.rejected,
            Outcome::LeaseLost => &mut self.lease_lost,
        };
        *count += 1;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} done · {} failed · {} rejected",
            self.acked, self.nacked, self.rejected
        )?;
        if self.lease_lost > 0 {
            write!(f, " · {} lost their lease", self.lease_lost)?;
        }
        if self.released > 0 {
            write!(f, " · {} cut short and released", self.released)?;
        }
        Ok(())
    }
}

/// `--joblog`: a line a command, tab-separated.
#[derive(Debug)]
pub(super) struct Joblog(File);

/// One line of it.
pub(super) struct Line {
    pub(super) started_ms: u64,
    pub(super) seconds: f64,
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) exit: ChildExit,
    pub(super) verdict: Verdict,
}

impl Joblog {
    pub(super) fn append_to(path: &Path) -> std::io::Result<Self> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map(Self)
    }

    /// Writes the line in one piece, so that lines of several processes do not mix.
    pub(super) fn write(&self, line: &Line) -> std::io::Result<()> {
        (&self.0).write_all(line.to_string().as_bytes())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, signal) = match self.exit {
            ChildExit::Code(code) => (code.to_string(), String::new()),
            ChildExit::Signal(signal) => (String::new(), signal.to_string()),
            ChildExit::TimedOut => (String::new(), "timeout".to_owned()),
        };
        let started = clock::rfc3339(self.started_ms);
        let (seconds, verdict) = (self.seconds, self.verdict.name());
        let (id, attempt) = (&self.id, self.attempt);
        writeln!(
            f,
            "{started}\t{seconds:.3}\t{id}\t{attempt}\t{code}\t{signal}\t{verdict}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_decides_what_becomes_of_the_message() {
        assert_eq!(Verdict::of(ChildExit::Code(0)), Verdict::Ack);
        assert_eq!(Verdict::of(ChildExit::Code(65)), Verdict::Reject);
        for other in [
            ChildExit::Code(75),
            ChildExit::Code(1),
            ChildExit::Signal(9),
            ChildExit::TimedOut,
        ] {
            assert_eq!(Verdict::of(other), Verdict::Nack, "{other:?}");
        }
    }

    #[test]
    fn the_books_name_only_what_happened() {
        let mut counts = Counts::default();
        counts.add(Verdict::Ack.into());
        counts.add(Verdict::Reject.into());
        assert_eq!(counts.to_string(), "1 done · 0 failed · 1 rejected");
        counts.add(Outcome::LeaseLost);
        assert!(counts.to_string().ends_with("1 lost their lease"));
    }

    #[test]
    fn a_joblog_line_has_seven_fields() {
        let line = Line {
            started_ms: 0,
            seconds: 0.5,
            id: "jobs@7".to_owned(),
            attempt: 2,
            exit: ChildExit::Signal(9),
            verdict: Verdict::Nack,
        };
        let text = line.to_string();
        assert_eq!(
            text,
            "1970-01-01T00:00:00.000Z\t0.500\tjobs@7\t2\t\t9\tnack\n"
        );
    }
}
