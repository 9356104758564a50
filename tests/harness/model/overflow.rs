//! What a full queue does: one message after the other, the lowest first, until there is room.

use siding_protocol::refusal::{Refusal, State};
use siding_protocol::settings::Overflow;

use super::Model;
use super::dedup::Asked;

impl Model {
    /// Whether it fits once every waiting message has left, where the queue allows that.
    pub(super) fn could_store(&self, id: u64, asked: &Asked) -> Result<(), Refusal> {
        let fits = self.has_room(id, asked.sums());
        let Err(Refusal::Busy { .. }) = fits else {
            return fits;
        };
        let log = self.logs.get(&id).expect("judged before");
        let settings = log.queue.as_ref().expect("a topic is never full");
        if settings.overflow() == Overflow::Reject {
            return fits;
        }
        let (messages, bytes) = asked.sums();
        let leased = self.charged_for(id, |message| message.state() == State::Leased);
        let too_many = leased.0 + messages > settings.max_messages;
        if too_many || leased.1 + bytes > settings.max_bytes {
            return fits;
        }
        Ok(())
    }

    pub(super) fn make_room(&mut self, id: u64, asked: &Asked) {
        while self.has_room(id, asked.sums()).is_err() {
            let log = self.logs.get(&id).expect("judged before");
            let settings = log.queue.as_ref().expect("a topic is never full");
            let mut subscriptions = self.subscriptions.values_mut();
            let subscription = subscriptions.find(|found| found.log == id);
            let subscription = subscription.expect("of the queue");
            let mut messages = subscription.messages.iter();
            let waits = messages
                .find(|(_, message)| matches!(message.state(), State::Ready | State::Delayed));
            let (offset, _) = waits.expect("judged before");
            let offset = *offset;
            if settings.overflow() == Overflow::DeadOldest {
                subscription.die(offset, "overflow", "", log, self.now);
            } else {
                subscription.messages.remove(&offset);
                subscription.evicted += 1;
            }
        }
    }
}
