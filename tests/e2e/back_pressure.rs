//! What a connection may have under way is bounded, and given back with every answer.

use anyhow::{Result, bail};
use bytes::Bytes;
use siding::wire::frame::Kind;
use siding::{Refusal, wire};
use siding_protocol::run::{MessageFields, RunBuilder, RunLimits};
use siding_tests::broker::Broker;
use siding_tests::raw::{Raw, publish};

use crate::limited;

/// So many requests of a half of what may be in flight: if none were given back, the third would wait for ever.
const REQUESTS: u64 = 40;

fn run_of(bytes: usize) -> Result<Bytes> {
    let mut builder = RunBuilder::new(RunLimits::default());
    let body = vec![b'x'; bytes];
    builder.push(&MessageFields {
        body: &body,
        ..MessageFields::default()
    })?;
    Ok(builder.take().0)
}

#[test]
fn requests_that_are_refused_free_what_they_took_of_the_connections_room() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start_with(dir.path(), &["--max-in-flight-bytes", "64KiB"]).await?;
        let client = broker.client("maker").await?;
        let settings = wire::QueueSettings {
            max_messages: Some(1),
            ..wire::QueueSettings::default()
        };
        client.create_queue("full", settings).await?;
        let mut raw = Raw::open(broker.address(), "raw").await?;
        let opened = raw.ask(Kind::OpenProducer(wire::OpenProducer {})).await?;
        let Kind::ProducerOpened(wire::ProducerOpened { producer }) = opened else {
            bail!("no producer: {opened:?}");
        };
        let run = run_of(32 << 10)?;
        let stored = raw.ask(publish("full", producer, 1, run.clone())).await?;
        assert!(matches!(stored, Kind::Confirm(_)), "{stored:?}");
        for sequence in 2..2 + REQUESTS {
            // Judged when it is applied, and before it is proposed.
            let full = publish("full", producer, sequence, run.clone());
            let refused = raw.refused(full).await?;
            assert!(matches!(refused, Refusal::Busy { .. }), "{refused}");
            let nowhere = publish("nowhere", producer, sequence, run.clone());
            let refused = raw.refused(nowhere).await?;
            assert!(matches!(refused, Refusal::NotFound { .. }), "{refused}");
        }
        client
            .purge("full", siding::PurgeOptions::default())
            .await?;
        let stored = raw.ask(publish("full", producer, 99, run)).await?;
        assert!(matches!(stored, Kind::Confirm(_)), "{stored:?}");
        Ok(())
    })
}
