//! Publishes lines of standard input: `seq 10 | cargo run --example publish -- jobs`

use std::io::BufRead;

use siding::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "jobs".into());
    let client = Client::connect("siding://127.0.0.1:7433").await?;
    client
        .create_queue(&name, siding::wire::QueueSettings::default())
        .await?;

    let publisher = client.publisher(&name).open().await?;
    for line in std::io::stdin().lock().lines() {
        // Waits only when the window is full; lines that come quickly share a request.
        let _receipt = publisher.publish_body(line?.as_bytes()).await?;
    }
    match publisher.flush().await {
        Ok(()) => eprintln!("all stored"),
        Err(Error::Refused(refusal)) => eprintln!("refused: {refusal}"),
        Err(error) => return Err(error.into()),
    }
    client.close().await;
    Ok(())
}
