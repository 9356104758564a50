//! The few names, settings and numbers that the small numbers of an operation choose from.

use siding_protocol::request::{Cron, ScheduleSettings, When};
use siding_protocol::run::MessageFields;
use siding_protocol::settings::{
    DeliverySettings, OnDead, OnExpired, Order, Overflow, QueueSettings,
};
use siding_protocol::types::Level;

use super::operation::Schedule;
use crate::stage::BEGINNING_MS;

pub(super) const NAMES: [&str; 4] = ["jobs", "mail", "news", "logs"];
pub(super) const ADDRESSES: [&str; 5] = ["jobs", "mail", "news/a", "news/b", "logs/a"];
pub(super) const SCHEDULES: [&str; 2] = ["tick", "tock"];
pub(super) const TIMES_MS: [u64; 9] = [1, 4, 500, 999, 1_000, 1_001, 5_000, 31_000, 3_600_000];
pub(super) const SIZES: [usize; 5] = [0, 3, 3, 100, 30_000];

/// Messages a publisher asks something about.
pub(super) const KINDS: usize = 9;

pub(super) fn fields(kind: usize, body: &[u8]) -> MessageFields<'_> {
    let plain = MessageFields {
        body,
        ..MessageFields::default()
    };
    MessageFields {
        key: ["", "", "", "k", "k", "k", "m", "k", ""][kind],
        routing_key: ["", "a.x", "b.x", "a.x.y", "a.z", "", "a.x", "", "b.x"][kind],
        priority: [
            None,
            None,
            Some(9),
            Some(0),
            Some(5),
            Some(4),
            None,
            Some(3),
            None,
        ][kind],
        delay_ms: [0, 1_000, 0, 0, 500, 0, 0, 500, 0][kind],
        // Ahead in the beginning of a life, past later.
        deliver_at_ms: [0, 0, 0, BEGINNING_MS + 6_000, 0, 0, 0, 0, 0][kind],
        ttl_ms: [0, 0, 0, 0, 0, 0, 1_000, 700, 1][kind],
        ..plain
    }
}

/// How a publish names its messages.
pub(super) const NAMINGS: usize = 5;

/// The dedup id of message `at`; most of them tell the body apart, so that few conflict.
pub(super) fn dedup_id(naming: usize, at: u32, size: usize) -> String {
    match naming {
        0 => String::new(),
        1 => format!("same {size}"),
        2 => format!("{} {size}", at % 3),
        3 if at.is_multiple_of(2) => String::new(),
        3 => format!("{at} {size}"),
        _ => format!("{at}"),
    }
}

pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

pub(super) fn delivery_settings(choice: usize) -> DeliverySettings {
    DeliverySettings {
        visibility_timeout_ms: [1_000, 30_000, 5_000][choice],
        max_hold_ms: [3_000, 0, 6_000][choice],
        max_attempts: [2, 10, 3][choice],
        backoff_ms: [vec![0], vec![1_000, 5_000], vec![0, 1_000]][choice].clone(),
        max_dead: [3, 100, 1][choice],
        max_dead_bytes: [1 << 30, 250, 1 << 30][choice],
        dead_retention_ms: [3_000, 4_000_000, 1_500][choice],
        order: [Order::None, Order::Key, Order::Key][choice].into(),
        on_dead: [OnDead::Skip, OnDead::HaltKey, OnDead::Skip][choice].into(),
        age_step_ms: [1_000, 0, 0][choice],
        ttl_ms: [0, 0, 2_000][choice],
        on_expired: [OnExpired::Dead, OnExpired::Drop, OnExpired::Drop][choice].into(),
        track: choice != 1,
        done_retention_ms: [2_000, 0, 4_000_000][choice],
        ..DeliverySettings::parse(None).expect("defaults are valid")
    }
}

/// Choices of a queue's settings; the last two can be sought back.
pub(super) const QUEUES: usize = 5;

pub(super) fn queue_settings(choice: usize) -> QueueSettings {
    let drop_oldest = Overflow::DropOldest;
    QueueSettings {
        delivery: delivery_settings([0, 1, 2, 0, 0][choice]),
        max_messages: [20, 1_000, 50, 20, 1_000][choice],
        max_bytes: [1 << 30, 100_000, 700, 200_000, 500][choice],
        level: [Level::Synced, Level::Written][usize::from(choice == 1)].into(),
        overflow: [
            Overflow::Reject,
            drop_oldest,
            Overflow::DeadOldest,
            Overflow::Reject,
            drop_oldest,
        ][choice]
            .into(),
        dedup_window_ms: [300_000, 1_000, 1_000, 1_000, 0][choice],
        max_dedup_ids: [1_000_000, 1_000_000, 6, 1_000_000, 6][choice],
        retain_settled_ms: [0, 0, 0, 1_000, 60_000][choice],
    }
}

pub(super) fn schedule_settings(schedule: &Schedule) -> ScheduleSettings {
    let cron = |text: &str| {
        When::Cron(Cron {
            expression: text.to_owned(),
            zone: "Europe/Berlin".to_owned(),
        })
    };
    let when = match schedule.when {
        0 => When::At(BEGINNING_MS + 5_000),
        1 => When::At(BEGINNING_MS + 60_000),
        2 => When::Every(120_000),
        3 => When::Every(700_500),
        4 => cron("*/7 * * * *"),
        _ => cron("30 1 * * *"),
    };
    ScheduleSettings {
        target: NAMES[schedule.target].to_owned(),
        when: Some(when),
        overlap: i32::try_from(schedule.overlap).expect("a small number"),
        catch_up_ms: [0, 3_000, 60_000, 7_200_000][schedule.catch_up],
    }
}
