//! Whether memory is scarce, as a shard sees it.
//!
//! Bodies have budgets of their own, and what connections hold has limits. What a backlog of exceptions takes
//! (delayed messages, dedup ids, leases) has none but this one. A checkpoint builds that state a second time
//! beside the first, so memory for it is reckoned before it is taken: past 85 % of the budget new messages are
//! refused, and past 70 % less is handed over at once.

use crate::engine::shortage::Shortage;
use crate::memory::MemoryGauge;

const TIGHT_PERCENT: u64 = 70;
const USED_UP_PERCENT: u64 = 85;
/// This part of the budget may be held beside bodies and state: requests, answers, groups on their way.
const OTHERS_PART: u64 = 8;

/// What is taken, and what the next checkpoint will take.
#[derive(Debug)]
pub struct Memory {
    gauge: MemoryGauge,
    /// Of the next checkpoint, or of the one under way, bytes.
    shadow_bytes: u64,
}

impl Memory {
    /// Nothing is known yet.
    pub fn new(gauge: MemoryGauge) -> Self {
        Self {
            gauge,
            shadow_bytes: 0,
        }
    }

    /// What is scarce, given what bodies take of it. While a checkpoint runs, what it takes is measured.
    pub fn shortage(&mut self, bodies_bytes: u64, is_checkpointing: bool) -> Shortage {
        let (budget, taken) = (self.gauge.budget(), self.gauge.taken());
        let others = bodies_bytes + budget / OTHERS_PART;
        let reckoned = if is_checkpointing {
            // Half built it is not asked for twice.
            taken.max(self.shadow_bytes.saturating_mul(2) + bodies_bytes)
        } else {
            self.shadow_bytes = taken.saturating_sub(others);
            taken + self.shadow_bytes
        };
        let part = |percent| (budget / 100).saturating_mul(percent);
        let limit = part(USED_UP_PERCENT);
        if taken > 0 && reckoned >= limit {
            let current = reckoned;
            Shortage::Memory { limit, current }
        } else if taken > 0 && reckoned >= part(TIGHT_PERCENT) {
            Shortage::Tight
        } else {
            Shortage::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Allocated;

    const BODIES: u64 = 200;

    fn memory(allocated: Allocated) -> Memory {
        let gauge = MemoryGauge::new(1_000, Some(allocated));
        gauge.sample();
        Memory::new(gauge)
    }

    #[test]
    fn memory_is_scarce_past_seventy_percent_and_used_up_past_eighty_five() {
        // 325 are bodies and what connections hold; what is more is held twice by a checkpoint.
        let cases: [(Allocated, Shortage); 5] = [
            (|| None, Shortage::None),
            (|| Some(512), Shortage::None),
            (|| Some(513), Shortage::Tight),
            (|| Some(587), Shortage::Tight),
            (|| Some(588), used_up(851)),
        ];
        for (allocated, expected) in cases {
            assert_eq!(memory(allocated).shortage(BODIES, false), expected);
        }
    }

    #[test]
    fn a_checkpoint_under_way_is_not_reckoned_twice() {
        let mut memory = memory(|| Some(500));
        assert_eq!(memory.shortage(BODIES, false), Shortage::None);
        assert_eq!(memory.shortage(BODIES, true), Shortage::None);
        memory.gauge = MemoryGauge::new(1_000, Some(|| Some(860)));
        memory.gauge.sample();
        assert_eq!(memory.shortage(BODIES, true), used_up(860));
    }

    fn used_up(current: u64) -> Shortage {
        let limit = 850;
        Shortage::Memory { limit, current }
    }
}
