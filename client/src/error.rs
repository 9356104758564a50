//! What can go wrong in a client, and what it means for the work that was asked.

use std::io;
use std::sync::Arc;

use siding_protocol::frame::FrameError;
use siding_protocol::refusal::Refusal;
use siding_protocol::run::MessageError;

/// Why an operation of this crate did not succeed. Cheap to clone: one failed run tells all its
/// receipts.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The broker said no: nothing was done (for `PRODUCER_UNKNOWN` see there).
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The connection was lost before the answer came.
    #[error("connection lost before the answer; the request {}", if *.maybe_applied { "may have been applied" } else { "was not applied" })]
    Interrupted {
        /// `true`: the broker may have done it. `false`: it surely changed nothing.
        maybe_applied: bool,
    },
    /// No connection could be made.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port` as given.
        address: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The client was closed, or its connection was lost and [`Reconnect::Never`](crate::Reconnect)
    /// was asked for. `maybe_applied` as in `Interrupted`.
    #[error("the client is closed{}", if *.maybe_applied { "; the request may have been applied" } else { "" })]
    Closed {
        /// `true`: the broker may have done it. `false`: it surely did not.
        maybe_applied: bool,
    },
    /// The message breaks a limit; it was not sent.
    #[error(transparent)]
    InvalidMessage(#[from] MessageError),
    /// Not a Siding address of the form `[siding://][token@]host:port`.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The other side does not speak this protocol, or broke it.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// Why a text names no broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// A scheme other than `siding`.
    #[error("the scheme must be siding://")]
    Scheme,
    /// No host.
    #[error("a host is missing: siding://host:port")]
    Host,
    /// The port is not a number from 1 to 65,535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// Something stands behind the port.
    #[error("nothing may follow the port")]
    Path,
}

/// How the other side broke the protocol. The connection was closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Bytes that are no frame.
    #[error("the broker sent what is not a frame: {0}")]
    Frame(#[from] FrameError),
    /// Something else than a welcome came first.
    #[error("the other side did not welcome us: is it a Siding broker?")]
    NoWelcome,
    /// An answer that does not fit its question.
    #[error("the broker answered something that was not asked")]
    Answer,
    /// A delivery beyond the consumer's window.
    #[error("the broker delivered beyond the window")]
    Window,
}

impl Error {
    /// Whether the broker may have done what failed here: publish it again only with care.
    pub fn maybe_applied(&self) -> bool {
        match self {
            Self::Interrupted { maybe_applied } | Self::Closed { maybe_applied } => *maybe_applied,
            Self::Refused(Refusal::ProducerUnknown) | Self::Protocol(_) => true,
            Self::Refused(_) | Self::Connect { .. } | Self::InvalidMessage(_) | Self::Url(_) => {
                false
            }
        }
    }

    /// The broker's refusal, if that is what it was.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// Why [`Publisher::try_publish`](crate::Publisher::try_publish) took no message.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TryPublishError {
    /// The window has no room now.
    #[error("the publisher's window is full")]
    Full,
    /// The message or the client is not fit.
    #[error(transparent)]
    Failed(#[from] Error),
}
