//! Why something does not move.

use crate::types::Timestamp;
use crate::wire;

pub use crate::wire::CauseCode;

/// Why a message, or what of a name, does not move: the answer to `Explain`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// What decides first; none: nothing holds it back.
    pub causes: Vec<Cause>,
    /// When time alone changes something next.
    pub next_wake: Option<Timestamp>,
}

/// One cause of the closed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Which.
    pub code: CauseCode,
    /// What it counts: see `CauseCode` of the wire.
    pub number: u64,
    /// `NOT_DUE`, `LEASED`, `KEY_BLOCKED`, `DUPLICATE`: until when; `DEAD`, `SETTLED`: since when.
    pub at: Option<Timestamp>,
    /// For people.
    pub text: String,
}

impl Cause {
    /// A cause that no instant ends.
    pub fn new(code: CauseCode, number: u64, text: impl Into<String>) -> Self {
        Self {
            code,
            number,
            at: None,
            text: text.into(),
        }
    }

    /// With its instant.
    #[must_use]
    pub fn at(self, at: Timestamp) -> Self {
        let at = Some(at);
        Self { at, ..self }
    }

    /// When it ends by itself.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let ends = !matches!(self.code, CauseCode::Dead | CauseCode::Settled);
        self.at.filter(|_| ends)
    }
}

impl Explanation {
    pub(super) fn into_wire(self) -> wire::Explanation {
        let cause = |cause: Cause| wire::Cause {
            code: cause.code.into(),
            number: cause.number,
            at_ms: cause.at.map(|at| at.0),
            text: cause.text,
        };
        wire::Explanation {
            causes: self.causes.into_iter().map(cause).collect(),
            next_wake_ms: self.next_wake.map(|at| at.0),
        }
    }
}
