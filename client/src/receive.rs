//! Long polls: deliveries without a consumer. Their leases are not bound to a connection.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

use crate::delivery::DeliveredBatch;
use crate::error::Error;
use crate::lease::{Source, millis};
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

pub(crate) async fn receive(
    handle: &Arc<Handle>,
    address: &str,
    options: ReceiveOptions,
) -> Result<Vec<DeliveredBatch>, Error> {
    let request = Kind::Receive(wire::Receive {
        address: address.to_owned(),
        max_messages: options.max_messages,
        max_bytes: options.max_bytes,
        wait_ms: millis(options.wait),
        visibility_timeout_ms: options.visibility.map(millis),
        request_id: Bytes::new(),
    });
    let Kind::Received(received) = handle.ask(request, true).await? else {
        return Err(misfit());
    };
    let source = Source::new(Arc::clone(handle), address.into(), options.visibility);
    let batches = received.batches.into_iter();
    let batches = batches.map(|batch| DeliveredBatch::new(&source, batch));
    batches.collect::<Option<_>>().ok_or(misfit())
}
