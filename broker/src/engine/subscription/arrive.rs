//! New messages of the log: plain ones are ready, special ones as their publisher said.

use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use super::{Exception, Subscription};
use crate::engine::special::Special;

impl Subscription {
    /// Takes in `fresh`; the specials count from `first`, which is message 0 of their run.
    pub fn arrive(
        &mut self,
        fresh: OffsetRange,
        first: Offset,
        specials: &[Special],
        now: Timestamp,
    ) {
        let mut at = fresh.start;
        for special in specials {
            let start = (first + u64::from(special.first)).clamp(at, fresh.end);
            let end = (first + u64::from(special.end())).clamp(start, fresh.end);
            self.make_ready(at..start);
            self.arrive_special(start..end, special, now);
            at = end;
        }
        self.make_ready(at..fresh.end);
    }

    fn arrive_special(&mut self, range: OffsetRange, special: &Special, now: Timestamp) {
        self.set_attributes(range.clone(), special.attributes());
        let due = Timestamp(special.due_ms);
        if due <= now {
            return self.make_ready(range);
        }
        let exception = Exception {
            due,
            ..Exception::default()
        };
        self.set_exception(range.clone(), exception);
        self.delayed.insert(due, range);
    }
}
