//! From events to a report: per message, whose bytes it had, what each hand-over was due to, and what
//! became of it in the end.

use std::collections::{BTreeMap, BTreeSet};

use siding::Grant;

use super::{Delivered, Event, FinalBooks, Ms, Report, Tag, Violation};

/// How well clocks agree.
#[derive(Clone, Copy, Debug, Default)]
struct Clocks {
    /// What is noted so shortly before or after may have been the other way round.
    blur: Ms,
    /// A deadline as the consumer saw it may be early by so much against the test's clock.
    early: Ms,
}

/// Clocks and tasks of one machine.
const MACHINE: Clocks = Clocks {
    blur: 250,
    early: 20,
};
/// Simulated clocks, which are one; but what was on its way at a cut may arrive for a moment still,
/// and instants are rounded.
const ONE: Clocks = Clocks { blur: 5, early: 2 };

/// Checks a whole run of real programs; `books`: if the queue was drained at the end.
pub fn check(events: &[Event], books: Option<FinalBooks>) -> Report {
    check_by(MACHINE, events, books)
}

/// Checks a whole run in which everybody has the same clock.
pub fn check_exact(events: &[Event], books: Option<FinalBooks>) -> Report {
    check_by(ONE, events, books)
}

fn check_by(clocks: Clocks, events: &[Event], books: Option<FinalBooks>) -> Report {
    let mut checker = Checker {
        clocks,
        ..Checker::default()
    };
    for event in events {
        checker.take(event);
    }
    checker.finish(books)
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    confirmed: Option<u64>,
    refused: bool,
    stored: Option<u64>,
}

/// What became of a stored message.
#[derive(Clone, Debug, Default)]
struct Course {
    hands: Vec<Delivered>,
    given_back: Vec<Grant>,
    acked: Option<(Grant, Ms)>,
    lost: Vec<Grant>,
}

#[derive(Debug, Default)]
struct Checker {
    clocks: Clocks,
    fates: BTreeMap<Tag, Fate>,
    courses: BTreeMap<u64, Course>,
    cuts: BTreeMap<u32, Vec<Ms>>,
    /// When, and what was surely noted before.
    kills: Vec<(Ms, Ms)>,
    healed: Option<Ms>,
    report: Report,
}

impl Checker {
    fn take(&mut self, event: &Event) {
        match *event {
            Event::Sent(tag) => {
                self.report.sent += 1;
                self.fates.insert(tag, Fate::default());
            }
            Event::Confirmed(tag, offset) => {
                self.report.confirmed += 1;
                self.fates.entry(tag).or_default().confirmed = Some(offset);
            }
            Event::Refused(tag) => {
                self.report.refused += 1;
                self.fates.entry(tag).or_default().refused = true;
            }
            Event::Unknown(_) => self.report.unknown += 1,
            Event::Delivered(delivered) => {
                self.report.delivered += 1;
                let course = self.courses.entry(delivered.offset).or_default();
                course.hands.push(delivered);
            }
            Event::GivenBack { offset, grant } => {
                let course = self.courses.entry(offset).or_default();
                course.given_back.push(grant);
            }
            Event::Acked { offset, grant, at } => {
                self.report.acked += 1;
                let course = self.courses.entry(offset).or_default();
                course.acked = course.acked.max(Some((grant, at)));
            }
            Event::LeaseLost { offset, grant } => {
                self.report.leases_lost += 1;
                self.courses.entry(offset).or_default().lost.push(grant);
            }
            Event::Cut { consumer, at } => self.cuts.entry(consumer).or_default().push(at),
            Event::Killed { at, noted } => self.kills.push((at, noted)),
            Event::Healed { at } => self.healed = Some(at),
        }
    }

    fn finish(mut self, books: Option<FinalBooks>) -> Report {
        let courses = std::mem::take(&mut self.courses);
        for (offset, mut course) in courses.iter().map(|(offset, one)| (*offset, one.clone())) {
            course.hands.sort_by_key(|hand| hand.grant);
            for hand in &course.hands {
                self.identity(hand);
            }
            self.course(offset, &course);
        }
        self.publishes();
        if let Some(books) = books {
            self.books(&courses, books);
        }
        self.report
    }

    /// What was handed over is what was sent, and lies where it was said to lie.
    fn identity(&mut self, hand: &Delivered) {
        let offset = hand.offset;
        let Some(tag) = hand.tag else {
            return self.broken(Violation::WrongBytes, &format!("@{offset}: nobody's bytes"));
        };
        match self.fates.get_mut(&tag) {
            None => self.broken(
                Violation::Phantom,
                &format!("@{offset}: {tag} was not sent"),
            ),
            Some(fate) if fate.refused => {
                self.broken(Violation::Phantom, &format!("@{offset}: {tag} was refused"));
            }
            Some(fate) => match (fate.stored, fate.confirmed) {
                (Some(first), _) if first != offset => {
                    let words = format!("{tag} at @{first} and @{offset}");
                    self.broken(Violation::StoredTwice, &words);
                }
                (_, Some(confirmed)) if confirmed != offset => {
                    let words = format!("{tag} confirmed at @{confirmed}, delivered at @{offset}");
                    self.broken(Violation::StoredTwice, &words);
                }
                _ => fate.stored = Some(offset),
            },
        }
    }

    /// Each hand-over but the first has a cause, and none follows an ack.
    fn course(&mut self, offset: u64, course: &Course) {
        let bytes_of = course.hands.first().map(|hand| hand.tag);
        if course.hands.iter().any(|hand| Some(hand.tag) != bytes_of) {
            let words = format!("@{offset}: its bytes changed");
            self.broken(Violation::WrongBytes, &words);
        }
        for two in course.hands.windows(2) {
            let [before, after] = two else { continue };
            match self.cause(course, before, after) {
                Some(Cause::Expired) => self.report.redelivered.expired += 1,
                Some(Cause::GivenBack) => self.report.redelivered.given_back += 1,
                Some(Cause::Cut) => self.report.redelivered.cut += 1,
                Some(Cause::Killed) => self.report.redelivered.killed += 1,
                None => {
                    let words = format!("@{offset}: {before} → {after}");
                    self.broken(Violation::Unjustified, &words);
                }
            }
        }
        for two in course.hands.windows(2) {
            if let [before, after] = two {
                self.attempts(before, after);
            }
        }
        if let (Some((acked, at)), Some(last)) = (course.acked, course.hands.last()) {
            if last.grant > acked && last.since > at + self.clocks.early {
                let words = format!("@{offset}: acked under {acked} by {at}, then {last}");
                self.broken(Violation::AfterAck, &words);
            } else if last.grant > acked {
                self.report.overtaken += 1;
            }
        }
        let refused = course
            .hands
            .last()
            .filter(|last| course.acked.is_none() && course.lost.contains(&last.grant));
        if let Some(last) = refused {
            self.report.forgotten += 1;
            if !self.was_interrupted(last) {
                let words = format!("@{offset}: {last}, its ack refused");
                self.broken(Violation::AckRefused, &words);
            }
        }
        let faultless = self.kills.is_empty() && self.cuts.is_empty();
        let first = course.hands.first();
        if let Some(first) = first.filter(|first| faultless && first.attempt != 1) {
            let words = format!("@{offset}: the first was attempt {}", first.attempt);
            self.broken(Violation::Attempt, &words);
        }
    }

    /// What was charged stays charged if the lease was noted, and nothing is charged for nothing.
    fn attempts(&mut self, before: &Delivered, after: &Delivered) {
        let between = |at: &&Ms| (before.since..=after.at).contains(at);
        let cuts = self.cuts.values().flatten().filter(between).count();
        let mut kills = self.kills.iter().filter(|(at, _)| between(&at));
        // Somebody else may have had it and lost it on the way.
        let is_calm = cuts == 0 && kills.clone().next().is_none();
        let is_noted = kills.all(|(_, noted)| before.since < *noted);
        let forgotten = is_noted && after.attempt < before.attempt;
        if forgotten || is_calm && after.attempt > before.attempt + 1 {
            let words = format!("@{}: {before} → {after}", before.offset);
            self.broken(Violation::Attempt, &words);
        }
    }

    /// Whether an answer to whoever got it may have been lost.
    fn was_interrupted(&self, hand: &Delivered) -> bool {
        let cuts = self.cuts.get(&hand.consumer).into_iter().flatten();
        let mut all = cuts.chain(self.kills.iter().map(|(at, _)| at));
        all.any(|at| hand.at <= *at + self.clocks.blur)
    }

    fn cause(&self, course: &Course, before: &Delivered, after: &Delivered) -> Option<Cause> {
        if course.given_back.contains(&before.grant) {
            return Some(Cause::GivenBack);
        }
        let mut cuts = self.cuts.get(&before.consumer).into_iter().flatten();
        // It may have been taken from what had been pushed just before the cut.
        if cuts.any(|cut| before.at <= *cut + self.clocks.blur && *cut <= after.at) {
            return Some(Cause::Cut);
        }
        if after.at + self.clocks.early >= before.deadline {
            return Some(Cause::Expired);
        }
        let noted_too_late = |(at, noted): &(Ms, Ms)| before.since >= *noted && *at <= after.at;
        let is_next_term = after.grant.term > before.grant.term;
        let killed = is_next_term && self.kills.iter().any(noted_too_late);
        killed.then_some(Cause::Killed)
    }

    /// Nothing confirmed is lost, and each publisher's messages stand in its order.
    fn publishes(&mut self) {
        let mut missing = Vec::new();
        let mut disordered = Vec::new();
        let mut previous: Option<(Tag, u64)> = None;
        for (tag, fate) in &self.fates {
            if let (Some(offset), None) = (fate.confirmed, fate.stored) {
                missing.push(format!("{tag}, confirmed at @{offset}"));
            }
            let Some(offset) = fate.stored.or(fate.confirmed) else {
                continue;
            };
            let before = previous.filter(|(before, _)| before.publisher == tag.publisher);
            if let Some((before, at)) = before.filter(|(_, at)| *at > offset) {
                disordered.push(format!("{before} at @{at}, {tag} at @{offset}"));
            }
            previous = Some((*tag, offset));
        }
        for words in missing {
            self.broken(Violation::Lost, &words);
        }
        for words in disordered {
            self.broken(Violation::OutOfOrder, &words);
        }
    }

    /// After a drain: offsets are dense, everything is settled, and the broker says so too.
    fn books(&mut self, courses: &BTreeMap<u64, Course>, books: FinalBooks) {
        let got: BTreeSet<u64> = courses
            .iter()
            .filter_map(|(offset, course)| (!course.hands.is_empty()).then_some(*offset))
            .collect();
        let end = books.end.max(got.last().map_or(0, |last| last + 1));
        for offset in (0..end).filter(|offset| !got.contains(offset)) {
            self.broken(Violation::Gap, &format!("@{offset}: nobody got it"));
        }
        let stored = got.len() as u64;
        if books.left != 0 || books.settled != books.end || books.end != stored {
            self.broken(
                Violation::Books,
                &format!("{stored} delivered, but {books:?}"),
            );
        }
    }

    fn broken(&mut self, violation: Violation, words: &str) {
        const EXAMPLES_MAX: usize = 20;
        *self.report.violations.entry(violation).or_default() += 1;
        if self.report.examples.len() < EXAMPLES_MAX {
            self.report.examples.push(format!("{violation:?}: {words}"));
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Cause {
    Expired,
    GivenBack,
    Cut,
    Killed,
}
