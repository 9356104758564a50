//! The resolver with reads that the test brings back when it likes.

use siding_protocol::refusal::State;
use siding_protocol::run::{MessageFields, RunBuilder, RunLimits, messages};
use siding_protocol::types::{Grant, OffsetRange, Timestamp};

use super::*;
use crate::storage::bodies::{Budgets, Placed};
use crate::storage::{Damage, FileId};

/// A log of which each record holds ten messages; body = offset as text.
struct World {
    bodies: Bodies,
    resolver: Resolver,
    out: Vec<Resolved>,
    journal: BTreeMap<RecordAt, Bytes>,
}

/// First offset, count, attempt, publish time and slices of a batch.
type Taken = (u64, u32, u32, u64, usize);

const LOG: u64 = 7;

fn run_of(offsets: std::ops::Range<u64>) -> Bytes {
    let mut builder = RunBuilder::new(RunLimits::default());
    for offset in offsets {
        let body = offset.to_string();
        let fields = MessageFields {
            body: body.as_bytes(),
            ..MessageFields::default()
        };
        builder.push(&fields).expect("fits");
    }
    builder.take().0
}

fn damaged() -> StorageError {
    StorageError::Damaged {
        path: "7.journal".into(),
        bytes: 1..2,
        damage: Damage::Record,
    }
}

impl World {
    /// `records` records; the bodies of those from `fresh` on are in memory. Every two records were
    /// stored in the same millisecond.
    fn new(records: u64, fresh: u64) -> Self {
        let mut world = Self {
            bodies: Bodies::new(Budgets::default()),
            resolver: Resolver::default(),
            out: Vec::new(),
            journal: BTreeMap::new(),
        };
        for record in 0..records {
            let run = run_of(record * 10..record * 10 + 10);
            let length = u32::try_from(run.len()).unwrap();
            let placed = Placed {
                log: LOG,
                first: record * 10,
                count: 10,
                published_at: Timestamp(100 + record / 2),
                record: Self::record(record, length),
                start: 0,
                bytes: length,
            };
            world.journal.insert(placed.record, run.clone());
            world.bodies.place(placed, (record >= fresh).then_some(run));
        }
        world
    }

    fn record(number: u64, length: u32) -> RecordAt {
        RecordAt {
            file: FileId::Journal(1),
            position: 4096 + number * 1024,
            length,
        }
    }

    fn deliver(&mut self, consumer: u32, ranges: &[(OffsetRange, u32)]) {
        let delivery = Delivery {
            gap: None,
            to: DeliverTo::Consumer {
                session: 1,
                consumer,
            },
            log: LOG,
            subscription: 9,
            grant: Grant {
                term: 1,
                counter: 2,
            },
            deadline: Timestamp(30_000),
            ranges: ranges.to_vec(),
            checkpoints: Vec::new(),
        };
        self.resolver
            .deliver(&mut self.bodies, delivery, &mut self.out);
    }

    fn fetched(&mut self, record: RecordAt) {
        let payload = Ok(self.journal[&record].clone());
        let result = self
            .resolver
            .fetched(&mut self.bodies, record, payload, &mut self.out);
        result.expect("no failure");
    }

    fn fetch_all(&mut self) -> usize {
        let mut reads = 0;
        while let Some(record) = self.resolver.next_read() {
            self.fetched(record);
            reads += 1;
        }
        reads
    }

    /// What came out: consumer and batches. Bodies are checked on the way.
    fn taken(&mut self) -> Vec<(u32, Vec<Taken>)> {
        let mut taken = Vec::new();
        for resolved in self.out.drain(..) {
            let Resolved::Delivery { to, batches, .. } = resolved else {
                panic!("a delivery");
            };
            let consumer = match to {
                DeliverTo::Consumer { consumer, .. } => consumer,
                DeliverTo::Receive(_) => 0,
            };
            let batches = batches.iter().map(|BatchParts { head, run }| {
                let run_bytes = run.concat();
                let found: Vec<_> = messages(&run_bytes).map(|m| m.body().to_vec()).collect();
                let offsets = head.first_offset..head.first_offset + u64::from(head.count);
                let expected: Vec<_> = offsets.map(|o| o.to_string().into_bytes()).collect();
                assert_eq!(found, expected);
                assert_eq!((head.log_id, head.deadline_ms), (LOG, 30_000));
                assert_eq!(
                    head.grant.map(|grant| (grant.term, grant.counter)),
                    Some((1, 2))
                );
                let time = head.published_at_ms;
                (head.first_offset, head.count, head.attempt, time, run.len())
            });
            taken.push((consumer, batches.collect()));
        }
        taken
    }
}

#[test]
fn a_batch_ends_where_attempt_or_publish_time_change_or_offsets_are_missing() {
    let mut world = World::new(4, 0);
    world.deliver(3, &[(0..25, 1), (25..27, 2), (28..30, 2)]);
    let batches = vec![
        (0, 20, 1, 100, 2),
        (20, 5, 1, 101, 1),
        (25, 2, 2, 101, 1),
        (28, 2, 2, 101, 1),
    ];
    assert_eq!(world.taken(), [(3, batches)]);
}

#[test]
fn fresh_bodies_are_delivered_at_once_and_without_a_copy() {
    let mut world = World::new(2, 0);
    world.deliver(1, &[(10..20, 1)]);
    let run = world.journal.values().nth(1).cloned().unwrap();
    let Some(Resolved::Delivery { batches, .. }) = world.out.first() else {
        panic!("resolved");
    };
    assert_eq!(batches[0].run[0].as_ptr(), run.as_ptr());
    assert_eq!(world.resolver.next_read(), None);
}

#[test]
fn a_delivery_that_waits_for_a_read_is_not_overtaken_by_later_ones_of_its_consumer() {
    let mut world = World::new(20, 10);
    world.deliver(1, &[(0..5, 1)]);
    world.deliver(1, &[(100..105, 1)]);
    world.deliver(2, &[(110..115, 1)]);
    world.deliver(1, &[(50..55, 1)]);
    assert_eq!(
        world.taken(),
        [(2, vec![(110, 5, 1, 105, 1)])],
        "another one is served"
    );
    assert_eq!(world.resolver.waiting(), 3);
    assert!(world.fetch_all() > 0);
    let firsts: Vec<_> = world
        .taken()
        .iter()
        .map(|(c, batches)| (*c, batches[0].0))
        .collect();
    assert_eq!(firsts, [(1, 0), (1, 100), (1, 50)]);
    assert_eq!(world.resolver.waiting(), 0);
}

#[test]
fn what_several_wait_for_is_read_once() {
    let mut world = World::new(1, 1);
    for consumer in 1..=3 {
        let first = u64::from(consumer);
        world.deliver(consumer, &[(first..first + 1, 1)]);
    }
    assert_eq!(world.fetch_all(), 1);
    assert_eq!(world.taken().len(), 3);
}

#[test]
fn what_somebody_waits_for_is_read_before_what_may_be_needed_later() {
    let mut world = World::new(40, 40);
    world.deliver(1, &[(0..5, 1)]);
    world.deliver(2, &[(200..205, 1)]);
    let reads: Vec<_> = std::iter::from_fn(|| world.resolver.next_read()).collect();
    let numbers: Vec<_> = reads.iter().map(|at| (at.position - 4096) / 1024).collect();
    assert_eq!(
        numbers,
        [0, 20, 1, 2, 3, 4, 5, 6],
        "as many as may be on their way"
    );
    world.fetched(reads[1]);
    assert_eq!(world.taken()[0].0, 2);
}

#[test]
fn bytes_on_their_way_are_bounded_and_a_larger_record_goes_alone() {
    let mut resolver = Resolver::default();
    let mut record = |number, mib: u32| {
        let at = World::record(number, mib << 20);
        resolver.want(&[at]);
        at
    };
    let [first, second, large] = [record(1, 10), record(2, 6), record(3, 20)];
    assert_eq!(resolver.next_read(), Some(first));
    assert_eq!(resolver.next_read(), Some(second));
    assert_eq!(resolver.next_read(), None);
    let mut bodies = Bodies::new(Budgets::default());
    for done in [first, second] {
        let result = resolver.fetched(&mut bodies, done, Ok(Bytes::new()), &mut Vec::new());
        result.expect("no failure");
    }
    assert_eq!(resolver.next_read(), Some(large));
}

#[test]
fn order_holds_for_every_consumer_whatever_order_reads_come_back_in() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut world = World::new(40, 30);
        let (mut sent, mut flying) = (vec![Vec::new(); 4], Vec::new());
        for _ in 0..60 {
            let consumer = rng.u32(..4);
            let first = rng.u64(..390);
            world.deliver(consumer, &[(first..first + rng.u64(1..10), 1)]);
            sent[consumer as usize].push(first);
            while rng.bool()
                && let Some(record) = world.resolver.next_read()
            {
                flying.push(record);
                assert!(flying.len() <= READS_MAX);
            }
            if rng.bool() && !flying.is_empty() {
                let record = flying.swap_remove(rng.usize(..flying.len()));
                world.fetched(record);
            }
        }
        for record in flying {
            world.fetched(record);
        }
        world.fetch_all();
        let mut came = vec![Vec::new(); 4];
        for (consumer, batches) in world.taken() {
            came[consumer as usize].push(batches[0].0);
        }
        assert_eq!(came, sent, "seed {seed}");
        assert_eq!(world.resolver.waiting(), 0);
    }
}

#[test]
fn a_delivery_ends_before_what_cannot_be_read_and_that_is_reported() {
    let mut world = World::new(4, 3);
    world.deliver(1, &[(5..35, 1)]);
    let first = world.resolver.next_read().expect("a read");
    world.fetched(first);
    let second = world.resolver.next_read().expect("a read");
    let result = world
        .resolver
        .fetched(&mut world.bodies, second, Err(damaged()), &mut world.out);
    let unread = result.expect_err("it is damaged");
    assert!(unread.is_final, "{unread:?}");
    world.fetch_all();
    assert_eq!(world.taken(), [(1, vec![(5, 5, 1, 100, 1)])]);
}

fn refused() -> StorageError {
    StorageError::Io {
        action: "read",
        path: "journal".into(),
        source: std::io::ErrorKind::Other.into(),
    }
}

#[test]
fn what_the_disk_refuses_once_is_read_again_and_nothing_of_the_delivery_is_left_out() {
    let mut world = World::new(4, 3);
    world.deliver(1, &[(5..35, 1)]);
    let first = world.resolver.next_read().expect("a read");
    for _ in 1..TRIES_MAX {
        let result =
            world
                .resolver
                .fetched(&mut world.bodies, first, Err(refused()), &mut world.out);
        assert!(result.is_err_and(|unread| !unread.is_final));
        while let Some(other) = world.resolver.next_read() {
            assert_ne!(other, first, "not before some time has passed");
            world.fetched(other);
        }
        assert!(world.taken().is_empty(), "it waits");
        world.resolver.read_again();
        assert_eq!(world.resolver.next_read(), Some(first));
    }
    world.fetched(first);
    world.fetch_all();
    let batches = world.taken().into_iter().flat_map(|(_, batches)| batches);
    assert_eq!(batches.map(|batch| u64::from(batch.1)).sum::<u64>(), 30);
}

#[test]
fn what_the_disk_refuses_again_and_again_cannot_be_read() {
    let mut world = World::new(4, 3);
    world.deliver(1, &[(5..35, 1)]);
    let first = world.resolver.next_read().expect("a read");
    let mut tries = 1;
    while world
        .resolver
        .fetched(&mut world.bodies, first, Err(refused()), &mut world.out)
        .is_err_and(|unread| !unread.is_final)
    {
        tries += 1;
        world.resolver.read_again();
    }
    assert_eq!(tries, TRIES_MAX);
    assert_eq!(world.resolver.waiting(), 0);
}

#[test]
fn a_failed_read_of_what_nobody_needs_any_more_is_no_error() {
    let mut world = World::new(2, 2);
    world.deliver(1, &[(0..10, 1)]);
    let read = world.resolver.next_read().expect("a read");
    world.bodies.discard(LOG, &(0..10));
    let gone = Err(StorageError::Retired {
        file: FileId::Journal(1),
    });
    let result = world
        .resolver
        .fetched(&mut world.bodies, read, gone, &mut world.out);
    assert!(
        result.is_ok() && world.out.is_empty(),
        "a push of nothing is not sent"
    );
    assert_eq!(world.resolver.waiting(), 0);
}

#[test]
fn what_waits_for_a_closed_connection_is_dropped() {
    let mut world = World::new(2, 2);
    world.deliver(1, &[(0..10, 1)]);
    world.deliver(2, &[(0..10, 1)]);
    world.resolver.closed(1);
    assert_eq!(world.resolver.waiting(), 0);
    world.fetch_all();
    assert!(world.out.is_empty());
}

#[test]
fn an_answer_of_nothing_is_still_an_answer() {
    let mut world = World::new(1, 0);
    let to = Origin {
        session: 1,
        correlation: 4,
    };
    let delivery = Delivery {
        gap: None,
        to: DeliverTo::Receive(to),
        log: LOG,
        subscription: 9,
        grant: Grant::default(),
        deadline: Timestamp(0),
        ranges: Vec::new(),
        checkpoints: Vec::new(),
    };
    world
        .resolver
        .deliver(&mut world.bodies, delivery, &mut world.out);
    assert_eq!(world.taken(), [(0, Vec::new())]);
}

#[test]
fn a_browse_ends_before_it_is_too_large_for_a_frame() {
    let mut world = World::new(0, 0);
    let mut builder = RunBuilder::new(RunLimits::default());
    let body = vec![1; 1 << 20];
    let fields = MessageFields {
        body: &body,
        ..MessageFields::default()
    };
    builder.push(&fields).expect("fits");
    let (run, _) = builder.take();
    let length = u32::try_from(run.len()).unwrap();
    let mut found = Vec::new();
    for offset in 0..10 {
        let placed = Placed {
            log: LOG,
            first: offset,
            count: 1,
            published_at: Timestamp(1),
            record: World::record(offset, length),
            start: 0,
            bytes: length,
        };
        world.bodies.place(placed, Some(run.clone()));
        found.push(Found {
            offset,
            state: State::Ready,
            attempts: 0,
            at: Timestamp(0),
            reason: "",
            detail: String::new(),
            holder: String::new(),
        });
    }
    let to = Origin {
        session: 1,
        correlation: 4,
    };
    world
        .resolver
        .browse(&mut world.bodies, (to, LOG), found, &mut world.out);
    let Some(Resolved::Browsed { answer, .. }) = world.out.pop() else {
        panic!("a browse");
    };
    assert_eq!(answer.messages.len(), 8);
}

#[test]
fn a_browse_gives_each_message_found_with_its_body_and_state() {
    let mut world = World::new(3, 2);
    let to = Origin {
        session: 1,
        correlation: 4,
    };
    let found = [3, 12, 25].map(|offset| Found {
        offset,
        state: State::Dead,
        attempts: 2,
        at: Timestamp(77),
        reason: "rejected",
        detail: format!("detail of {offset}"),
        holder: String::new(),
    });
    world
        .resolver
        .browse(&mut world.bodies, (to, LOG), found.to_vec(), &mut world.out);
    assert!(world.out.is_empty());
    world.fetch_all();
    let Some(Resolved::Browsed { to: asked, answer }) = world.out.pop() else {
        panic!("a browse");
    };
    assert_eq!(asked, to);
    for (message, offset) in answer.messages.iter().zip([3_u64, 12, 25]) {
        let batch = message.batch.as_ref().expect("a batch");
        assert_eq!(
            (batch.first_offset, batch.count, batch.log_id),
            (offset, 1, LOG)
        );
        assert_eq!(
            messages(&batch.run).next().unwrap().body(),
            offset.to_string().as_bytes()
        );
        assert_eq!(message.state, i32::from(State::Dead.to_wire()));
        assert_eq!((message.attempts, message.at_ms), (2, 77));
        assert_eq!(message.detail, format!("detail of {offset}"));
    }
    assert_eq!(answer.messages.len(), 3);
}

#[test]
fn what_goes_after_a_later_offset_is_read_and_handed_over_too() {
    let mut world = World::new(4, 4);
    world.deliver(1, &[(25..27, 1), (3..5, 2), (14..15, 1)]);
    assert!(world.fetch_all() >= 3, "and what may be needed soon");
    let batches = [(25, 2, 1, 101, 1), (3, 2, 2, 100, 1), (14, 1, 1, 100, 1)];
    assert_eq!(world.taken(), [(1, batches.into())]);
}
