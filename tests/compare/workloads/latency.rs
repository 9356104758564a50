//! The way of single messages at a fixed rate, from one connection to another.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bodies::{NUMBER_BYTES, STAMPS_BYTES};
use crate::cell::Cell;
use crate::clock;
use crate::figures::{
    Figures, INTENDED_P50, INTENDED_P99, INTENDED_P999, P50, P99, P999, round, whole,
};
use crate::latency::Latency;
use crate::pacer::Pacer;
use crate::peer::{Consume, Publish, Shape};

/// So many times the length of a cell: rare delays take time to show.
const TIMES: f64 = 2.0;
/// The first ones, while everything wakes up, are not counted.
const UNCOUNTED: u64 = 100;

/// Latencies of one kind each.
struct Measured {
    from_intended: Latency,
    from_send: Latency,
}

pub(super) async fn run(cell: &mut Cell<'_>, rate: u64) -> Result<Figures> {
    let queue = cell.create(Shape::Queue).await?;
    let load = cell.load();
    let publisher = cell
        .peer
        .publisher(&cell.server.place, &queue, load)
        .await?;
    let consumer = cell.peer.consumer(&cell.server.place, &queue, None).await?;
    let count = UNCOUNTED + whole(crate::figures::float(rate) * cell.seconds() * TIMES);
    let started = clock::now();
    let timed = cell.timed();
    let sending = tokio::spawn(send(publisher, rate, count, cell.task.size, started));
    let receiving = tokio::spawn(receive(consumer, count, cell.task.size, started));
    sending.await??;
    let measured = receiving.await??;
    let mut figures = timed.stop(count).figures();
    cell.conclude(&queue, Shape::Queue, 0).await?;
    let Measured {
        from_intended,
        from_send,
    } = measured;
    for (name, latency, quantile) in [
        (P50, &from_send, 0.5),
        (P99, &from_send, 0.99),
        (P999, &from_send, 0.999),
        (INTENDED_P50, &from_intended, 0.5),
        (INTENDED_P99, &from_intended, 0.99),
        (INTENDED_P999, &from_intended, 0.999),
    ] {
        figures.push((name, round(latency.micros(quantile))));
    }
    Ok(figures)
}

async fn send(
    mut publisher: Box<dyn Publish>,
    rate: u64,
    count: u64,
    size: usize,
    started: Instant,
) -> Result<()> {
    let mut body = vec![b'x'; size];
    let mut pacer = Pacer::start(rate)?;
    for _ in 0..count {
        let intended = pacer.beat().await?;
        stamp(&mut body, started, intended, clock::now())?;
        publisher.send(&body).await?;
    }
    publisher.confirmed().await
}

async fn receive(
    mut consumer: Box<dyn Consume>,
    count: u64,
    size: usize,
    started: Instant,
) -> Result<Measured> {
    let mut measured = Measured {
        from_intended: Latency::new()?,
        from_send: Latency::new()?,
    };
    let (mut taken, mut strange) = (0, 0_u64);
    while taken < count {
        let mut seen = taken;
        let mut visit = |body: &[u8]| {
            let now = clock::now().saturating_duration_since(started);
            let stamps = stamps(body).filter(|_| body.len() == size);
            strange += u64::from(stamps.is_none());
            if let Some((intended, sent)) = stamps
                && seen >= UNCOUNTED
            {
                measured.from_intended.record(now.saturating_sub(intended));
                measured.from_send.record(now.saturating_sub(sent));
            }
            seen += 1;
        };
        taken += consumer.take(&mut visit).await?;
    }
    consumer.settled().await?;
    ensure!(
        strange == 0 && taken == count,
        "{taken} messages came where {count} were due, {strange} of them without stamps"
    );
    Ok(measured)
}

fn stamp(body: &mut [u8], started: Instant, intended: Instant, sent: Instant) -> Result<()> {
    let nanos = |at: Instant| u64::try_from(at.saturating_duration_since(started).as_nanos());
    let stamps = body.first_chunk_mut::<STAMPS_BYTES>();
    let (first, second) = stamps
        .context("a body too small")?
        .split_at_mut(NUMBER_BYTES);
    first.copy_from_slice(&nanos(intended)?.to_be_bytes());
    second.copy_from_slice(&nanos(sent)?.to_be_bytes());
    Ok(())
}

fn stamps(body: &[u8]) -> Option<(Duration, Duration)> {
    let (intended, rest) = body.split_first_chunk()?;
    let (sent, _) = rest.split_first_chunk()?;
    let nanos = |bytes| Duration::from_nanos(u64::from_be_bytes(bytes));
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
