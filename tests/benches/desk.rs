//! A shard without sockets, for benches: the real committer, journal and checkpoints on a real disk.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use siding_broker::engine::effect::{DeliverTo, Expiring, Origin, SessionId};
use siding_broker::shard::committer::{Committer, Machine, Pace};
use siding_broker::shard::core::Input;
use siding_broker::shard::inbox::Inbox;
use siding_broker::shard::recovery::Recovery;
use siding_broker::shard::recovery::{self, Settings};
use siding_broker::shard::sessions::Sessions;
use siding_broker::storage::bodies::Budgets;
use siding_broker::storage::fs::SystemFs;
use siding_broker::storage::{Filling, Threads};
use siding_protocol::event::Answer;
use siding_protocol::frame::BatchParts;
use siding_protocol::refusal::Refusal;
use siding_protocol::request::{ProducerTicket, Request};
use siding_protocol::run::ScannedRun;
use siding_protocol::settings::QueueSettings;
use siding_protocol::types::{Grant, Name, Offset, OffsetRange};
use siding_protocol::wire;
use tokio::sync::Notify;

const SESSION: SessionId = 1;
const INBOX_BYTES: usize = 8 << 20;

/// A running shard and the one session that asks it.
#[derive(Debug)]
pub struct Desk {
    committer: Committer<Answers>,
    inbox: Rc<Inbox>,
    answers: Rc<Answers>,
    asked: u64,
}

#[derive(Debug, Default)]
struct Answers {
    came: Cell<u64>,
    refused: Cell<u64>,
    /// Something came since the last flush.
    is_new: Cell<bool>,
    told: Notify,
}

/// What a directory holds; bodies are served from the disk.
///
/// # Panics
/// It does not open.
pub fn recover(directory: &Path) -> Recovery {
    let settings = Settings {
        journal_file_bytes: 64 << 20,
        filling: Filling::Ahead,
        budgets: Budgets {
            tail_bytes: 0,
            read_bytes: 32 << 20,
        },
    };
    recovery::start(Arc::new(SystemFs), directory, settings, &Threads::System)
        .expect("a data directory")
}

impl Desk {
    /// Starts a shard that makes a checkpoint for every so many bytes of journal.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(recovery: Recovery, checkpoint_bytes: u64) -> Self {
        let (inbox, answers) = (Rc::new(Inbox::new(INBOX_BYTES)), Rc::default());
        let ways = (Rc::clone(&inbox), Rc::clone(&answers));
        let pace = Pace {
            checkpoint_bytes,
            flush_ms: 50,
        };
        let committer = Committer::start(recovery, ways, &Machine::default(), pace);
        inbox.push(Input::Opened {
            session: SESSION,
            holder: "bench".into(),
            marks_started: false,
        });
        Self {
            committer: committer.expect("a shard"),
            inbox,
            answers,
            asked: 0,
        }
    }

    /// Opens the first producer and makes these queues, as large as the disk.
    pub async fn prepare(&mut self, names: &[Name]) {
        self.ask(Request::OpenProducer);
        for name in names {
            let mut settings = QueueSettings::parse(None).expect("defaults are valid");
            settings.max_bytes = 1 << 40;
            self.ask(Request::CreateQueue {
                name: name.clone(),
                settings: Box::new(settings),
            });
        }
        self.answered(0).await;
    }

    /// Asks to store a run under the next sequence of the first producer.
    pub fn publish(&mut self, name: &Name, sequence: u64, run: ScannedRun) {
        let ticket = ProducerTicket {
            producer: 1,
            sequence,
        };
        self.ask(Request::Publish {
            name: name.clone(),
            ticket,
            level: None,
            run,
        });
    }

    fn ask(&mut self, request: Request) {
        self.asked += 1;
        let origin = Origin {
            session: SESSION,
            correlation: self.asked,
        };
        let charge = match &request {
            Request::Publish { run, .. } => run.bytes.len() + 100,
            _ => 100,
        };
        self.inbox.push(Input::Request {
            origin,
            request,
            charge,
        });
    }

    /// Runs the shard until at most so many answers are owed.
    ///
    /// # Panics
    /// It ended, or refused.
    pub async fn answered(&mut self, owed: u64) {
        while self.asked - self.answers.came.get() > owed {
            // What was left by the run that was dropped last.
            self.inbox.wake();
            tokio::select! {
                biased;
                () = self.answers.told.notified() => {}
                error = self.committer.run() => panic!("the shard ended: {error}"),
            }
        }
        assert_eq!(self.answers.refused.get(), 0, "nothing is refused");
    }

    /// Whether a checkpoint has begun and is not over.
    pub fn is_checkpointing(&self) -> bool {
        self.committer.is_checkpointing()
    }

    /// A clean stop.
    ///
    /// # Panics
    /// It fails.
    pub async fn finish(self) {
        self.committer.finish().await.expect("a clean stop");
    }
}

impl Sessions for Answers {
    fn answer(&self, _: Origin, answer: Result<Answer, Refusal>) {
        self.came.set(self.came.get() + 1);
        self.refused
            .set(self.refused.get() + u64::from(answer.is_err()));
        self.is_new.set(true);
    }

    fn flush(&self) {
        if self.is_new.take() {
            self.told.notify_one();
        }
    }

    fn release(&self, _: SessionId, _: usize) {}
    fn deliver(&self, _: DeliverTo, _: Option<&OffsetRange>, _: &[BatchParts]) {}
    fn end_consumer(&self, _: SessionId, _: u32, _: &Refusal) {}
    fn cancel_requested(&self, _: SessionId, _: (u32, Grant, Offset)) {}
    fn lease_expiring(&self, _: &Expiring) {}
    fn browsed(&self, _: Origin, _: wire::Browsed) {}
}
