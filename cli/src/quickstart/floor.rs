//! The shop floor: what all stages share, and when the day is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use siding::Client;
use siding::wire::NameInfo;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{QUEUE, TOPIC};
use crate::bars;
use crate::books::books;
use crate::clock;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Nothing moved for so long: something is wrong, and waiting would hide it.
const STALLED: Duration = Duration::from_mins(1);

/// Counters and the way to stop; clones share them.
#[derive(Clone)]
pub(super) struct Floor(Arc<Shared>);

struct Shared {
    total: u64,
    started: Instant,
    /// Nanoseconds from the start: when each position was published; 0: not yet.
    published: Vec<AtomicU64>,
    all_confirmed: AtomicU64,
    last_commit: AtomicU64,
    taken: AtomicU64,
    redelivered: AtomicU64,
    /// The one fault of the day has been had.
    fault: AtomicBool,
    closing: watch::Sender<bool>,
    bars: Bars,
}

/// One bar a stage; hidden where stderr is no terminal.
struct Bars {
    published: ProgressBar,
    worked: ProgressBar,
    written: ProgressBar,
}

impl Bars {
    fn new(total: u64) -> Self {
        let all = MultiProgress::new();
        let template = "{prefix:>9} {bar:40} {human_pos}/{human_len} · {rate}";
        let style = bars::style(template, ProgressStyle::default_bar);
        let bar = |prefix: &'static str| {
            let bar = ProgressBar::new(total)
                .with_style(style.clone())
                .with_prefix(prefix);
            all.add(bar)
        };
        Self {
            published: bar("published"),
            worked: bar("worked"),
            written: bar("written"),
        }
    }

    fn finish(&self) {
        for bar in [&self.published, &self.worked, &self.written] {
            bar.abandon();
        }
    }
}

impl Floor {
    pub(super) fn open(input: &[&str]) -> Self {
        let total = input.len() as u64;
        Self(Arc::new(Shared {
            total,
            started: clock::now(),
            published: input.iter().map(|_| AtomicU64::new(0)).collect(),
            all_confirmed: AtomicU64::new(0),
            last_commit: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            redelivered: AtomicU64::new(0),
            fault: AtomicBool::new(false),
            closing: watch::Sender::new(false),
            bars: Bars::new(total),
        }))
    }

    fn since_start(&self) -> u64 {
        let elapsed = clock::now().saturating_duration_since(self.0.started);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// A position is about to be published.
    pub(super) fn publishing(&self, position: usize) {
        if let Some(published) = self.0.published.get(position) {
            published.store(self.since_start(), Ordering::Relaxed);
        }
        self.0.bars.published.inc(1);
    }

    /// Every publish is confirmed.
    pub(super) fn all_confirmed(&self) {
        self.0
            .all_confirmed
            .store(self.since_start(), Ordering::Relaxed);
    }

    /// A worker got `count` messages; `true`: the day is half over and the fault is this worker's.
    pub(super) fn took(&self, count: u64, attempt: u32) -> bool {
        if attempt > 1 {
            self.0.redelivered.fetch_add(count, Ordering::Relaxed);
        }
        let taken = self.0.taken.fetch_add(count, Ordering::Relaxed) + count;
        taken >= self.0.total.div_ceil(2) && !self.0.fault.swap(true, Ordering::Relaxed)
    }

    /// `count` results are committed with the acks of their messages.
    pub(super) fn committed(&self, count: u64) {
        self.0
            .last_commit
            .fetch_max(self.since_start(), Ordering::Relaxed);
        self.0.bars.worked.inc(count);
    }

    /// The result of a position is in the file; gives the time since it was published.
    pub(super) fn written(&self, position: usize) -> Duration {
        self.0.bars.written.inc(1);
        let published = self.0.published.get(position);
        let published = published.map_or(0, |published| published.load(Ordering::Relaxed));
        Duration::from_nanos(self.since_start().saturating_sub(published))
    }

    pub(super) fn redelivered(&self) -> u64 {
        self.0.redelivered.load(Ordering::Relaxed)
    }

    /// Confirmed publishes a second, from the first publish to the last confirm.
    pub(super) fn publish_rate(&self) -> f64 {
        self.rate(&self.0.all_confirmed)
    }

    /// Committed results a second, from the first publish to the last commit.
    pub(super) fn work_rate(&self) -> f64 {
        self.rate(&self.0.last_commit)
    }

    fn rate(&self, end: &AtomicU64) -> f64 {
        let first = self
            .0
            .published
            .first()
            .map_or(0, |first| first.load(Ordering::Relaxed));
        let nanos = end.load(Ordering::Relaxed).saturating_sub(first);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.0.total as f64 / (nanos.max(1) as f64 / 1e9);
        if self.0.total == 0 { 0.0 } else { rate }
    }

    /// Told to stop by [`close`](Self::close).
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    /// Tells all stages to stop.
    pub(super) fn close(&self) {
        self.0.closing.send_replace(true);
        self.0.bars.finish();
    }

    /// Waits until everything is published and nothing is left to do in the queue or either
    /// subscription.
    pub(super) async fn until_quiet(
        &self,
        client: &Client,
        producer: JoinHandle<Result<()>>,
    ) -> Result<()> {
        producer.await??;
        let mut before = None;
        let mut moved = clock::now();
        loop {
            let (queue, topic) = (client.describe(QUEUE).await?, client.describe(TOPIC).await?);
            if open(&queue) == 0 && topic.end >= self.0.total && open(&topic) == 0 {
                return Ok(());
            }
            let state = Some((open(&queue), topic.end, open(&topic), self.redelivered()));
            if state != before {
                (before, moved) = (state, clock::now());
            }
            if clock::now().saturating_duration_since(moved) > STALLED {
                let (queue, topic) = (open(&queue), open(&topic));
                bail!("stalled: {queue} messages open in {QUEUE}, {topic} in {TOPIC}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Messages that are not done yet.
fn open(info: &NameInfo) -> u64 {
    let open = info.subscriptions.iter().map(books);
    open.map(|books| books.ready + books.delayed + books.leased)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_comes_once_and_half_way_whatever_the_number() {
        for total in 1..20 {
            let input = vec!["http://a/"; total];
            let floor = Floor::open(&input);
            let faults: Vec<_> = (0..total).filter(|_| floor.took(1, 1)).collect();
            assert_eq!(faults, [total.div_ceil(2) - 1], "of {total}");
        }
    }

    #[test]
    fn only_second_attempts_count_as_redelivered() {
        let floor = Floor::open(&["http://a/"]);
        floor.took(3, 1);
        assert_eq!(floor.redelivered(), 0);
        floor.took(2, 2);
        assert_eq!(floor.redelivered(), 2);
    }
}
