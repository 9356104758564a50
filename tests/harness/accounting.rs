//! What clients saw, as one log of events, and what must hold of it: the checker of a faulty run.
//!
//! Pure. Cost is linear in events (but for sorting the few deliveries of one message), so long runs
//! can be checked. It decides what is a violation from the clients' side alone:
//!
//! - a *cause* is written down before it is brought about (a nack, a cut connection, a kill);
//! - deliveries of one message are put in order by their grants, which rise, and not by when a
//!   client looked at them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use siding::Grant;

/// Which message: a publisher and its number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Who sent it.
    pub publisher: u32,
    /// Its place among those of this publisher.
    pub number: u64,
}

/// A time on the tests' clock: Unix ms.
pub type Ms = u64;

/// Clocks and tasks of one machine agree within so much: what is noted so shortly before or after
/// may have been the other way round.
const BLUR_MS: Ms = 250;
/// A deadline as the consumer saw it may be early by so much against the test's clock.
const EARLY_MS: Ms = 20;

/// Something a client or the harness saw or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// About to be published.
    Sent(Tag),
    /// The broker promised that it is stored at this offset.
    Confirmed(Tag, u64),
    /// The broker refused it: not stored, and never will be.
    Refused(Tag),
    /// Nobody knows.
    Unknown(Tag),
    /// A consumer got the message at this offset.
    Delivered(Delivered),
    /// About to be nacked, released or dropped.
    GivenBack {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
    },
    /// The broker promised that it never comes again.
    Acked {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
    },
    /// The broker refused an ack: the lease is lost.
    LeaseLost {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
    },
    /// About to close this consumer's connection.
    Cut {
        /// Whose.
        consumer: u32,
        /// When.
        at: Ms,
    },
    /// About to kill the broker.
    Killed {
        /// When.
        at: Ms,
    },
}

/// One message in the hands of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Where it lies.
    pub offset: u64,
    /// Whose body it has; `None`: nobody's.
    pub tag: Option<Tag>,
    /// From 1.
    pub attempt: u32,
    /// The fencing number.
    pub grant: Grant,
    /// Who got it.
    pub consumer: u32,
    /// When it was looked at.
    pub at: Ms,
    /// When the lease ends.
    pub deadline: Ms,
}

/// What the broker's books say at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalBooks {
    /// The next offset: so many were stored.
    pub end: u64,
    /// Acked.
    pub settled: u64,
    /// Ready, delayed, leased, dead.
    pub left: u64,
}

/// What is promised and did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Confirmed and never delivered (P1).
    Lost,
    /// One message at two offsets (P2).
    StoredTwice,
    /// Delivered although never sent, or although refused (P2).
    Phantom,
    /// Other bytes than were sent, or another message than was confirmed there (P8).
    WrongBytes,
    /// Handed over again after ack-ok (P3).
    AfterAck,
    /// Handed over again without a cause (P4).
    Unjustified,
    /// The first attempt did not have number 1, or a later one a higher number without a cause (P4).
    Attempt,
    /// A publisher's messages are not stored in the order it sent them (P5).
    OutOfOrder,
    /// An offset that nobody got (P5).
    Gap,
    /// The broker counts otherwise (P6).
    Books,
}

/// Why messages came again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// Their lease ran out.
    pub expired: u64,
    /// They were given back.
    pub given_back: u64,
    /// Their consumer's connection closed.
    pub cut: u64,
    /// The broker was killed before it had noted their lease.
    pub killed: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages given to publishers.
    pub sent: u64,
    /// Of these, confirmed.
    pub confirmed: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Of these, neither.
    pub unknown: u64,
    /// Hand-overs.
    pub delivered: u64,
    /// Acks that were answered with ok.
    pub acked: u64,
    /// Acks that came too late.
    pub leases_lost: u64,
    /// Hand-overs beyond the first of a message.
    pub redelivered: Causes,
    /// How often each promise was broken.
    pub violations: BTreeMap<Violation, u64>,
    /// The first few, in words.
    pub examples: Vec<String>,
}

/// Checks a whole run; `books`: if the queue was drained at the end.
pub fn check(events: &[Event], books: Option<FinalBooks>) -> Report {
    let mut checker = Checker::default();
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
    acked: Option<Grant>,
}

#[derive(Debug, Default)]
struct Checker {
    fates: BTreeMap<Tag, Fate>,
    courses: BTreeMap<u64, Course>,
    cuts: BTreeMap<u32, Vec<Ms>>,
    kills: Vec<Ms>,
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
            Event::Acked { offset, grant } => {
                self.report.acked += 1;
                let course = self.courses.entry(offset).or_default();
                course.acked = course.acked.max(Some(grant));
            }
            Event::LeaseLost { .. } => self.report.leases_lost += 1,
            Event::Cut { consumer, at } => self.cuts.entry(consumer).or_default().push(at),
            Event::Killed { at } => self.kills.push(at),
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
            return self.broken(Violation::WrongBytes, format!("@{offset}: nobody's bytes"));
        };
        match self.fates.get_mut(&tag) {
            None => self.broken(Violation::Phantom, format!("@{offset}: {tag} was not sent")),
            Some(fate) if fate.refused => {
                self.broken(Violation::Phantom, format!("@{offset}: {tag} was refused"));
            }
            Some(fate) => match (fate.stored, fate.confirmed) {
                (Some(first), _) if first != offset => {
                    let words = format!("{tag} at @{first} and @{offset}");
                    self.broken(Violation::StoredTwice, words);
                }
                (_, Some(confirmed)) if confirmed != offset => {
                    let words = format!("{tag} confirmed at @{confirmed}, delivered at @{offset}");
                    self.broken(Violation::StoredTwice, words);
                }
                _ => fate.stored = Some(offset),
            },
        }
    }

    /// Each hand-over but the first has a cause, and none follows an ack.
    fn course(&mut self, offset: u64, course: &Course) {
        if course.hands.windows(2).any(|two| two[0].tag != two[1].tag) {
            let words = format!("@{offset}: its bytes changed");
            self.broken(Violation::WrongBytes, words);
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
                    self.broken(Violation::Unjustified, words);
                }
            }
        }
        let acked = course.acked.filter(|acked| {
            let last = course.hands.last();
            last.is_some_and(|last| last.grant > *acked)
        });
        if let Some(acked) = acked {
            let words = format!("@{offset}: acked under {acked}, then handed over again");
            self.broken(Violation::AfterAck, words);
        }
        let faultless = self.kills.is_empty() && self.cuts.is_empty();
        let first = course.hands.first();
        if let Some(first) = first.filter(|first| faultless && first.attempt != 1) {
            let words = format!("@{offset}: the first was attempt {}", first.attempt);
            self.broken(Violation::Attempt, words);
        }
    }

    fn cause(&self, course: &Course, before: &Delivered, after: &Delivered) -> Option<Cause> {
        if course.given_back.contains(&before.grant) {
            return Some(Cause::GivenBack);
        }
        let mut cuts = self.cuts.get(&before.consumer).into_iter().flatten();
        // It may have been taken from what had been pushed just before the cut.
        if cuts.any(|cut| before.at <= *cut + BLUR_MS && *cut <= after.at) {
            return Some(Cause::Cut);
        }
        if after.at + EARLY_MS >= before.deadline {
            return Some(Cause::Expired);
        }
        let noted_too_late = |killed: &Ms| {
            // Afterwards it can only have been looked at: it had been sent before.
            before.at + BLUR_MS >= *killed && *killed <= after.at
        };
        let is_next_term = after.grant.term > before.grant.term;
        let killed = is_next_term && self.kills.iter().any(noted_too_late);
        killed.then_some(Cause::Killed)
    }

    /// Nothing confirmed is lost, and each publisher's messages stand in its order.
    fn publishes(&mut self) {
        let mut lost = Vec::new();
        let mut disordered = Vec::new();
        let mut last: Option<(Tag, u64)> = None;
        for (tag, fate) in &self.fates {
            if let (Some(offset), None) = (fate.confirmed, fate.stored) {
                lost.push(format!("{tag}, confirmed at @{offset}"));
            }
            let Some(offset) = fate.stored.or(fate.confirmed) else {
                continue;
            };
            let before = last.filter(|(before, _)| before.publisher == tag.publisher);
            if let Some((before, at)) = before.filter(|(_, at)| *at > offset) {
                disordered.push(format!("{before} at @{at}, {tag} at @{offset}"));
            }
            last = Some((*tag, offset));
        }
        for words in lost {
            self.broken(Violation::Lost, words);
        }
        for words in disordered {
            self.broken(Violation::OutOfOrder, words);
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
            self.broken(Violation::Gap, format!("@{offset}: nobody got it"));
        }
        let stored = got.len() as u64;
        if books.left != 0 || books.settled != books.end || books.end != stored {
            self.broken(
                Violation::Books,
                format!("{stored} delivered, but {books:?}"),
            );
        }
    }

    fn broken(&mut self, violation: Violation, words: String) {
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

impl Report {
    /// How often a promise was broken.
    pub fn count(&self, violation: Violation) -> u64 {
        self.violations.get(&violation).copied().unwrap_or(0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of publisher {}", self.number, self.publisher)
    }
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            consumer,
            grant,
            attempt,
            at,
            deadline,
            ..
        } = self;
        let left = i128::from(*deadline) - i128::from(*at);
        write!(
            f,
            "consumer {consumer}, grant {grant}, attempt {attempt} at {at} with {left} ms left"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Causes {
            expired,
            given_back,
            cut,
            killed,
        } = self.redelivered;
        writeln!(f, "sent              {}", self.sent)?;
        writeln!(f, "confirmed         {}", self.confirmed)?;
        writeln!(f, "refused           {}", self.refused)?;
        writeln!(f, "unknown           {}", self.unknown)?;
        writeln!(f, "delivered         {}", self.delivered)?;
        writeln!(f, "acked             {}", self.acked)?;
        writeln!(f, "leases lost       {}", self.leases_lost)?;
        let all = expired + given_back + cut + killed;
        write!(
            f,
            "redelivered       {all}: {expired} expired, {given_back} given back, "
        )?;
        writeln!(f, "{cut} connection closed, {killed} killed before noted")?;
        for (name, violation) in [
            ("lost", Violation::Lost),
            ("stored twice", Violation::StoredTwice),
            ("phantoms", Violation::Phantom),
            ("wrong bytes", Violation::WrongBytes),
            ("after ack-ok", Violation::AfterAck),
            ("unjustified", Violation::Unjustified),
            ("wrong attempts", Violation::Attempt),
            ("out of order", Violation::OutOfOrder),
            ("gaps", Violation::Gap),
            ("unbalanced books", Violation::Books),
        ] {
            writeln!(f, "{name:<18}{}", self.count(violation))?;
        }
        for example in &self.examples {
            writeln!(f, "  {example}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Tag = Tag {
        publisher: 0,
        number: 0,
    };
    const B: Tag = Tag {
        publisher: 0,
        number: 1,
    };

    fn grant(term: u64, counter: u64) -> Grant {
        Grant { term, counter }
    }

    fn hand(offset: u64, tag: Tag, (term, counter): (u64, u64), at: Ms) -> Delivered {
        Delivered {
            offset,
            tag: Some(tag),
            attempt: 1,
            grant: grant(term, counter),
            consumer: 1,
            at,
            deadline: at + 30_000,
        }
    }

    fn acked(offset: u64, (term, counter): (u64, u64)) -> Event {
        Event::Acked {
            offset,
            grant: grant(term, counter),
        }
    }

    /// Two messages, sent, confirmed, delivered, acked.
    fn clean() -> Vec<Event> {
        vec![
            Event::Sent(A),
            Event::Sent(B),
            Event::Confirmed(A, 0),
            Event::Confirmed(B, 1),
            Event::Delivered(hand(0, A, (1, 1), 100)),
            Event::Delivered(hand(1, B, (1, 1), 100)),
            acked(0, (1, 1)),
            acked(1, (1, 1)),
        ]
    }

    const BOOKS: FinalBooks = FinalBooks {
        end: 2,
        settled: 2,
        left: 0,
    };

    /// Exactly this is wrong with it.
    fn finds(events: &[Event], violations: &[Violation]) {
        let report = check(events, Some(BOOKS));
        let found: Vec<_> = report.violations.keys().copied().collect();
        assert_eq!(found, violations, "{report}");
    }

    #[test]
    fn a_clean_run_is_clean() {
        finds(&clean(), &[]);
    }

    #[test]
    fn a_confirmed_message_that_nobody_got_is_lost() {
        let mut events = clean();
        events.retain(|event| !matches!(event, Event::Delivered(hand) if hand.offset == 1));
        finds(
            &events,
            &[Violation::Lost, Violation::Gap, Violation::Books],
        );
    }

    #[test]
    fn a_message_at_two_offsets_is_stored_twice() {
        let mut events = clean();
        events.push(Event::Delivered(hand(2, A, (1, 2), 101)));
        let books = FinalBooks {
            end: 3,
            settled: 3,
            left: 0,
        };
        let report = check(&events, Some(books));
        assert_eq!(report.count(Violation::StoredTwice), 1, "{report}");
        let mut events = clean();
        events[2] = Event::Confirmed(A, 7);
        assert_eq!(check(&events, None).count(Violation::StoredTwice), 1);
    }

    #[test]
    fn a_message_never_sent_or_refused_is_a_phantom() {
        let mut events = clean();
        events.remove(1);
        events.remove(2);
        finds(&events, &[Violation::Phantom]);
        let mut events = clean();
        events[3] = Event::Refused(B);
        finds(&events, &[Violation::Phantom]);
    }

    #[test]
    fn bytes_that_are_nobodys_are_wrong() {
        let mut events = clean();
        events.push(Event::Unknown(B));
        events[5] = Event::Delivered(Delivered {
            tag: None,
            ..hand(1, B, (1, 1), 100)
        });
        finds(&events, &[Violation::Lost, Violation::WrongBytes]);
    }

    #[test]
    fn a_hand_over_behind_ack_ok_is_found_even_if_it_has_a_cause() {
        let mut events = clean();
        events.push(Event::Cut {
            consumer: 1,
            at: 150,
        });
        events.push(Event::Delivered(hand(0, A, (1, 2), 200)));
        finds(&events, &[Violation::AfterAck]);
    }

    #[test]
    fn an_idle_duplicate_is_unjustified() {
        let mut events = clean();
        events.insert(6, Event::Delivered(hand(0, A, (1, 2), 5_000)));
        events[7] = acked(0, (1, 2));
        finds(&events, &[Violation::Unjustified]);
    }

    #[test]
    fn a_hand_over_after_a_cause_of_its_own_is_counted_under_it() {
        let first = hand(0, A, (1, 1), 100);
        let causes = [
            (
                Event::GivenBack {
                    offset: 0,
                    grant: first.grant,
                },
                (1, 2),
                110,
            ),
            (
                Event::Cut {
                    consumer: 1,
                    at: 100,
                },
                (1, 2),
                110,
            ),
            (Event::Killed { at: 105 }, (2, 1), 110),
            (
                Event::Sent(Tag {
                    publisher: 9,
                    number: 0,
                }),
                (1, 2),
                first.deadline,
            ),
        ];
        for (cause, number, at) in causes {
            let mut events = clean();
            events.insert(5, cause);
            events.insert(6, Event::Delivered(hand(0, A, number, at)));
            events[8] = acked(0, number);
            finds(&events, &[]);
        }
    }

    #[test]
    fn a_kill_excuses_only_leases_too_young_to_be_noted() {
        let mut events = clean();
        events.insert(6, Event::Killed { at: 2_000 });
        events.insert(7, Event::Delivered(hand(0, A, (2, 1), 2_100)));
        events[8] = acked(0, (2, 1));
        finds(&events, &[Violation::Unjustified]);
        // Without a new start in between, a kill excuses nothing.
        events[6] = Event::Killed { at: 110 };
        events[7] = Event::Delivered(hand(0, A, (1, 2), 200));
        events[8] = acked(0, (1, 2));
        finds(&events, &[Violation::Unjustified]);
    }

    #[test]
    fn the_cut_of_another_consumer_excuses_nothing() {
        let mut events = clean();
        events.insert(
            5,
            Event::Cut {
                consumer: 2,
                at: 105,
            },
        );
        events.insert(6, Event::Delivered(hand(0, A, (1, 2), 110)));
        events[8] = acked(0, (1, 2));
        finds(&events, &[Violation::Unjustified]);
    }

    #[test]
    fn messages_out_of_their_publishers_order_are_found() {
        let mut events = clean();
        (events[2], events[3]) = (Event::Confirmed(A, 1), Event::Confirmed(B, 0));
        events[4] = Event::Delivered(hand(0, B, (1, 1), 100));
        events[5] = Event::Delivered(hand(1, A, (1, 1), 100));
        finds(&events, &[Violation::OutOfOrder]);
    }

    #[test]
    fn books_that_do_not_match_are_found() {
        for books in [
            FinalBooks { end: 3, ..BOOKS },
            FinalBooks {
                settled: 1,
                ..BOOKS
            },
            FinalBooks { left: 1, ..BOOKS },
        ] {
            assert!(check(&clean(), Some(books)).count(Violation::Books) > 0);
        }
    }

    #[test]
    fn a_first_attempt_that_is_not_the_first_is_found() {
        let mut events = clean();
        events[4] = Event::Delivered(Delivered {
            attempt: 2,
            ..hand(0, A, (1, 1), 100)
        });
        finds(&events, &[Violation::Attempt]);
    }
}
