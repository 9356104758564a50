//! What is damaged is named, and costs no more than it must.

use super::*;

fn settings() -> Settings {
    Settings {
        journal_file_bytes: 64 << 10,
        filling: Filling::Inline,
        budgets: Budgets {
            tail_bytes: 0,
            read_bytes: 1 << 20,
        },
    }
}

pub(super) fn start(fs: &MemoryFs) -> Result<Recovery, RecoveryError> {
    recovery::start(
        Arc::new(fs.clone()),
        Path::new("/data"),
        settings(),
        &Threads::System,
    )
}

/// What a start on this disk is refused with.
pub(super) fn refusal(fs: &MemoryFs) -> String {
    let refused = start(fs).map(|_| "it starts").expect_err("damaged");
    assert!(
        matches!(refused, RecoveryError::Damaged { .. }),
        "{refused}"
    );
    refused.to_string()
}

/// Flips a bit in the middle of the body made of this byte, wherever it lies below a directory.
pub(super) fn damage(fs: &MemoryFs, directory: &str, byte: u8) {
    let directory = Path::new(directory);
    let mut hit = 0;
    for name in fs.list(directory).expect("a directory") {
        let path = directory.join(name);
        let bytes = fs.contents(&path).expect("a file");
        if let Some(at) = bytes.windows(100).position(|part| part == [byte; 100]) {
            fs.damage(&path, at as u64 + 50, &[byte ^ 1]);
            hit += 1;
        }
    }
    assert_eq!(hit, 1, "the body lies once in {directory:?}");
}

pub(super) async fn stocked(bodies: &[u8]) -> Stage {
    let fs = MemoryFs::new(1);
    let recovery = start(&fs).expect("a new directory");
    let mut stage = Stage::recovered(fs, recovery).prepare().await;
    for (sequence, byte) in (1..).zip(bodies) {
        stage.ask(3, publish(sequence, &[*byte; 400]));
        stage.answer().await.expect("a confirm");
    }
    stage
}

/// 61 messages of `jobs`, most of them moved to segments; stopped cleanly.
pub(super) async fn publish_and_move() -> MemoryFs {
    let fs = MemoryFs::new(1);
    let recovery = start(&fs).expect("a new directory");
    let mut stage = Stage::recovered(fs, recovery).prepare().await;
    for number in 0..59 {
        stage.ask(3, publish(number + 1, &[7; 4_000]));
        stage.answer().await.expect("a confirm");
    }
    // The first checkpoint finds what there is to be moved, the second moves it.
    for number in [60, 61] {
        let before = stage.committer.checkpoints.base();
        stage.committer.checkpoints.set_every(1);
        stage.ask(4, publish(number, &[7; 4_000]));
        stage.answer().await.expect("a confirm");
        stage.committer.checkpoints.set_every(1 << 40);
        while stage.committer.checkpoints.base() == before {
            stage.turns(1).await;
        }
    }
    let Stage { fs, committer, .. } = stage;
    committer.finish().await.expect("a clean stop");
    fs
}

#[test]
fn damage_in_the_journal_is_named_with_its_place_its_queue_and_its_messages() {
    run(async {
        let Stage { fs, committer, .. } = stocked(b"abc").await;
        committer.finish().await.expect("a clean stop");
        damage(&fs, "/data/journal", b'b');
        let error = refusal(&fs);
        let said = [
            "/data/journal/00000000000000000001.journal is damaged at bytes ",
            " bytes)",
            "it touches \"jobs\" with 1 messages (offsets 1 to 1)",
            "entries that are not in the snapshot",
            "`siding salvage`",
        ];
        for said in said {
            assert!(error.contains(said), "{said:?} is not in: {error}");
        }
    });
}

#[test]
fn a_damaged_snapshot_is_named_and_says_that_nobody_knows_whose() {
    run(async {
        let Stage { fs, committer, .. } = stocked(b"abc").await;
        committer.finish().await.expect("a clean stop");
        let directory = Path::new("/data/shard-0");
        let mut names = fs.list(directory).expect("names").into_iter();
        let name = names.find(|name| name.starts_with("snapshot-"));
        let path = directory.join(name.expect("a snapshot"));
        fs.damage(&path, 80, &[0xEE]);
        let error = refusal(&fs);
        let said = [
            &*path.display().to_string(),
            "damaged at bytes 44 to ",
            "which queues it touches, and how many messages, is not known without it",
        ];
        for said in said {
            assert!(error.contains(said), "{said:?} is not in: {error}");
        }
    });
}

#[test]
fn a_journal_file_kept_for_bodies_is_not_read_by_a_start_and_is_missed_if_it_is_gone() {
    run(async {
        let fs = MemoryFs::new(1);
        let recovery = start(&fs).expect("a new directory");
        let mut stage = Stage::recovered(fs, recovery).prepare().await;
        for number in 0..40 {
            stage.ask(3, publish(number + 1, &[7; 4_000]));
            stage.answer().await.expect("a confirm");
        }
        let Stage { fs, committer, .. } = stage;
        committer.finish().await.expect("a clean stop");
        let first = Path::new("/data/journal/00000000000000000001.journal");
        let damaged = fs.kill();
        damaged.damage(first, 30_000, &[0xEE]);
        let recovery = start(&damaged).expect("what the snapshot has passed is not read");
        assert!(
            recovery
                .bodies
                .live_files()
                .any(|it| it.in_journal() == Some(1))
        );
        let gone = fs.kill();
        gone.remove(first).expect("there");
        let error = refusal(&gone);
        assert!(error.contains(&*first.display().to_string()), "{error}");
    });
}

#[test]
fn a_snapshot_that_is_gone_is_damage_and_its_segments_are_left() {
    run(async {
        let fs = publish_and_move().await;
        let segments = Path::new("/data/shard-0/segments");
        let before = fs.list(segments).expect("a directory");
        assert!(!before.is_empty(), "bodies were moved");
        let directory = Path::new("/data/shard-0");
        for name in fs.list(directory).expect("names") {
            if name.starts_with("snapshot-") {
                fs.remove(&directory.join(name)).expect("removed");
            }
        }
        let journal = Path::new("/data/journal");
        // Given back by the cut, and by now another file.
        let first = journal.join("00000000000000000001.journal");
        fs.remove(&first).expect("removed");
        let error = refusal(&fs);
        assert!(error.contains("continues with index"), "{error}");
        for name in fs.list(journal).expect("names") {
            fs.remove(&journal.join(name)).expect("removed");
        }
        let error = refusal(&fs);
        assert!(
            error.contains("snapshot is damaged: it is missing"),
            "{error}"
        );
        assert_eq!(fs.list(segments).expect("a directory"), before);
    });
}

#[test]
fn a_body_that_cannot_be_read_fences_its_queue_and_no_other() {
    run(async {
        let mut stage = stocked(b"abc").await;
        let others: Name = "others".parse().expect("a name");
        let settings = Box::new(QueueSettings::parse(None).expect("defaults"));
        let name = others.clone();
        stage.ask(4, Request::CreateQueue { name, settings });
        stage.answer().await.expect("a queue");
        damage(&stage.fs, "/data/journal", b'b');
        stage.ask(5, consume());
        stage.answer().await.expect("a consumer");
        while stage.notes.deliveries.get() < 1 {
            stage.turns(1).await;
        }
        for sequence in 4..8 {
            stage.ask(6, publish(sequence, &[b'd'; 400]));
            stage.answer().await.expect("what comes is stored");
        }
        stage.ask(7, publish_to(others.clone(), None, 8, &[b'e'; 400]));
        stage.answer().await.expect("a confirm");
        stage.ask(8, consume_of(others, 8));
        stage.answer().await.expect("a consumer");
        while stage.notes.deliveries.get() < 2 {
            stage.turns(1).await;
        }
        // Far past the visibility timeout: nothing of it goes to the dead letters meanwhile.
        for _ in 0..20 {
            stage.time.advance_ms(60_000);
            stage.ask(9, Request::OpenProducer);
            stage.answer().await.expect("time goes on");
        }
        let delivered = stage.notes.delivered.borrow();
        assert_eq!(delivered[&7], 1, "what lies before the damage");
        assert!(delivered[&8] > 1, "the others' message comes again");
        let engine = stage.committer.core.state();
        let jobs = engine
            .subscriptions
            .values()
            .next()
            .expect("the first queue");
        let books = jobs.books(7);
        assert_eq!(
            (books.ready + books.delayed, books.dead),
            (7, 0),
            "{books:?}"
        );
    });
}
