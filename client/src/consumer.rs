//! Consuming: whole batches pushed under a window, or one delivery after the other.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use siding_protocol::types::Address;
use siding_protocol::wire;

use crate::delivery::{DeliveredBatch, Deliveries, Delivery};
use crate::error::Error;
use crate::lease::{Lease, Source, millis};
use crate::notice::{Notice, NoticeQueue};
use crate::shared::{Command, Handle, bad_address, misfit};

/// Settings of a consumer to be; see [`Client::consumer`](crate::Client::consumer).
#[derive(Clone, Debug)]
#[must_use = "call `open`"]
pub struct ConsumerBuilder {
    handle: Arc<Handle>,
    consume: wire::Consume,
    visibility: Option<Duration>,
}

/// Receives messages of a queue or subscription as the broker pushes them, never more than its
/// window holds un-settled.
///
/// A lost connection ends its leases; the consumer subscribes again and the stream goes on. What had
/// been pushed but not been handed out yet is given back; where it was
/// [acked on delivery](ConsumerBuilder::ack_on_delivery) it is handed out.
///
/// When what it reads is deleted, the stream gives what was pushed before, then `NOT_FOUND`, and ends.
///
/// Also a [`Stream`] of single deliveries.
#[derive(Debug)]
pub struct Consumer {
    source: Arc<Source>,
    number: u32,
    queue: Arc<DeliveryQueue>,
    /// A batch that is being handed out one by one.
    current: Option<Deliveries>,
}

/// Pushed batches that nobody has taken yet. Bounded by the consumer's window.
#[derive(Debug)]
pub(crate) struct DeliveryQueue {
    window_batches: usize,
    pub(crate) notices: NoticeQueue,
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    batches: VecDeque<wire::Batch>,
    /// How many of them were pushed on connections before: they are in no window any more.
    kept: usize,
    waker: Option<Waker>,
    /// Nothing more will come.
    ended: bool,
    /// Why; said once.
    error: Option<Error>,
}

/// The notices to one [`Consumer`].
#[derive(Clone, Debug)]
pub struct Notices {
    queue: Arc<DeliveryQueue>,
}

impl Notices {
    /// The next notice. `None` when the consumer has ended.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Notice> {
        std::future::poll_fn(|context| self.queue.notices.poll(context)).await
    }
}

impl ConsumerBuilder {
    pub(crate) fn new(handle: Arc<Handle>, address: &str) -> Self {
        Self {
            consume: wire::Consume {
                address: address.to_owned(),
                consumer: handle.next_consumer(),
                credit_messages: 8_192,
                credit_bytes: 4 << 20,
                visibility_timeout_ms: None,
                ack_on_delivery: false,
            },
            handle,
            visibility: None,
        }
    }

    /// Messages held un-settled at most: 1 to 65,535, default 8,192. For a worker, about what it
    /// works on at a time.
    pub const fn window(mut self, messages: u32) -> Self {
        self.consume.credit_messages = messages;
        self
    }

    /// Bytes held un-settled at most, but always one message: 1 to 8 MiB, default 4 MiB.
    pub const fn window_bytes(mut self, bytes: u64) -> Self {
        self.consume.credit_bytes = bytes;
        self
    }

    /// How long a lease lasts: 1 s to 12 h, and no longer than `max_hold` where the queue or subscription
    /// has one. Default: as it says itself.
    pub fn visibility(mut self, visibility: Duration) -> Self {
        self.visibility = Some(visibility);
        self.consume.visibility_timeout_ms = Some(millis(visibility));
        self
    }

    /// At most once: the broker acks what it delivers before it sends it, so that none of it ever comes
    /// again. What is on its way when the broker, the connection or this consumer ends is lost: at most
    /// the window.
    ///
    /// A delivery is no lease then. Acked or dropped it gives its room in the window back, which always
    /// succeeds; anything else is answered [`Outcome::LeaseLost`](crate::Outcome::LeaseLost), and the
    /// deadline is 0.
    pub const fn ack_on_delivery(mut self) -> Self {
        self.consume.ack_on_delivery = true;
        self
    }

    /// Subscribes.
    ///
    /// # Errors
    /// A refusal: no such name, a setting out of its range; a closed client. A lost connection is
    /// waited out.
    ///
    /// # Cancel safety
    /// Dropping the future subscribes to nothing that lasts.
    pub async fn open(self) -> Result<Consumer, Error> {
        let parsed: Result<Address, _> = self.consume.address.parse();
        parsed.map_err(bad_address)?;
        let window = usize::try_from(self.consume.credit_messages).unwrap_or(usize::MAX);
        let address = self.consume.address.as_str().into();
        let source = if self.consume.ack_on_delivery {
            Source::at_most_once(self.handle, address)
        } else {
            Source::new(self.handle, address, self.visibility)
        };
        let consumer = Consumer {
            source,
            number: self.consume.consumer,
            queue: DeliveryQueue::new(window),
            current: None,
        };
        let queue = Arc::clone(&consumer.queue);
        let consume = self.consume;
        let subscribed = consumer.source.handle.call(|reply| Command::Subscribe {
            consume,
            queue,
            reply,
        });
        subscribed.await?;
        Ok(consumer)
    }
}

impl Consumer {
    /// The next batch, or what is left of the one [`next`](Self::next) is handing out. `None` when
    /// the consumer has ended; the item before it says why.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub async fn next_batch(&mut self) -> Option<Result<DeliveredBatch, Error>> {
        let rest = self.current.take().and_then(Deliveries::into_batch);
        let next = match rest {
            Some(batch) => Some(Ok(batch)),
            None => std::future::poll_fn(|context| self.poll_batch(context)).await,
        };
        if let Some(Ok(batch)) = &next {
            self.begun(batch.lease());
        }
        next
    }

    /// The next delivery. `None` when the consumer has ended; the item before it says why.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        std::future::poll_fn(|context| self.poll_delivery(context)).await
    }

    /// What the broker says to this consumer besides deliveries: leases that end soon, asked-for
    /// cancels, gaps. To be awaited beside [`next`](Self::next). Each notice goes to one of all that
    /// ask; the newest 1,024 are kept.
    pub fn notices(&self) -> Notices {
        Notices {
            queue: Arc::clone(&self.queue),
        }
    }

    /// How many messages were settled [detached](DeliveredBatch::ack_detached) without effect:
    /// their lease was lost, the settle refused, or the client closed before the answer.
    pub fn settle_errors(&self) -> u64 {
        self.source.tally.failed()
    }

    /// Waits until all detached settles are answered; gives [`settle_errors`](Self::settle_errors).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn flush_settles(&self) -> u64 {
        self.source.tally.settled().await;
        self.source.tally.failed()
    }

    /// Ends the consumer: what was pushed and not handed out is released, or lost if it was acked on
    /// delivery; detached settles are flushed. Deliveries still in your hands lapse, charged as an attempt; settle them first. So does
    /// what was on its way here when the broker heard of the end.
    ///
    /// # Errors
    /// A closed client.
    ///
    /// # Cancel safety
    /// As a drop: the consumer ends all the same, unawaited.
    pub async fn close(mut self) -> Result<(), Error> {
        self.release_waiting();
        self.flush_settles().await;
        let consumer = self.number;
        let stopped = self.source.handle.call(|reply| Command::Unsubscribe {
            consumer,
            reply: Some(reply),
        });
        stopped.await
    }

    fn poll_batch(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<DeliveredBatch, Error>>> {
        self.queue.poll(context).map(|popped| {
            popped.map(|batch| {
                let batch = batch?;
                DeliveredBatch::new(&self.source, batch).ok_or(misfit())
            })
        })
    }

    fn poll_delivery(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivery, Error>>> {
        loop {
            if let Some(delivery) = self.current.as_mut().and_then(Iterator::next) {
                self.begun(delivery.lease());
                return Poll::Ready(Some(Ok(delivery)));
            }
            self.current = None;
            match std::task::ready!(self.poll_batch(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(batch)) => self.current = Some(batch.into_deliveries()),
            }
        }
    }

    /// What goes to the application is begun from here on.
    fn begun(&self, lease: &Lease) {
        let Source {
            handle,
            address,
            at_most_once,
            ..
        } = &*self.source;
        if *at_most_once {
            return;
        }
        handle.begun(address, lease.grant, lease.range.clone());
    }

    fn release_waiting(&mut self) {
        self.current = None;
        for batch in self.queue.drain() {
            // Made and dropped: released.
            drop(DeliveredBatch::new(&self.source, batch));
        }
    }
}

impl Stream for Consumer {
    type Item = Result<Delivery, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_delivery(context)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.release_waiting();
        self.source.handle.command(Command::Unsubscribe {
            consumer: self.number,
            reply: None,
        });
    }
}

impl DeliveryQueue {
    /// A queue for so many batches, each of which has at least one message of the window.
    pub(crate) fn new(window_batches: usize) -> Arc<Self> {
        Arc::new(Self {
            window_batches,
            notices: NoticeQueue::default(),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds pushed batches; `false` when the broker went beyond the window.
    pub(crate) fn push(&self, batches: Vec<wire::Batch>) -> bool {
        let mut state = self.state();
        state.batches.extend(batches);
        if state.batches.len() - state.kept > self.window_batches {
            return false;
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Takes everything that waits.
    pub(crate) fn drain(&self) -> VecDeque<wire::Batch> {
        let mut state = self.state();
        state.kept = 0;
        std::mem::take(&mut state.batches)
    }

    /// The connection is lost; what it brought is the application's all the same.
    pub(crate) fn keep(&self) {
        let mut state = self.state();
        state.kept = state.batches.len();
    }

    /// Nothing more will come.
    pub(crate) fn end(&self, error: Option<Error>) {
        self.notices.end();
        let mut state = self.state();
        if !state.ended {
            state.ended = true;
            state.error = error;
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<wire::Batch, Error>>> {
        let mut state = self.state();
        if let Some(batch) = state.batches.pop_front() {
            state.kept = state.kept.saturating_sub(1);
            return Poll::Ready(Some(Ok(batch)));
        }
        if state.ended {
            return Poll::Ready(state.error.take().map(Err));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
