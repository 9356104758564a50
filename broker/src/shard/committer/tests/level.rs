//! Confirmed as written: no sync at once, one soon after, and order always.

use super::*;

impl Stage {
    /// The levels that confirms have named since the last time, in order.
    fn levels(&self) -> Vec<Level> {
        let answers = self.notes.answers.take().into_iter();
        let confirms = answers.filter_map(|(_, answer)| match answer {
            Ok(Answer::Confirm(confirm)) => Some(confirm.level),
            _ => None,
        });
        confirms.collect()
    }

    fn stored(&self) -> u64 {
        let state = self.committer.core.snapshot();
        let engine = crate::engine::Engine::restore(&state).expect("a snapshot");
        engine.state().logs.values().map(|log| log.end).sum()
    }
}

#[test]
fn a_written_publish_is_confirmed_after_the_write_and_synced_50_ms_later_though_nothing_else_comes()
{
    run(async {
        let mut stage = Stage::prepared().await;
        let (writes, syncs) = stage.writes_and_syncs();
        stage.ask(3, publish_at(Some(Level::Written), 1, b"body"));
        stage.turns(1).await;
        assert_eq!(stage.levels(), [Level::Written]);
        assert_eq!(stage.writes_and_syncs(), (writes + 1, syncs));
        assert!(!stage.fs.unsynced().is_empty());
        stage.time.advance_ms(50);
        stage.turns(1).await;
        assert_eq!(stage.writes_and_syncs(), (writes + 1, syncs + 1));
        assert!(stage.fs.unsynced().is_empty());
    });
}

#[test]
fn one_synced_publish_in_a_group_makes_all_of_it_synced() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.ask(3, publish_at(Some(Level::Written), 1, b"body"));
        stage.turns(1).await;
        stage.notes.answers.take();
        stage.ask(4, publish_at(Some(Level::Written), 2, b"body"));
        stage.ask(5, publish_at(Some(Level::Synced), 3, b"body"));
        stage.ask(6, publish_at(Some(Level::Written), 4, b"body"));
        stage.turns(1).await;
        assert_eq!(stage.levels(), [Level::Synced; 3]);
        assert!(stage.fs.unsynced().is_empty(), "the one before too");
        assert_eq!(stage.committer.flush.at(), None);
    });
}

#[test]
fn a_group_that_comes_when_the_sync_is_due_is_synced_itself() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.ask(3, publish_at(Some(Level::Written), 1, b"body"));
        stage.turns(1).await;
        stage.time.advance_ms(50);
        stage.ask(4, publish_at(Some(Level::Written), 2, b"body"));
        stage.turns(1).await;
        assert_eq!(stage.levels(), [Level::Written, Level::Synced]);
    });
}

#[test]
fn a_failed_sync_of_what_was_confirmed_as_written_is_final() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.ask(3, publish_at(Some(Level::Written), 1, b"body"));
        stage.turns(1).await;
        stage.fs.fail(Operation::Sync, 1, ErrorKind::Other);
        stage.time.advance_ms(50);
        let error = stage.committer.turn().await.expect_err("the disk failed");
        assert!(
            matches!(error, ShardError::Storage(StorageError::Io { .. })),
            "{error:?}"
        );
    });
}

#[test]
fn a_large_written_group_goes_to_the_journals_thread_and_is_synced_in_its_time() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.ask(3, publish_at(Some(Level::Written), 1, &vec![1; 20_000]));
        stage.turns(2).await;
        assert_eq!(stage.levels(), [Level::Written]);
        assert!(!stage.fs.unsynced().is_empty());
        stage.time.advance_ms(50);
        while !stage.fs.unsynced().is_empty() {
            stage.turns(1).await;
        }
        while stage.committer.flush.at().is_some() {
            stage.turns(1).await;
        }
    });
}

#[test]
fn a_snapshot_waits_for_the_sync_of_what_it_holds() {
    run(async {
        let mut stage = Stage::prepared().await;
        stage.committer.checkpoints.set_every(1);
        stage.ask(3, publish_at(Some(Level::Written), 1, b"body"));
        stage.turns(1).await;
        assert!(!stage.committer.checkpoints.is_running());
        stage.turns(1).await;
        assert!(stage.committer.checkpoints.is_running());
        assert!(stage.fs.unsynced().is_empty());
        while stage.committer.checkpoints.is_running() {
            stage.turns(1).await;
        }
        let again = Stage::on(stage.fs.crash(&mut |_, _| 0));
        assert_eq!(again.committer.performer.bodies().pieces(), 1);
    });
}

#[test]
fn a_power_cut_loses_only_the_newest_written_publishes_and_reorders_nothing() {
    run(async {
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut stage = Stage::on(MemoryFs::new(seed)).prepare().await;
            let mut synced = 0;
            let published = random.u64(1..30);
            for sequence in 1..=published {
                let written = random.u8(..4) > 0;
                let level = if written {
                    Level::Written
                } else {
                    Level::Synced
                };
                let length = usize::try_from(sequence).expect("small") * 40;
                stage.ask(
                    sequence,
                    publish_at(Some(level), sequence, &vec![1; length]),
                );
                stage.turns(1).await;
                if stage.levels() == [Level::Synced] {
                    synced = sequence;
                }
                if stage.committer.flush.at().is_some() && random.u8(..8) == 0 {
                    stage.time.advance_ms(50);
                    stage.turns(1).await;
                    synced = sequence;
                }
            }
            let share = random.f64();
            let disk = stage.fs.crash(&mut |_, newest| {
                if random.f64() < share { newest } else { 0 }
            });
            let mut again = Stage::on(disk);
            let stored = again.stored();
            assert!(
                (synced..=published).contains(&stored),
                "{synced} {stored} of {published}"
            );
            // Message n is 40 n bytes long: what is left is what was first, in order.
            again.inbox.push(Input::Opened {
                session: 1,
                holder: "me".into(),
                marks_started: false,
            });
            let browse = Request::Browse {
                address: jobs().into(),
                state: None,
                from_offset: 0,
                limit: 100,
                filter: String::new(),
            };
            again.ask(1, browse);
            while again.notes.bodies.borrow().is_empty() && stored > 0 {
                again.turns(1).await;
            }
            let lengths = again.notes.bodies.take();
            let expected: Vec<_> = (1..=stored).map(|sequence| sequence * 40).collect();
            assert_eq!(lengths, expected);
        }
    });
}
