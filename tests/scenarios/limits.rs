//! Limits of a queue: exact when committed, drained to zero.

use siding_tests::transcript::check;

#[test]
fn a_full_queue_refuses_with_the_numbers_and_a_hint() {
    check(
        "
        queue jobs max_messages=3
        publish jobs n=2           -> confirm jobs@0-1
        publish jobs n=2           -> refuse: busy max_messages 2 of 3, retry after 1000 ms
        publish jobs               -> confirm jobs@2
        publish jobs               -> refuse: busy max_messages 3 of 3, retry after 1000 ms
        ",
    );
}

#[test]
fn without_memory_nothing_new_is_stored_and_consumers_go_on_with_a_quarter_of_their_windows() {
    check(
        "
        queue jobs
        publish jobs n=20           -> confirm jobs@0-19
        memory tight
        publish jobs n=1            -> confirm jobs@20
        consume alice jobs credit=8 -> alice gets jobs@0-1 attempt 1
        ack alice jobs@0            -> settled 1; alice gets jobs@2 attempt 1
        memory gone
        publish jobs                -> refuse: busy memory 90 of 85, retry after 1000 ms
        ack alice jobs@1            -> settled 1; alice gets jobs@3 attempt 1
        memory plenty
        publish jobs                -> confirm jobs@21; alice gets jobs@4-9 attempt 1
        ",
    );
}

#[test]
fn a_publish_that_is_stored_is_confirmed_again_without_memory() {
    check(
        "
        queue jobs
        publish jobs n=2 sequence=1 -> confirm jobs@0-1
        memory gone
        publish jobs n=2 sequence=1 -> confirm jobs@0-1
        publish jobs n=2 sequence=2 -> refuse: busy memory 90 of 85, retry after 1000 ms
        ",
    );
}

#[test]
fn what_would_not_fit_an_empty_queue_is_too_large_and_waits_for_nothing() {
    check(
        "
        queue jobs max_messages=3
        publish jobs n=4           -> refuse: max_messages is larger than 3
        publish jobs n=3           -> confirm jobs@0-2
        ",
    );
}

#[test]
fn a_refused_publish_takes_no_offset_and_may_be_sent_again_under_its_sequence() {
    check(
        "
        queue jobs max_messages=1
        publish jobs               -> confirm jobs@0
        publish jobs sequence=2    -> refuse: busy max_messages 1 of 1, retry after 1000 ms
        receive alice jobs         -> alice receives jobs@0 attempt 1
        ack alice jobs@0           -> settled 1
        publish jobs sequence=2    -> confirm jobs@1
        publish jobs sequence=2    -> confirm jobs@1
        ",
    );
}

#[test]
fn what_is_leased_or_delayed_is_charged_and_what_is_settled_is_not() {
    check(
        "
        queue jobs max_messages=2
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs         -> alice receives jobs@0-1 attempt 1
        nack alice jobs@0          -> settled 1
        publish jobs               -> refuse: busy max_messages 2 of 2, retry after 1000 ms
        ack alice jobs@1           -> settled 1
        publish jobs               -> confirm jobs@2
        ",
    );
}

#[test]
fn bytes_are_charged_by_the_share_of_live_messages_and_are_zero_when_drained() {
    check(
        "
        queue jobs max_bytes=420
        publish jobs n=5 size=90   -> refuse: max_bytes is larger than 420
        publish jobs n=4 size=90   -> confirm jobs@0-3
        publish jobs size=90       -> refuse: busy max_bytes 376 of 420, retry after 1000 ms
        receive alice jobs         -> alice receives jobs@0-3 attempt 1
        ack alice jobs@1           -> settled 1
        publish jobs size=90       -> confirm jobs@4
        ack alice jobs@0,2-3       -> settled 3
        receive alice jobs         -> alice receives jobs@4 attempt 1
        ack alice jobs@4           -> settled 1
        publish jobs size=400      -> confirm jobs@5
        ",
    );
}

#[test]
fn limits_hold_exactly_at_commit_when_publishes_race() {
    check(
        "
        queue jobs max_messages=3
        publish jobs               -> confirm jobs@0
        pipeline on
        publish jobs n=2           ->
        publish jobs               -> confirm jobs@1-2
        flush                      -> refuse: busy max_messages 3 of 3, retry after 1000 ms
        ",
    );
}

#[test]
fn the_hint_follows_the_measured_drain_rate() {
    check(
        "
        queue jobs max_messages=100
        publish jobs n=100         -> confirm jobs@0-99
        receive alice jobs max=20  -> alice receives jobs@0-19 attempt 1
        advance 1s                 ->
        ack alice jobs@0-19        -> settled 20
        publish jobs n=20          -> confirm jobs@100-119
        publish jobs               -> refuse: busy max_messages 100 of 100, retry after 500 ms
        ",
    );
}

#[test]
fn the_hint_grows_while_nothing_leaves() {
    check(
        "
        queue jobs max_messages=100
        publish jobs n=100         -> confirm jobs@0-99
        receive alice jobs max=20  -> alice receives jobs@0-19 attempt 1
        advance 1s                 ->
        ack alice jobs@0-19        -> settled 20
        publish jobs n=20          -> confirm jobs@100-119
        advance 10s                ->
        publish jobs               -> refuse: busy max_messages 100 of 100, retry after 5000 ms
        advance 1h                 ->
        publish jobs               -> refuse: busy max_messages 100 of 100, retry after 60000 ms
        ",
    );
}

#[test]
fn settles_are_never_refused_as_busy() {
    check(
        "
        queue jobs max_messages=1
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        extend alice jobs@0 by=1m  -> settled 1
        release alice jobs@0       -> settled 1; alice gets jobs@0 attempt 1
        ack alice jobs@0           -> settled 1
        ",
    );
}
