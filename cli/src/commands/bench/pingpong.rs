//! `bench pingpong`: the way of single messages at a fixed rate, from one connection to another.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use siding::{Consumer, Publisher};

use super::pacer::Pacer;
use super::report::{FROM_INTENDED, FROM_SEND, Latency, Report, Timed};
use super::{Course, Load};
use crate::clock;
use crate::connect::connect;

/// Two stamps in each body: the time it was meant for, and the time just before its publish.
const STAMPS_BYTES: usize = 16;

pub(super) async fn run(course: &Course<'_>, load: &Load, rate: f64) -> Result<Report> {
    let (sender, receiver) = (connect(course.global).await?, connect(course.global).await?);
    let publisher = sender.publisher(course.queue).batch(1).open().await?;
    let consumer = receiver.consumer(course.queue).window(1_024).open().await?;
    let pacer = Pacer::start(rate)?;
    let timed = Timed::start(load)?;
    let started = pacer.started();
    let size = usize::try_from(load.size)?.max(STAMPS_BYTES);
    let ((), (from_intended, from_send, failed)) = tokio::try_join!(
        send(publisher, pacer, course.messages, size),
        receive(consumer, started, course.messages),
    )?;
    let mut report = timed.stop(course.messages, failed)?;
    report.setting("rate", rate);
    report.latency(&FROM_SEND, &from_send);
    report.latency(&FROM_INTENDED, &from_intended);
    Ok(report)
}

async fn send(publisher: Publisher, mut pacer: Pacer, messages: u64, size: usize) -> Result<()> {
    let mut body = vec![0; size];
    for _ in 0..messages {
        let intended = pacer.beat().await?;
        stamp(&mut body, pacer.started(), intended, clock::now())?;
        drop(publisher.publish_body(&body).await?);
    }
    Ok(publisher.close().await?)
}

/// Latencies from the intended time, and from the send stamp; acks that failed.
async fn receive(
    mut consumer: Consumer,
    started: Instant,
    messages: u64,
) -> Result<(Latency, Latency, u64)> {
    let (mut from_intended, mut from_send) = (Latency::new()?, Latency::new()?);
    let mut left = messages;
    while left > 0 {
        let batch = consumer
            .next_batch()
            .await
            .context("the consumer was closed")??;
        let now = clock::now().saturating_duration_since(started);
        for message in batch.messages() {
            let (intended, sent) = stamps(message.body()).context("a body without stamps")?;
            from_intended.record(now.saturating_sub(intended));
            from_send.record(now.saturating_sub(sent));
        }
        left = left.saturating_sub(batch.len() as u64);
        batch.ack_detached();
    }
    let failed = consumer.flush_settles().await;
    consumer.close().await?;
    Ok((from_intended, from_send, failed))
}

fn stamp(body: &mut [u8], started: Instant, intended: Instant, sent: Instant) -> Result<()> {
    let nanos = |at: Instant| u64::try_from(at.saturating_duration_since(started).as_nanos());
    let (intended, sent) = (nanos(intended)?, nanos(sent)?);
    let stamps = body
        .first_chunk_mut::<STAMPS_BYTES>()
        .context("a body too small")?;
    let (first, second) = stamps.split_at_mut(8);
    first.copy_from_slice(&intended.to_le_bytes());
    second.copy_from_slice(&sent.to_le_bytes());
    Ok(())
}

fn stamps(body: &[u8]) -> Option<(Duration, Duration)> {
    let (intended, rest) = body.split_first_chunk()?;
    let (sent, _) = rest.split_first_chunk()?;
    let nanos = |bytes| Duration::from_nanos(u64::from_le_bytes(bytes));
    Some((nanos(*intended), nanos(*sent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stamps_travel_in_the_body() {
        let started = clock::now();
        let (intended, sent) = (Duration::from_millis(1), Duration::from_micros(1_040));
        let mut body = vec![0; 100];
        stamp(&mut body, started, started + intended, started + sent).unwrap();
        assert_eq!(stamps(&body), Some((intended, sent)));
        assert_eq!(stamps(b"short"), None);
    }
}
