//! Long polls: deliveries without a consumer. Their leases are not bound to a connection.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

use siding_protocol::types::OffsetRange;
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;
use tokio::time::Instant;

use crate::delivery::DeliveredBatch;
use crate::error::Error;
use crate::lease::{Source, millis};
use crate::notice;
use crate::shared::{Handle, misfit};

/// What one [`receive`](crate::Client::receive) asks for.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveOptions {
    /// 1 to 1,000. Default 1.
    pub max_messages: u32,
    /// 1 to 8 MiB, but always one message. Default 1 MiB.
    pub max_bytes: u64,
    /// How long to wait while nothing is ready: 0 to 60 s. Default 20 s.
    pub wait: Duration,
    /// How long the leases last: 1 s to 12 h. `None`: as the subscription says.
    pub visibility: Option<Duration>,
}

impl Default for ReceiveOptions {
    fn default() -> Self {
        Self {
            max_messages: 1,
            max_bytes: 1 << 20,
            wait: Duration::from_secs(20),
            visibility: None,
        }
    }
}

/// What one [`receive`](crate::Client::receive) got.
#[derive(Debug)]
#[must_use = "its batches are to be settled; dropped, they are released"]
pub struct Received {
    /// What was leased. Empty: nothing was ready in time.
    pub batches: Vec<DeliveredBatch>,
    /// Retention took these messages before they were read; each is told once.
    pub gap: Option<OffsetRange>,
}

/// Asks, and asks again by the same name when the connection was lost under it: what the broker gave
/// then and could not tell is given again, not leased for nobody.
pub(crate) async fn receive(
    handle: &Arc<Handle>,
    address: &str,
    options: ReceiveOptions,
) -> Result<Received, Error> {
    let request_id = Bytes::copy_from_slice(&fastrand::u128(..).to_be_bytes());
    let (since, mut wait) = (Instant::now(), options.wait);
    let received = loop {
        let request = Kind::Receive(wire::Receive {
            address: address.to_owned(),
            max_messages: options.max_messages,
            max_bytes: options.max_bytes,
            wait_ms: millis(wait),
            visibility_timeout_ms: options.visibility.map(millis),
            request_id: request_id.clone(),
        });
        match handle.ask(request, true).await {
            Err(Error::Interrupted { .. }) => wait = options.wait.saturating_sub(since.elapsed()),
            Ok(Kind::Received(received)) => break received,
            Ok(_) => return Err(misfit()),
            Err(error) => return Err(error),
        }
    };
    let source = Source::new(Arc::clone(handle), address.into(), options.visibility);
    let batches = received.batches.into_iter();
    let batches = batches.map(|batch| DeliveredBatch::new(&source, batch));
    Ok(Received {
        batches: batches.collect::<Option<_>>().ok_or(misfit())?,
        gap: received.gap.map(notice::range),
    })
}
