//! Settings of queues, topics and subscriptions as they are typed. What is not given takes the
//! broker's default; what is out of its range the broker refuses.

mod told;

use std::time::Duration;

use clap::{Args, ValueEnum};
use siding::Level;
use siding::wire::{self, DeliverySettings, QueueSettings, TopicSettings};

use crate::args::{self, FilterArg};

pub(crate) use self::told::{delivery_told, queue_told, topic_told};

/// How deliveries of a queue or subscription behave.
#[derive(Debug, Default, Args)]
pub(crate) struct DeliveryArgs {
    /// How long a delivered message is leased, 1s to 12h [default: 30s].
    #[arg(long, value_parser = args::duration)]
    pub(super) visibility: Option<Duration>,
    /// No lease is extended past so long after its hand-over; at least --visibility
    /// [default: no limit].
    #[arg(long, value_parser = args::duration)]
    max_hold: Option<Duration>,
    /// Attempts before a message is dead, 1 to 1000 [default: 10].
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Waits between attempts, such as 1s,5s,30s; the last repeats [default: 1s to 6h in 9 steps].
    #[arg(long, value_delimiter = ',', value_parser = args::duration)]
    backoff: Vec<Duration>,
    /// `key`: at most one message of a key is leased at a time, and a retry holds its key
    /// [default: none].
    #[arg(long, value_enum)]
    order: Option<OrderArg>,
    /// With --order key: what a dead letter does to the rest of its key [default: skip].
    #[arg(long, value_enum)]
    on_dead: Option<OnDeadArg>,
    /// Raises a waiting message one priority a step [default: never].
    #[arg(long, value_parser = args::duration, value_name = "DURATION")]
    age_step: Option<Duration>,
    /// Messages that name no ttl expire if nobody got them within so long [default: never].
    #[arg(long, value_parser = args::duration)]
    ttl: Option<Duration>,
    /// What becomes of an expired message [default: drop].
    #[arg(long, value_enum)]
    on_expired: Option<OnExpiredArg>,
    /// A queue or topic that takes what would become a dead letter.
    #[arg(long, value_name = "NAME")]
    dead_letter_to: Option<String>,
    /// Dead letters kept; past it the oldest leaves [default: 100000].
    #[arg(long, value_name = "N")]
    max_dead: Option<u64>,
    /// Their bytes [default: 1GiB].
    #[arg(long, value_parser = args::bytes, value_name = "BYTES")]
    max_dead_bytes: Option<u64>,
    /// How long a dead letter is kept, from its death [default: 14d].
    #[arg(long, value_parser = args::duration, value_name = "DURATION")]
    dead_retention: Option<Duration>,
    /// Keep a record of what has ended, for `siding get` and `siding await`.
    #[arg(long)]
    track: bool,
    /// How long such a record is kept, at most 30d [default: 1h].
    #[arg(long, value_parser = args::duration, value_name = "DURATION")]
    done_retention: Option<Duration>,
}

/// What a queue has besides.
#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    #[command(flatten)]
    delivery: DeliveryArgs,
    /// Most messages, ready, delayed and leased together [default: no limit].
    #[arg(long, value_name = "N")]
    max_messages: Option<u64>,
    /// Most bytes of the same [default: 1GiB].
    #[arg(long, value_parser = args::bytes, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// What a publish into a full queue does [default: reject].
    #[arg(long, value_enum)]
    overflow: Option<OverflowArg>,
    #[command(flatten)]
    store: StoreArgs,
    /// How long what has left is kept for `siding queue seek`, beside at most --max-bytes [default: 0s].
    #[arg(long, value_parser = args::duration, value_name = "DURATION")]
    retain_settled: Option<Duration>,
}

/// What a topic has.
#[derive(Debug, Args)]
pub(crate) struct TopicArgs {
    /// Past this age messages leave [default: 7d].
    #[arg(long, value_parser = args::duration, value_name = "DURATION")]
    retention: Option<Duration>,
    /// Past this size the oldest messages leave [default: 10GiB].
    #[arg(long, value_parser = args::bytes, value_name = "BYTES")]
    retention_bytes: Option<u64>,
    #[command(flatten)]
    store: StoreArgs,
}

/// How queues and topics store what is published.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// What a confirm means where the publish names no level [default: synced].
    #[arg(long, value_enum)]
    level: Option<LevelArg>,
    /// How long a dedup id is remembered, at most 7d; 0s: not at all [default: 5m].
    #[arg(long, value_parser = args::duration, value_name = "DURATION")]
    dedup_window: Option<Duration>,
    /// Dedup ids remembered at most [default: 1000000].
    #[arg(long, value_name = "N")]
    max_dedup_ids: Option<u64>,
}

/// What a subscription has besides.
#[derive(Debug, Args)]
pub(crate) struct SubArgs {
    #[command(flatten)]
    delivery: DeliveryArgs,
    #[command(flatten)]
    matching: FilterArg,
    /// The broker publishes what it reads into this queue or topic, exactly once.
    #[arg(long, value_name = "NAME")]
    forward_to: Option<String>,
    /// Ends with this command, which runs until Ctrl-C.
    #[arg(long)]
    pub(crate) ephemeral: bool,
}

/// `--order`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OrderArg {
    /// By priority, then by the order of publishing.
    None,
    /// Besides: one at a time per key.
    Key,
}

/// `--on-dead`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnDeadArg {
    /// The next of its key goes on.
    Skip,
    /// The key halts until the dead letter is redriven or dropped.
    #[value(alias = "halt-key", alias = "halt_key")]
    Halt,
}

/// `--on-expired`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnExpiredArg {
    /// Counted and gone.
    Drop,
    /// A dead letter.
    Dead,
}

/// `--overflow`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OverflowArg {
    /// It is refused as busy.
    Reject,
    /// The oldest that nobody holds leaves.
    DropOldest,
    /// The oldest that nobody holds becomes a dead letter.
    DeadOldest,
}

/// `--level`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelArg {
    /// Written: survives a kill of the broker; synced 50 ms later.
    Written,
    /// Synced: survives a power cut.
    Synced,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Written => Self::Written,
            LevelArg::Synced => Self::Synced,
        }
    }
}

impl DeliveryArgs {
    fn to_wire(&self) -> DeliverySettings {
        let mut wire = DeliverySettings {
            visibility_timeout_ms: self.visibility.map(ms),
            max_attempts: self.max_attempts,
            backoff_ms: self.backoff.iter().copied().map(ms).collect(),
            max_dead: self.max_dead,
            max_dead_bytes: self.max_dead_bytes,
            dead_retention_ms: self.dead_retention.map(ms),
            dead_letter_to: self.dead_letter_to.clone().unwrap_or_default(),
            age_step_ms: self.age_step.map(ms),
            ttl_ms: self.ttl.map(ms),
            max_hold_ms: self.max_hold.map(ms),
            track: self.track,
            done_retention_ms: self.done_retention.map(ms),
            ..DeliverySettings::default()
        };
        if let Some(order) = self.order {
            wire.set_order(match order {
                OrderArg::None => wire::Order::None,
                OrderArg::Key => wire::Order::Key,
            });
        }
        if let Some(on_dead) = self.on_dead {
            wire.set_on_dead(match on_dead {
                OnDeadArg::Skip => wire::OnDead::Skip,
                OnDeadArg::Halt => wire::OnDead::HaltKey,
            });
        }
        if let Some(on_expired) = self.on_expired {
            wire.set_on_expired(match on_expired {
                OnExpiredArg::Drop => wire::OnExpired::Drop,
                OnExpiredArg::Dead => wire::OnExpired::Dead,
            });
        }
        wire
    }
}

impl StoreArgs {
    fn level(&self) -> wire::Level {
        let level = self.level.map(Level::from);
        level.map_or(wire::Level::Unspecified, Level::to_wire)
    }
}

impl QueueArgs {
    pub(crate) fn to_wire(&self) -> QueueSettings {
        let mut wire = QueueSettings {
            delivery: Some(self.delivery.to_wire()),
            max_messages: self.max_messages,
            max_bytes: self.max_bytes,
            dedup_window_ms: self.store.dedup_window.map(ms),
            max_dedup_ids: self.store.max_dedup_ids,
            retain_settled_ms: self.retain_settled.map(ms),
            ..QueueSettings::default()
        };
        wire.set_level(self.store.level());
        if let Some(overflow) = self.overflow {
            wire.set_overflow(match overflow {
                OverflowArg::Reject => wire::Overflow::Reject,
                OverflowArg::DropOldest => wire::Overflow::DropOldest,
                OverflowArg::DeadOldest => wire::Overflow::DeadOldest,
            });
        }
        wire
    }
}

impl TopicArgs {
    pub(crate) fn to_wire(&self) -> TopicSettings {
        let mut wire = TopicSettings {
            retention_bytes: self.retention_bytes,
            retention_ms: self.retention.map(ms),
            dedup_window_ms: self.store.dedup_window.map(ms),
            max_dedup_ids: self.store.max_dedup_ids,
            ..TopicSettings::default()
        };
        wire.set_level(self.store.level());
        wire
    }
}

impl SubArgs {
    pub(crate) fn to_wire(&self) -> DeliverySettings {
        DeliverySettings {
            filter: self.matching.filter.clone(),
            forward_to: self.forward_to.clone().unwrap_or_default(),
            ephemeral: self.ephemeral,
            ..self.delivery.to_wire()
        }
    }
}

/// Whole milliseconds; what does not fit is refused by the broker with the range.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
