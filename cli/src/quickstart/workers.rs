//! The producer, and the workers: take, take apart, publish the result and ack as one.

use anyhow::Result;
use siding::protocol::run::HeaderValue;
use siding::{Client, DeliveredBatch, Error, Message, MessageView, Refusal};

use super::floor::Floor;
use super::{QUEUE, TOPIC, page};

/// Messages a worker holds at most.
const WINDOW: u32 = 64;
/// Which input line a message is: what the books are done by.
const POSITION: &str = "position";

/// Publishes the lines and waits for every confirm.
pub(super) async fn produce(client: Client, lines: Vec<String>, floor: Floor) -> Result<()> {
    let publisher = client.publisher(QUEUE).open().await?;
    for (position, line) in lines.into_iter().enumerate() {
        floor.publishing(position);
        let message = Message::new(line).header(POSITION, i64::try_from(position)?);
        drop(publisher.publish(message).await?);
    }
    publisher.close().await?;
    floor.all_confirmed();
    Ok(())
}

/// Works until the floor closes. One worker has its connection cut while it holds deliveries.
pub(super) async fn run(url: String, floor: Floor) -> Result<()> {
    let client = Client::connect(&url).await?;
    let mut consumer = client.consumer(QUEUE).window(WINDOW).open().await?;
    let mut closing = floor.closing();
    loop {
        let batch = tokio::select! {
            batch = consumer.next_batch() => batch,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let Some(batch) = batch else { break };
        let batch = batch?;
        if floor.took(batch.len() as u64, batch.attempt()) {
            client.cut_connection();
            // Answered or not: the old connection is gone then, and with it the leases.
            drop(client.ping().await);
            continue;
        }
        work(&client, batch, &floor).await?;
    }
    consumer.close().await?;
    client.close().await;
    Ok(())
}

/// Results and ack in one transaction: both, or neither and the messages come again.
async fn work(client: &Client, batch: DeliveredBatch, floor: &Floor) -> Result<()> {
    let count = batch.len() as u64;
    let results: Vec<_> = batch.messages().map(|message| result(&message)).collect();
    let transaction = client.transaction().await?.publish_all(TOPIC, results);
    match transaction.ack_batch(batch).commit().await {
        Ok(_) => {
            floor.committed(count);
            Ok(())
        }
        Err(Error::Refused(Refusal::Operation { refusal, .. }))
            if matches!(*refusal, Refusal::LeaseLost { .. }) =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn result(message: &MessageView<'_>) -> String {
    let position = message.headers().find_map(|header| match header {
        (POSITION, HeaderValue::Int(position)) => u64::try_from(position).ok(),
        _ => None,
    });
    // A message without a position is nobody's; the books will say so.
    let line = String::from_utf8_lossy(message.body());
    page::result_line(position.unwrap_or(u64::MAX), &line)
}
