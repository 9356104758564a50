//! One stored message: each of its hand-overs has a cause, and none follows its end.

use super::{Checker, Course, Delivered, Grant, Kill, Ms, Violation};

#[derive(Clone, Copy, Debug)]
enum Cause {
    Expired,
    GivenBack,
    Cut,
    Killed,
}

impl Checker {
    /// Each hand-over but the first has a cause, and none follows an ack.
    pub(super) fn course(&mut self, offset: u64, course: &Course) {
        let bytes_of = course.hands.first().map(|hand| hand.tag);
        if course.hands.iter().any(|hand| Some(hand.tag) != bytes_of) {
            let words = format!("@{offset}: its bytes changed");
            self.broken(Violation::WrongBytes, &words);
        }
        for two in course.hands.windows(2) {
            if let [before, after] = two {
                self.causes(course, before, after);
                self.attempts(before, after);
            }
        }
        self.after_ack(offset, course);
        self.refused_ack(offset, course);
        let faultless = self.kills.is_empty() && self.cuts.is_empty();
        let first = course.hands.first();
        if let Some(first) = first.filter(|first| faultless && first.attempt != 1) {
            let words = format!("@{offset}: the first was attempt {}", first.attempt);
            self.broken(Violation::Attempt, &words);
        }
    }

    fn causes(&mut self, course: &Course, before: &Delivered, after: &Delivered) {
        let words = || format!("@{}: {before} → {after}", before.offset);
        let deadline = course.deadline(before);
        match self.cause(course, (before, deadline), after) {
            Some(Cause::Expired) => {
                self.report.redelivered.expired += 1;
                let was_noted = before.grant.term == after.grant.term;
                if was_noted && after.since + self.clocks.early < deadline {
                    self.broken(Violation::Overlap, &words());
                }
            }
            Some(Cause::GivenBack) => self.report.redelivered.given_back += 1,
            Some(Cause::Cut) => self.report.redelivered.cut += 1,
            Some(Cause::Killed) => self.report.redelivered.killed += 1,
            None => self.broken(Violation::Unjustified, &words()),
        }
    }

    fn cause(
        &self,
        course: &Course,
        (before, deadline): (&Delivered, Ms),
        after: &Delivered,
    ) -> Option<Cause> {
        // A late nack may come first although the next hand-over is on its way: that one never held.
        let never_held = course.lost.contains(&before.grant)
            && course.given_back.iter().any(|grant| *grant < before.grant);
        if course.given_back.contains(&before.grant) || never_held {
            return Some(Cause::GivenBack);
        }
        let cuts = self.cuts.get(&before.consumer);
        // It may have been taken from what had been pushed just before the cut.
        let from = before.at.saturating_sub(self.clocks.blur);
        if cuts.is_some_and(|cuts| any_within(cuts, from, after.at)) {
            return Some(Cause::Cut);
        }
        if after.at + self.clocks.early >= deadline {
            return Some(Cause::Expired);
        }
        let noted_too_late =
            |kill: &Kill| before.since + self.clocks.early >= kill.noted && kill.at <= after.at;
        let is_next_term = after.grant.term > before.grant.term;
        let killed = is_next_term && self.kills.iter().any(noted_too_late);
        killed.then_some(Cause::Killed)
    }

    /// What was charged stays charged if the lease was noted, and nothing is charged for nothing.
    fn attempts(&mut self, before: &Delivered, after: &Delivered) {
        let from = before.since.saturating_sub(self.clocks.blur);
        let first = self.kills.partition_point(|kill| kill.at < from);
        let kills = self.kills.iter().skip(first);
        let mut kills = kills.take_while(|kill| kill.at <= after.at).peekable();
        // Somebody else may have had it and lost it on the way.
        let is_cut = any_within(&self.all_cuts, from, after.at);
        let is_calm = !is_cut && kills.peek().is_none();
        let is_noted = kills.all(|kill| before.since + self.clocks.early < kill.noted);
        let forgotten = is_noted && after.attempt < before.attempt;
        if forgotten || is_calm && after.attempt > before.attempt + 1 {
            let words = format!("@{}: {before} → {after}", before.offset);
            self.broken(Violation::Attempt, &words);
        }
    }

    fn after_ack(&mut self, offset: u64, course: &Course) {
        let (Some((acked, at)), Some(last)) = (course.acked, course.hands.last()) else {
            return;
        };
        if last.grant <= acked {
            return;
        }
        let asks = course.asked.iter().filter(|(grant, _)| *grant == acked);
        let first_ask = asks.map(|(_, at)| *at).min();
        let mut later = course.hands.iter().filter(|hand| hand.grant > acked);
        let stale = later.find(|hand| {
            first_ask.is_some_and(|at| self.synced_by(at) > hand.since + self.clocks.early)
        });
        if let Some(hand) = stale {
            let words = format!("@{offset}: acked under {acked} by {at}, long after {hand}");
            self.broken(Violation::StaleAck, &words);
        } else if last.since > at + self.clocks.early {
            let words = format!("@{offset}: acked under {acked} by {at}, then {last}");
            self.broken(Violation::AfterAck, &words);
        } else {
            self.report.overtaken += 1;
        }
    }

    fn refused_ack(&mut self, offset: u64, course: &Course) {
        let refused = course
            .hands
            .last()
            .filter(|last| course.acked.is_none() && course.lost.contains(&last.grant));
        if let Some(last) = refused {
            self.report.forgotten += 1;
            let may_be_rejected = course.reject_asked;
            if !may_be_rejected && !self.was_interrupted(last) {
                let words = format!("@{offset}: {last}, its ack refused");
                self.broken(Violation::AckRefused, &words);
            }
        }
    }

    /// The newest instant of which it was known at this one that what was asked then is synced.
    fn synced_by(&self, at: Ms) -> Ms {
        let known = self.synced.partition_point(|(answered, _)| *answered <= at);
        let last = known.checked_sub(1).and_then(|last| self.synced.get(last));
        last.map_or(0, |(_, asked)| *asked)
    }

    /// Whether an answer to whoever got it may have been lost.
    fn was_interrupted(&self, hand: &Delivered) -> bool {
        let cuts = self.cuts.get(&hand.consumer).and_then(|cuts| cuts.last());
        let last = cuts
            .into_iter()
            .chain(self.kills.last().map(|kill| &kill.at));
        last.max()
            .is_some_and(|at| hand.at <= *at + self.clocks.blur)
    }
}

impl Course {
    /// When the lease of a hand-over ends at the earliest.
    fn deadline(&self, hand: &Delivered) -> Ms {
        let extended = self.extended.iter().rev();
        let mut extended = extended.filter(|(grant, _)| *grant == hand.grant);
        extended.next().map_or(hand.deadline, |(_, until)| *until)
    }

    /// Whether it may have ended under a grant, as far as its consumers know.
    pub(super) fn may_be_acked(&self) -> bool {
        self.acked.is_some() || !self.asked.is_empty()
    }

    /// Of these hand-overs only.
    pub(super) fn of(&self, hands: Vec<Delivered>) -> Self {
        let holds = |grant: &Grant| hands.iter().any(|hand| hand.grant == *grant);
        let given_back = self.given_back.iter().copied().filter(holds).collect();
        let lost = self.lost.iter().copied().filter(holds).collect();
        let asked = self.asked.iter().copied().filter(|(it, _)| holds(it));
        let extended = self.extended.iter().copied().filter(|(it, _)| holds(it));
        Self {
            given_back,
            lost,
            asked: asked.collect(),
            extended: extended.collect(),
            acked: self.acked.filter(|(grant, _)| holds(grant)),
            hands,
            ..self.clone()
        }
    }
}

/// Whether one of these rising instants lies there, both ends included.
fn any_within(rising: &[Ms], from: Ms, to: Ms) -> bool {
    let first = rising.partition_point(|at| *at < from);
    rising.get(first).is_some_and(|at| *at <= to)
}
