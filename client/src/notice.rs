//! What the broker says to a consumer besides deliveries.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use siding_protocol::types::{Grant, OffsetRange};
use siding_protocol::wire;

/// Notices that wait at most; past it the oldest is dropped. What they say can be asked for, too.
const NOTICES_MAX: usize = 1_024;

/// What the broker says to a consumer besides deliveries; see
/// [`Consumer::notices`](crate::Consumer::notices).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Most of the lease has passed: extend or settle these messages.
    LeaseExpiring {
        /// Under which they are held.
        grant: Grant,
        /// Which.
        ranges: Vec<OffsetRange>,
        /// When the lease ends: Unix ms.
        deadline_ms: u64,
    },
    /// Somebody asked to cancel this message: whether it ends so is for its holder.
    CancelRequested {
        /// Under which it is held.
        grant: Grant,
        /// Which.
        offset: u64,
    },
    /// Retention took these messages before they were read.
    Gap(OffsetRange),
}

/// Notices that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct NoticeQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    notices: VecDeque<Notice>,
    waker: Option<Waker>,
    ended: bool,
}

impl NoticeQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, notice: Notice) {
        let mut state = self.state();
        if state.notices.len() == NOTICES_MAX {
            state.notices.pop_front();
        }
        state.notices.push_back(notice);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Option<Notice>> {
        let mut state = self.state();
        if let Some(notice) = state.notices.pop_front() {
            return Poll::Ready(Some(notice));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Notice {
    /// `None` if it lacks what it is about.
    pub(crate) fn expiring(wire: wire::LeaseExpiring) -> Option<Self> {
        Some(Self::LeaseExpiring {
            grant: grant(wire.grant)?,
            ranges: wire.ranges.into_iter().map(range).collect(),
            deadline_ms: wire.deadline_ms,
        })
    }

    /// `None` if it lacks what it is about.
    pub(crate) fn cancel(wire: wire::CancelRequested) -> Option<Self> {
        Some(Self::CancelRequested {
            grant: grant(wire.grant)?,
            offset: wire.offset,
        })
    }

    pub(crate) fn gap(wire: wire::OffsetRange) -> Self {
        Self::Gap(range(wire))
    }
}

fn grant(wire: Option<wire::Grant>) -> Option<Grant> {
    let wire::Grant { term, counter } = wire?;
    Some(Grant { term, counter })
}

pub(crate) const fn range(wire: wire::OffsetRange) -> OffsetRange {
    wire.first..wire.first.saturating_add(wire.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_come_in_order_and_the_oldest_gives_way() {
        let queue = NoticeQueue::default();
        let context = Context::from_waker(Waker::noop());
        assert!(queue.poll(&context).is_pending());
        let most = NOTICES_MAX as u64;
        for offset in 0..=most {
            queue.push(Notice::Gap(offset..offset + 1));
        }
        assert_eq!(queue.poll(&context), Poll::Ready(Some(Notice::Gap(1..2))));
        queue.end();
        for offset in 2..=most {
            let notice = Notice::Gap(offset..offset + 1);
            assert_eq!(queue.poll(&context), Poll::Ready(Some(notice)));
        }
        assert_eq!(queue.poll(&context), Poll::Ready(None));
    }
}
