//! One step of a random life; small numbers choose among what there is.

use proptest::prelude::*;

use super::choices::{KINDS, NAMINGS, QUEUES};

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    CreateQueue {
        name: usize,
        settings: usize,
    },
    CreateTopic {
        name: usize,
        retention: usize,
    },
    CreateSubscription {
        address: usize,
        settings: usize,
        start: u64,
        filter: usize,
    },
    Delete {
        address: usize,
        whole: bool,
    },
    Publish(Publish),
    /// What was published last, after a while, as if it were new.
    PublishAgain {
        after: usize,
    },
    Consume {
        session: u64,
        number: u32,
        address: usize,
        credit: u32,
        at_most_once: bool,
    },
    Stop {
        session: u64,
        number: u32,
    },
    Receive {
        session: u64,
        address: usize,
        max: u32,
        wait: usize,
        /// Bytes of its name.
        request_id: usize,
    },
    Started {
        session: u64,
        settle: Settle,
    },
    Settle {
        session: u64,
        settle: Settle,
    },
    Transaction {
        publishes: Vec<Publish>,
        settles: Vec<Settle>,
        cancels: Vec<(usize, u64)>,
    },
    Cancel {
        address: usize,
        offset: u64,
    },
    Schedule(Schedule),
    Unschedule {
        name: usize,
    },
    Run {
        name: usize,
    },
    Job {
        session: u64,
        address: usize,
        offset: u64,
        /// 0: just a look.
        wait: usize,
    },
    Purge {
        address: usize,
        filter: usize,
        limit: u64,
    },
    Redrive {
        address: usize,
        limit: u64,
        rate: usize,
        dry_run: bool,
    },
    StopRedrive {
        address: usize,
    },
    PauseName {
        address: usize,
        paused: bool,
    },
    DropDead {
        address: usize,
        limit: u64,
        dry_run: bool,
    },
    Look {
        address: usize,
        state: usize,
    },
    Close {
        session: u64,
    },
    Pause {
        session: u64,
        paused: bool,
    },
    Advance {
        ms: usize,
    },
    Jump {
        ms: usize,
    },
    Notes {
        mode: usize,
    },
    Pipeline {
        on: bool,
    },
    Disk {
        slow: bool,
    },
    Seek {
        address: usize,
        place: usize,
        offset: u64,
    },
    Flush,
    Restart {
        downtime: usize,
        lost: usize,
        kept: usize,
        snapshot: Option<usize>,
    },
}

/// Some messages for one name.
#[derive(Clone, Debug)]
pub(super) struct Publish {
    pub(super) name: usize,
    pub(super) count: u32,
    pub(super) size: usize,
    pub(super) producer: usize,
    /// 0: the next sequence; else so many back from the last.
    pub(super) back: u64,
    /// What its messages ask for, in turns.
    pub(super) kinds: (usize, usize),
    /// Confirmed before it is synced.
    pub(super) written: bool,
    /// How its messages are named for dedup.
    pub(super) naming: usize,
}

/// A settle of some of what was once delivered.
#[derive(Clone, Debug)]
pub(super) struct Settle {
    /// Counted from the newest delivery.
    pub(super) delivery: usize,
    pub(super) skip: usize,
    pub(super) take: usize,
    /// Leaves out every so manieth message.
    pub(super) holes: u64,
    pub(super) action: usize,
    pub(super) delay: usize,
    /// What rides on it, of one message then; 0: nothing.
    pub(super) rider: usize,
}

/// A message by the clock.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) name: usize,
    pub(super) target: usize,
    pub(super) when: usize,
    pub(super) overlap: usize,
    pub(super) catch_up: usize,
    pub(super) kind: usize,
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let what = (0..2_usize, 0..4_usize, 0..KINDS);
    (what, 0..6_usize, 0..3_usize, 0..4_usize).prop_map(
        |((name, target, kind), when, overlap, catch_up)| Schedule {
            name,
            target,
            when,
            overlap,
            catch_up,
            kind,
        },
    )
}

fn publish() -> impl Strategy<Value = Publish> {
    let back = prop_oneof![8 => Just(0), 1 => 1..4_u64, 1 => 1_020..1_030_u64];
    let kind = || prop_oneof![3 => Just(0), 1 => 0..KINDS];
    let naming = prop_oneof![2 => Just(0), 1 => 0..NAMINGS];
    let run = (1..9_u32, 0..5_usize, (kind(), kind()), naming);
    let request = (0..3_usize, back, any::<bool>());
    (0..4_usize, run, request).prop_map(|(name, run, request)| {
        let (producer, back, written) = request;
        let (count, size, kinds, naming) = run;
        Publish {
            name,
            count,
            size,
            producer,
            back,
            kinds,
            written,
            naming,
        }
    })
}

fn settle() -> impl Strategy<Value = Settle> {
    let delivery = prop_oneof![4 => 0..3_usize, 2 => 0..12_usize];
    let part = (
        prop_oneof![3 => Just(0), 1 => 0..5_usize],
        1..9_usize,
        2..9_u64,
    );
    let rider = prop_oneof![3 => Just(0), 1 => 0..5_usize];
    (delivery, part, 0..8_usize, 0..5_usize, rider).prop_map(
        |(delivery, (skip, take, holes), action, delay, rider)| Settle {
            delivery,
            skip,
            take,
            holes,
            action,
            delay,
            rider,
        },
    )
}

/// Any step, the usual ones more often.
#[expect(clippy::too_many_lines, reason = "an arm an operation")]
pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let (session, number, address) = (1..4_u64, 0..2_u32, 0..5_usize);
    let transaction = (
        proptest::collection::vec(publish(), 0..3),
        proptest::collection::vec(settle(), 0..3),
        proptest::collection::vec((0..5_usize, 0..30_u64), 0..2),
    );
    let restart = (
        0..9_usize,
        0..3_usize,
        0..3_usize,
        proptest::option::of(0..64_usize),
    );
    prop_oneof![
        1 => (0..4_usize, 0..QUEUES)
            .prop_map(|(name, settings)| Operation::CreateQueue { name, settings }),
        1 => (0..4_usize, 0..3_usize)
            .prop_map(|(name, retention)| Operation::CreateTopic { name, retention }),
        3 => (address.clone(), 0..3_usize, 0..20_u64, 0..8_usize).prop_map(
            |(address, settings, start, filter)| {
                Operation::CreateSubscription { address, settings, start, filter }
            }
        ),
        1 => (address.clone(), any::<bool>())
            .prop_map(|(address, whole)| Operation::Delete { address, whole }),
        18 => publish().prop_map(Operation::Publish),
        4 => (0..9_usize).prop_map(|after| Operation::PublishAgain { after }),
        8 => (session.clone(), number.clone(), address.clone(), 1..12_u32, 0..4_u32).prop_map(
            |(session, number, address, credit, once)| {
                let at_most_once = once == 0;
                Operation::Consume { session, number, address, credit, at_most_once }
            }
        ),
        1 => (session.clone(), number)
            .prop_map(|(session, number)| Operation::Stop { session, number }),
        6 => (session.clone(), address.clone(), 1..9_u32, 0..9_usize, 0..3_usize).prop_map(
            |(session, address, max, wait, request_id)| {
                Operation::Receive { session, address, max, wait, request_id }
            }
        ),
        3 => (session.clone(), settle())
            .prop_map(|(session, settle)| Operation::Started { session, settle }),
        24 => (session.clone(), settle())
            .prop_map(|(session, settle)| Operation::Settle { session, settle }),
        5 => transaction
            .prop_map(|(publishes, settles, cancels)| Operation::Transaction {
                publishes, settles, cancels,
            }),
        2 => schedule().prop_map(Operation::Schedule),
        1 => (0..2_usize).prop_map(|name| Operation::Unschedule { name }),
        1 => (0..2_usize).prop_map(|name| Operation::Run { name }),
        5 => (address.clone(), 0..40_u64)
            .prop_map(|(address, offset)| Operation::Cancel { address, offset }),
        2 => (session.clone(), address.clone(), 0..40_u64, 0..9_usize).prop_map(
            |(session, address, offset, wait)| Operation::Job { session, address, offset, wait }
        ),
        1 => (address.clone(), 0..3_usize, 0..4_u64)
            .prop_map(|(address, filter, limit)| Operation::Purge { address, filter, limit }),
        3 => (address.clone(), 0..4_u64, 0..4_usize, any::<bool>()).prop_map(
            |(address, limit, rate, dry_run)| Operation::Redrive { address, limit, rate, dry_run }
        ),
        1 => address.clone().prop_map(|address| Operation::StopRedrive { address }),
        2 => (address.clone(), prop_oneof![1 => Just(true), 3 => Just(false)])
            .prop_map(|(address, paused)| Operation::PauseName { address, paused }),
        1 => (address.clone(), 0..4_u64, any::<bool>())
            .prop_map(|(address, limit, dry_run)| Operation::DropDead { address, limit, dry_run }),
        1 => (address, 0..6_usize).prop_map(|(address, state)| Operation::Look { address, state }),
        2 => session.clone().prop_map(|session| Operation::Close { session }),
        2 => (session, any::<bool>())
            .prop_map(|(session, paused)| Operation::Pause { session, paused }),
        12 => (0..9_usize).prop_map(|ms| Operation::Advance { ms }),
        3 => (0..9_usize).prop_map(|ms| Operation::Jump { ms }),
        2 => (0..3_usize).prop_map(|mode| Operation::Notes { mode }),
        2 => any::<bool>().prop_map(|on| Operation::Pipeline { on }),
        2 => any::<bool>().prop_map(|slow| Operation::Disk { slow }),
        3 => (prop_oneof![Just(0), 0..5_usize], 0..6_usize, 0..40_u64)
            .prop_map(|(address, place, offset)| Operation::Seek { address, place, offset }),
        2 => Just(Operation::Flush),
        2 => restart.prop_map(|(downtime, lost, kept, snapshot)| Operation::Restart {
            downtime, lost, kept, snapshot,
        }),
    ]
}
