//! Receipts: a place in a run, and what became of the run.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use siding_protocol::event;

use crate::error::Error;
use crate::message::{Confirm, MessageId};

/// The promise of a confirm for one published message. Await it, or drop it if you only
/// [`flush`](crate::Publisher::flush).
///
/// It is a place in a run; the run's outcome is one small allocation that all its receipts share, so
/// a receipt costs no channel, and nothing is remembered for receipts that were dropped. A waker is
/// registered only when it is awaited before the confirm came.
///
/// # Cancel safety
/// Safe: await `&mut receipt` again as often as you like.
#[derive(Debug)]
#[must_use = "await it to know that the message is stored, or use `flush`"]
pub struct Receipt {
    outcome: Arc<RunOutcome>,
    /// Which message of the run, from 0.
    index: u32,
    /// Where this receipt's waker stands among the run's.
    waker: Option<usize>,
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct RunOutcome(Mutex<Outcome>);

#[derive(Debug)]
enum Outcome {
    Open(Vec<Waker>),
    /// Where its messages are stored.
    Stored(event::Confirm),
    Failed(Error),
}

impl Receipt {
    pub(super) const fn new(outcome: Arc<RunOutcome>, index: u32) -> Self {
        Self {
            outcome,
            index,
            waker: None,
        }
    }
}

impl Future for Receipt {
    type Output = Result<Confirm, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let receipt = &mut *self;
        let mut outcome = receipt.outcome.lock();
        let wakers = match &mut *outcome {
            Outcome::Open(wakers) => wakers,
            Outcome::Stored(run) => {
                let (offset, duplicate) = run.place_of(receipt.index);
                let log_id = run.log_id;
                let id = MessageId { log_id, offset };
                let level = run.level;
                return Poll::Ready(Ok(Confirm {
                    id,
                    level,
                    duplicate,
                }));
            }
            Outcome::Failed(error) => return Poll::Ready(Err(error.clone())),
        };
        if let Some(waker) = receipt.waker.and_then(|at| wakers.get_mut(at)) {
            waker.clone_from(context.waker());
        } else {
            receipt.waker = Some(wakers.len());
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl RunOutcome {
    pub(super) fn open() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Outcome::Open(Vec::new()))))
    }

    fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(*self.lock(), Outcome::Open(_))
    }

    /// Tells every receipt that waits.
    pub(super) fn finish(&self, result: Result<event::Confirm, Error>) {
        let outcome = match result {
            Ok(run) => Outcome::Stored(run),
            Err(error) => Outcome::Failed(error),
        };
        let before = std::mem::replace(&mut *self.lock(), outcome);
        if let Outcome::Open(wakers) = before {
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}
