//! What nobody wishes for: more than a record can say, a journal that is gone, a full disk.

use super::super::checkpointing::ROOM_MS;
use super::*;

#[test]
fn a_session_that_held_more_than_one_record_can_say_ends_without_ending_the_broker() {
    run(async {
        let stage = Stage::with(MemoryFs::new(1), 64 << 10, Filling::Inline);
        let mut stage = stage.prepare().await;
        let mut consume = consume();
        if let Request::Consume(consume) = &mut consume {
            consume.credit_messages = 65_535;
        }
        stage.ask(3, consume);
        let held = 7_000;
        for sequence in 1..=held {
            // One grant each.
            stage.ask(4, publish(sequence, b"x"));
            while stage.notes.deliveries.get() < sequence {
                stage.turns(1).await;
            }
        }
        stage.inbox.push(Input::Opened {
            session: 2,
            holder: "other".into(),
            marks_started: false,
        });
        let leased = Request::Browse {
            filter: String::new(),
            address: jobs().into(),
            state: Some(State::Leased),
            from_offset: 0,
            limit: 1_000,
        };
        stage.ask_as(2, 1, leased.clone());
        stage.turns(1).await;
        assert_eq!(stage.notes.browsed.get(), 1_000);
        stage.ask(5, publish(held + 1, &[1; 3_500]));
        stage.inbox.push(Input::Closed { session: 1 });
        stage.turns(1).await;
        while stage.committer.core.open().is_awaited() {
            stage.turns(1).await;
        }
        stage.ask_as(2, 2, leased);
        stage.turns(1).await;
        assert_eq!(stage.notes.browsed.get(), 0, "none of it is held any more");
    });
}

#[test]
fn a_snapshot_whose_journal_is_gone_is_refused_and_not_served_without_what_came_after_it() {
    run(async {
        let stage = Stage::prepared().await;
        stage.ask(3, publish(1, b"kept"));
        let Stage { fs, committer, .. } = stage;
        committer.finish().await.expect("a clean stop");
        let journal = Path::new("/data/journal");
        for name in fs.list(journal).expect("files") {
            fs.remove(&journal.join(name)).expect("removed");
        }
        let settings = Settings {
            journal_file_bytes: 1 << 20,
            filling: Filling::Inline,
            budgets: Budgets::default(),
        };
        let again = recovery::start(
            Arc::new(fs.clone()),
            Path::new("/data"),
            settings,
            &Threads::System,
        );
        assert!(
            matches!(again, Err(RecoveryError::Damaged { .. })),
            "{again:?}"
        );
        assert!(
            fs.list(journal).expect("a directory").is_empty(),
            "nothing was changed"
        );
    });
}

#[test]
fn a_full_disk_refuses_publishes_while_acks_go_on_and_service_resumes_when_there_is_room() {
    run(async {
        let files = 6;
        let fs = MemoryFs::new(1);
        // A mebibyte and a file of it are kept for checkpoints.
        fs.set_capacity(Some((files * 64 + 48 + 1024 + 64) << 10));
        let stage = Stage::with(fs, 64 << 10, Filling::Ahead);
        let mut stage = stage.prepare().await;
        let mut stored = 0;
        let refusal = loop {
            stage.ask(3, publish(stored + 1, &[1; 4_000]));
            match stage.answer().await {
                Ok(_) => stored += 1,
                Err(refusal) => break refusal,
            }
            stage.spares_settle();
        };
        assert!(
            matches!(&refusal, Refusal::Busy { resource, .. } if resource == "disk"),
            "{refusal:?}"
        );
        assert!(stored > 40, "{stored} stored");
        stage.ask(4, publish(stored, &[1; 4_000]));
        let again = stage.answer().await;
        assert!(again.is_ok(), "a retry of what was stored: {again:?}");
        stage.purge(jobs()).await;
        stage.until_confirmed(stored + 1).await;
    });
}

#[test]
fn a_full_disk_with_something_needed_in_every_file_gets_its_room_back() {
    run(async {
        let fs = MemoryFs::new(1);
        fs.set_capacity(Some((12 * 64 + 48 + 1024 + 64) << 10));
        let stage = Stage::recovered(fs.clone(), segments::recover_with(&fs, Filling::Ahead));
        let mut stage = stage.prepare().await;
        let bulk: Name = "bulk".parse().expect("a name");
        let settings = Box::new(QueueSettings::parse(None).expect("defaults"));
        let create = Request::CreateQueue {
            name: bulk.clone(),
            settings,
        };
        stage.ask(3, create);
        stage.answer().await.expect("a queue");
        let first = stage.fill(1, &bulk).await;
        assert!(first > 100, "{first} stored");
        stage.purge(bulk.clone()).await;
        stage.until_confirmed(first).await;
        let second = stage.fill(first + 1, &bulk).await - first;
        assert!(second > first / 2, "{first} stored, then {second}");
    });
}

impl Stage {
    /// Publishes until the disk is full and stays so, one in eight to the queue `jobs`. The first sequence
    /// refused.
    async fn fill(&mut self, first: u64, bulk: &Name) -> u64 {
        let mut sequence = first;
        let mut refused = 0;
        while refused < 20 {
            let (name, length) = match sequence % 8 {
                0 => (jobs(), 100),
                _ => (bulk.clone(), 4_000),
            };
            self.ask(4, publish_to(name, None, sequence, &vec![1; length]));
            if self.answer().await.is_ok() {
                (sequence, refused) = (sequence + 1, 0);
                self.spares_settle();
            } else {
                refused += 1;
                self.wait_for_room().await;
            }
        }
        sequence
    }

    /// Time passes in which room may come back.
    async fn wait_for_room(&mut self) {
        while self.committer.checkpoints.is_running() {
            self.turns(1).await;
        }
        std::thread::yield_now();
        self.time.advance_ms(ROOM_MS);
    }

    async fn purge(&mut self, name: Name) {
        let purge = Request::Purge(siding_protocol::request::Sieve::all(name.into()));
        self.ask(5, purge);
        self.answer().await.expect("purged");
    }

    /// Publishes until the disk has room for it.
    async fn until_confirmed(&mut self, sequence: u64) {
        let resumed = loop {
            self.wait_for_room().await;
            self.ask(6, publish(sequence, &[1; 4_000]));
            match self.answer().await {
                Err(Refusal::Busy { .. }) => {}
                other => break other,
            }
        };
        assert!(resumed.is_ok(), "{resumed:?}");
    }
}
