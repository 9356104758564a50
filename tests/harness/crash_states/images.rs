//! The images that a power cut at one moment may leave: which writes and changes of directories
//! reached the disk, and of one of the writes which sectors.

use anyhow::{Result, ensure};
use siding_broker::storage::memory_fs::{MemoryFs, Unsynced};

/// Deeds of which all subsets are tried.
const ALL_SUBSETS: usize = 6;
/// Sectors of one write of which all subsets are tried; of more: all beginnings, all ends, and
/// some at random.
const ALL_SECTORS: usize = 6;
/// Random sets of the sectors of a long write.
const RANDOM_SECTORS: usize = 8;

/// How many images of a moment are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Subsets of the deeds, where there are too many for all of them.
    pub samples: usize,
    /// Torn writes, where there are more.
    pub tears: usize,
}

/// One image: what of the un-synced deeds reached the disk.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The numbers of the deeds that did.
    deeds: Vec<u64>,
    /// One of them that did in part.
    torn: Option<(u64, Sectors)>,
}

/// Some of the sectors of a write, counted from its first.
#[derive(Clone, Debug)]
enum Sectors {
    Before(usize),
    From(usize),
    Some(Vec<bool>),
}

impl Sectors {
    fn has(&self, sector: usize) -> bool {
        match self {
            Self::Before(end) => sector < *end,
            Self::From(start) => sector >= *start,
            Self::Some(which) => which.get(sector).is_some_and(|has| *has),
        }
    }
}

impl Plan {
    /// The disk after this power cut.
    pub fn image(&self, disk: &MemoryFs) -> MemoryFs {
        // The sectors of one write come in their order.
        let mut torn_sectors = 0;
        disk.crash(&mut |what, _| match what {
            Unsynced::Name { deed, .. } => usize::from(self.deeds.contains(deed)),
            Unsynced::Sector { deeds, .. } => {
                let mut version = 0;
                for (number, deed) in deeds.iter().enumerate() {
                    let mut reached = self.deeds.contains(deed);
                    if let Some((torn, sectors)) = &self.torn
                        && torn == deed
                    {
                        reached = sectors.has(torn_sectors);
                        torn_sectors += 1;
                    }
                    if reached {
                        version = number + 1;
                    }
                }
                version
            }
        })
    }
}

/// The un-synced deeds of a disk with the number of sectors each has, 0 for a change of names.
fn deeds(disk: &MemoryFs) -> Vec<(u64, usize)> {
    let mut all = std::collections::BTreeMap::new();
    for what in disk.unsynced() {
        match what {
            Unsynced::Name { deed, .. } => {
                all.insert(deed, 0);
            }
            Unsynced::Sector { deeds, .. } => {
                for deed in deeds {
                    *all.entry(deed).or_default() += 1;
                }
            }
        }
    }
    all.into_iter().collect()
}

/// What is tried of a moment: all subsets of up to six deeds, of more some; and each of them with
/// each of its writes torn in every way, as far as the budget goes.
///
/// # Errors
/// More deeds than a workload ever leaves un-synced.
pub fn plans(disk: &MemoryFs, budget: Budget, random: &mut fastrand::Rng) -> Result<Vec<Plan>> {
    let deeds = deeds(disk);
    ensure!(deeds.len() < 64, "{} un-synced deeds", deeds.len());
    let all = (1_u64 << deeds.len()) - 1;
    let subsets: Vec<u64> = if deeds.len() <= ALL_SUBSETS {
        (0..=all).collect()
    } else {
        // In the order of the writes, and in any.
        let beginnings = (0..=deeds.len()).map(|count| (1_u64 << count) - 1);
        let sampled = (0..budget.samples).map(|_| random.u64(..) & all);
        beginnings.chain(sampled).collect()
    };
    let (mut plans, mut tears) = (Vec::new(), Vec::new());
    for subset in subsets {
        let chosen = |number: usize| subset >> number & 1 == 1;
        let whole: Vec<u64> = numbered(&deeds, &chosen).map(|(deed, _)| deed).collect();
        for (torn, sectors) in numbered(&deeds, &chosen) {
            for sectors in torn_in(sectors, random) {
                tears.push((plans.len(), torn, sectors));
            }
        }
        plans.push(Plan {
            deeds: whole,
            torn: None,
        });
    }
    if tears.len() > budget.tears {
        random.shuffle(&mut tears);
        tears.truncate(budget.tears);
    }
    for (subset, torn, sectors) in tears {
        let deeds = plans.get(subset).map(|plan: &Plan| plan.deeds.clone());
        plans.push(Plan {
            deeds: deeds.unwrap_or_default(),
            torn: Some((torn, sectors)),
        });
    }
    Ok(plans)
}

fn numbered<'a>(
    deeds: &'a [(u64, usize)],
    chosen: &'a dyn Fn(usize) -> bool,
) -> impl Iterator<Item = (u64, usize)> + 'a {
    let all = deeds.iter().enumerate();
    all.filter_map(|(number, deed)| chosen(number).then_some(*deed))
}

/// Every way in which a write of so many sectors is torn; some, if they are many.
fn torn_in(sectors: usize, random: &mut fastrand::Rng) -> Vec<Sectors> {
    if sectors <= ALL_SECTORS {
        let masks = 1..(1_usize << sectors).saturating_sub(1);
        let some = |mask: usize| (0..sectors).map(|sector| mask >> sector & 1 == 1).collect();
        return masks.map(|mask| Sectors::Some(some(mask))).collect();
    }
    let beginnings = (1..sectors).map(Sectors::Before);
    let ends = (1..sectors).map(Sectors::From);
    let mut all: Vec<_> = beginnings.chain(ends).collect();
    for _ in 0..RANDOM_SECTORS {
        all.push(Sectors::Some((0..sectors).map(|_| random.bool()).collect()));
    }
    all
}
