//! One client from the global options.

use std::time::Duration;

use siding::{Client, Consumer, Options};

use crate::args::Global;

/// Connects as this command line; the first connect fails at once.
pub(crate) async fn connect(global: &Global) -> Result<Client, siding::Error> {
    connect_as(global, Options::default()).await
}

/// As [`connect`], for a worker: what it has not begun comes back uncharged should it crash.
pub(crate) async fn connect_worker(global: &Global) -> Result<Client, siding::Error> {
    let options = Options {
        marks_started: true,
        ..Options::default()
    };
    connect_as(global, options).await
}

async fn connect_as(global: &Global, options: Options) -> Result<Client, siding::Error> {
    let options = Options {
        client: concat!("siding-cli/", env!("CARGO_PKG_VERSION")).to_owned(),
        token: global.token.clone(),
        ..options
    };
    Client::connect_with(&global.url, options).await
}

/// The queue or topic of an address.
pub(crate) fn name_of(address: &str) -> &str {
    address.split_once('/').map_or(address, |(name, _)| name)
}

/// Goodbyes that wait for a broker that went away take no longer than this.
const LEAVE: Duration = Duration::from_secs(5);

/// Gives back what is held, flushes settles, closes. What a broker that is away does not hear, its
/// leases will tell it.
pub(crate) async fn leave(client: Client, consumer: Option<Consumer>) {
    let goodbye = async {
        if let Some(consumer) = consumer {
            // A client that is closed already has nothing to give back.
            drop(consumer.close().await);
        }
        client.close().await;
    };
    if tokio::time::timeout(LEAVE, goodbye).await.is_err() {
        eprintln!("the broker does not answer: what is not settled comes back when its lease ends");
    }
}
