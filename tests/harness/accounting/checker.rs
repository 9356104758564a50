//! From events to a report: per message, whose bytes it had, what each hand-over was due to, and what
//! became of it in the end.

mod course;
mod exits;
mod order;
mod weak;

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

/// Whether all readers of one log got the same message at each offset; else where not.
pub fn agree(readers: &[&[Event]]) -> Vec<u64> {
    let mut weak = BTreeSet::new();
    let mut seen: BTreeMap<u64, Option<Tag>> = BTreeMap::new();
    let mut differ = Vec::new();
    for event in readers.iter().copied().flatten() {
        match event {
            Event::Weak(tag) => {
                weak.insert(*tag);
            }
            Event::Delivered(Delivered { offset, tag, .. })
                if tag.is_none_or(|tag| !weak.contains(&tag))
                    && *seen.entry(*offset).or_insert(*tag) != *tag =>
            {
                differ.push(*offset);
            }
            _ => {}
        }
    }
    differ
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
    /// It may wait, or go before others.
    apart: bool,
    weak: bool,
}

/// What became of a stored message.
#[derive(Clone, Debug, Default)]
struct Course {
    hands: Vec<Delivered>,
    /// Whoever was handed it first may have closed without a look at it.
    came_back: bool,
    given_back: Vec<Grant>,
    asked: Vec<(Grant, Ms)>,
    acked: Option<(Grant, Ms)>,
    reject_asked: bool,
    rejected: bool,
    lost: Vec<Grant>,
    extended: Vec<(Grant, Ms)>,
}

/// The broker went.
#[derive(Clone, Copy, Debug)]
struct Kill {
    at: Ms,
    noted: Ms,
    power: bool,
    /// Confirms before it.
    confirms: usize,
}

#[derive(Debug, Default)]
struct Checker {
    clocks: Clocks,
    fates: BTreeMap<Tag, Fate>,
    courses: BTreeMap<u64, Course>,
    cuts: BTreeMap<u32, Vec<Ms>>,
    /// Those of everybody.
    all_cuts: Vec<Ms>,
    kills: Vec<Kill>,
    /// In order of the answers: when it came, and the newest instant whose asking is synced.
    synced: Vec<(Ms, Ms)>,
    /// In order.
    confirms: Vec<(Tag, u64)>,
    /// Weak messages that were the last to be seen at an offset.
    last_at: BTreeSet<(u64, Tag)>,
    /// Whether consumers write down what they are about to ack.
    tells_asks: bool,
    /// Whether a consumer was closed before what comes now.
    closing: bool,
    healed: Option<Ms>,
    resumed: Option<Ms>,
    drained: Option<Ms>,
    report: Report,
}

impl Checker {
    fn take(&mut self, event: &Event) {
        match *event {
            Event::Sent(tag) => {
                self.report.sent += 1;
                self.fates.entry(tag).or_default();
            }
            Event::Apart(tag) => self.fates.entry(tag).or_default().apart = true,
            Event::Weak(tag) => self.fates.entry(tag).or_default().weak = true,
            Event::Confirmed(tag, offset) => {
                self.report.confirmed += 1;
                self.fates.entry(tag).or_default().confirmed = Some(offset);
                self.confirms.push((tag, offset));
            }
            Event::Refused(tag) => {
                self.report.refused += 1;
                self.fates.entry(tag).or_default().refused = true;
            }
            Event::Unknown(_) => self.report.unknown += 1,
            Event::Synced { asked, at } => {
                let newest = self.synced.last().map_or(0, |(_, newest)| *newest);
                self.synced.push((at, newest.max(asked)));
            }
            Event::Cut { consumer, at } => {
                self.cuts.entry(consumer).or_default().push(at);
                self.all_cuts.push(at);
            }
            Event::Killed { at, noted, power } => {
                let confirms = self.confirms.len();
                self.kills.push(Kill {
                    at,
                    noted,
                    power,
                    confirms,
                });
            }
            Event::Closing => self.closing = true,
            Event::Healed { at } => self.healed = Some(at),
            Event::Resumed { at } => self.resumed = Some(at),
            Event::Drained { at } => self.drained = Some(at),
            Event::Delivered(Delivered { offset, .. })
            | Event::GivenBack { offset, .. }
            | Event::Extended { offset, .. }
            | Event::AckAsked { offset, .. }
            | Event::AckUndone { offset, .. }
            | Event::RejectAsked { offset, .. }
            | Event::Rejected { offset, .. }
            | Event::Acked { offset, .. }
            | Event::LeaseLost { offset, .. } => self.take_of(offset, event),
        }
    }

    /// What concerns a stored message.
    fn take_of(&mut self, offset: u64, event: &Event) {
        let closing = self.closing;
        let course = self.courses.entry(offset).or_default();
        match *event {
            Event::Delivered(delivered) => {
                self.report.delivered += 1;
                course.came_back |= closing && course.hands.is_empty();
                course.hands.push(delivered);
            }
            Event::GivenBack { grant, .. } => course.given_back.push(grant),
            Event::Extended { grant, until, .. } => course.extended.push((grant, until)),
            Event::AckAsked { grant, at, .. } => {
                self.tells_asks = true;
                course.asked.push((grant, at));
            }
            Event::AckUndone { grant, .. } => {
                // That one ask; another under the same grant may have taken effect.
                let asked = course.asked.iter();
                if let Some(at) = asked.rev().position(|(asked, _)| *asked == grant) {
                    course.asked.remove(course.asked.len() - 1 - at);
                }
            }
            Event::RejectAsked { .. } => course.reject_asked = true,
            Event::Rejected { .. } => course.rejected = true,
            Event::Acked { grant, at, .. } => {
                self.report.acked += 1;
                course.acked = course.acked.max(Some((grant, at)));
            }
            Event::LeaseLost { grant, .. } => {
                self.report.leases_lost += 1;
                course.lost.push(grant);
            }
            _ => {}
        }
    }

    fn finish(mut self, books: Option<FinalBooks>) -> Report {
        let mut courses = std::mem::take(&mut self.courses);
        for course in courses.values_mut() {
            course.hands.sort_by_key(|hand| hand.grant);
        }
        for (offset, course) in &courses {
            let messages = self.messages(course);
            self.last_at(*offset, &messages);
            for message in messages {
                for hand in &message.hands {
                    self.identity(hand);
                }
                self.course(*offset, &message);
            }
        }
        self.publishes();
        self.weak_losses(books.map_or(u64::MAX, |books| books.end));
        self.first_hands(&courses);
        self.liveness();
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
                // A power cut may take it, and its publisher send it again.
                (Some(first), _) if first != offset && !fate.weak => {
                    let words = format!("{tag} at @{first} and @{offset}");
                    self.broken(Violation::StoredTwice, &words);
                }
                (_, Some(confirmed)) if confirmed != offset && !fate.weak => {
                    let words = format!("{tag} confirmed at @{confirmed}, delivered at @{offset}");
                    self.broken(Violation::StoredTwice, &words);
                }
                _ => fate.stored = Some(offset),
            },
        }
    }

    /// After everything is well again it serves soon, and all is drained soon.
    fn liveness(&mut self) {
        const RESUMED_WITHIN: Ms = 10_000;
        const DRAINED_WITHIN: Ms = 60_000;
        let Some(healed) = self.healed else { return };
        for (what, when, within) in [
            ("a publish confirmed", self.resumed, RESUMED_WITHIN),
            ("all drained", self.drained, DRAINED_WITHIN),
        ] {
            if when.is_none_or(|at| at > healed + within) {
                let words = format!("{what} at {when:?}, well again at {healed}");
                self.broken(Violation::Stuck, &words);
            }
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
