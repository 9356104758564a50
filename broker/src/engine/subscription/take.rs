//! Settled without having been leased: what a consumer gets at most once.

use siding_protocol::event::{SettleOutcome, SettleOutcomeKind, Settled};
use siding_protocol::refusal::State;
use siding_protocol::types::OffsetRange;

use super::{Context, Remembered, Subscription};
use crate::engine::command::{SettleKind, Take};
use crate::engine::log::Change;
use crate::engine::runs::RangeSet;

impl Subscription {
    /// Settles what is still ready, as if it were leased and acked; the rest is told as lost.
    pub(in crate::engine) fn take(&mut self, take: &Take, context: &mut Context<'_>) -> Settled {
        if let Some(gap) = take.gap {
            self.gaps.remove(gap.into());
        }
        let mut done = Settled::default();
        for range in take.ranges.iter().map(|range| OffsetRange::from(*range)) {
            self.step_forward(range.clone());
            let ready: RangeSet = if self.paused {
                RangeSet::default()
            } else {
                self.ready.within(range.clone()).collect()
            };
            let lost = ready.gaps(range).into_iter();
            done.outcomes.extend(lost.map(|range| SettleOutcome {
                range,
                kind: SettleOutcomeKind::LeaseLost(State::Settled),
            }));
            for part in ready.ranges() {
                done.settled += part.end - part.start;
                self.unready(part.clone());
                self.unwatch(part.clone());
                self.conclude(part.clone(), State::Settled, context);
                context.changes.push(Change::Gone(part.clone()));
                self.remember(Remembered {
                    grant: take.grant(),
                    range: part,
                    kind: SettleKind::Ack,
                });
            }
        }
        self.settled += done.settled;
        done
    }
}
