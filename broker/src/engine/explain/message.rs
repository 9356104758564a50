//! Why one message does not move.

use siding_protocol::event::{Cause, CauseCode, Explanation, JobInfo};
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::request::MessageId;
use siding_protocol::types::{Offset, Timestamp};

use super::exits;
use crate::engine::Engine;
use crate::engine::runs::RangeSet;
use crate::engine::select::{Before, before};
use crate::engine::subscription::Subscription;

/// Ranges that are looked through for a message: about ten milliseconds.
const PIECES_MAX: usize = 100_000;

impl Engine {
    /// Why a message does not move, as far as it can be said without its body.
    ///
    /// # Errors
    /// `NotFound`: no such subscription, or the offset was never published to it.
    pub fn explain_message(&self, now: Timestamp, id: &MessageId) -> Result<Explanation, Refusal> {
        let info = self.job(id)?;
        let subscription = self.looked_at(&id.address)?;
        let state = subscription.state_of(id.offset);
        let causes = match state {
            State::Leased => vec![leased(&info)],
            State::Delayed => self.why_delayed(subscription, &info),
            State::Ready => self.why_waiting(now, subscription, id.offset),
            State::Dead => vec![self.why_dead(subscription, &info)],
            State::Settled | State::Expired | State::Cancelled => {
                vec![why_gone(&info, subscription)]
            }
        };
        let ends = causes.iter().filter_map(Cause::ends_at);
        let next_wake = ends.chain(leaves_at(subscription, state, id.offset)).min();
        Ok(Explanation { causes, next_wake })
    }

    fn why_delayed(&self, subscription: &Subscription, info: &JobInfo) -> Vec<Cause> {
        let next = info.attempts + 1;
        let text = match (info.attempts, info.last_error.as_str()) {
            (0, _) => "delayed".into(),
            (_, "") => format!("attempt {next} comes after a while"),
            (_, words) => format!("attempt {next} comes after a while; the last said: {words}"),
        };
        let cause = Cause::new(CauseCode::NotDue, info.attempts.into(), text).at(info.at);
        // Who has no room now may have some then.
        let also = self.held_up(subscription);
        let also = also.filter(|also| also.code != CauseCode::NoCredit);
        [cause].into_iter().chain(also).collect()
    }

    fn why_waiting(
        &self,
        now: Timestamp,
        subscription: &Subscription,
        offset: Offset,
    ) -> Vec<Cause> {
        let readers = self.volatile.readers.get(&subscription.id);
        let nothing = RangeSet::default();
        let reserved = readers.map_or(&nothing, |readers| &readers.reserved);
        if reserved.get(offset).is_some() {
            let exception = subscription.exceptions.get(offset);
            let attempts = exception.map_or(0, |exception| exception.attempts);
            let text = "handed over a moment ago";
            let cause = Cause::new(CauseCode::Leased, u64::from(attempts) + 1, text);
            return vec![cause];
        }
        let held_up = self.held_up(subscription);
        let behind = why_behind(now, subscription, reserved, offset);
        held_up.into_iter().chain(behind).collect()
    }

    fn why_dead(&self, subscription: &Subscription, info: &JobInfo) -> Cause {
        let mut text = info.reason.to_owned();
        if !info.last_error.is_empty() {
            text = format!("{text}: {}", info.last_error);
        }
        let target = self.blocked_by(subscription);
        let redriving = subscription.redriving.as_ref();
        if redriving.is_some_and(|found| found.left.get(info.offset).is_some()) {
            text += "; a redrive will come to it";
        } else if !target.is_empty() {
            text = format!("{text}; {target} has no room, or is not there");
        }
        Cause::new(CauseCode::Dead, info.attempts.into(), text).at(info.at)
    }
}

/// What is before it.
fn why_behind(
    now: Timestamp,
    subscription: &Subscription,
    reserved: &RangeSet,
    offset: Offset,
) -> Option<Cause> {
    if subscription.unjudged.get(offset).is_some() {
        let before = subscription.unjudged.overlap(0..offset);
        let before = before.map(|(range, _)| range.end - range.start).sum();
        let text = "messages that its filter is asked about first";
        return Some(Cause::new(CauseCode::Behind, before, text));
    }
    if subscription.lanes.waiting().get(offset).is_some() {
        return key_blocked(subscription, offset);
    }
    match before(subscription, reserved, now, offset, PIECES_MAX) {
        Some(Before::Exactly(0)) => None,
        Some(Before::Exactly(count)) => {
            let text = "messages that go first";
            Some(Cause::new(CauseCode::Behind, count, text))
        }
        Some(Before::AtLeast(count)) => {
            let text = "at least so many messages go first";
            Some(Cause::new(CauseCode::Behind, count, text))
        }
        None => Some(overtaken(subscription, reserved, offset)),
    }
}

fn leased(info: &JobInfo) -> Cause {
    let asked = if info.cancel_requested {
        ", and is asked to end it"
    } else {
        ""
    };
    let text = format!("{} has it{asked}", info.holder);
    let attempt = u64::from(info.attempts) + 1;
    Cause::new(CauseCode::Leased, attempt, text).at(info.at)
}

/// It stands in the line of its key.
fn key_blocked(subscription: &Subscription, offset: Offset) -> Option<Cause> {
    let lane = subscription.lanes.lane_of(offset)?;
    let head = subscription.lanes.head(lane)?;
    let exception = subscription.exceptions.get(head);
    let (what, until) = match subscription.state_of(head) {
        State::Leased => ("is leased", subscription.deadline_of(head)),
        State::Delayed => ("waits for its retry", exception.map(|e| e.due)),
        State::Dead => ("is dead and halts its key: redrive or drop it", None),
        _ => ("goes first", None),
    };
    let others = match subscription.lanes.before(lane, offset) {
        0 => String::new(),
        others => format!("; {others} more of this key go before it"),
    };
    let text = format!("@{head} {what}{others}");
    let cause = Cause::new(CauseCode::KeyBlocked, head, text);
    Some(match until {
        Some(until) => cause.at(until),
        None => cause,
    })
}

/// It is ready, and yet not free to go.
fn overtaken(subscription: &Subscription, reserved: &RangeSet, offset: Offset) -> Cause {
    if let Some(blocker) = subscription.blocker_of(offset, reserved.ranges()) {
        let text = format!("@{blocker} was handed over a moment ago");
        return Cause::new(CauseCode::KeyBlocked, blocker, text);
    }
    let said = subscription.attributes.get(offset).copied();
    let expired = said.unwrap_or_default().expires_at;
    Cause::new(CauseCode::Settled, 0, "expired").at(expired)
}

fn why_gone(info: &JobInfo, subscription: &Subscription) -> Cause {
    let attempts = info.attempts.into();
    if subscription.jobs.records.get(info.offset).is_some() {
        let text = match info.state {
            State::Expired => "expired".into(),
            State::Cancelled => "cancelled".into(),
            State::Dead => format!("a dead letter that was dropped: {}", info.reason),
            _ => "acked".to_owned(),
        };
        return Cause::new(CauseCode::Settled, attempts, text).at(info.at);
    }
    let text = if subscription.gaps.get(info.offset).is_some() {
        "evicted by retention".into()
    } else {
        exits(&subscription.books(0))
    };
    Cause::new(CauseCode::Settled, attempts, text)
}

/// When it leaves by itself, or comes back from the dead.
fn leaves_at(subscription: &Subscription, state: State, offset: Offset) -> Option<Timestamp> {
    match state {
        State::Ready | State::Delayed => {
            let said = subscription.attributes.get(offset);
            let expiry = said.map(|said| said.expires_at);
            expiry.filter(|at| *at > Timestamp(0))
        }
        State::Dead => {
            let kept_ms = subscription.settings.dead_retention_ms;
            let death = subscription.dead.get(offset);
            let redriving = subscription.redriving.as_ref();
            let redriving = redriving.filter(|found| found.left.get(offset).is_some());
            let slice = redriving.map(|found| found.next_at);
            slice.or(death.map(|death| death.at.plus_ms(kept_ms)))
        }
        _ => None,
    }
}
