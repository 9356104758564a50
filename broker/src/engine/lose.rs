//! What a salvage could not keep: counted, told as a gap, and never handed over.

use siding_protocol::types::OffsetRange;

use super::command::Lose;
use super::effect::{Effect, Effects};
use super::log::Change;
use super::runs::RangeSet;
use super::state::{Outcome, State};
use super::subscription::{Context, Subscription};
use super::touched::Touched;

impl State {
    /// The messages leave every subscription that has not let go of them.
    pub(super) fn lose(
        &mut self,
        lose: &Lose,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Outcome {
        self.last_id = self.last_id.max(lose.last_id);
        let log = self.logs.get_mut(&lose.log)?;
        let (id, end) = (log.id, log.end);
        for range in lose.ranges.iter().map(|range| OffsetRange::from(*range)) {
            log.end = log.end.max(range.end);
            log.lost.add(range.clone());
            let log = id;
            effects.push(Effect::Discard { log, range });
        }
        let passed = end..log.end;
        for reader in log.subscriptions.clone() {
            self.change(reader, effects, touched, |found, _| {
                found.pass_over(passed.clone());
            });
            self.lose_again(reader, effects, touched);
        }
        None
    }

    /// A subscription has come to what is lost of its log.
    pub(super) fn lose_again(&mut self, id: u64, effects: &mut Effects, touched: &mut Touched) {
        let log = self.subscriptions.get(&id).map(|found| found.log);
        let Some(log) = log.and_then(|log| self.logs.get(&log)) else {
            return;
        };
        if log.lost.is_empty() {
            return;
        }
        let lost: Vec<_> = log.lost.ranges().collect();
        self.change(id, effects, touched, |found, context| {
            for range in lost {
                found.lose_all(range, context);
            }
        });
    }
}

impl Subscription {
    /// Messages that it never saw.
    fn pass_over(&mut self, range: OffsetRange) {
        if !range.is_empty() {
            self.salvage_lost += range.end - range.start;
            self.gaps.add(range);
        }
    }

    /// Whatever of `range` it has leaves, from wherever it is.
    fn lose_all(&mut self, range: OffsetRange, context: &mut Context<'_>) {
        let held = self.held_within(range.clone());
        self.end_leases(range.clone());
        let dead = self.dead.overlap(range).map(|(part, _)| part);
        let dead: RangeSet = dead.collect();
        for part in dead.ranges() {
            self.bury(part.clone());
            context.changes.push(Change::DeadGone(part));
        }
        for part in held.ranges() {
            for part in dead.gaps(part.clone()) {
                self.withdraw(part.clone());
                context.changes.push(Change::Gone(part));
            }
            self.forget(part.clone());
            self.pass_over(part);
        }
    }

    /// Nobody holds any of `range` any more.
    fn end_leases(&mut self, range: OffsetRange) {
        let held = self.leases.iter().map(|(grant, lease)| {
            let parts = lease.ranges.overlap(range.clone());
            (*grant, parts.map(|(part, _)| part).collect::<Vec<_>>())
        });
        for (grant, parts) in held.collect::<Vec<_>>() {
            self.take_from_lease(grant, parts.into_iter());
        }
    }
}

#[cfg(test)]
mod tests {
    use siding_protocol::settings::{DeliverySettings, QueueSettings, TopicSettings};
    use siding_protocol::types::Timestamp;

    use super::*;
    use crate::engine::Engine;
    use crate::engine::command::{
        Command, CreateQueue, CreateSubscription, CreateTopic, Empty, Entry, Lease, LoggedRange,
        Piece, Place, Publish, Seek,
    };
    use crate::engine::seed::Seed;

    const FROM_THE_START: Place = Place {
        offset: Some(0),
        at_ms: None,
    };

    fn apply(engine: &mut Engine, command: Command, runs: usize) {
        let entry = Entry {
            now: Timestamp(1_000),
            commands: vec![command],
            runs: vec![bytes::Bytes::from_static(b"12345678"); runs],
        };
        let mut effects = Effects::default();
        engine.apply(&entry, &mut effects);
        assert!(engine.state().books_balance());
        let mut bytes = bytes::BytesMut::new();
        engine.snapshot(&mut bytes);
        let again = Engine::restore(&bytes).expect("a snapshot");
        assert_eq!(again.digest(), engine.digest());
    }

    fn publish(sequence: u64) -> Command {
        Command::Publish(Publish {
            log: 1,
            producer: 3,
            sequence,
            pieces: vec![Piece { count: 4, bytes: 8 }],
            ..Publish::default()
        })
    }

    fn lose(log: u64, first: u64, count: u64) -> Command {
        Command::Lose(Lose {
            log,
            ranges: vec![LoggedRange { first, count }],
            last_id: 900,
        })
    }

    fn subscribe(log: u64, name: &str) -> Command {
        Command::CreateSubscription(Box::new(CreateSubscription {
            log,
            name: name.into(),
            settings: DeliverySettings::parse(None).expect("defaults"),
            start: FROM_THE_START,
        }))
    }

    #[test]
    fn what_is_lost_leaves_from_wherever_it_is_and_is_told_to_whoever_comes_later() {
        let mut engine = Engine::new();
        let topic = Command::CreateTopic(CreateTopic {
            name: "events".into(),
            settings: TopicSettings::parse(None).expect("defaults"),
            seed: Seed::default(),
        });
        apply(&mut engine, topic, 0);
        apply(&mut engine, subscribe(1, "early"), 0);
        apply(&mut engine, Command::OpenProducer(Empty {}), 0);
        apply(&mut engine, publish(1), 1);
        let lease = Command::Lease(Lease {
            subscription: 2,
            term: 1,
            counter: 1,
            ranges: vec![LoggedRange { first: 0, count: 2 }],
            deadline_ms: 60_000,
            visibility_timeout_ms: 30_000,
            ..Lease::default()
        });
        apply(&mut engine, lease, 0);
        // One that is leased, one that waits, and three that nobody knows of any more.
        apply(&mut engine, lose(1, 1, 2), 0);
        apply(&mut engine, lose(1, 4, 3), 0);
        apply(&mut engine, publish(2), 1);
        let books = |engine: &Engine, id| {
            let books = engine.state().subscriptions[&id].books(11);
            (books.ready, books.leased, books.salvage_lost)
        };
        assert_eq!(books(&engine, 2), (5, 1, 5));
        apply(&mut engine, subscribe(1, "late"), 0);
        assert_eq!(books(&engine, 901), (6, 0, 5), "no id is given again");
        let gaps = engine.state().subscriptions[&901].gaps.ranges();
        assert_eq!(gaps.collect::<Vec<_>>(), [1..3, 4..7]);
        let seek = Command::Seek(Seek {
            subscription: 2,
            place: FROM_THE_START,
        });
        apply(&mut engine, seek, 0);
        assert_eq!(books(&engine, 2), (6, 0, 5));
    }

    #[test]
    fn a_queue_that_keeps_what_has_left_does_not_bring_back_what_is_lost() {
        let mut engine = Engine::new();
        let settings = QueueSettings {
            retain_settled_ms: 3_600_000,
            ..QueueSettings::parse(None).expect("defaults")
        };
        let queue = Command::CreateQueue(Box::new(CreateQueue {
            name: "jobs".into(),
            settings,
            seed: Seed::default(),
        }));
        apply(&mut engine, queue, 0);
        apply(&mut engine, Command::OpenProducer(Empty {}), 0);
        apply(&mut engine, publish(1), 1);
        apply(&mut engine, lose(1, 0, 1), 0);
        let seek = Command::Seek(Seek {
            subscription: 2,
            place: FROM_THE_START,
        });
        apply(&mut engine, seek, 0);
        let books = engine.state().subscriptions[&2].books(4);
        assert_eq!((books.ready, books.salvage_lost), (3, 1));
        assert_eq!(engine.state().logs[&1].messages, 3);
    }
}
