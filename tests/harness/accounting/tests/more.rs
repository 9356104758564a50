//! Planted violations of what takes a longer story.

use super::*;
use crate::accounting::agree;

const C: Tag = Tag {
    publisher: 0,
    number: 2,
};

fn asked(offset: u64, (term, counter): (u64, u64), at: Ms) -> Event {
    let grant = grant(term, counter);
    Event::AckAsked { offset, grant, at }
}

fn cut_power(at: Ms) -> Event {
    let (noted, power) = (0, true);
    Event::Killed { at, noted, power }
}

#[test]
fn a_lease_that_begins_before_the_last_one_ends_overlaps_it() {
    let first = hand(0, A, (1, 1), 100);
    let again = |since| Delivered {
        since,
        ..hand(0, A, (1, 2), first.deadline + 10)
    };
    for (since, found) in [
        (first.deadline - 1_000, vec![Violation::Overlap]),
        (first.deadline, vec![]),
    ] {
        let mut events = clean();
        events.insert(6, Event::Delivered(again(since)));
        events[7] = acked(0, (1, 2));
        finds(&events, &found);
    }
}

#[test]
fn a_late_nack_excuses_the_hand_over_that_it_overtook_and_no_other() {
    let mut events = clean();
    let late = hand(0, A, (1, 2), 31_000);
    let nacked = Event::GivenBack {
        offset: 0,
        grant: grant(1, 1),
    };
    let hands = [late, hand(0, A, (1, 3), 31_100)].map(Event::Delivered);
    events.splice(6..7, [nacked].into_iter().chain(hands));
    events.push(acked(0, (1, 3)));
    finds(&events, &[Violation::Unjustified]);
    events.push(Event::LeaseLost {
        offset: 0,
        grant: late.grant,
    });
    finds(&events, &[]);
}

#[test]
fn a_lease_that_was_extended_ends_later() {
    let mut events = clean();
    let first = hand(0, A, (1, 1), 100);
    let (grant, until) = (first.grant, first.deadline + 20_000);
    let extended = Event::Extended {
        offset: 0,
        grant,
        until,
    };
    events.insert(6, extended);
    events.insert(7, Event::Delivered(hand(0, A, (1, 2), first.deadline)));
    events[8] = acked(0, (1, 2));
    finds(&events, &[Violation::Unjustified]);
}

#[test]
fn an_ack_taken_long_after_somebody_else_had_the_message_is_stale() {
    let mut events = clean();
    let later = hand(0, A, (1, 2), 30_100);
    events.insert(6, Event::Delivered(later));
    events.insert(7, asked(0, (1, 1), 31_000));
    events[8] = Event::Acked {
        offset: 0,
        grant: grant(1, 1),
        at: 31_010,
    };
    events.push(asked(1, (1, 1), 105));
    // Its lease may not have been noted yet.
    finds(&events, &[]);
    let (asked, at) = (30_500, 30_600);
    events.insert(7, Event::Synced { asked, at });
    finds(&events, &[Violation::StaleAck]);
}

#[test]
fn a_message_that_was_seen_and_ended_by_nobody_has_vanished() {
    let mut events = clean();
    events.insert(6, asked(0, (1, 1), 105));
    events.pop();
    finds(&events, &[Violation::Vanished]);
    events.push(asked(1, (1, 1), 105));
    finds(&events, &[]);
    // A transaction that was refused asked nothing; what was asked before it stands.
    let undone = Event::AckUndone {
        offset: 1,
        grant: grant(1, 1),
    };
    events.extend([asked(1, (1, 1), 106), undone]);
    finds(&events, &[]);
    events.push(undone);
    finds(&events, &[Violation::Vanished]);
}

#[test]
fn a_first_hand_over_behind_a_later_message_is_found() {
    let mut events = clean();
    events[4] = Event::Delivered(hand(0, A, (1, 2), 100));
    events[6] = acked(0, (1, 2));
    finds(&events, &[Violation::Overtaken]);
    // What a consumer never looked at comes back when it is closed.
    events.insert(4, Event::Closing);
    finds(&events, &[]);
    events.remove(4);
    // What waits, or goes before others, is apart.
    events.insert(1, Event::Apart(A));
    finds(&events, &[]);
    // What was lost on the way comes with a higher attempt.
    events.remove(1);
    events[4] = Event::Delivered(Delivered {
        attempt: 2,
        ..hand(0, A, (1, 2), 100)
    });
    events.push(Event::Cut {
        consumer: 1,
        at: 100,
    });
    finds(&events, &[]);
}

/// Three weak messages confirmed, of which those at these offsets come after the end of the broker.
fn weak(end: Event, kept: &[u64]) -> Vec<Event> {
    let tags = [A, B, C];
    let mut events: Vec<_> = tags.map(Event::Sent).into();
    events.extend(tags.map(Event::Weak));
    events.extend(
        (0..)
            .zip(tags)
            .map(|(offset, tag)| Event::Confirmed(tag, offset)),
    );
    events.push(end);
    let came = (0..).zip(tags).filter(|(offset, _)| kept.contains(offset));
    events.extend(came.map(|(offset, tag)| Event::Delivered(hand(offset, tag, (2, 1), 100))));
    events
}

#[test]
fn a_power_cut_takes_the_newest_weak_messages_and_a_kill_takes_none() {
    let found = |end, kept: &[u64]| {
        let report = check(&weak(end, kept), None);
        report.violations.keys().copied().collect::<Vec<_>>()
    };
    assert_eq!(found(cut_power(90), &[0, 1, 2]), []);
    assert_eq!(found(cut_power(90), &[0]), []);
    assert_eq!(found(cut_power(90), &[]), []);
    assert_eq!(found(cut_power(90), &[0, 2]), [Violation::NoSuffix]);
    assert_eq!(found(killed(90), &[0]), [Violation::Lost]);
}

#[test]
fn an_offset_may_be_given_again_only_to_what_follows_a_lost_weak_message() {
    let mut events = weak(cut_power(110), &[]);
    let before = Event::Delivered(hand(2, C, (1, 1), 100));
    events.insert(9, before);
    let d = Tag {
        publisher: 1,
        number: 0,
    };
    events.push(Event::Sent(d));
    events.push(Event::Delivered(hand(2, d, (2, 1), 200)));
    let report = check(&events, None);
    assert!(report.violations.is_empty(), "{report}");
    events.retain(|event| *event != Event::Weak(C));
    assert_eq!(check(&events, None).count(Violation::WrongBytes), 1);
}

#[test]
fn a_weak_message_that_is_sent_again_may_lie_elsewhere() {
    let seen = |offset, tag, term| Event::Delivered(hand(offset, tag, (term, 1), 100));
    let mut events = vec![Event::Sent(A), Event::Sent(B)];
    events.extend([Event::Weak(A), Event::Weak(B)]);
    events.extend([seen(1, A, 1), cut_power(110), Event::Confirmed(A, 0)]);
    events.extend([
        Event::Confirmed(B, 1),
        seen(0, A, 2),
        seen(1, B, 2),
        cut_power(200),
    ]);
    let report = check(&events, None);
    assert!(report.violations.is_empty(), "{report}");
}

#[test]
fn dead_letters_are_counted_as_consumers_made_them() {
    let mut events = clean();
    let (offset, grant) = (1, grant(1, 1));
    events[7] = Event::Rejected { offset, grant };
    let books = |settled, dead| FinalBooks {
        settled,
        dead,
        ..BOOKS
    };
    let found = |events: &[Event], books| check(events, Some(books)).count(Violation::Books);
    assert_eq!(found(&events, books(1, 1)), 0);
    assert_eq!(found(&events, books(2, 0)), 1);
    // Its answer may be lost.
    events[7] = Event::RejectAsked { offset, grant };
    assert_eq!(found(&events, books(1, 1)) + found(&events, books(2, 0)), 0);
}

#[test]
fn a_broker_that_does_not_serve_or_drain_in_time_is_stuck() {
    let run = |resumed: Option<Ms>, drained: Option<Ms>| {
        let mut events = clean();
        events.push(Event::Healed { at: 1_000 });
        events.extend(resumed.map(|at| Event::Resumed { at }));
        events.extend(drained.map(|at| Event::Drained { at }));
        check(&events, Some(BOOKS)).count(Violation::Stuck)
    };
    assert_eq!(run(Some(9_000), Some(60_000)), 0);
    assert_eq!(run(Some(12_000), Some(60_000)), 1);
    assert_eq!(run(None, Some(62_000)), 2);
    assert_eq!(run(Some(9_000), None), 1);
}

#[test]
fn readers_of_one_log_that_see_it_differently_are_found() {
    let one = clean();
    let mut other = clean();
    assert!(agree(&[&one, &other]).is_empty());
    other[5] = Event::Delivered(hand(1, A, (1, 1), 100));
    assert_eq!(agree(&[&one, &other]), [1]);
}
