//! What the broker is short of: new messages are refused meanwhile, and everything else goes on.

use siding_protocol::refusal::Refusal;

/// Whoever was refused tries again after so long, ms.
const RETRY_MS: u64 = 1_000;
/// While memory is scarce a consumer holds this part of its window.
const TIGHT_PART: u64 = 4;

/// What is scarce, or used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shortage {
    /// Nothing.
    #[default]
    None,
    /// Memory is scarce: less is handed over at once.
    Tight,
    /// Memory is used up.
    Memory {
        /// So much may be used, bytes.
        limit: u64,
        /// So much is, bytes.
        current: u64,
    },
    /// The disk has no room.
    Disk,
}

impl Shortage {
    /// What a new message is refused with; `None`: it is taken.
    pub(super) fn refusal(self) -> Option<Refusal> {
        let (resource, limit, current) = match self {
            Self::None | Self::Tight => return None,
            Self::Memory { limit, current } => ("memory", limit, current),
            Self::Disk => ("disk", 0, 0),
        };
        Some(Refusal::Busy {
            resource: resource.into(),
            limit,
            current,
            retry_after_ms: RETRY_MS,
        })
    }

    /// What is left of a consumer's window.
    pub(super) fn window(self, credit: u64) -> u64 {
        match self {
            Self::None | Self::Disk => credit,
            Self::Tight | Self::Memory { .. } => credit.div_ceil(TIGHT_PART),
        }
    }
}
