//! `bench publish`: batches with a window, or one publish in flight per connection.

use std::time::Instant;

use anyhow::Result;
use siding::{Publisher, Receipt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::report::{CONFIRM, Latency, Report, Timed};
use super::{Course, Load, PUBLISH_WINDOW};
use crate::clock;
use crate::connect::connect;

/// Batches whose confirm is awaited at the same time, per connection: more than any window holds.
const AWAITED: usize = 1_024;

/// Latencies and errors of one connection.
struct Share {
    latency: Latency,
    errors: u64,
}

pub(super) async fn run(course: &Course<'_>, load: &Load, sync: bool) -> Result<Report> {
    let mut publishers = Vec::new();
    for share in load.shares(course.messages) {
        let client = connect(course.global).await?;
        let publisher = if sync {
            client.publisher(course.queue).batch(1).open().await?
        } else {
            load.publisher(&client, course.queue).await?
        };
        publishers.push((publisher, share));
    }
    let timed = Timed::start(load)?;
    let mut running = JoinSet::new();
    for (publisher, share) in publishers {
        let (body, batch) = (load.body()?, u64::from(load.batch));
        if sync {
            running.spawn(one_by_one(publisher, share, body));
        } else {
            running.spawn(in_batches(publisher, share, batch, body));
        }
    }
    let mut latency = Latency::new()?;
    let mut errors = 0;
    while let Some(share) = running.join_next().await {
        let share = share??;
        latency.add(&share.latency)?;
        errors += share.errors;
    }
    let mut report = timed.stop(course.messages, errors)?;
    report.setting("batch", if sync { 1 } else { load.batch });
    report.setting(
        "window",
        if sync {
            1
        } else {
            load.window.unwrap_or(PUBLISH_WINDOW)
        },
    );
    report.latency(&CONFIRM, &latency);
    Ok(report)
}

/// Fills a queue as fast as it goes.
pub(super) async fn fill(publisher: Publisher, messages: u64, body: &[u8]) -> Result<()> {
    for _ in 0..messages {
        drop(publisher.publish_body(body).await?);
    }
    Ok(publisher.close().await?)
}

async fn one_by_one(publisher: Publisher, messages: u64, body: Vec<u8>) -> Result<Share> {
    let mut share = Share {
        latency: Latency::new()?,
        errors: 0,
    };
    for _ in 0..messages {
        let sent = clock::now();
        let receipt = publisher.publish_body(&body).await?;
        match receipt.await {
            Ok(_) => share
                .latency
                .record(clock::now().saturating_duration_since(sent)),
            Err(_) => share.errors += 1,
        }
    }
    Ok(share)
}

/// Only the last message of a batch is awaited: its run is confirmed as a whole, in order.
async fn in_batches(
    publisher: Publisher,
    messages: u64,
    batch: u64,
    body: Vec<u8>,
) -> Result<Share> {
    let (awaited, receipts) = mpsc::channel(AWAITED);
    let confirmed = tokio::spawn(confirms(receipts));
    let mut left = messages;
    while left > 0 {
        let sent = clock::now();
        let count = left.min(batch);
        for _ in 1..count {
            drop(publisher.publish_body(&body).await?);
        }
        let last = publisher.publish_body(&body).await?;
        awaited.send((sent, last)).await?;
        left -= count;
    }
    drop(awaited);
    let flushed = publisher.close().await;
    let mut share = confirmed.await??;
    // A failed run inside a batch cut in two shows only here.
    share.errors = share.errors.max(u64::from(flushed.is_err()));
    Ok(share)
}

async fn confirms(mut receipts: mpsc::Receiver<(Instant, Receipt)>) -> Result<Share> {
    let mut share = Share {
        latency: Latency::new()?,
        errors: 0,
    };
    while let Some((sent, receipt)) = receipts.recv().await {
        match receipt.await {
            Ok(_) => share
                .latency
                .record(clock::now().saturating_duration_since(sent)),
            Err(_) => share.errors += 1,
        }
    }
    Ok(share)
}
