//! What waits costs nothing each, unless it is different.

use siding_broker::engine::command::{Command, Empty, Entry, Piece, Publish};
use siding_broker::engine::effect::{Effect, Effects, Origin};
use siding_broker::engine::{Engine, subscription};
use siding_protocol::request::Request;
use siding_protocol::settings::QueueSettings;
use siding_protocol::types::Timestamp;

fn commit(engine: &mut Engine, command: Command) {
    let entry = Entry {
        now: Timestamp(1_000),
        commands: vec![command],
        ..Entry::default()
    };
    engine.apply(&entry, &mut Effects::default());
}

#[test]
fn five_million_plain_ready_messages_cost_no_state_each() {
    let mut engine = Engine::new();
    commit(&mut engine, Command::OpenProducer(Empty {}));
    let create = Request::CreateQueue {
        name: "jobs".parse().expect("a name"),
        settings: Box::new(QueueSettings::parse(None).expect("defaults are valid")),
    };
    let mut effects = Effects::default();
    let from = Origin {
        session: 1,
        correlation: 1,
    };
    engine.handle(Timestamp(1_000), from, create, &mut effects);
    for effect in effects.drain() {
        if let Effect::Propose { command, .. } = effect {
            commit(&mut engine, command);
        }
    }
    let log = *engine.state().names.get("jobs").expect("the queue");
    for sequence in 1..=5_000 {
        let piece = Piece {
            count: 1_000,
            bytes: 10_000,
        };
        let publish = Publish {
            log,
            producer: 1,
            sequence,
            pieces: vec![piece],
            ..Publish::default()
        };
        commit(&mut engine, Command::Publish(publish));
    }
    let mut all = engine.state().subscriptions.values();
    let found = all.next().expect("its subscription");
    assert_eq!(found.ready.count(), 5_000_000);
    assert_eq!(found.ready.pieces(), 1);
    assert!(found.attributes.is_empty() && found.exceptions.is_empty());
    assert!(found.lapsed.is_empty() && found.lanes.is_empty());
}

#[test]
fn a_message_behind_others_of_its_key_costs_sixteen_bytes_in_its_line() {
    assert_eq!(size_of::<(u64, siding_broker::engine::lanes::Turn)>(), 16);
    assert_eq!(size_of::<subscription::Exception>(), 16);
    assert_eq!(size_of::<subscription::Attributes>(), 16);
}
