//! ack, nack, release, reject, extend over ranges of one grant.
//!
//! First every range is classified, changing nothing; then what the grant still may settle is
//! acted on. A transaction only asks the first question, for all its settles, before it acts.

use siding_protocol::event::{SettleOutcome, SettleOutcomeKind, Settled};
use siding_protocol::limits::VISIBILITY_MS_MIN;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::types::{OffsetRange, Timestamp};

use super::command::{Settle, SettleKind};
use super::log::Change;
use super::runs::RangeSet;
use super::subscription::{Comeback, Context, Reason, Remembered, Subscription};

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
    /// How the grant stands to each part of the settle's ranges, rising. What it holds costs what is
    /// settled; only what it does not hold is looked for elsewhere, once for the whole settle.
    pub(super) fn classify(&self, settle: &Settle) -> Vec<(OffsetRange, Standing)> {
        let mut parts = Vec::new();
        let mut foreign = RangeSet::default();
        let lease = self.leases.get(&settle.grant());
        for range in settle.ranges.iter().map(|range| OffsetRange::from(*range)) {
            let Some(lease) = lease else {
                self.classify_ended(settle, range, &mut parts, &mut foreign);
                continue;
            };
            let mut at = range.start;
            for (part, _) in lease.ranges.overlap(range.clone()) {
                if at < part.start {
                    self.classify_ended(settle, at..part.start, &mut parts, &mut foreign);
                }
                at = part.end;
                parts.push((part, Standing::Live));
            }
            if at < range.end {
                self.classify_ended(settle, at..range.end, &mut parts, &mut foreign);
            }
        }
        if !foreign.is_empty() {
            self.classify_foreign(settle, foreign, &mut parts);
        }
        parts.sort_unstable_by_key(|(part, _)| part.start);
        parts
    }

    fn classify_ended(
        &self,
        settle: &Settle,
        range: OffsetRange,
        parts: &mut Vec<(OffsetRange, Standing)>,
        foreign: &mut RangeSet,
    ) {
        // An extend moves a live deadline; it does not lease again.
        let extend = settle.kind() == SettleKind::Extend;
        let mut at = range.start;
        let lapsed = self.lapsed.overlap(range.clone());
        for (part, _) in lapsed.filter(|(_, grant)| **grant == settle.grant() && !extend) {
            foreign.add(at..part.start);
            at = part.end;
            parts.push((part, Standing::Lapsed));
        }
        foreign.add(at..range.end);
    }

    fn classify_foreign(
        &self,
        settle: &Settle,
        mut foreign: RangeSet,
        parts: &mut Vec<(OffsetRange, Standing)>,
    ) {
        let same = |done: &&Remembered| (done.grant, done.kind) == (settle.grant(), settle.kind());
        for done in self.remembered.iter().filter(same) {
            let repeated: Vec<_> = foreign.within(done.range.clone()).collect();
            for part in repeated {
                foreign.remove(part.clone());
                parts.push((part, Standing::Repeated));
            }
        }
        for (part, state) in self.states_of(&foreign) {
            foreign.remove(part.clone());
            parts.push((part, Standing::Lost(state)));
        }
        let settled = foreign.ranges();
        parts.extend(settled.map(|part| (part, Standing::Lost(State::Settled))));
    }

    /// The parts of `ranges` that have not left, each with its state.
    fn states_of(&self, ranges: &RangeSet) -> Vec<(OffsetRange, State)> {
        let mut states = Vec::new();
        for range in ranges.ranges() {
            let ready = self.ready.within(range.clone());
            let ready = ready.chain(self.held_back_within(range.clone()));
            states.extend(ready.map(|part| (part, State::Ready)));
            let dead = self.dead.overlap(range.clone());
            states.extend(dead.map(|(part, _)| (part, State::Dead)));
            let exceptions = self.exceptions.overlap(range);
            let delayed = exceptions.filter(|(_, exception)| exception.is_delayed());
            states.extend(delayed.map(|(part, _)| (part, State::Delayed)));
        }
        let leased = self.leases.values().flat_map(|lease| lease.ranges.iter());
        let leased = leased.flat_map(|(range, _)| ranges.within(range));
        states.extend(leased.map(|part| (part, State::Leased)));
        states
    }

    /// Nothing is extended past how long it may be held; what the grant does not hold is not asked.
    pub(super) fn judge_hold(&self, settle: &Settle, now: Timestamp) -> Result<(), Refusal> {
        if settle.kind() != SettleKind::Extend {
            return Ok(());
        }
        let Some(lease) = self.leases.get(&settle.grant()) else {
            return Ok(());
        };
        let left = lease.hold_left_ms(now);
        let Some(left) = left.filter(|left| settle.delay_ms.unwrap_or(0) > *left) else {
            return Ok(());
        };
        let mut asked = settle.ranges.iter().map(|range| OffsetRange::from(*range));
        if !asked.any(|range| lease.ranges.overlap(range).next().is_some()) {
            return Ok(());
        }
        Err(Refusal::Invalid {
            field: "remaining_ms".into(),
            min: VISIBILITY_MS_MIN.min(left),
            max: left,
            why: "past max_hold_ms after the hand-over".into(),
        })
    }

    /// Settles what the grant still may settle; what it may not is told, part by part.
    pub fn settle(&mut self, settle: &Settle, context: &mut Context<'_>) -> Settled {
        let parts = self.classify(settle);
        let live = parts
            .iter()
            .filter(|(_, standing)| *standing == Standing::Live);
        let live = live.map(|(range, _)| range.clone());
        if settle.kind() == SettleKind::Extend {
            let deadline = context.now.plus_ms(settle.delay_ms.unwrap_or(0));
            self.set_deadline(settle.grant(), live, deadline);
        } else {
            self.take_from_lease(settle.grant(), live);
        }
        let mut done = Settled::default();
        for (range, standing) in parts {
            let count = range.end - range.start;
            match standing {
                Standing::Repeated => done.settled += count,
                Standing::Live => {
                    done.settled += count;
                    self.tell_cancels(settle, &range, &mut done);
                    self.act(settle, range, false, context);
                }
                Standing::Lapsed => {
                    done.settled += count;
                    note(&mut done.outcomes, range.clone(), SettleOutcomeKind::Late);
                    self.act(settle, range, true, context);
                }
                Standing::Lost(state) => {
                    note(
                        &mut done.outcomes,
                        range,
                        SettleOutcomeKind::LeaseLost(state),
                    );
                }
            }
        }
        done
    }

    /// An extend is told which messages somebody asked to cancel.
    fn tell_cancels(&self, settle: &Settle, range: &OffsetRange, done: &mut Settled) {
        if settle.kind() == SettleKind::Extend {
            for part in self.jobs.cancels().within(range.clone()) {
                note(&mut done.outcomes, part, SettleOutcomeKind::CancelRequested);
            }
        }
    }

    /// Does what the settle asks to messages that no lease holds any more.
    fn act(&mut self, settle: &Settle, range: OffsetRange, late: bool, context: &mut Context<'_>) {
        let (grant, kind) = (settle.grant(), settle.kind());
        self.hear(settle);
        match kind {
            // The deadline is set.
            SettleKind::Extend => return,
            SettleKind::Ack => {
                self.take_out(range.clone(), late, context);
                self.conclude(range.clone(), State::Settled, context);
                self.settled += range.end - range.start;
                context.changes.push(Change::Gone(range.clone()));
            }
            SettleKind::Nack => {
                // A lapsed lease was charged when it ended.
                let comeback = Comeback {
                    charged: !late,
                    delay_ms: settle.delay_ms,
                    lapsed: None,
                };
                self.give_back(range.clone(), comeback, late, &settle.reason, context);
            }
            SettleKind::Release => {
                let comeback = Comeback {
                    charged: false,
                    delay_ms: Some(settle.delay_ms.unwrap_or(0)),
                    lapsed: None,
                };
                self.give_back(range.clone(), comeback, late, "", context);
            }
            SettleKind::Reject => {
                self.take_out(range.clone(), late, context);
                self.lapsed.remove(range.clone());
                self.edit_exceptions(range.clone(), |exception| exception.due = Timestamp(0));
                self.die(range.clone(), Reason::Rejected, &settle.reason, context);
            }
        }
        self.remember(Remembered { grant, range, kind });
    }

    /// Takes messages that a lapsed grant still reaches from wherever they are.
    fn take_out(&mut self, range: OffsetRange, late: bool, context: &mut Context<'_>) {
        if !late {
            return;
        }
        let dead = self.dead.overlap(range.clone()).map(|(part, _)| part);
        for part in dead.collect::<Vec<_>>() {
            self.bury(part.clone());
            context.changes.push(Change::Revived(part));
        }
        self.withdraw(range);
    }

    /// nack and release. Dead letters come back by a redrive only: for them just the grant ends.
    fn give_back(
        &mut self,
        range: OffsetRange,
        comeback: Comeback,
        late: bool,
        words: &str,
        context: &mut Context<'_>,
    ) {
        let dead = self.dead.overlap(range.clone()).map(|(part, _)| part);
        let dead: RangeSet = dead.collect();
        for part in dead.gaps(range) {
            self.take_out(part.clone(), late, context);
            if !words.is_empty() {
                self.words.say(part.clone(), words.to_owned());
            }
            self.come_back(part, comeback, context);
        }
        for part in dead.ranges() {
            self.lapsed.remove(part);
        }
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
