//! What a filter has chosen, message by message.

use siding_broker::engine::command::{Sift, SiftKind};
use siding_protocol::event::Answer;
use siding_protocol::refusal::State;

use super::{Judged, Message, Model, Place};
use crate::model::filters::offsets;
use crate::model::names::gone;

impl Model {
    pub(super) fn sift(&mut self, sift: &Sift) -> Judged {
        let now = self.now;
        let subscription = self.subscriptions.get_mut(&sift.subscription);
        let subscription = subscription.ok_or_else(gone)?;
        if sift.rate > 0 {
            return subscription.feed_redrive(sift, now);
        }
        let mut counted = 0;
        for offset in offsets(&sift.ranges) {
            let Some(message) = subscription.messages.get_mut(&offset) else {
                continue;
            };
            let waits = matches!(message.place, Place::Ready | Place::Delayed(..));
            let is_dead = message.state() == State::Dead;
            match sift.kind() {
                SiftKind::Purge if waits => {
                    subscription.messages.remove(&offset);
                    subscription.purged += 1;
                }
                SiftKind::DropDead if is_dead => {
                    subscription.end(offset, State::Dead, now);
                    subscription.purged += 1;
                }
                SiftKind::Redrive if is_dead => message.revive(now),
                _ => continue,
            }
            counted += 1;
        }
        subscription.forget_redriven();
        Ok(Answer::Counted(counted))
    }
}

impl Message {
    /// A dead letter is ready again.
    pub(super) fn revive(&mut self, now: u64) {
        (self.place, self.attempts, self.acquires) = (Place::Ready, 0, 0);
        self.generation += 1;
        // Whoever brings it back wants it delivered.
        (self.expires_at, self.ready_since) = (0, now);
        self.holds_key = false;
    }
}
