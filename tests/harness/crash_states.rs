//! Every state in which a power cut may leave a journal, its snapshots and segments, each recovered.
//!
//! A workload is played on a disk that keeps a copy of itself after every step ([`player`]). Each
//! copy is a moment at which the power may go, and each moment has many images: every subset of
//! what was not synced, torn at any sector ([`images`]). An image that was not seen before is
//! recovered twice and held against the books ([`check`]).
//!
//! Workloads are all of up to three operations, then random longer ones.

pub mod check;
pub mod images;
pub mod player;
mod shelf;

use std::collections::HashSet;
use std::fmt::{self, Debug, Display, Formatter};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::images::Budget;
use self::player::{Base, Moment, Op, Player, START_ALL};

/// Operations of the longest workload of which all are played.
const EXHAUSTIVE_OPS: u32 = 3;
/// Operations of a random workload.
const RANDOM_OPS: std::ops::RangeInclusive<usize> = 4..=16;

/// Whoever waits for millions of images is told each time so many more were found.
const TOLD: usize = 1_000_000;

/// What is to be explored.
#[derive(Clone)]
pub struct Plan {
    /// Decides the random workloads and what is sampled.
    pub seed: u64,
    /// Random workloads, behind all of up to three operations.
    pub random_workloads: u64,
    /// Enough distinct images; `u64::MAX` to play all workloads.
    pub images: u64,
    /// Images of each moment of a workload of up to three operations.
    pub exhaustive: Budget,
    /// Images of each moment of a random workload.
    pub random: Budget,
    /// Threads that explore.
    pub threads: u64,
    /// Only the workload of this number.
    pub only: Option<u64>,
    /// Called on each thread before it begins.
    pub prepare: Arc<dyn Fn() + Send + Sync>,
}

impl Plan {
    /// All workloads of up to three operations and so many random ones.
    pub fn new(seed: u64, random_workloads: u64) -> Self {
        let threads = std::thread::available_parallelism();
        Self {
            seed,
            random_workloads,
            images: u64::MAX,
            exhaustive: Budget {
                samples: 16,
                tears: 4,
            },
            random: Budget {
                samples: 1,
                tears: 2,
            },
            threads: threads.map_or(1, |threads| threads.get() as u64),
            only: None,
            prepare: Arc::new(|| ()),
        }
    }
}

impl Debug for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (seed, workloads) = (self.seed, self.random_workloads);
        write!(f, "Plan {{ seed: {seed}, random_workloads: {workloads} }}")
    }
}

/// What was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Workloads of up to three operations.
    pub exhaustive: u64,
    /// Random workloads.
    pub random: u64,
    /// Moments at which the power went.
    pub moments: u64,
    /// Images made.
    pub images: u64,
    /// Images no two of which are alike, by their hash.
    pub distinct: u64,
    /// Recoveries of them: an image is recovered again where the books have changed.
    pub recovered: u64,
    /// Recoveries that cut a torn tail, and said so.
    pub torn: u64,
}

impl Tally {
    fn join(&mut self, other: Self) {
        self.exhaustive += other.exhaustive;
        self.random += other.random;
        self.moments += other.moments;
        self.images += other.images;
        self.distinct += other.distinct;
        self.recovered += other.recovered;
        self.torn += other.torn;
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "workloads, all of up to 3  {}", self.exhaustive)?;
        writeln!(f, "workloads, random          {}", self.random)?;
        writeln!(f, "moments of a power cut     {}", self.moments)?;
        writeln!(f, "images                     {}", self.images)?;
        writeln!(f, "distinct images, by hash   {}", self.distinct)?;
        writeln!(f, "recovered and checked      {}", self.recovered)?;
        write!(f, "torn tails cut, reported   {}", self.torn)
    }
}

/// A promise that storage did not keep.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The number of the workload.
    pub workload: u64,
    /// What was done, and what was wrong.
    pub reason: String,
    /// What was explored before.
    pub tally: Tally,
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "workload {}: {}", self.workload, self.reason)?;
        write!(f, "{}", self.tally)
    }
}

/// Explores until everything is explored, there are images enough, or a promise is broken.
///
/// # Errors
/// The first promise found broken.
pub fn explore(plan: &Plan) -> Result<Tally, Box<Violation>> {
    let shared = Shared::default();
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            scope.spawn(|| {
                (plan.prepare)();
                Explorer::new(plan, &shared).run();
            });
        }
    });
    let found = shared
        .found
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match found.violation {
        Some(mut violation) => {
            violation.tally = found.tally;
            Err(Box::new(violation))
        }
        None => Ok(found.tally),
    }
}

/// What all threads share.
#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    seen: Mutex<Seen>,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Seen {
    images: HashSet<u64>,
    /// Images with the books they were held against.
    checked: HashSet<u64>,
}

#[derive(Debug, Default)]
struct Found {
    tally: Tally,
    violation: Option<Violation>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it is held is a failed test already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A workload, by its number.
#[derive(Clone, Debug)]
struct Workload {
    start: usize,
    ops: Vec<Op>,
    /// Of a random one.
    seed: Option<u64>,
}

impl Workload {
    /// Short ones first, from every start in turn; then random ones.
    fn new(mut number: u64, seed: u64) -> Self {
        let (starts, kinds) = (START_ALL.len() as u64, Op::ALL.len() as u64);
        for length in 0..=EXHAUSTIVE_OPS {
            let count = starts * kinds.pow(length);
            if number < count {
                let start = usize::try_from(number % starts).unwrap_or(0);
                let mut rest = number / starts;
                let ops = (0..length).filter_map(|_| {
                    let op = Op::ALL.get(usize::try_from(rest % kinds).ok()?);
                    rest /= kinds;
                    op.copied()
                });
                let ops = ops.collect();
                return Self {
                    start,
                    ops,
                    seed: None,
                };
            }
            number -= count;
        }
        let seed = fastrand::Rng::with_seed(seed).u64(..) ^ number;
        let mut random = fastrand::Rng::with_seed(seed);
        let start = random.usize(..START_ALL.len());
        let ops = (0..random.usize(RANDOM_OPS)).filter_map(|_| random.choice(Op::ALL));
        Self {
            start,
            ops: ops.collect(),
            seed: Some(seed),
        }
    }

    /// How many there are of up to three operations.
    fn exhaustive() -> u64 {
        let lengths = (0..=EXHAUSTIVE_OPS).map(|length| (Op::ALL.len() as u64).pow(length));
        START_ALL.len() as u64 * lengths.sum::<u64>()
    }
}

struct Explorer<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    bases: Vec<Base>,
    random: fastrand::Rng,
    tally: Tally,
}

impl<'a> Explorer<'a> {
    fn new(plan: &'a Plan, shared: &'a Shared) -> Self {
        Self {
            plan,
            shared,
            bases: Vec::new(),
            random: fastrand::Rng::with_seed(plan.seed),
            tally: Tally::default(),
        }
    }

    fn run(&mut self) {
        let last = Workload::exhaustive().saturating_add(self.plan.random_workloads);
        let failed = |workload, error: &anyhow::Error| Violation {
            workload,
            reason: format!("{error:#}"),
            tally: Tally::default(),
        };
        match START_ALL.iter().map(|start| Base::new(*start)).collect() {
            Ok(bases) => self.bases = bases,
            Err(error) => lock(&self.shared.found).violation = Some(failed(0, &error)),
        }
        loop {
            let next = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let number = self.plan.only.unwrap_or(next);
            let is_over = lock(&self.shared.found).violation.is_some()
                || lock(&self.shared.seen).images.len() as u64 >= self.plan.images;
            if is_over || next >= last || (self.plan.only.is_some() && next > 0) {
                break;
            }
            let workload = Workload::new(number, self.plan.seed);
            if let Err(error) = self.play(&workload) {
                let error = error.context(format!(
                    "from {:?} after {:?}",
                    START_ALL.get(workload.start),
                    workload.ops
                ));
                lock(&self.shared.found)
                    .violation
                    .get_or_insert(failed(number, &error));
            }
        }
        lock(&self.shared.found).tally.join(self.tally);
    }

    /// Plays a workload. Of one of up to three operations only the last is explored: the ones
    /// before it are workloads of their own.
    fn play(&mut self, workload: &Workload) -> anyhow::Result<()> {
        let Workload { start, ops, seed } = workload;
        self.random = fastrand::Rng::with_seed(seed.unwrap_or(self.plan.seed));
        let budget = match seed {
            Some(_) => self.plan.random,
            None => self.plan.exhaustive,
        };
        let Some(base) = self.bases.get(*start) else {
            return Ok(());
        };
        let (mut player, mut moments) = Player::start(base, *seed)?;
        for op in ops {
            if seed.is_some() {
                self.explore(&moments, budget)?;
            }
            moments = player.play(*op)?;
        }
        self.explore(&moments, budget)?;
        match seed {
            Some(_) => self.tally.random += 1,
            None => self.tally.exhaustive += 1,
        }
        Ok(())
    }

    fn explore(&mut self, moments: &[Moment], budget: Budget) -> anyhow::Result<()> {
        for moment in moments {
            self.tally.moments += 1;
            for plan in images::plans(&moment.disk, budget, &mut self.random)? {
                let image = plan.image(&moment.disk);
                self.tally.images += 1;
                let fingerprint = image.fingerprint();
                if self.is_new(fingerprint, moment) {
                    let checked = check::check(&image, moment, fingerprint);
                    let checked = checked.map_err(|error| error.context(format!("{plan:?}")))?;
                    self.tally.recovered += 1;
                    self.tally.torn += u64::from(checked.torn);
                }
            }
        }
        Ok(())
    }

    /// Whether this image was not held against these books so far.
    fn is_new(&mut self, fingerprint: u64, moment: &Moment) -> bool {
        let mut hasher = DefaultHasher::new();
        (fingerprint, moment.confirmed, moment.passed, moment.passing).hash(&mut hasher);
        moment.lengths.hash(&mut hasher);
        let mut seen = lock(&self.shared.seen);
        if seen.images.insert(fingerprint) {
            self.tally.distinct += 1;
            let distinct = seen.images.len();
            if distinct.is_multiple_of(TOLD) {
                eprintln!("{distinct} distinct images");
            }
        }
        seen.checked.insert(hasher.finish())
    }
}
