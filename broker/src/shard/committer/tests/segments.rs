//! Bodies that are still needed when the journal is cut.

use siding_protocol::request::Sieve;

use super::*;
use crate::storage::bodies::{Bodies, Lookup};
use crate::storage::{BodyReader, FileId};

const MESSAGES: u64 = 40;

fn recover(fs: &MemoryFs) -> Recovery {
    recover_with(fs, Filling::Inline)
}

/// With a small journal, and no body in memory.
pub(super) fn recover_with(fs: &MemoryFs, filling: Filling) -> Recovery {
    let settings = Settings {
        journal_file_bytes: 64 << 10,
        filling,
        budgets: Budgets {
            tail_bytes: 0,
            read_bytes: 1 << 20,
        },
    };
    let recovery = recovery::start(
        Arc::new(fs.clone()),
        Path::new("/data"),
        settings,
        &Threads::System,
    );
    recovery.expect("what a power cut leaves is recovered from")
}

fn body(number: u64) -> Vec<u8> {
    let length = 4_000 + usize::try_from(number).expect("few");
    let byte = u8::try_from(number).expect("few");
    vec![byte; length]
}

fn purge(limit: u64) -> Request {
    Request::Purge(Sieve {
        address: jobs().into(),
        limit,
        filter: String::new(),
        dry_run: false,
    })
}

/// The bodies of the queue, and where they lie.
fn stored(mut bodies: Bodies, reader: &BodyReader) -> (Vec<Vec<u8>>, Vec<FileId>) {
    let log = 2;
    let (mut from, mut slices) = (0, Vec::new());
    while let Lookup::Missing { at, reads } = bodies.lookup(log, &(from..u64::MAX), &mut slices) {
        let payload = reader.read(reads[0]).expect("what is indexed is there");
        bodies.fill(reads[0], payload);
        from = at;
    }
    let runs = slices.iter().map(|slice| &slice.bytes);
    let views =
        runs.flat_map(|run| siding_protocol::run::messages(run).map(|it| it.body().to_vec()));
    (views.collect(), bodies.live_files().collect())
}

/// A start after a power cut that takes a random part of what was not synced.
fn after_a_power_cut(fs: &MemoryFs, seed: u64) -> (Vec<Vec<u8>>, Vec<FileId>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let fs = fs.crash(&mut |_, choices| rng.usize(..=choices));
    let recovery = recover(&fs);
    let reader = BodyReader::new(recovery.writer.reader(), recovery.segments);
    stored(recovery.bodies, &reader)
}

#[test]
fn a_power_cut_at_any_moment_of_a_checkpoint_loses_no_body() {
    run(async {
        let mut in_segments = 0;
        for seed in 0..12 {
            let fs = MemoryFs::new(seed);
            let stage = Stage::recovered(fs.clone(), recover(&fs));
            let mut stage = stage.prepare().await;
            for number in 0..MESSAGES {
                stage.ask(3, publish(number + 1, &body(number)));
                stage.answer().await.expect("a confirm");
            }
            stage.committer.checkpoints.set_every(1);
            stage.ask(4, publish(MESSAGES + 1, &body(MESSAGES)));
            // The first one finds what there is to be moved, the second moves it.
            let (mut done, mut newest) = (0, None);
            while done < 2 {
                // The thread of the checkpoint is anywhere meanwhile.
                let (found, files) = after_a_power_cut(&stage.fs, seed);
                let confirmed = found.len() as u64;
                assert!(
                    (MESSAGES..=MESSAGES + 1 + done).contains(&confirmed),
                    "{confirmed}"
                );
                assert!(found.into_iter().eq((0..confirmed).map(body)));
                let is_segment = |file: &&FileId| matches!(file, FileId::Segment(_));
                in_segments += files.iter().filter(is_segment).count();
                stage.committer.work().expect("the disk works");
                if let Ok(outside) = stage.committer.outside.try_recv() {
                    stage.committer.bring(outside).expect("the disk works");
                }
                let base = stage.committer.checkpoints.base();
                if base != newest {
                    (done, newest) = (done + 1, base);
                    stage.ask(
                        4 + done,
                        publish(MESSAGES + 1 + done, &body(MESSAGES + done)),
                    );
                }
                if done == 2 {
                    let files = after_a_power_cut(&stage.fs, seed).1;
                    in_segments += files.iter().filter(is_segment).count();
                    assert!(files.len() <= 3, "the journal was cut: {files:?}");
                }
            }
        }
        assert!(in_segments > 0, "bodies were moved");
    });
}

/// Small messages, so that what moves comes in many parts.
#[test]
fn a_snapshot_is_what_the_shard_would_write_whatever_happens_while_it_is_made() {
    run(async {
        let fs = MemoryFs::new(1);
        let mut stage = Stage::recovered(fs.clone(), recover(&fs)).prepare().await;
        let mut sequence = 0;
        for checkpoint in 0..4_u64 {
            // Others between: a piece for each.
            for _ in 0..3_000 {
                sequence += 1;
                stage.ask(3, publish(sequence, b"small"));
                stage.answer().await.expect("a confirm");
            }
            stage.committer.checkpoints.set_every(1);
            let index = stage.committer.checkpoints.base();
            let mut purges = 0..50;
            while stage.committer.checkpoints.base() == index {
                // It goes on meanwhile: what is purged lies where the shadow has to find it gone.
                sequence += 1;
                stage.ask(4, publish(sequence, b"meanwhile"));
                stage.answer().await.expect("a confirm");
                if purges.next().is_some() {
                    stage.ask(5, purge(7 + checkpoint));
                    stage.answer().await.expect("purged");
                }
                if let Ok(outside) = stage.committer.outside.try_recv() {
                    stage.committer.bring(outside).expect("the disk works");
                }
            }
            stage.committer.checkpoints.set_every(1 << 40);
        }
        // That they are the same the stage asks of every snapshot; and the last one opens.
        after_a_power_cut(&stage.fs, 1);
    });
}

#[test]
fn what_is_settled_before_a_checkpoint_never_touches_a_segment() {
    run(async {
        let fs = MemoryFs::new(1);
        let mut stage = Stage::recovered(fs.clone(), recover(&fs)).prepare().await;
        stage.ask(3, consume());
        stage.answer().await.expect("a consumer");
        for number in 0..MESSAGES {
            stage.ask(4, publish(number + 1, &body(number)));
            stage.answer().await.expect("a confirm");
        }
        while stage.notes.deliveries.get() < MESSAGES {
            stage.turns(1).await;
        }
        stage.inbox.push(Input::Closed { session: 1 });
        stage.turns(1).await;
        stage.inbox.push(Input::Opened {
            session: 2,
            holder: "other".into(),
            marks_started: false,
        });
        stage.ask_as(2, 1, purge(0));
        stage.answer().await.expect("purged");
        stage.committer.checkpoints.set_every(1);
        stage.ask_as(2, 2, Request::OpenProducer);
        stage.answer().await.expect("a producer");
        stage.turns(1).await;
        while !stage.committer.checkpoints.is_idle() {
            stage.turns(1).await;
        }
        let directory = Path::new("/data/shard-0/segments");
        assert!(stage.fs.list(directory).expect("a directory").is_empty());
    });
}
