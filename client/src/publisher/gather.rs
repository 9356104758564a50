//! Where published messages gather. Pure: no clock, no IO; the connection task asks when to send.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use siding_protocol::event::Confirm;
use siding_protocol::run::{MessageError, MessageFields, RunBuilder, RunLimits};
use siding_protocol::types::Level;

use super::{Receipt, RunOutcome};
use crate::error::{Error, TryPublishError};
use crate::message::MessageId;

/// A run that is not full is sent while fewer requests than this are unanswered; past it, the
/// answers set the pace. Else a publisher a little slower than its connection would send runs of a
/// few messages for ever.
const PARTIAL_WHILE_UNANSWERED: usize = 8;

/// When a run is closed, and how much may be unconfirmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatherLimits {
    pub(crate) batch_messages: u32,
    pub(crate) batch_bytes: usize,
    pub(crate) linger_ms: u64,
    pub(crate) window_messages: u64,
    pub(crate) window_bytes: usize,
}

impl Default for GatherLimits {
    fn default() -> Self {
        Self {
            batch_messages: 256,
            batch_bytes: 64 << 10,
            linger_ms: 0,
            window_messages: 4_096,
            window_bytes: 4 << 20,
        }
    }
}

/// A run ready to send, and who waits for it.
#[derive(Debug)]
pub(crate) struct SealedRun {
    pub(crate) run: Bytes,
    count: u32,
    outcome: Arc<RunOutcome>,
}

impl SealedRun {
    /// Whether it is one message.
    pub(crate) const fn is_one(&self) -> bool {
        self.count == 1
    }
}

/// What the connection task knows of this publisher, so that it is woken only for news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    /// Something is in the open run.
    Open,
    /// A sealed run waits.
    Sealed,
}

/// The messages of one publisher that are not sent yet, and the books of its window.
#[derive(Debug)]
pub(crate) struct Gather {
    limits: GatherLimits,
    open: RunBuilder,
    open_outcome: Arc<RunOutcome>,
    /// When the connection task first saw the open run: the linger counts from there.
    seen_at_ms: Option<u64>,
    sealed: VecDeque<SealedRun>,
    told: Told,
    /// Send the open run at the next chance: somebody waits.
    hurry: bool,
    unconfirmed_messages: u64,
    unconfirmed_bytes: usize,
    /// Outcomes of all runs up to the open one that are unfinished, or behind one that is.
    unfinished: VecDeque<Arc<RunOutcome>>,
    /// The number of the first of them, counted from the publisher's first run.
    first_unfinished: u64,
    /// Of all confirms.
    lowest: Option<Level>,
    /// Messages that were stored before under their dedup id.
    duplicates: u64,
    /// Where the first of them lies.
    first_duplicate: Option<MessageId>,
    failure: Option<Error>,
    ended: Option<Error>,
}

impl Gather {
    pub(crate) fn new(limits: GatherLimits, run_limits: RunLimits) -> Self {
        Self {
            limits,
            open: RunBuilder::new(run_limits),
            open_outcome: RunOutcome::open(),
            seen_at_ms: None,
            sealed: VecDeque::new(),
            told: Told::Nothing,
            hurry: false,
            unconfirmed_messages: 0,
            unconfirmed_bytes: 0,
            unfinished: VecDeque::new(),
            first_unfinished: 0,
            lowest: None,
            duplicates: 0,
            first_duplicate: None,
            failure: None,
            ended: None,
        }
    }

    pub(crate) const fn has_room(&self) -> bool {
        let room = self.unconfirmed_messages < self.limits.window_messages
            && self.unconfirmed_bytes < self.limits.window_bytes;
        room || self.ended.is_some()
    }

    /// Whether a publisher without room waits for nothing but a linger; it ends here.
    pub(crate) fn cut_linger(&mut self) -> bool {
        let lingers = self.limits.linger_ms > 0 && !self.open.is_empty() && !self.hurry;
        self.hurry |= lingers;
        lingers
    }

    /// Writes a message into the open run. `true`: wake the connection task.
    #[inline]
    pub(crate) fn push(
        &mut self,
        message: &MessageFields<'_>,
    ) -> Result<(Receipt, bool), TryPublishError> {
        if let Some(error) = &self.ended {
            return Err(TryPublishError::Failed(error.clone()));
        }
        if !self.has_room() {
            return Err(TryPublishError::Full);
        }
        let mut bytes_before = self.open.len_bytes();
        let mut pushed = self.open.push(message);
        if matches!(pushed, Err(MessageError::RunFull)) {
            self.seal();
            bytes_before = 0;
            pushed = self.open.push(message);
        }
        pushed.map_err(Error::InvalidMessage)?;
        self.unconfirmed_messages += 1;
        self.unconfirmed_bytes += self.open.len_bytes() - bytes_before;
        let receipt = Receipt::new(Arc::clone(&self.open_outcome), self.open.count() - 1);
        let full = self.open.count() >= self.limits.batch_messages
            || self.open.len_bytes() >= self.limits.batch_bytes;
        if full {
            self.seal();
        }
        let news = if self.sealed.is_empty() {
            Told::Open
        } else {
            Told::Sealed
        };
        let wake = news > self.told;
        self.told = self.told.max(news);
        Ok((receipt, wake))
    }

    fn seal(&mut self) {
        let (run, count) = self.open.take();
        let outcome = std::mem::replace(&mut self.open_outcome, RunOutcome::open());
        self.unfinished.push_back(Arc::clone(&outcome));
        self.seen_at_ms = None;
        self.hurry = false;
        self.sealed.push_back(SealedRun {
            run,
            count,
            outcome,
        });
    }

    /// The next run to send, with so many requests unanswered; `None`: not now.
    pub(crate) fn take_ready(&mut self, now_ms: u64, unanswered: usize) -> Option<SealedRun> {
        if self.sealed.is_empty() && !self.open.is_empty() && self.open_is_due(now_ms, unanswered) {
            self.seal();
        }
        let ready = self.sealed.pop_front();
        if ready.is_none() {
            self.told = Told::Open;
        }
        ready
    }

    fn open_is_due(&mut self, now_ms: u64, unanswered: usize) -> bool {
        let seen_at_ms = *self.seen_at_ms.get_or_insert(now_ms);
        if self.hurry {
            return true;
        }
        let lingered = now_ms.saturating_sub(seen_at_ms) >= self.limits.linger_ms;
        lingered && (self.limits.linger_ms > 0 || unanswered < PARTIAL_WHILE_UNANSWERED)
    }

    /// When the open run has lingered enough.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let seen_at_ms = self.seen_at_ms.filter(|_| self.limits.linger_ms > 0)?;
        Some(seen_at_ms.saturating_add(self.limits.linger_ms))
    }

    /// Whether nothing waits to be sent; the next message wakes the connection task then.
    pub(crate) fn rests(&mut self) -> bool {
        let rests = self.open.is_empty() && self.sealed.is_empty();
        if rests {
            self.told = Told::Nothing;
            self.hurry = false;
        }
        rests
    }

    /// Sends the open run at the next chance; gives the number of the first run after it.
    pub(crate) fn hurry(&mut self) -> u64 {
        self.hurry |= !self.open.is_empty();
        let runs = self.unfinished.len() + usize::from(!self.open.is_empty());
        self.first_unfinished + runs as u64
    }

    /// Whether every run before this number is finished.
    pub(crate) fn finished(&self, number: u64) -> bool {
        self.first_unfinished >= number
    }

    pub(crate) const fn lowest(&self) -> Option<Level> {
        self.lowest
    }

    pub(crate) const fn duplicates(&self) -> (u64, Option<MessageId>) {
        (self.duplicates, self.first_duplicate)
    }

    /// The first failure since the last time this was asked.
    pub(crate) fn take_failure(&mut self) -> Result<(), Error> {
        self.failure.take().map_or(Ok(()), Err)
    }

    pub(crate) fn finish(&mut self, run: &SealedRun, result: Result<Confirm, Error>) {
        self.unconfirmed_messages -= u64::from(run.count);
        self.unconfirmed_bytes -= run.run.len();
        match &result {
            Ok(confirm) => {
                if self.lowest != Some(Level::Written) {
                    self.lowest = Some(confirm.level);
                }
                self.duplicates += confirm.duplicates.len() as u64;
                if let (None, Some(first)) = (self.first_duplicate, confirm.duplicates.first()) {
                    self.first_duplicate = Some(MessageId {
                        log_id: confirm.log_id,
                        offset: first.offset,
                    });
                }
            }
            Err(error) => {
                self.failure.get_or_insert_with(|| error.clone());
            }
        }
        run.outcome.finish(result);
        while self.unfinished.front().is_some_and(|run| !run.is_open()) {
            self.unfinished.pop_front();
            self.first_unfinished += 1;
        }
    }

    /// Fails everything not sent, and everything to come.
    pub(crate) fn end(&mut self, error: &Error) {
        self.ended.get_or_insert_with(|| error.clone());
        if !self.open.is_empty() {
            self.seal();
        }
        while let Some(run) = self.sealed.pop_front() {
            self.finish(&run, Err(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(limits: GatherLimits) -> Gather {
        Gather::new(limits, RunLimits::default())
    }

    /// Whether the connection task is to be woken.
    fn push(gather: &mut Gather) -> bool {
        let message = MessageFields {
            body: b"x",
            ..MessageFields::default()
        };
        gather.push(&message).expect("room").1
    }

    fn place(first_offset: u64) -> Confirm {
        Confirm {
            log_id: 1,
            first_offset,
            count: 1,
            level: Level::Synced,
            duplicates: Vec::new(),
        }
    }

    #[test]
    fn the_connection_is_woken_for_news_only() {
        let mut gather = gather(GatherLimits {
            batch_messages: 3,
            ..GatherLimits::default()
        });
        let woken: Vec<_> = (0..7).map(|_| push(&mut gather)).collect();
        assert_eq!(woken, [true, false, true, false, false, false, false]);
        for count in [3, 3, 1] {
            assert_eq!(gather.take_ready(0, 0).expect("ready").count, count);
        }
        assert!(gather.take_ready(0, 0).is_none());
        assert!(gather.rests());
        assert!(push(&mut gather), "the next one is news again");
    }

    #[test]
    fn an_idle_publisher_sends_at_once_and_a_busy_one_waits_for_answers_or_a_full_run() {
        let mut gather = gather(GatherLimits::default());
        push(&mut gather);
        assert!(gather.take_ready(0, PARTIAL_WHILE_UNANSWERED).is_none());
        assert!(!gather.rests());
        let run = gather.take_ready(0, PARTIAL_WHILE_UNANSWERED - 1);
        assert_eq!(run.expect("answers came").count, 1);
        for _ in 0..256 {
            push(&mut gather);
        }
        assert!(
            gather.take_ready(0, 1_000).is_some(),
            "a full run waits for nobody"
        );
    }

    #[test]
    fn a_lingering_run_waits_its_time_unless_somebody_is_in_a_hurry() {
        let mut gather = gather(GatherLimits {
            linger_ms: 5,
            ..GatherLimits::default()
        });
        push(&mut gather);
        assert!(gather.take_ready(100, 0).is_none());
        assert_eq!(gather.due_ms(), Some(105));
        assert!(gather.take_ready(104, 0).is_none());
        assert!(gather.take_ready(105, 0).is_some());
        push(&mut gather);
        gather.hurry();
        assert!(gather.take_ready(106, 0).is_some());
        assert_eq!(gather.due_ms(), None);
    }

    #[test]
    fn a_flush_waits_for_every_run_before_it_and_no_later_one() {
        let mut gather = gather(GatherLimits {
            batch_messages: 1,
            ..GatherLimits::default()
        });
        push(&mut gather);
        push(&mut gather);
        let target = gather.hurry();
        push(&mut gather);
        let first = gather.take_ready(0, 0).expect("sealed");
        let second = gather.take_ready(0, 0).expect("sealed");
        gather.finish(&second, Ok(place(1)));
        assert!(!gather.finished(target), "the first is still under way");
        gather.finish(&first, Ok(place(0)));
        assert!(gather.finished(target));
        assert!(gather.take_failure().is_ok());
    }

    #[test]
    fn the_end_fails_what_was_not_sent_and_what_comes_later() {
        let mut gather = gather(GatherLimits::default());
        push(&mut gather);
        let closed = Error::Closed {
            maybe_applied: false,
        };
        gather.end(&closed);
        assert!(gather.rests());
        assert!(gather.take_failure().is_err());
        let later = gather.push(&MessageFields::default());
        assert!(matches!(
            later,
            Err(TryPublishError::Failed(Error::Closed { .. }))
        ));
    }
}
