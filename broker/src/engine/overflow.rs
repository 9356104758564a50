//! A full queue makes room for a publish: the oldest that nobody holds leave, or die.

use siding_protocol::refusal::Refusal;
use siding_protocol::settings::Overflow;
use siding_protocol::types::OffsetRange;

use super::effect::Effects;
use super::judge::Asked;
use super::log::{Change, Extent, Kind, Log};
use super::state::State;
use super::subscription::{Context, Reason, Subscription};
use super::touched::Touched;

impl State {
    /// Whether what a request asks of a log fits, once others have made room as far as they may.
    ///
    /// # Errors
    /// As [`Log::has_room`]; `Busy` where what is leased alone leaves too little.
    pub(super) fn could_store(&self, log: &Log, asked: &mut Asked) -> Result<(), Refusal> {
        let fits = log.has_room(asked.messages, asked.bytes);
        let Err(Refusal::Busy { .. }) = fits else {
            return fits;
        };
        match self.surplus(log, asked) {
            Some(_) => {
                asked.crowds_out = true;
                Ok(())
            }
            None => fits,
        }
    }

    /// Makes room for what was judged to fit.
    pub(super) fn make_room(
        &mut self,
        log: u64,
        asked: &Asked,
        effects: &mut Effects,
        touched: &mut Touched,
    ) {
        let Some(log) = self.logs.get(&log).filter(|_| asked.crowds_out) else {
            return;
        };
        if log.has_room(asked.messages, asked.bytes).is_ok() {
            return;
        }
        let Some((id, surplus)) = self.surplus(log, asked) else {
            return;
        };
        let dies = log.overflow() == Overflow::DeadOldest;
        self.change(id, effects, touched, |subscription, context| {
            for range in surplus {
                subscription.overflow(range, dies, context);
            }
        });
    }

    /// Whose messages make room, and which; `None`: nobody's.
    fn surplus(&self, log: &Log, asked: &Asked) -> Option<(u64, Vec<OffsetRange>)> {
        if log.overflow() == Overflow::Reject {
            return None;
        }
        let id = log.subscriptions.first()?;
        let surplus = log.surplus(self.subscriptions.get(id)?, asked)?;
        Some((*id, surplus))
    }
}

impl Log {
    fn overflow(&self) -> Overflow {
        match &self.kind {
            Kind::Queue(settings) => settings.overflow(),
            Kind::Topic(_) => Overflow::Reject,
        }
    }

    /// The lowest offsets that wait, as few as make room; `None`: all of them are too few.
    fn surplus(&self, subscription: &Subscription, asked: &Asked) -> Option<Vec<OffsetRange>> {
        let Kind::Queue(settings) = &self.kind else {
            return None;
        };
        let over = |held: u64, more: u64, limit: u64| (held + more).saturating_sub(limit);
        let mut messages = over(self.messages, asked.messages, settings.max_messages);
        let mut bytes = over(self.bytes, asked.bytes, settings.max_bytes);
        let mut surplus = Vec::new();
        for extent in &self.extents {
            if (messages, bytes) == (0, 0) {
                break;
            }
            let waiting = subscription.waiting_within(extent.range());
            let enough = |count: &u64| *count >= messages && extent.freed_by(*count) >= bytes;
            let count = (1..=waiting.count()).find(enough);
            let mut left = count.unwrap_or(waiting.count());
            messages = messages.saturating_sub(left);
            bytes = bytes.saturating_sub(extent.freed_by(left));
            for range in waiting.ranges() {
                let part = range.start..range.end.min(range.start + left);
                left -= part.end - part.start;
                surplus.push(part);
            }
        }
        surplus.retain(|part| !part.is_empty());
        ((messages, bytes) == (0, 0)).then_some(surplus)
    }
}

impl Extent {
    /// Bytes charged no more once so many of its messages have left.
    fn freed_by(&self, messages: u64) -> u64 {
        let left = self.charged_messages() - messages;
        self.charged_bytes() - self.bytes_of(left)
    }
}

impl Subscription {
    fn overflow(&mut self, range: OffsetRange, dies: bool, context: &mut Context<'_>) {
        self.withdraw(range.clone());
        if dies {
            return self.die_waiting(range, Reason::Overflow, context);
        }
        self.forget(range.clone());
        self.evicted += range.end - range.start;
        context.changes.push(Change::Gone(range));
    }
}
