//! One run of one cell: what it runs against, how long it is, and the clocks around its timed part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bodies::{Bodies, Tally, shares};
use crate::clock;
use crate::figures::{CPU, Figures, MESSAGES, PER_SECOND, SECONDS, float, round, whole};
use crate::peer::{At, Consume, Load, Peer, Publish, Shape};
use crate::server::Server;
use crate::task::Task;
use crate::usage;

/// Messages that go together.
const BATCH: usize = 256;
/// Messages of a connection under way, of those that are small and of others.
const WINDOW_SMALL: usize = 4_096;
const WINDOW_LARGE: usize = 2_048;
/// Bytes of a body that is small.
const SMALL: usize = 512;
/// The timed part of a run, without its scale.
const SECONDS_WANTED: f64 = 1.0;
/// A trial that takes less says nothing about the rate.
const TRIAL_SECONDS: f64 = 0.1;
const TRIAL_MESSAGES: u64 = 1_000;
/// What was settled may take so long to be gone from the server's own count.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A cell on a server that runs.
pub(crate) struct Cell<'a> {
    pub(crate) peer: &'a dyn Peer,
    pub(crate) server: &'a mut Server,
    pub(crate) task: Task,
    pub(crate) scale: f64,
    /// How many messages took the wanted time when this cell was last run.
    pub(crate) known: Option<u64>,
}

/// What every cell has in common, for the record.
pub(crate) fn settings() -> Value {
    json!({
        "batch": BATCH,
        "window_up_to_512_bytes": WINDOW_SMALL,
        "window_above": WINDOW_LARGE,
        "seconds": SECONDS_WANTED,
    })
}

/// What the timed part of a run took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
}

/// The clocks of a timed part.
pub(crate) struct Timed {
    pid: u32,
    cpu: f64,
    began: Instant,
}

/// How far all consumers of a queue together are.
#[derive(Debug)]
pub(crate) struct Progress {
    wanted: u64,
    taken: AtomicU64,
    done: watch::Sender<bool>,
}

impl Timed {
    pub(crate) fn start(pid: u32) -> Self {
        Self {
            pid,
            cpu: usage::cpu_seconds(pid),
            began: clock::now(),
        }
    }

    pub(crate) fn stop(self, messages: u64) -> Timing {
        let seconds = clock::seconds_since(self.began);
        Timing {
            messages,
            seconds,
            cpu: usage::cpu_seconds(self.pid) - self.cpu,
        }
    }
}

impl Timing {
    pub(crate) fn rate(&self) -> f64 {
        float(self.messages) / self.seconds.max(1e-9)
    }

    /// Rate and CPU, as every table has them.
    pub(crate) fn figures(&self) -> Figures {
        let messages = float(self.messages).max(1.0);
        vec![
            (PER_SECOND, self.rate().round()),
            (CPU, round(self.cpu / messages * 1e6)),
            (MESSAGES, messages),
            (SECONDS, round(self.seconds)),
        ]
    }

    /// Both parts together.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            seconds: self.seconds + other.seconds,
            cpu: self.cpu + other.cpu,
        }
    }
}

impl Cell<'_> {
    pub(crate) fn load(&self) -> Load {
        Load {
            size: self.task.size,
            batch: BATCH,
            window: if self.task.size > SMALL {
                WINDOW_LARGE
            } else {
                WINDOW_SMALL
            },
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        SECONDS_WANTED * self.scale
    }

    pub(crate) fn timed(&self) -> Timed {
        Timed::start(self.server.pid())
    }

    /// A new name with nothing in it, on a disk that has written what the cells before left to it.
    pub(crate) async fn create(&self) -> Result<String> {
        tokio::task::spawn_blocking(rustix::fs::sync).await?;
        let name = format!("compare{:08x}", fastrand::u32(..));
        self.peer.create(self.at(&name)).await?;
        Ok(name)
    }

    fn at<'a>(&'a self, name: &'a str) -> At<'a> {
        At {
            place: &self.server.place,
            name,
            shape: self.task.shape(),
        }
    }

    /// Holds that so much is left, and removes it.
    pub(crate) async fn conclude(&self, name: &str, left: u64) -> Result<()> {
        self.ensure_left(name, left).await?;
        self.peer.remove(self.at(name)).await
    }

    pub(crate) async fn ensure_left(&self, name: &str, wanted: u64) -> Result<()> {
        let began = clock::now();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let left = self.peer.left(self.at(name)).await?;
            if left == wanted {
                return Ok(());
            }
            if began.elapsed() > GONE_WITHIN {
                bail!("the server has {left} messages where {wanted} are due");
            }
        }
    }

    pub(crate) async fn publisher(&self, name: &str) -> Result<Box<dyn Publish>> {
        self.peer.publisher(self.at(name), self.load()).await
    }

    /// One on each connection.
    pub(crate) async fn publishers(&self, name: &str) -> Result<Vec<Box<dyn Publish>>> {
        let mut publishers = Vec::new();
        for _ in 0..self.task.connections {
            publishers.push(self.publisher(name).await?);
        }
        Ok(publishers)
    }

    /// All on one.
    pub(crate) async fn sharing(&self, name: &str) -> Result<Vec<Box<dyn Publish>>> {
        self.peer
            .sharing(self.at(name), self.task.connections)
            .await
    }

    pub(crate) async fn consumer(&self, name: &str) -> Result<Box<dyn Consume>> {
        self.peer.consumer(self.at(name), None).await
    }

    /// One on each connection, or one for each reader.
    pub(crate) async fn consumers(&self, name: &str) -> Result<Vec<Box<dyn Consume>>> {
        let readers: Vec<_> = match self.task.shape() {
            Shape::Queue => vec![None; self.task.connections],
            Shape::FanOut(readers) => (0..readers).map(Some).collect(),
        };
        let mut consumers = Vec::new();
        for reader in readers {
            consumers.push(self.peer.consumer(self.at(name), reader).await?);
        }
        Ok(consumers)
    }

    /// Runs with more and more messages until the rate is known, then with as many as take the
    /// wanted time; at most so many.
    pub(crate) async fn calibrated(
        &mut self,
        most: u64,
        once: impl AsyncFn(&Self, u64) -> Result<Timing>,
    ) -> Result<Timing> {
        let known = self.known.map_or(TRIAL_MESSAGES, |known| known / 4);
        let mut count = known.clamp(1, most);
        let enough = TRIAL_SECONDS * self.scale.min(1.0);
        let rate = loop {
            let trial = once(self, count).await?;
            if trial.seconds >= enough || count >= most {
                break trial.rate();
            }
            count = more(count, trial.seconds, enough).min(most);
        };
        let count = whole(rate * self.seconds()).clamp(1, most);
        self.known = Some(count);
        once(self, count).await
    }
}

/// How many more a trial takes that was too short: a little more than enough, if it can be foreseen.
fn more(count: u64, took: f64, enough: f64) -> u64 {
    let factor = (1.5 * enough / took.max(1e-9)).clamp(2.0, 20.0);
    whole(float(count) * factor)
}

/// Publishes all of it over these connections.
pub(crate) async fn publish_all(
    publishers: Vec<Box<dyn Publish>>,
    size: usize,
    count: u64,
) -> Result<()> {
    let mut running = JoinSet::new();
    let shares = shares(count, publishers.len());
    for (mut publisher, share) in publishers.into_iter().zip(shares) {
        let bodies = Bodies::new(size, share);
        running.spawn(async move { publisher.all(bodies).await });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// Consumes all of it with consumers that compete; holds that each message came once.
pub(crate) async fn consume_all(
    consumers: Vec<Box<dyn Consume>>,
    size: usize,
    count: u64,
) -> Result<()> {
    let progress = Arc::new(Progress {
        wanted: count,
        taken: AtomicU64::new(0),
        done: watch::Sender::new(count == 0),
    });
    let mut running = JoinSet::new();
    for consumer in consumers {
        running.spawn(take(consumer, size, Arc::clone(&progress)));
    }
    let mut tally = Tally::default();
    while let Some(ended) = running.join_next().await {
        tally.add(&ended??);
    }
    let taken = tally.count;
    ensure!(
        tally == Tally::whole(count),
        "{taken} messages came where {count} were due, or others"
    );
    Ok(())
}

/// Takes and acks until all consumers together have everything.
async fn take(
    mut consumer: Box<dyn Consume>,
    size: usize,
    progress: Arc<Progress>,
) -> Result<Tally> {
    let mut done = progress.done.subscribe();
    let mut tally = Tally::default();
    loop {
        let mut visit = |body: &[u8]| tally.note(body, size);
        let count = tokio::select! {
            biased;
            count = consumer.take(&mut visit) => count?,
            _ = done.wait_for(|done| *done) => break,
        };
        if progress.taken.fetch_add(count, Ordering::Relaxed) + count >= progress.wanted {
            progress.done.send_replace(true);
            break;
        }
    }
    consumer.settled().await?;
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_was_too_short_is_followed_by_one_that_is_long_enough() {
        assert_eq!(more(1_000, 0.05, 0.1), 3_000);
        assert_eq!(more(1_000, 0.000_1, 0.1), 20_000);
        assert_eq!(more(1_000, 0.099, 0.1), 2_000);
    }

    #[test]
    fn a_rate_is_messages_over_seconds() {
        let timing = Timing {
            messages: 500,
            seconds: 0.5,
            cpu: 0.1,
        };
        let figures = timing.and(&timing).figures();
        assert_eq!(figures.first(), Some(&(PER_SECOND, 1_000.0)));
        assert_eq!(figures.get(1), Some(&(CPU, 200.0)));
    }
}
