//! A shard on a disk in memory, with a manual clock and sessions that only take notes.

mod damage;
mod edges;
mod level;
mod salvage;
mod segments;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use siding_protocol::event::Answer;
use siding_protocol::frame::BatchParts;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::request::{Consume, ProducerTicket, Request};
use siding_protocol::run::{MessageFields, RunBuilder, RunLimits, scan};
use siding_protocol::settings::QueueSettings;
use siding_protocol::types::{Grant, Name, Offset, OffsetRange};
use siding_protocol::wire;
use tokio::runtime::{Builder, LocalOptions};

use super::super::clock::ManualTime;
use super::super::recovery::{self, RecoveryError, Settings};
use super::*;
use crate::TimeSource;
use crate::engine::effect::{DeliverTo, Expiring, Origin, SessionId};
use crate::storage::bodies::Budgets;
use crate::storage::fs::Fs;
use crate::storage::memory_fs::{MemoryFs, Operation};
use crate::storage::{Filling, Threads};

#[derive(Debug, Default)]
struct Notes {
    answers: RefCell<Vec<(Origin, Result<Answer, Refusal>)>>,
    /// Answers and deliveries since the last flush, then of each flush that had any.
    open: Cell<usize>,
    flushed: RefCell<Vec<usize>>,
    deliveries: Cell<u64>,
    /// Messages in them, by consumer.
    delivered: RefCell<BTreeMap<u32, u64>>,
    /// Messages of the last browse.
    browsed: Cell<usize>,
    /// Lengths of their bodies.
    bodies: RefCell<Vec<u64>>,
}

impl Notes {
    fn note(&self) {
        self.open.set(self.open.get() + 1);
    }

    fn oks(&self) -> usize {
        self.answers
            .take()
            .iter()
            .filter(|(_, answer)| answer.is_ok())
            .count()
    }
}

impl Sessions for Notes {
    fn answer(&self, to: Origin, answer: Result<Answer, Refusal>) {
        self.answers.borrow_mut().push((to, answer));
        self.note();
    }

    fn release(&self, _: SessionId, _: usize) {}

    fn deliver(&self, to: DeliverTo, _: Option<&OffsetRange>, batches: &[BatchParts]) {
        assert!(!batches.is_empty());
        self.deliveries.set(self.deliveries.get() + 1);
        let messages: u64 = batches.iter().map(|it| u64::from(it.head.count)).sum();
        if let DeliverTo::Consumer { consumer, .. } = to {
            *self.delivered.borrow_mut().entry(consumer).or_default() += messages;
        }
        self.note();
    }

    fn end_consumer(&self, _: SessionId, _: u32, _: &Refusal) {
        self.note();
    }

    fn cancel_requested(&self, _: SessionId, _: (u32, Grant, Offset)) {
        self.note();
    }

    fn lease_expiring(&self, _: &Expiring) {
        self.note();
    }

    fn browsed(&self, _: Origin, answer: wire::Browsed) {
        self.browsed.set(answer.messages.len());
        let batches = answer.messages.into_iter().filter_map(|one| one.batch);
        let lengths = batches.map(|batch| {
            let message = siding_protocol::run::messages(&batch.run)
                .next()
                .expect("a message");
            message.body().len() as u64
        });
        *self.bodies.borrow_mut() = lengths.collect();
        self.note();
    }

    fn flush(&self) {
        let noted = self.open.take();
        if noted > 0 {
            self.flushed.borrow_mut().push(noted);
        }
    }
}

struct Stage {
    fs: MemoryFs,
    time: ManualTime,
    inbox: Rc<Inbox>,
    notes: Rc<Notes>,
    committer: Committer<Notes>,
}

impl Stage {
    fn new() -> Self {
        Self::on(MemoryFs::new(1))
    }

    fn on(fs: MemoryFs) -> Self {
        Self::with(fs, 1 << 20, Filling::Inline)
    }

    fn with(fs: MemoryFs, journal_file_bytes: u64, filling: Filling) -> Self {
        let budgets = Budgets::default();
        let settings = Settings {
            journal_file_bytes,
            filling,
            budgets,
        };
        let recovery = recovery::start(
            Arc::new(fs.clone()),
            Path::new("/data"),
            settings,
            &Threads::System,
        );
        Self::recovered(fs, recovery.expect("a data directory"))
    }

    fn recovered(fs: MemoryFs, recovery: Recovery) -> Self {
        let (inbox, notes) = (Rc::new(Inbox::new(8 << 20)), Rc::new(Notes::default()));
        let time = ManualTime::new(Timestamp(1_000_000));
        let ways = (Rc::clone(&inbox), Rc::clone(&notes));
        let machine = Machine {
            time: TimeSource::Manual(time.clone()),
            threads: Threads::System,
            checks_snapshots: true,
            ..Machine::default()
        };
        let pace = Pace {
            checkpoint_bytes: 1 << 30,
            flush_ms: 50,
        };
        let committer = Committer::start(recovery, ways, &machine, pace).expect("a shard");
        Self {
            fs,
            time,
            inbox,
            notes,
            committer,
        }
    }

    fn ask(&self, correlation: u64, request: Request) {
        self.ask_as(1, correlation, request);
    }

    fn ask_as(&self, session: SessionId, correlation: u64, request: Request) {
        let origin = Origin {
            session,
            correlation,
        };
        self.inbox.push(Input::Request {
            origin,
            request,
            charge: 100,
        });
    }

    async fn turns(&mut self, turns: usize) {
        for _ in 0..turns {
            self.committer.turn().await.expect("the disk works");
        }
    }

    /// A session, the queue `jobs`, a producer.
    async fn prepared() -> Self {
        Self::new().prepare().await
    }

    async fn prepare(self) -> Self {
        let mut stage = self;
        stage.inbox.push(Input::Opened {
            session: 1,
            holder: "me".into(),
            marks_started: false,
        });
        let settings = QueueSettings::parse(None).expect("defaults");
        stage.ask(1, Request::OpenProducer);
        stage.ask(
            2,
            Request::CreateQueue {
                name: jobs(),
                settings: Box::new(settings),
            },
        );
        stage.turns(1).await;
        assert_eq!(stage.notes.oks(), 2);
        stage.notes.flushed.take();
        stage
    }

    /// The next answer.
    async fn answer(&mut self) -> Result<Answer, Refusal> {
        loop {
            if let Some((_, answer)) = self.notes.answers.borrow_mut().pop() {
                return answer;
            }
            self.turns(1).await;
        }
    }

    /// Lets the thread that makes spare files come to its end.
    fn spares_settle(&self) {
        let gauge = self.committer.door.journal().spare_gauge();
        while gauge.ready() < 3 && !gauge.is_failing() {
            std::thread::yield_now();
        }
    }

    fn writes_and_syncs(&self) -> (u64, u64) {
        (
            self.fs.count(Operation::Write),
            self.fs.count(Operation::Sync),
        )
    }
}

fn jobs() -> Name {
    "jobs".parse().expect("a name")
}

fn publish(sequence: u64, body: &[u8]) -> Request {
    publish_at(None, sequence, body)
}

fn publish_at(level: Option<Level>, sequence: u64, body: &[u8]) -> Request {
    publish_to(jobs(), level, sequence, body)
}

fn publish_to(name: Name, level: Option<Level>, sequence: u64, body: &[u8]) -> Request {
    let mut run = RunBuilder::new(RunLimits::default());
    run.push(&MessageFields {
        body,
        ..MessageFields::default()
    })
    .expect("a message");
    let run = scan(run.take().0, RunLimits::default()).expect("a run");
    Request::Publish {
        name,
        ticket: ProducerTicket {
            producer: 1,
            sequence,
        },
        level,
        run,
    }
}

fn consume() -> Request {
    consume_of(jobs(), 7)
}

fn consume_of(name: Name, consumer: u32) -> Request {
    Request::Consume(Consume {
        ack_on_delivery: false,
        address: name.into(),
        consumer,
        credit_messages: 1_000,
        credit_bytes: 1 << 20,
        visibility_timeout_ms: None,
    })
}

fn run(test: impl Future<Output = ()>) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(test);
}

#[test]
fn what_all_ready_sessions_brought_is_one_write_and_one_flush() {
    run(async {
        let mut stage = Stage::prepared().await;
        let (writes, syncs) = stage.writes_and_syncs();
        for sequence in 1..=64 {
            stage.ask(10 + sequence, publish(sequence, b"body"));
        }
        stage.turns(1).await;
        // Written with `dsync`: the write is the sync.
        assert_eq!(stage.writes_and_syncs(), (writes + 1, syncs));
        assert_eq!(stage.notes.oks(), 64);
        assert_eq!(stage.notes.flushed.take(), [64]);
    });
}

#[test]
fn answers_and_deliveries_of_a_group_leave_together() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.ask(3, consume());
        stage.turns(1).await;
        stage.notes.flushed.take();
        stage.ask(4, publish(1, b"body"));
        stage.turns(1).await;
        assert_eq!(stage.notes.deliveries.get(), 1);
        assert_eq!(stage.notes.flushed.take(), [2]);
    });
}

#[test]
fn a_note_alone_is_written_after_5_ms_and_never_starts_a_sync() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.ask(3, publish(1, b"body"));
        stage.ask(4, consume());
        stage.turns(1).await;
        assert_eq!(stage.notes.deliveries.get(), 1);
        let (writes, syncs) = stage.writes_and_syncs();
        assert!(!stage.committer.core.open().is_empty());
        stage.time.advance_ms(5);
        stage.turns(1).await;
        assert!(stage.committer.core.open().is_empty());
        assert_eq!(stage.writes_and_syncs(), (writes + 1, syncs));
        assert!(!stage.fs.unsynced().is_empty());
    });
}

#[test]
fn an_idle_journal_is_marked_once() {
    run(async {
        let mut stage = Stage::prepared().await;
        let (writes, _) = stage.writes_and_syncs();
        stage.time.advance_ms(MARK_MS);
        stage.turns(1).await;
        assert_eq!(stage.writes_and_syncs().0, writes + 1);
        assert_eq!(
            stage.committer.wake_at(),
            None,
            "idle: nothing is waited for"
        );
    });
}

#[test]
fn a_large_group_goes_to_the_journals_thread_while_more_is_gathered() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.ask(3, publish(1, &vec![1; 20_000]));
        stage.turns(1).await;
        assert!(stage.committer.door.is_in_flight());
        assert_eq!(
            stage.notes.oks(),
            0,
            "nothing is confirmed before the commit"
        );
        stage.ask(4, publish(2, b"meanwhile"));
        stage.ask(
            5,
            Request::Describe {
                address: jobs().into(),
            },
        );
        while stage.notes.oks() < 1 {
            stage.turns(1).await;
        }
        while stage.committer.door.is_in_flight() {
            stage.turns(1).await;
        }
        assert!(stage.committer.core.open().is_empty());
    });
}

#[test]
fn after_the_first_failed_write_nothing_more_is_confirmed() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.fs.fail(Operation::Write, 1, ErrorKind::Other);
        stage.ask(3, publish(1, b"lost"));
        let error = stage.committer.turn().await.expect_err("the disk failed");
        assert!(
            matches!(error, ShardError::Storage(StorageError::Io { .. })),
            "{error:?}"
        );
        assert_eq!(stage.notes.oks(), 0);
    });
}

#[test]
fn a_clean_stop_commits_what_was_asked_and_leaves_nothing_un_synced() {
    run(async {
        let stage = Stage::prepared().await;
        stage.ask(3, publish(1, b"last"));
        let Stage {
            fs,
            notes,
            committer,
            ..
        } = stage;
        committer.finish().await.expect("a clean stop");
        assert_eq!(notes.oks(), 1);
        assert!(fs.unsynced().is_empty());
        let again = Stage::on(fs);
        assert_eq!(again.committer.performer.bodies().pieces(), 1);
        assert_eq!(again.committer.core.term(), 2);
    });
}

#[test]
fn a_power_cut_keeps_what_was_confirmed() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.ask(3, publish(1, b"kept"));
        stage.turns(1).await;
        assert_eq!(stage.notes.oks(), 1);
        let after = stage.fs.crash(&mut |_, _| 0);
        let again = Stage::on(after);
        assert_eq!(again.committer.performer.bodies().pieces(), 1);
    });
}

#[test]
fn a_snapshot_ahead_of_what_a_power_cut_leaves_of_the_journal_is_started_from() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.ask(3, publish(1, b"kept"));
        stage.ask(4, consume());
        stage.turns(1).await;
        // The note of the lease is written un-synced; then a snapshot is due.
        stage.committer.checkpoints.set_every(1);
        stage.time.advance_ms(5);
        stage.turns(1).await;
        while stage.committer.checkpoints.is_running() {
            stage.turns(1).await;
        }
        let mut disk = stage.fs.crash(&mut |_, _| 0);
        for term in 2..5 {
            let again = Stage::on(disk);
            assert_eq!(again.committer.core.term(), term);
            assert_eq!(again.committer.performer.bodies().pieces(), 1);
            disk = again.fs.crash(&mut |_, _| 0);
        }
    });
}
