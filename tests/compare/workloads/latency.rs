//! The way of single messages at a fixed rate, from one connection to another.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::bodies::{stamp, stamps};
use crate::cell::Cell;
use crate::clock;
use crate::figures::{
    Figures, INTENDED_P50, INTENDED_P99, INTENDED_P999, P50, P99, P999, round, whole,
};
use crate::latency::Latency;
use crate::pacer::Pacer;
use crate::peer::{Consume, Publish};

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
    let queue = cell.create().await?;
    let publisher = cell.publisher(&queue).await?;
    let consumer = cell.consumer(&queue).await?;
    let count = UNCOUNTED + whole(crate::figures::float(rate) * cell.seconds() * TIMES);
    let started = clock::now();
    let timed = cell.timed();
    let sending = tokio::spawn(send(publisher, rate, count, cell.task.size, started));
    let receiving = tokio::spawn(receive(consumer, count, cell.task.size, started));
    sending.await??;
    let measured = receiving.await??;
    let mut figures = timed.stop(count).figures();
    cell.conclude(&queue, 0).await?;
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
        let stamps = [intended, clock::now()].map(|at| at.saturating_duration_since(started));
        stamp(&mut body, stamps);
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
            if let Some([intended, sent]) = stamps
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
