//! Exit codes, and what an error says on its way out: what is wrong, the mend, the next command.

use std::process::ExitCode;

use siding::{Error, Refusal};

use crate::flags;
use crate::output::StdoutClosed;

/// How a command ended. The numbers are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Nothing matched.
    NothingMatched = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Some of it is done; stderr says what is not.
    PartlyDone = 3,
    /// A line of the input cannot be a message.
    BadInput = 65,
    /// No queue, topic or subscription of that name.
    NoSuchName = 66,
    /// The broker cannot be reached, or broke.
    Unreachable = 69,
    /// It exists, with other settings.
    ExistsDifferent = 73,
    /// A limit is reached; later it may work.
    Busy = 75,
    /// Not allowed.
    Denied = 77,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure of the command itself, with its exit code and words.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

/// A failure that ends the command with `exit`.
pub(crate) fn failure(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    let message = message.into();
    Failure { exit, message }.into()
}

/// The exit code of an error, and the line for stderr; no line where nothing is wrong.
pub(crate) fn explain(error: &anyhow::Error) -> (Exit, Option<String>) {
    if error.is::<StdoutClosed>() {
        return (Exit::Ok, None);
    }
    let mut text = words(error);
    let exit = if let Some(failure) = error.downcast_ref::<Failure>() {
        failure.exit
    } else if let Some(error) = error.downcast_ref::<Error>() {
        let (exit, mend) = of_client(error);
        if let Some(retold) = error.refusal().and_then(flags::retold) {
            text = retold;
        }
        if let Some(mend) = mend {
            text = format!("{text} · {mend}");
        }
        exit
    } else {
        Exit::Unreachable
    };
    (exit, Some(format!("error: {text}")))
}

/// The error and its causes, without those that the words before already say.
fn words(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The exit code of a client's error, and what would mend it.
fn of_client(error: &Error) -> (Exit, Option<&'static str>) {
    match error {
        Error::Refused(refusal) => of_refusal(refusal),
        Error::Connect { .. } => (
            Exit::Unreachable,
            Some("is sidingd running? start it, or name one with --url"),
        ),
        Error::Interrupted { .. } | Error::Closed { .. } => (Exit::Unreachable, None),
        Error::InvalidMessage(_) => (Exit::BadInput, None),
        Error::Url(_) => (Exit::Usage, Some("--url siding://HOST:PORT")),
        Error::Protocol(_) => (
            Exit::Unreachable,
            Some("is --url the address of a Siding broker?"),
        ),
    }
}

fn of_refusal(refusal: &Refusal) -> (Exit, Option<&'static str>) {
    match refusal {
        Refusal::NotFound { name, .. } if name.contains('@') => (
            Exit::NoSuchName,
            Some("no message of that offset was published yet"),
        ),
        Refusal::NotFound { name, .. } if name.contains('/') => {
            (Exit::NoSuchName, Some("siding sub ls"))
        }
        Refusal::NotFound { .. } => (Exit::NoSuchName, Some("siding queue ls; siding topic ls")),
        Refusal::Exists { .. } => (
            Exit::ExistsDifferent,
            Some("show it, then use its settings or another name"),
        ),
        Refusal::Unauthenticated => (Exit::Denied, Some("--token or SIDING_TOKEN")),
        Refusal::Denied => (Exit::Denied, None),
        Refusal::Busy { .. } | Refusal::Draining | Refusal::NotLeader | Refusal::NoQuorum => {
            (Exit::Busy, None)
        }
        Refusal::Invalid { .. }
        | Refusal::TooLarge { .. }
        | Refusal::Unsupported { .. }
        | Refusal::CrossShard
        | Refusal::DedupConflict { .. } => (Exit::Usage, None),
        Refusal::LeaseLost { .. } | Refusal::ProducerUnknown => (Exit::PartlyDone, None),
        Refusal::Protocol(_) | Refusal::Storage(_) | Refusal::Internal(_) => {
            (Exit::Unreachable, Some("the broker's log says more"))
        }
        Refusal::Operation { refusal, .. } => of_refusal(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_of(refusal: Refusal) -> (Exit, String) {
        let (exit, text) = explain(&Error::from(refusal).into());
        (exit, text.unwrap())
    }

    #[test]
    fn every_class_of_refusal_has_its_exit_code() {
        let busy = Refusal::Busy {
            resource: "max_messages".into(),
            limit: 10,
            current: 10,
            retry_after_ms: 100,
        };
        let name = "jobs".to_owned();
        let not_found = Refusal::NotFound {
            name: name.clone(),
            nearest: vec![],
        };
        assert_eq!(exit_of(not_found).0 as u8, 66);
        assert_eq!(exit_of(Refusal::Exists { name }).0 as u8, 73);
        assert_eq!(exit_of(busy.clone()).0 as u8, 75);
        assert_eq!(exit_of(Refusal::Denied).0 as u8, 77);
        assert_eq!(exit_of(Refusal::Unauthenticated).0 as u8, 77);
        assert_eq!(exit_of(Refusal::out_of_range("wait_ms", 0, 1)).0 as u8, 2);
        let in_a_transaction = Refusal::Operation {
            index: 0,
            refusal: Box::new(busy),
        };
        assert_eq!(exit_of(in_a_transaction).0 as u8, 75);
    }

    #[test]
    fn an_unknown_name_is_told_with_the_nearest_and_the_next_command() {
        let refusal = Refusal::NotFound {
            name: "emial".to_owned(),
            nearest: vec!["email".to_owned()],
        };
        let (_, text) = exit_of(refusal);
        assert!(text.starts_with("error: \"emial\" not found"), "{text}");
        assert!(text.contains("did you mean \"email\"?"), "{text}");
        assert!(text.contains("siding queue ls"), "{text}");
    }

    #[test]
    fn a_cause_is_not_told_twice() {
        let error = Error::Connect {
            address: "here:1".to_owned(),
            source: std::sync::Arc::new(std::io::Error::other("refused")),
        };
        let (exit, text) = explain(&error.into());
        assert_eq!(exit, Exit::Unreachable);
        let text = text.unwrap();
        assert_eq!(text.matches("refused").count(), 1, "{text}");
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        assert_eq!(explain(&StdoutClosed.into()), (Exit::Ok, None));
    }

    #[test]
    fn an_own_failure_keeps_its_code_under_added_context() {
        let error = failure(Exit::BadInput, "line 3 is not JSON").context("stdin");
        let (exit, text) = explain(&error);
        assert_eq!(exit, Exit::BadInput);
        assert_eq!(text.unwrap(), "error: stdin: line 3 is not JSON");
    }
}
