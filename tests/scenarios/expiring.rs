//! A consumer is told before a lease ends.

use siding_tests::transcript::check;

#[test]
fn a_consumer_is_told_when_a_fifth_of_a_lease_is_left() {
    check(
        "
        notices
        queue jobs visibility=30s
        publish jobs n=3           -> confirm jobs@0-2
        consume alice jobs         -> alice gets jobs@0-2 attempt 1
        ack alice jobs@1           -> settled 1
        advance 23999ms            ->
        advance 1ms                -> alice warned of 0,2
        advance 5999ms             ->
        ack alice jobs@0,2         -> settled 2
        ",
    );
}

#[test]
fn an_extend_moves_the_notice_of_what_it_extends() {
    check(
        "
        notices
        queue jobs visibility=10s backoff=1h
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs         -> alice gets jobs@0-1 attempt 1
        extend alice jobs@0 by=60s -> settled 1
        advance 8s                 -> alice warned of 1
        advance 39s                ->
        advance 1s                 -> alice warned of 0
        extend alice jobs@0 by=10s -> settled 1
        advance 8s                 -> alice warned of 0
        ",
    );
}

#[test]
fn whoever_settled_or_left_is_told_nothing() {
    check(
        "
        notices
        queue jobs visibility=10s backoff=1h
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        consume bob jobs           -> bob gets jobs@1 attempt 1
        ack alice jobs@0           -> settled 1
        close bob                  ->
        advance 20s                ->
        ",
    );
}

#[test]
fn a_receive_is_told_nothing_for_it_is_not_bound_to_a_connection() {
    check(
        "
        notices
        queue jobs visibility=10s
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        advance 9s                 ->
        ",
    );
}

#[test]
fn the_notice_follows_the_visibility_of_the_consumer() {
    check(
        "
        notices
        queue jobs visibility=30s
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs visibility=100s credit=1 -> alice gets jobs@0 attempt 1
        consume bob jobs           -> bob gets jobs@1 attempt 1
        advance 24s                -> bob warned of 1
        ack bob jobs@1             -> settled 1
        advance 56s                -> alice warned of 0
        ",
    );
}
