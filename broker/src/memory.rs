//! How much memory there is for this process: what the machine has, or what its cgroup lets it have; and how
//! much of its budget it has taken.

use std::fs::read_to_string;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where cgroups say their limit: version 2, then version 1.
const LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];
/// Where nothing can be found out.
const UNKNOWN_BYTES: u64 = 2 << 30;

/// Says how many bytes are allocated and not given back, if it can be known.
///
/// What is resident does not do: an allocator keeps what was freed, so that a broker that has become empty
/// would go on refusing.
pub type Allocated = fn() -> Option<u64>;

/// What this process has taken of its budget; clones share it. One thread samples, another asks: neither
/// waits.
#[derive(Clone, Debug, Default)]
pub struct MemoryGauge {
    taken: Arc<AtomicU64>,
    budget: u64,
    allocated: Option<Allocated>,
}

impl MemoryGauge {
    /// With a budget, in bytes. Without `allocated` nothing is ever taken of it.
    pub fn new(budget: u64, allocated: Option<Allocated>) -> Self {
        Self {
            taken: Arc::default(),
            budget,
            allocated,
        }
    }

    /// Looks at what is taken by now.
    pub fn sample(&self) {
        if let Some(bytes) = self.allocated.and_then(|allocated| allocated()) {
            self.taken.store(bytes, Ordering::Relaxed);
        }
    }

    /// What was taken when it was looked at last, in bytes.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// What may be taken, in bytes.
    pub fn budget(&self) -> u64 {
        self.budget
    }
}

/// Memory of this machine or cgroup, whichever has less, in bytes.
pub(crate) fn available_bytes() -> u64 {
    let machine = read_to_string("/proc/meminfo").ok();
    let limits = LIMITS.map(|path| read_to_string(path).ok());
    least(
        machine.as_deref(),
        limits.iter().flatten().map(String::as_str),
    )
}

fn least<'a>(meminfo: Option<&str>, limits: impl Iterator<Item = &'a str>) -> u64 {
    let total = meminfo.and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        kib.checked_mul(1 << 10)
    });
    // No limit is said in words by one version, as a number beyond all memory by the other.
    let limits = limits.filter_map(|text| text.trim().parse().ok());
    limits.chain(total).min().unwrap_or(UNKNOWN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_machine_and_cgroup_counts() {
        let machine = Some("MemTotal:       24000000 kB\nMemFree: 1 kB\n");
        let gib = 1 << 30;
        let cases = [
            (machine, vec!["max\n"], 24_000_000 << 10),
            (machine, vec!["1073741824\n"], gib),
            (machine, vec!["9223372036854771712"], 24_000_000 << 10),
            (None, vec!["max", "2147483648"], 2 * gib),
            (None, vec![], UNKNOWN_BYTES),
        ];
        for (machine, limits, expected) in cases {
            assert_eq!(least(machine, limits.into_iter()), expected);
        }
        assert!(available_bytes() > 1 << 20);
    }
}
