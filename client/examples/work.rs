//! Works on one message at a time; the result is published and the message acked in one step:
//! `cargo run --example work -- jobs results`

use std::time::Duration;

use siding::{Client, Outcome};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut names = std::env::args().skip(1);
    let jobs = names.next().unwrap_or_else(|| "jobs".into());
    let results = names.next().unwrap_or_else(|| "results".into());
    let client = Client::connect("siding://127.0.0.1:7433").await?;

    let mut consumer = client.consumer(&jobs).window(1).open().await?;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        let keep_alive = delivery.keep_alive();
        match std::str::from_utf8(delivery.body()).map(str::to_uppercase) {
            Ok(result) => {
                drop(keep_alive);
                let transaction = client.transaction().await?;
                transaction
                    .publish(&results, result)
                    .ack(delivery)
                    .commit()
                    .await?;
            }
            Err(_) if delivery.attempt() > 2 => match delivery.reject("not UTF-8").await? {
                Outcome::Done | Outcome::Late => {}
                Outcome::LeaseLost(state) => eprintln!("somebody else had it: {}", state.name()),
            },
            Err(_) => drop(delivery.nack(Some(Duration::from_secs(1))).await?),
        }
    }
    Ok(())
}
