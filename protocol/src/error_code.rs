//! The closed set of error codes, with stable numbers.
//!
//! 1xx and 5xx close the connection; 2xx are refused for good: do not repeat; 3xx come with a later.

/// A code as it stands in `Error.code`. `protocol/README.md` has the table; a test compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
#[allow(missing_docs, reason = "`meaning` documents each, in one place")]
pub enum ErrorCode {
    Protocol = 100,
    Unauthenticated = 101,
    Invalid = 201,
    TooLarge = 202,
    NotFound = 203,
    Exists = 204,
    LeaseLost = 205,
    DedupConflict = 206,
    ProducerUnknown = 207,
    Denied = 208,
    CrossShard = 209,
    Unsupported = 210,
    Busy = 301,
    Draining = 302,
    NotLeader = 303,
    NoQuorum = 304,
    Storage = 501,
    Internal = 502,
}

impl ErrorCode {
    /// Every code, in order of number.
    pub const ALL: [Self; 18] = [
        Self::Protocol,
        Self::Unauthenticated,
        Self::Invalid,
        Self::TooLarge,
        Self::NotFound,
        Self::Exists,
        Self::LeaseLost,
        Self::DedupConflict,
        Self::ProducerUnknown,
        Self::Denied,
        Self::CrossShard,
        Self::Unsupported,
        Self::Busy,
        Self::Draining,
        Self::NotLeader,
        Self::NoQuorum,
        Self::Storage,
        Self::Internal,
    ];

    /// The stable number.
    #[allow(clippy::as_conversions, reason = "the enum is repr(u16)")]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code of a number; `None` for one this version does not know.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|code| u32::from(code.number()) == number)
    }

    /// The name in documents and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Protocol => "PROTOCOL",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Invalid => "INVALID",
            Self::TooLarge => "TOO_LARGE",
            Self::NotFound => "NOT_FOUND",
            Self::Exists => "EXISTS",
            Self::LeaseLost => "LEASE_LOST",
            Self::DedupConflict => "DEDUP_CONFLICT",
            Self::ProducerUnknown => "PRODUCER_UNKNOWN",
            Self::Denied => "DENIED",
            Self::CrossShard => "CROSS_SHARD",
            Self::Unsupported => "UNSUPPORTED",
            Self::Busy => "BUSY",
            Self::Draining => "DRAINING",
            Self::NotLeader => "NOT_LEADER",
            Self::NoQuorum => "NO_QUORUM",
            Self::Storage => "STORAGE",
            Self::Internal => "INTERNAL",
        }
    }

    /// What it says about the request, in one sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Protocol => {
                "These bytes are not the protocol: too long, not a frame, no hello first."
            }
            Self::Unauthenticated => "Who are you? The token is missing, unknown or expired.",
            Self::Invalid => "`field` is out of its range `min` to `max`, or malformed.",
            Self::TooLarge => "`field` is larger than `max`.",
            Self::NotFound => "No queue, topic or subscription has this name; `nearest` may.",
            Self::Exists => "The name exists with other settings.",
            Self::LeaseLost => "The grant no longer holds the message; `state` says where it is.",
            Self::DedupConflict => "The dedup id is taken by a different body.",
            Self::ProducerUnknown => {
                "Forgotten producer, a sequence below its window, or one that stands for another request: this attempt stored nothing, an earlier one may have."
            }
            Self::Denied => "The principal may not do this.",
            Self::CrossShard => "The names of one transaction live in different shards.",
            Self::Unsupported => "This broker does not do what `field` asks.",
            Self::Busy => "`resource` is at its `limit`; try again after `retry_after_ms`.",
            Self::Draining => "The broker is closing; reconnect later.",
            Self::NotLeader => "Another node leads this shard.",
            Self::NoQuorum => "Too few nodes are up to confirm.",
            Self::Storage => "The disk failed; nothing more is confirmed until a restart.",
            Self::Internal => "The broker broke a promise of its own; its log says how.",
        }
    }

    /// Whether the same request may succeed later.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::Draining | Self::NotLeader | Self::NoQuorum
        )
    }

    /// Whether the broker closes the connection after saying it.
    pub const fn is_fatal(self) -> bool {
        matches!(
            self,
            Self::Protocol | Self::Unauthenticated | Self::Storage | Self::Internal
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_number_and_finds_itself() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number().into()), Some(code));
        }
        assert!(ErrorCode::ALL.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(ErrorCode::from_number(0), None);
    }
}
