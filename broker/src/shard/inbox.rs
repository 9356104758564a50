//! The way from the sessions to their shard: a plain list on the same thread.
//!
//! The first input wakes the committer, which thereby queues behind every session that is already
//! ready: when it runs, all of them have been read. That is the whole of grouping.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;

use super::core::Input;

/// Inputs waiting for the committer, bounded by bytes.
#[derive(Debug)]
pub struct Inbox {
    inputs: RefCell<VecDeque<Input>>,
    bytes: Cell<usize>,
    bytes_max: usize,
    /// Of all requests so far.
    brought_bytes: Cell<u64>,
    filled: Notify,
    drained: Notify,
}

impl Inbox {
    /// Requests of at most `bytes_max` wait here; one larger than that waits alone.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            inputs: RefCell::default(),
            bytes: Cell::new(0),
            bytes_max,
            brought_bytes: Cell::new(0),
            filled: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Appends an input. Whoever asks waits for room first ([`Self::has_room_for`]); openings and
    /// closings need none.
    pub fn push(&self, input: Input) {
        let charge = charge(&input);
        self.bytes.set(self.bytes.get() + charge);
        self.brought_bytes
            .set(self.brought_bytes.get() + charge as u64);
        let mut inputs = self.inputs.borrow_mut();
        if inputs.is_empty() {
            self.filled.notify_one();
        }
        inputs.push_back(input);
    }

    /// Whether a request of `bytes` may be pushed.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.bytes.get() == 0 || self.bytes.get() + bytes <= self.bytes_max
    }

    /// Bytes of all requests that ever came.
    pub fn brought_bytes(&self) -> u64 {
        self.brought_bytes.get()
    }

    /// Waits until the committer has taken something.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn drained(&self) {
        self.drained.notified().await;
    }

    /// Waits until something is there that was not when the committer last looked.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Wakes the committer for what it left.
    pub fn wake(&self) {
        self.filled.notify_one();
    }

    /// Takes the oldest input, if `fits` says that it may come.
    pub fn pop_if(&self, fits: impl FnOnce(&Input) -> bool) -> Option<Input> {
        let mut inputs = self.inputs.borrow_mut();
        let input = inputs.pop_front_if(|input| fits(input))?;
        self.bytes.set(self.bytes.get() - charge(&input));
        Some(input)
    }

    /// Lets waiting sessions look again; once for all that the committer took.
    pub fn notify_drained(&self) {
        self.drained.notify_waiters();
    }

    /// Whether more than one input waits.
    pub fn holds_several(&self) -> bool {
        self.inputs.borrow().len() > 1
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.inputs.borrow().is_empty()
    }
}

fn charge(input: &Input) -> usize {
    match input {
        Input::Request { charge, .. } => *charge,
        Input::Opened { .. } | Input::Paused { .. } | Input::Closed { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use siding_protocol::request::Request;

    use super::*;
    use crate::engine::effect::Origin;

    fn request(charge: usize) -> Input {
        let origin = Origin {
            session: 1,
            correlation: 1,
        };
        Input::Request {
            origin,
            request: Request::OpenProducer,
            charge,
        }
    }

    #[test]
    fn a_full_inbox_takes_no_request_and_one_larger_than_it_waits_alone() {
        let inbox = Inbox::new(100);
        assert!(inbox.has_room_for(5_000));
        inbox.push(request(60));
        assert!(inbox.has_room_for(40));
        assert!(!inbox.has_room_for(41));
        inbox.push(Input::Closed { session: 1 });
        assert!(inbox.pop_if(|_| false).is_none());
        assert!(inbox.pop_if(|_| true).is_some());
        assert!(inbox.has_room_for(100) && !inbox.is_empty());
    }
}
