//! Prints what a queue or subscription holds, batch by batch: `cargo run --example consume -- jobs`

use std::io::Write;

use siding::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "jobs".into());
    let client = Client::connect("siding://127.0.0.1:7433").await?;

    let mut consumer = client.consumer(&address).open().await?;
    while let Some(batch) = consumer.next_batch().await {
        let batch = batch?;
        let mut out = std::io::stdout().lock();
        for message in batch.messages() {
            out.write_all(message.body())?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        // Acked only now that it is written; acks of many batches share a frame.
        batch.ack_detached();
    }
    Ok(())
}
