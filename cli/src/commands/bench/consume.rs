//! `bench consume`: a filled queue through one or more consumers, every ack confirmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use siding::Consumer;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::report::{Report, Timed};
use super::{Course, Load, publish};
use crate::connect::connect;

const WINDOW: u32 = 32_768;

/// How far all consumers together are.
struct Progress {
    wanted: u64,
    size: u64,
    taken: AtomicU64,
    done: watch::Sender<bool>,
}

pub(super) async fn run(course: &Course<'_>, load: &Load) -> Result<Report> {
    let mut clients = Vec::new();
    for share in load.shares(course.messages) {
        let client = connect(course.global).await?;
        let publisher = load.publisher(&client, course.queue).await?;
        publish::fill(publisher, share, &load.body()?).await?;
        clients.push(client);
    }
    eprintln!(
        "filled {} with {} messages; consuming",
        course.queue, course.messages
    );
    let progress = Arc::new(Progress {
        wanted: course.messages,
        size: load.size,
        taken: AtomicU64::new(0),
        done: watch::Sender::new(false),
    });
    let window = load.window.unwrap_or(WINDOW);
    let timed = Timed::start(load)?;
    let mut running = JoinSet::new();
    for client in &clients {
        let builder = client.consumer(course.queue).window(window);
        running.spawn(take(builder.open().await?, Arc::clone(&progress)));
    }
    let mut errors = 0;
    while let Some(failed) = running.join_next().await {
        errors += failed??;
    }
    let mut report = timed.stop(course.messages, errors)?;
    report.setting("batch", load.batch);
    report.setting("window", window);
    Ok(report)
}

/// Takes and acks until all consumers together have everything; counts what is wrong.
async fn take(mut consumer: Consumer, progress: Arc<Progress>) -> Result<u64> {
    let mut done = progress.done.subscribe();
    let mut errors = 0;
    loop {
        let batch = tokio::select! {
            biased;
            batch = consumer.next_batch() => batch,
            _ = done.wait_for(|done| *done) => break,
        };
        let Some(batch) = batch else { break };
        let batch = batch?;
        let whole = batch
            .messages()
            .filter(|message| message.body().len() as u64 == progress.size);
        let (whole, count) = (whole.count() as u64, batch.len() as u64);
        errors += count - whole;
        // A message delivered twice to a bench without faults is an error.
        errors += if batch.attempt() > 1 { count } else { 0 };
        batch.ack_detached();
        if progress.taken.fetch_add(count, Ordering::Relaxed) + count >= progress.wanted {
            progress.done.send_replace(true);
        }
    }
    errors += consumer.flush_settles().await;
    consumer.close().await?;
    Ok(errors)
}
