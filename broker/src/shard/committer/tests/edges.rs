//! What nobody wishes for: more than a record can say, a journal that is gone, a full disk.

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
        let again = recovery::start(Arc::new(fs.clone()), Path::new("/data"), settings);
        assert!(
            matches!(
                again,
                Err(RecoveryError::Storage(StorageError::Damaged { .. }))
            ),
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
        fs.set_capacity(Some((files * 64 + 48) << 10));
        let stage = Stage::with(fs, 64 << 10, Filling::Thread);
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
        let purge = Request::Purge(siding_protocol::request::Sieve::all(jobs().into()));
        stage.ask(5, purge);
        assert!(stage.answer().await.is_ok());
        let resumed = loop {
            stage.time.advance_ms(ROOM_MS);
            stage.ask(6, publish(stored + 1, &[1; 4_000]));
            match stage.answer().await {
                Err(Refusal::Busy { .. }) => {
                    while stage.committer.checkpoints.is_running() {
                        stage.turns(1).await;
                    }
                    std::thread::yield_now();
                }
                other => break other,
            }
        };
        assert!(resumed.is_ok(), "{resumed:?}");
    });
}
