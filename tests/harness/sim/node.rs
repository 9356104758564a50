//! One start of a broker, without its sockets: the real recovery, committer, engine and storage, on
//! one thread, its time and its other threads by hand.

use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use anyhow::Result;
use siding_broker::TimeSource;
use siding_broker::shard::committer::{Committer, Machine, Pace, ShardError};
use siding_broker::shard::core::{Core, Input};
use siding_broker::shard::inbox::Inbox;
use siding_broker::shard::recovery::{self, Settings};
use siding_broker::storage::{ManualThreads, Threads};

use super::disk::{Clocks, SimFs};
use super::mailbox::Mailbox;

/// Where it keeps its data.
const DATA: &str = "/data";
/// Requests of so many bytes may wait for the committer.
const INBOX_BYTES: usize = 8 << 20;

/// A running broker.
#[derive(Debug)]
pub struct Node {
    committer: Committer<Mailbox>,
    inbox: Rc<Inbox>,
    mailbox: Rc<Mailbox>,
    hands: Hands,
    clocks: Clocks,
}

/// The other threads of a process: they go with it.
#[derive(Debug, Default)]
struct Hands(ManualThreads);

impl Drop for Hands {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// How a broker is configured, and what is wrong with it.
pub struct Setup {
    /// Of its storage.
    pub settings: Settings,
    /// Of its shard.
    pub pace: Pace,
    /// Whether every snapshot is compared with what the shard itself would write.
    pub checks_snapshots: bool,
    /// Done to its core before it starts: bugs are planted here.
    pub prepare: Rc<dyn Fn(&mut Core)>,
}

impl Node {
    /// Starts a broker on this disk.
    ///
    /// # Errors
    /// Why it did not start.
    pub fn start(fs: &SimFs, clocks: &Clocks, setup: &Setup) -> Result<Self> {
        let disk = Arc::new(fs.clone());
        fs.hold_up(Some(clocks.clone()));
        let hands = Hands::default();
        let threads = Threads::Manual(hands.0.clone());
        let started = recovery::start(disk, Path::new(DATA), setup.settings, &threads);
        let mut recovery = started.inspect_err(|_| fs.hold_up(None))?;
        (setup.prepare)(&mut recovery.core);
        let (inbox, mailbox) = (Rc::new(Inbox::new(INBOX_BYTES)), Rc::default());
        let machine = Machine {
            time: TimeSource::Manual(clocks.broker.clone()),
            threads,
            checks_snapshots: setup.checks_snapshots,
            ..Machine::default()
        };
        let ways = (Rc::clone(&inbox), Rc::clone(&mailbox));
        let committer = Committer::start(recovery, ways, &machine, setup.pace);
        fs.hold_up(None);
        Ok(Self {
            committer: committer?,
            inbox,
            mailbox,
            hands,
            clocks: clocks.clone(),
        })
    }

    /// Something comes from a connection.
    pub fn push(&self, input: Input) {
        self.inbox.push(input);
    }

    /// Does all that can be done now; an error ends the broker.
    ///
    /// # Errors
    /// Why it ended.
    pub fn drive(&mut self, fs: &SimFs) -> Result<(), ShardError> {
        fs.hold_up(Some(self.clocks.clone()));
        let driven = self.poll();
        fs.hold_up(None);
        driven
    }

    fn poll(&mut self) -> Result<(), ShardError> {
        let again = Arc::new(Again::default());
        let waker = Waker::from(Arc::clone(&again));
        let mut context = Context::from_waker(&waker);
        let mut run = pin!(self.committer.run());
        loop {
            again.0.store(false, Ordering::Relaxed);
            match run.as_mut().poll(&mut context) {
                Poll::Ready(error) => return Err(error),
                Poll::Pending if again.0.load(Ordering::Relaxed) => {}
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// A clean stop: what was asked is finished, synced and answered.
    ///
    /// # Errors
    /// What failed; what was confirmed stands.
    pub fn stop(self, fs: &SimFs) -> Result<Rc<Mailbox>, ShardError> {
        fs.hold_up(Some(self.clocks.clone()));
        let waker = Waker::from(Arc::new(Again::default()));
        let mut context = Context::from_waker(&waker);
        let mut finish = pin!(self.committer.finish());
        let finished = loop {
            if let Poll::Ready(finished) = finish.as_mut().poll(&mut context) {
                break finished;
            }
            for name in self.hands.0.waiting() {
                self.hands.0.step(name);
            }
        };
        fs.hold_up(None);
        finished.map(|()| self.mailbox)
    }

    /// Once so much has passed it has work although nobody brings any.
    pub fn wakes_in_us(&self) -> Option<u64> {
        let at = self.committer.wake_at()?;
        Some(at.ms_since(self.committer.now()) * 1_000)
    }

    /// Its other threads that have something to do.
    pub fn waiting(&self) -> Vec<&'static str> {
        self.hands.0.waiting()
    }

    /// Lets one of its other threads do its next piece.
    pub fn step(&self, name: &str) {
        self.hands.0.step(name);
    }

    /// What it has said since the last time.
    pub fn mailbox(&self) -> &Rc<Mailbox> {
        &self.mailbox
    }

    /// What its clock shows, Unix ms.
    pub fn now_ms(&self) -> u64 {
        self.committer.now().0
    }
}

#[derive(Debug, Default)]
struct Again(AtomicBool);

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
