//! An answer to every why: the right cause, its number, and when time changes something next.

use siding_tests::transcript::check;

#[test]
fn what_is_delayed_is_not_due_and_wakes_when_it_is() {
    check(
        "
        queue jobs
        consume alice jobs
        publish jobs delay=5s        -> confirm jobs@0
        explain jobs@0               -> NOT_DUE 0 at 5s: delayed; wakes at 5s
        advance 5s                   -> alice gets jobs@0 attempt 1
        ",
    );
}

#[test]
fn a_retry_is_not_due_until_its_backoff_is_over_and_tells_what_went_wrong() {
    check(
        "
        queue jobs
        publish jobs                 -> confirm jobs@0
        consume alice jobs           -> alice gets jobs@0 attempt 1
        nack alice jobs@0 delay=3s reason=boom -> settled 1
        explain jobs@0               -> NOT_DUE 1 at 3s: attempt 2 comes after a while, the last said: boom; wakes at 3s
        ",
    );
}

#[test]
fn what_is_leased_names_its_holder_its_attempt_and_its_deadline() {
    check(
        "
        queue jobs
        publish jobs                 -> confirm jobs@0
        consume alice jobs           -> alice gets jobs@0 attempt 1
        flush
        explain jobs@0               -> LEASED 1 at 30s: alice has it; wakes at 30s
        cancel jobs@0                -> alice is asked to cancel @0
        explain jobs@0               -> LEASED 1 at 30s: alice has it, and is asked to end it; wakes at 30s
        ",
    );
}

#[test]
fn a_key_that_is_taken_names_the_message_that_has_it_and_when_it_may_go() {
    check(
        "
        queue jobs order=key
        publish jobs n=3 key=a       -> confirm jobs@0-2
        consume alice jobs           -> alice gets jobs@0 attempt 1
        flush
        explain jobs@1               -> KEY_BLOCKED 0 at 30s: @0 is leased; wakes at 30s
        explain jobs@2               -> KEY_BLOCKED 0 at 30s: @0 is leased, 1 more of this key go before it; wakes at 30s
        nack alice jobs@0 delay=3s   -> settled 1
        explain jobs@1               -> KEY_BLOCKED 0 at 3s: @0 waits for its retry; wakes at 3s
        ",
    );
}

#[test]
fn a_key_that_its_dead_halt_says_so() {
    check(
        "
        queue jobs order=key on_dead=halt_key
        publish jobs n=2 key=a       -> confirm jobs@0-1
        consume alice jobs           -> alice gets jobs@0 attempt 1
        reject alice jobs@0          -> settled 1
        explain jobs@1               -> KEY_BLOCKED 0: @0 is dead and halts its key: redrive or drop it
        ",
    );
}

#[test]
fn what_is_paused_says_so_whoever_reads() {
    check(
        "
        queue jobs
        pause jobs
        publish jobs n=2             -> confirm jobs@0-1
        explain jobs@1               -> PAUSED 2: delivery is paused: resume it; BEHIND 1: messages that go first
        consume alice jobs           ->
        explain jobs@0               -> PAUSED 2: delivery is paused: resume it
        ",
    );
}

#[test]
fn what_nobody_reads_has_no_consumer() {
    check(
        "
        queue jobs
        publish jobs n=2             -> confirm jobs@0-1
        explain jobs@0               -> NO_CONSUMER 2: nobody reads
        publish jobs delay=5s        -> confirm jobs@2
        explain jobs@2               -> NOT_DUE 0 at 5s: delayed; NO_CONSUMER 2: nobody reads; wakes at 5s
        ",
    );
}

#[test]
fn a_full_window_is_no_credit_and_names_who_has_it() {
    check(
        "
        queue jobs
        consume alice jobs credit=2
        publish jobs n=3             -> confirm jobs@0-2; alice gets jobs@0-1 attempt 1
        explain jobs@2               -> NO_CREDIT 1: alice holds 2 messages of 2
        ack alice jobs@0             -> settled 1; alice gets jobs@2 attempt 1
        ",
    );
}

#[test]
fn what_the_filter_passed_over_is_filtered_and_what_matched_was_acked() {
    check(
        "
        topic news
        sub news/eu filter=routing_key_matches_eu.*
        publish news n=2 keys=eu.a,us.a -> confirm news@0-1
        consume alice news/eu        -> alice gets news/eu@0 attempt 1
        ack alice news/eu@0          -> settled 1
        explain news/eu@1            -> FILTERED 0: it does not match: routing_key matches eu.*
        explain news/eu@0            -> SETTLED 0: acked
        explain news/eu              -> FILTERED 1: the filter passed them over
        ",
    );
}

#[test]
fn what_waits_for_its_turn_is_behind_so_many() {
    check(
        "
        queue jobs
        consume alice jobs credit=1
        publish jobs n=4             -> confirm jobs@0-3; alice gets jobs@0 attempt 1
        publish jobs n=2 priority=9  -> confirm jobs@4-5
        explain jobs@3               -> NO_CREDIT 1: alice holds 1 messages of 1; BEHIND 4: messages that go first
        explain jobs@5               -> NO_CREDIT 1: alice holds 1 messages of 1; BEHIND 1: messages that go first
        ",
    );
}

#[test]
fn waiting_raises_a_message_in_an_explanation_as_it_does_in_delivery() {
    check(
        "
        queue jobs age=1s
        publish jobs                 -> confirm jobs@0
        advance 3s
        publish jobs priority=6      -> confirm jobs@1
        explain jobs@1               -> NO_CONSUMER 2: nobody reads; BEHIND 1: messages that go first
        publish jobs priority=9      -> confirm jobs@2
        explain jobs@0               -> NO_CONSUMER 3: nobody reads; BEHIND 1: messages that go first
        receive alice jobs           -> alice receives jobs@2 attempt 1; alice receives jobs@0-1 attempt 1
        ",
    );
}

#[test]
fn a_dead_letter_tells_its_reason_its_attempts_and_how_long_it_is_kept() {
    check(
        "
        queue jobs attempts=1 dead_retention=1h
        publish jobs n=2             -> confirm jobs@0-1
        consume alice jobs           -> alice gets jobs@0-1 attempt 1
        advance 1s
        nack alice jobs@0 reason=boom -> settled 1
        reject alice jobs@1 reason=no -> settled 1
        explain jobs@0               -> DEAD 1 at 1s: max_attempts: boom; wakes at 3601s
        explain jobs@1               -> DEAD 0 at 1s: rejected: no; wakes at 3601s
        ",
    );
}

#[test]
fn what_has_left_is_settled_and_a_record_tells_how_and_when() {
    check(
        "
        queue jobs
        publish jobs                 -> confirm jobs@0
        consume alice jobs           -> alice gets jobs@0 attempt 1
        ack alice jobs@0             -> settled 1
        explain jobs@0               -> SETTLED 0: acked
        queue tracked track=1h
        publish tracked n=2 ttl=2s   -> confirm tracked@0-1
        consume bob tracked credit=1 -> bob gets tracked@0 attempt 1
        ack bob tracked@0            -> settled 1; bob gets tracked@1 attempt 1
        stop bob tracked             -> 
        explain tracked@0            -> SETTLED 0 at 0s: acked
        explain jobs@7               -> refuse: not found jobs@7
        ",
    );
}

#[test]
fn a_dedup_id_that_is_taken_names_the_original_and_the_end_of_its_window() {
    check(
        "
        queue jobs window=1m
        publish jobs dedup=a         -> confirm jobs@0
        explain jobs dedup=a         -> DUPLICATE 0 at 60s: stored before, as jobs@0; wakes at 60s
        explain jobs dedup=b         -> nothing holds it back
        advance 60s
        explain jobs dedup=a         -> nothing holds it back
        ",
    );
}

#[test]
fn what_goes_next_is_held_back_by_nothing() {
    check(
        "
        queue jobs
        explain jobs                 -> nothing holds it back
        publish jobs ttl=5s          -> confirm jobs@0
        explain jobs@0               -> NO_CONSUMER 1: nobody reads; wakes at 5s
        ",
    );
}

#[test]
fn a_name_tells_every_cause_with_how_many_it_holds() {
    check(
        "
        queue jobs order=key attempts=1
        consume alice jobs credit=3
        publish jobs n=3 key=a       -> confirm jobs@0-2; alice gets jobs@0 attempt 1
        publish jobs delay=1h        -> confirm jobs@3
        publish jobs n=3             -> confirm jobs@4-6; alice gets jobs@4-5 attempt 1
        reject alice jobs@4          -> settled 1; alice gets jobs@6 attempt 1
        publish jobs                 -> confirm jobs@7
        flush
        explain jobs                 -> NO_CREDIT 1: alice holds 3 messages of 3; LEASED 3 at 30s: the first of these leases ends; NOT_DUE 1 at 3600s: the first of them is due; KEY_BLOCKED 2: others of their keys go first; DEAD 1: dead letters: redrive or drop them; wakes at 30s
        ",
    );
}

#[test]
fn a_forward_whose_target_is_full_says_so_and_when_it_is_looked_at_again() {
    check(
        "
        queue full max_messages=1
        publish full                 -> confirm full@0
        topic news
        sub news/all to=full
        publish news                 -> confirm news@0
        explain news/all@0           -> NO_CREDIT 1 at 1s: full has no room, or is not there; wakes at 1s
        ",
    );
}

#[test]
fn the_record_of_what_has_ended_wakes_nobody() {
    check(
        "
        queue jobs track=1h
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        ack alice jobs@0           -> settled 1
        explain jobs               -> nothing holds it back
        ",
    );
}
