use siding_protocol::request::{Consume, ProducerTicket};
use siding_protocol::run::{MessageFields, RunBuilder, RunLimits, scan};
use siding_protocol::settings::{DeliverySettings, QueueSettings, TopicSettings};
use siding_protocol::wire;

use super::*;
use crate::engine::effect::Delivery;
use crate::engine::entry::Entry;

const NOW: Timestamp = Timestamp(1_000);

/// An engine whose proposals wait until they are committed.
#[derive(Default)]
struct Bench {
    engine: Engine,
    effects: Effects,
    open: Entry,
    deliveries: Vec<Delivery>,
    answers: Vec<Result<Answer, Refusal>>,
}

impl Bench {
    fn ask(&mut self, request: Request) {
        let origin = Origin {
            session: 1,
            correlation: 1,
        };
        self.engine.handle(NOW, origin, request, &mut self.effects);
        self.sort();
    }

    /// Closes what is open, as it is handed to the disk.
    fn close_group(&mut self) -> Entry {
        Entry {
            now: NOW,
            ..std::mem::take(&mut self.open)
        }
    }

    fn apply(&mut self, entry: &Entry) {
        self.engine.apply(entry, &mut self.effects);
        self.engine.dispatch(NOW, &mut self.effects);
        self.sort();
    }

    fn commit(&mut self) {
        let entry = self.close_group();
        self.apply(&entry);
    }

    fn sort(&mut self) {
        for effect in self.effects.drain() {
            match effect {
                Effect::Propose { command, runs, .. } => {
                    self.open.commands.push(command);
                    self.open.runs.extend(runs);
                }
                Effect::Reply(_, answer) | Effect::Outcome(_, answer) => {
                    self.answers.push(answer);
                }
                Effect::Deliver(delivery) => self.deliveries.push(delivery),
                _ => {}
            }
        }
    }
}

fn publish(sequence: u64) -> Request {
    let limits = RunLimits {
        body_bytes_max: 100,
    };
    let mut run = RunBuilder::new(limits);
    run.push(&MessageFields {
        body: b"work",
        ..MessageFields::default()
    })
    .unwrap();
    let run = scan(run.take().0, limits).unwrap();
    let ticket = ProducerTicket {
        producer: 3,
        sequence,
    };
    Request::Publish {
        name: "jobs".parse().unwrap(),
        ticket,
        level: None,
        run,
    }
}

#[test]
fn a_retry_is_not_refused_as_busy_while_its_first_attempt_is_on_its_way_to_the_disk() {
    let mut bench = Bench::default();
    bench.engine.open_session(1, "holder", false);
    bench.engine.start(&mut bench.effects);
    bench.sort();
    let settings = wire::QueueSettings {
        max_messages: Some(2),
        ..Default::default()
    };
    let settings = QueueSettings::parse(Some(settings)).unwrap();
    bench.ask(Request::CreateQueue {
        name: "jobs".parse().unwrap(),
        settings: Box::new(settings),
    });
    bench.ask(Request::OpenProducer);
    bench.commit();
    bench.ask(Request::Consume(Consume {
        ack_on_delivery: false,
        address: "jobs".parse().unwrap(),
        consumer: 1,
        credit_messages: 1,
        credit_bytes: 1_000,
        visibility_timeout_ms: None,
    }));
    bench.ask(publish(1));
    bench.commit();
    // The first group fills the queue; the second makes room, and takes it.
    bench.ask(publish(2));
    let first = bench.close_group();
    bench.ask(Request::Settle(request::Settle {
        rider: None,
        address: "jobs".parse().unwrap(),
        grant: bench.deliveries[0].grant,
        ranges: std::iter::once(0..1).collect(),
        action: Action::Ack,
    }));
    bench.ask(publish(3));
    let second = bench.close_group();
    bench.apply(&first);
    bench.answers.clear();
    bench.ask(publish(3));
    assert_eq!(bench.answers, [], "neither stored nor refused is true yet");
    bench.apply(&second);
    bench.commit();
    let stored: Vec<_> = bench
        .answers
        .iter()
        .filter_map(|answer| match answer {
            Ok(Answer::Confirm(confirm)) => Some(confirm.first_offset),
            _ => None,
        })
        .collect();
    assert_eq!(stored, [2, 2]);
}

#[test]
fn what_filters_say_is_left_for_later_where_it_makes_an_entry_too_large() {
    let mut bench = Bench::default();
    bench.engine.open_session(1, "holder", false);
    bench.engine.start(&mut bench.effects);
    bench.sort();
    bench.ask(Request::CreateTopic {
        name: "jobs".parse().unwrap(),
        settings: TopicSettings::parse(None).unwrap(),
    });
    bench.ask(Request::OpenProducer);
    bench.commit();
    for number in 0..50 {
        let settings = wire::DeliverySettings {
            filter: format!("routing_key eq k{number}"),
            ..Default::default()
        };
        bench.ask(Request::CreateSubscription {
            address: format!("jobs/s{number}").parse().unwrap(),
            settings: Box::new(DeliverySettings::parse(Some(settings)).unwrap()),
            start: StartAt::Latest,
        });
    }
    bench.commit();
    let producer = bench.engine.state().producers.0.keys().next().copied();
    let mut proposed = |entry_bytes_max| {
        bench.engine.limit_entries(entry_bytes_max);
        bench.answers.clear();
        let Request::Publish {
            name,
            level,
            run,
            mut ticket,
        } = publish(1)
        else {
            panic!("a publish");
        };
        ticket.producer = producer.unwrap();
        bench.ask(Request::Publish {
            name,
            ticket,
            level,
            run,
        });
        let commands = std::mem::take(&mut bench.open).commands;
        let verdicts = commands.iter().flat_map(Command::publishes);
        let verdicts: Vec<_> = verdicts.map(|publish| publish.verdicts.len()).collect();
        (verdicts, bench.answers.len())
    };
    assert_eq!(proposed(1_000), (vec![50], 0));
    assert_eq!(proposed(200), (vec![0], 0));
    assert_eq!(proposed(10), (Vec::new(), 1));
}
