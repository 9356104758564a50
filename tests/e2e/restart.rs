//! P9, P20: what was confirmed is there after a kill and after a stop.

use anyhow::Result;
use siding_tests::broker::{Broker, within};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_there_after_a_kill() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut broker = Broker::start(dir.path()).await?;
    let client = broker.client("before").await?;
    client.create_queue("jobs", Default::default()).await?;
    let publisher = client.publisher("jobs").open().await?;
    for number in 0..1_000 {
        drop(publisher.publish(number.to_string()).await?);
    }
    publisher.flush().await?;
    broker.kill().await?;
    broker.restart().await?;
    let mut consumer = broker
        .client("after")
        .await?
        .consumer("jobs")
        .open()
        .await?;
    for number in 0..1_000 {
        let delivery = within("a message", consumer.next()).await.expect("more")?;
        assert_eq!(delivery.body(), number.to_string().as_bytes());
        assert_eq!(delivery.attempt(), 1);
        delivery.ack_detached();
    }
    assert_eq!(consumer.flush_settles().await, 0);
    Ok(())
}
