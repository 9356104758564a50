//! Planted violations: the checker finds each of them, and nothing in what is right.

mod more;

use super::{Delivered, Event, FinalBooks, Ms, Tag, Violation, check};
use siding::Grant;

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
        since: at,
        at,
        deadline: at + 30_000,
    }
}

fn acked(offset: u64, (term, counter): (u64, u64)) -> Event {
    Event::Acked {
        offset,
        grant: grant(term, counter),
        at: 110,
    }
}

fn killed(at: Ms) -> Event {
    let noted = at.saturating_sub(250);
    let power = false;
    Event::Killed { at, noted, power }
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
    dead: 0,
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
        dead: 0,
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
fn an_ack_refused_for_no_reason_is_found() {
    let mut events = clean();
    events[7] = Event::LeaseLost {
        offset: 1,
        grant: grant(1, 1),
    };
    finds(&events, &[Violation::AckRefused]);
    // Its first answer may have been lost.
    events.insert(
        6,
        Event::Cut {
            consumer: 1,
            at: 120,
        },
    );
    finds(&events, &[]);
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
        (killed(105), (2, 1), 110),
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
    events.insert(6, killed(2_000));
    events.insert(7, Event::Delivered(hand(0, A, (2, 1), 2_100)));
    events[8] = acked(0, (2, 1));
    finds(&events, &[Violation::Unjustified]);
    // Without a new start in between, a kill excuses nothing.
    events[6] = killed(110);
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

#[test]
fn an_attempt_that_is_forgotten_or_charged_for_nothing_is_found() {
    for (attempt, later, expected) in [(3, 1, true), (3, 3, false), (3, 4, false), (1, 3, true)] {
        let mut events = clean();
        events[4] = Event::Delivered(Delivered {
            attempt: 1,
            ..hand(0, A, (1, 1), 100)
        });
        let early = Delivered {
            attempt,
            ..hand(0, A, (1, 2), 2_000)
        };
        let late = Delivered {
            attempt: later,
            ..hand(0, A, (1, 3), 3_000)
        };
        for hand in [early, late] {
            let (offset, grant) = (0, hand.grant);
            let before = Grant {
                counter: grant.counter - 1,
                ..grant
            };
            events.insert(
                5,
                Event::GivenBack {
                    offset,
                    grant: before,
                },
            );
            events.push(Event::Delivered(hand));
        }
        events.retain(|event| !matches!(event, Event::Acked { offset: 0, .. }));
        events.push(Event::Cut {
            consumer: 9,
            at: 150,
        });
        let report = check(&events, None);
        assert_eq!(report.count(Violation::Attempt) > 0, expected, "{report}");
    }
}
