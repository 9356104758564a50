//! ack, nack, release, reject, extend over ranges of one grant.
//!
//! First every range is classified, changing nothing; then what the grant still may settle is
//! acted on. A transaction only asks the first question, for all its settles, before it acts.

use siding_protocol::event::{SettleOutcome, SettleOutcomeKind, Settled};
use siding_protocol::refusal::State;
use siding_protocol::types::{Grant, OffsetRange, Timestamp};

use super::command::{Settle, SettleKind};
use super::log::Change;
use super::runs::RangeSet;
use super::subscription::{Comeback, Death, Exception, Reason, Remembered, Subscription};

/// How a grant stands to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Holds it.
    Live,
    /// Held it last, and nobody got it since.
    Lapsed,
    /// Has settled it so before.
    Repeated,
    /// Does not hold it; it is in this state.
    Lost(State),
}

impl Subscription {
    /// How the grant stands to each part of the settle's ranges, rising.
    pub(super) fn classify(&self, settle: &Settle) -> Vec<(OffsetRange, Standing)> {
        let grant = settle.grant();
        let mut parts = Vec::new();
        for range in settle.ranges.iter().map(|range| OffsetRange::from(*range)) {
            match self.leases.get(&grant) {
                None => self.classify_ended(settle, range, &mut parts),
                Some(lease) => {
                    let live = lease.ranges.overlap(range.clone());
                    parts.extend(live.map(|(part, _)| (part, Standing::Live)));
                    for gap in lease.ranges.gaps(range) {
                        self.classify_ended(settle, gap, &mut parts);
                    }
                }
            }
        }
        parts.sort_unstable_by_key(|(part, _)| part.start);
        parts
    }

    fn classify_ended(
        &self,
        settle: &Settle,
        range: OffsetRange,
        parts: &mut Vec<(OffsetRange, Standing)>,
    ) {
        for (part, exception) in self.exceptions_of(range) {
            // An extend moves a live deadline; it does not lease again.
            let extend = settle.kind() == SettleKind::Extend;
            if exception.lapsed == Some(settle.grant()) && !extend {
                parts.push((part, Standing::Lapsed));
            } else {
                self.classify_foreign(settle, part, parts);
            }
        }
    }

    fn classify_foreign(
        &self,
        settle: &Settle,
        range: OffsetRange,
        parts: &mut Vec<(OffsetRange, Standing)>,
    ) {
        let done: RangeSet = self
            .remembered
            .iter()
            .filter(|done| done.grant == settle.grant() && done.kind == settle.kind())
            .map(|done| done.range.start.max(range.start)..done.range.end.min(range.end))
            .collect();
        parts.extend(done.ranges().map(|part| (part, Standing::Repeated)));
        for gap in done.gaps(range) {
            self.classify_lost(gap, parts);
        }
    }

    /// Cuts `range` by state; a settle names at most what a client sends, never a whole log.
    fn classify_lost(&self, range: OffsetRange, parts: &mut Vec<(OffsetRange, Standing)>) {
        let mut states: Vec<(OffsetRange, State)> = Vec::new();
        states.extend(
            self.ready
                .within(range.clone())
                .map(|part| (part, State::Ready)),
        );
        states.extend(
            self.dead
                .overlap(range.clone())
                .map(|(part, _)| (part, State::Dead)),
        );
        let delayed = self
            .exceptions
            .overlap(range.clone())
            .filter(|(_, e)| e.due.is_some());
        states.extend(delayed.map(|(part, _)| (part, State::Delayed)));
        for lease in self.leases.values() {
            let parts = lease.ranges.overlap(range.clone());
            states.extend(parts.map(|(part, _)| (part, State::Leased)));
        }
        let known: RangeSet = states.iter().map(|(part, _)| part.clone()).collect();
        states.extend(
            known
                .gaps(range)
                .into_iter()
                .map(|part| (part, State::Settled)),
        );
        parts.extend(
            states
                .into_iter()
                .map(|(part, state)| (part, Standing::Lost(state))),
        );
    }

    /// Settles what the grant still may settle; what it may not is told, part by part.
    pub fn settle(
        &mut self,
        settle: &Settle,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Settled {
        let mut done = Settled::default();
        for (range, standing) in self.classify(settle) {
            let kind = match standing {
                Standing::Lost(state) => Some(SettleOutcomeKind::LeaseLost(state)),
                Standing::Lapsed => Some(SettleOutcomeKind::Late),
                Standing::Live | Standing::Repeated => None,
            };
            if !matches!(standing, Standing::Lost(_)) {
                done.settled += range.end - range.start;
            }
            if matches!(standing, Standing::Live | Standing::Lapsed) {
                self.act(settle, range.clone(), standing, now, changes);
            }
            if let Some(kind) = kind {
                note(&mut done.outcomes, range, kind);
            }
        }
        done
    }

    fn act(
        &mut self,
        settle: &Settle,
        range: OffsetRange,
        standing: Standing,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let (grant, kind) = (settle.grant(), settle.kind());
        if kind == SettleKind::Extend {
            let deadline = now.plus_ms(settle.delay_ms.unwrap_or(0));
            return self.set_deadline(grant, range, deadline);
        }
        let late = standing == Standing::Lapsed;
        self.take_out(grant, range.clone(), late, changes);
        match kind {
            SettleKind::Ack => {
                self.exceptions.remove(range.clone());
                self.settled += range.end - range.start;
                changes.push(Change::Gone(range.clone()));
            }
            // A lapsed lease was charged when it ended.
            SettleKind::Nack => {
                let delay_ms = settle.delay_ms;
                let comeback = Comeback {
                    charged: !late,
                    delay_ms,
                    lapsed: None,
                };
                self.come_back(range.clone(), comeback, now, changes);
            }
            SettleKind::Release => {
                let delay_ms = Some(settle.delay_ms.unwrap_or(0));
                let comeback = Comeback {
                    charged: false,
                    delay_ms,
                    lapsed: None,
                };
                self.come_back(range.clone(), comeback, now, changes);
            }
            SettleKind::Reject | SettleKind::Extend => {
                for (part, exception) in self.exceptions_of(range.clone()) {
                    self.set_exception(
                        part,
                        Exception {
                            lapsed: None,
                            due: None,
                            ..exception
                        },
                    );
                }
                let detail = settle.reason.clone();
                let death = Death {
                    reason: Reason::Rejected,
                    at: now,
                    detail,
                };
                self.die(range.clone(), death, changes);
            }
        }
        self.remember(Remembered { grant, range, kind });
    }

    /// Takes `range` from wherever the grant still reaches it.
    fn take_out(
        &mut self,
        grant: Grant,
        range: OffsetRange,
        late: bool,
        changes: &mut Vec<Change>,
    ) {
        if !late {
            return self.take_from_lease(grant, range);
        }
        let dead: Vec<_> = self
            .dead
            .overlap(range.clone())
            .map(|(part, _)| part)
            .collect();
        for part in dead {
            self.bury(part.clone());
            changes.push(Change::Revived(part));
        }
        self.withdraw(range);
    }
}

/// Adds an outcome, joined with its neighbour if they say the same.
fn note(outcomes: &mut Vec<SettleOutcome>, range: OffsetRange, kind: SettleOutcomeKind) {
    match outcomes.last_mut() {
        Some(last) if last.kind == kind && last.range.end == range.start => {
            last.range.end = range.end;
        }
        _ => outcomes.push(SettleOutcome { range, kind }),
    }
}
