//! The core with a real engine and no disk: groups are committed by hand.

use siding_protocol::request::{Consume, ProducerTicket};
use siding_protocol::run::{MessageFields, RunBuilder, RunLimits, scan};
use siding_protocol::settings::QueueSettings;
use siding_protocol::types::Name;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000);

fn started() -> Core {
    let mut core = Core::new(1 << 20);
    core.start(NOW);
    commit(&mut core, NOW);
    core
}

/// Commits the open group and answers what is to be done, dispatch included.
fn commit(core: &mut Core, now: Timestamp) -> Vec<Deed> {
    let pending = core.close_group(now);
    core.committed(now, &pending, Level::Synced);
    core.dispatch(now);
    core.deeds().collect()
}

fn origin(session: SessionId, correlation: u64) -> Origin {
    Origin {
        session,
        correlation,
    }
}

fn ask(core: &mut Core, origin: Origin, request: Request) {
    core.input(
        NOW,
        Input::Request {
            origin,
            request,
            charge: 100,
        },
    );
}

fn jobs() -> Name {
    "jobs".parse().expect("a name")
}

/// A started core with the queue `jobs`, one message in it, and the session 1.
fn with_a_message() -> Core {
    let mut core = started();
    core.input(
        NOW,
        Input::Opened {
            session: 1,
            holder: "me".into(),
            marks_started: false,
        },
    );
    let settings = QueueSettings::parse(None).expect("defaults");
    ask(&mut core, origin(1, 1), Request::OpenProducer);
    ask(
        &mut core,
        origin(1, 2),
        Request::CreateQueue {
            name: jobs(),
            settings: Box::new(settings),
        },
    );
    commit(&mut core, NOW);
    let mut run = RunBuilder::new(RunLimits::default());
    run.push(&MessageFields {
        body: b"x",
        ..MessageFields::default()
    })
    .expect("a message");
    let run = scan(run.take().0, RunLimits::default()).expect("a run");
    let ticket = ProducerTicket {
        producer: 1,
        sequence: 1,
    };
    ask(
        &mut core,
        origin(1, 3),
        Request::Publish {
            name: jobs(),
            ticket,
            level: None,
            run,
        },
    );
    let deeds = commit(&mut core, NOW);
    assert!(
        deeds.iter().any(|deed| matches!(deed, Deed::Place(_))),
        "{deeds:?}"
    );
    core
}

fn consume(core: &mut Core) {
    let consume = Consume {
        ack_on_delivery: false,
        address: jobs().into(),
        consumer: 7,
        credit_messages: 10,
        credit_bytes: 1 << 20,
        visibility_timeout_ms: None,
    };
    ask(core, origin(1, 9), Request::Consume(consume));
}

#[test]
fn each_outcome_goes_to_whoever_asked_for_that_command() {
    let mut core = started();
    for session in [5, 6, 7] {
        core.input(
            NOW,
            Input::Opened {
                session,
                holder: "me".into(),
                marks_started: false,
            },
        );
        ask(
            &mut core,
            origin(session, 10 + session),
            Request::OpenProducer,
        );
    }
    assert!(
        core.deeds().next().is_none(),
        "nothing is answered before the commit"
    );
    assert!(core.open().is_awaited());
    let deeds = commit(&mut core, NOW);
    let answered = [(5, 1), (6, 2), (7, 3)].map(|(session, producer)| {
        Deed::Answer(
            origin(session, 10 + session),
            Ok(Answer::ProducerOpened(producer)),
        )
    });
    let released = [5, 6, 7].map(|session| Deed::Release(session, 100));
    assert_eq!(
        deeds,
        answered.into_iter().chain(released).collect::<Vec<_>>()
    );
}

#[test]
fn a_request_that_logs_nothing_is_over_at_once() {
    let mut core = started();
    core.input(
        NOW,
        Input::Opened {
            session: 1,
            holder: "me".into(),
            marks_started: false,
        },
    );
    ask(
        &mut core,
        origin(1, 4),
        Request::Describe {
            address: jobs().into(),
        },
    );
    let deeds: Vec<_> = core.deeds().collect();
    assert!(
        matches!(deeds[0], Deed::Answer(to, Err(_)) if to == origin(1, 4)),
        "{deeds:?}"
    );
    assert_eq!(deeds[1..], [Deed::Release(1, 100)]);
    assert!(core.open().is_empty());
}

#[test]
fn a_lease_is_handed_out_at_once_and_its_note_waits_5_ms_for_company() {
    let mut core = with_a_message();
    consume(&mut core);
    core.dispatch(NOW);
    let deeds: Vec<_> = core.deeds().collect();
    assert!(
        deeds.iter().any(|deed| matches!(deed, Deed::Deliver(_))),
        "{deeds:?}"
    );
    assert!(!core.open().is_empty() && !core.open().is_awaited());
    assert_eq!(core.wake_at(), Some(NOW.plus_ms(LAZY_MS)));
    assert!(!core.lazy_is_due(NOW.plus_ms(LAZY_MS - 1)));
    assert!(core.lazy_is_due(NOW.plus_ms(LAZY_MS)));
    // Company comes: the note rides with it.
    ask(&mut core, origin(1, 20), Request::OpenProducer);
    assert!(core.open().is_awaited());
    assert_eq!(core.close_group(NOW).entry.commands.len(), 2);
}

#[test]
fn what_a_closed_session_held_is_returned_by_a_commit_that_nobody_is_answered_for() {
    let mut core = with_a_message();
    consume(&mut core);
    core.dispatch(NOW);
    commit(&mut core, NOW);
    core.input(NOW, Input::Closed { session: 1 });
    assert!(core.open().is_awaited());
    let pending = core.close_group(NOW);
    assert_eq!(pending.waiters, [None]);
}

#[test]
fn a_replayed_log_makes_the_same_snapshot_as_the_live_one() {
    let mut live = started();
    let mut log = Vec::new();
    live.input(
        NOW,
        Input::Opened {
            session: 1,
            holder: "me".into(),
            marks_started: false,
        },
    );
    let settings = QueueSettings::parse(None).expect("defaults");
    ask(
        &mut live,
        origin(1, 1),
        Request::CreateQueue {
            name: jobs(),
            settings: Box::new(settings),
        },
    );
    let pending = live.close_group(NOW.plus_ms(1));
    live.committed(NOW.plus_ms(1), &pending, Level::Synced);
    log.push(pending.entry);
    let mut again = started();
    for entry in &log {
        again.replay(entry);
    }
    assert_eq!(again.snapshot(), live.snapshot());
    assert_eq!(again.last_now(), NOW.plus_ms(1));
}
