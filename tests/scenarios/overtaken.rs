//! Groups overlap: what was decided on an older state is judged again when it is applied.

use siding_tests::transcript::check;

#[test]
fn a_lease_overtaken_by_a_purge_is_lost_and_the_next_message_is_not_held_up() {
    check(
        "
        queue jobs
        consume alice jobs credit=2
        notes held
        publish jobs               -> confirm jobs@0; alice gets jobs@0 attempt 1
        pipeline on
        purge jobs                 ->
        publish jobs               -> counted 0
        flush                      -> confirm jobs@1; alice gets jobs@1 attempt 1
        ack alice jobs@0           ->
        ack alice jobs@1           -> settled 1
        flush                      -> settled 1
        ",
    );
}

#[test]
fn a_message_handed_over_while_a_purge_is_in_flight_is_purged() {
    check(
        "
        queue jobs
        consume alice jobs         ->
        publish jobs               -> confirm jobs@0; alice gets jobs@0 attempt 1
        ack alice jobs@0           -> settled 1
        notes held
        pipeline on
        publish jobs               ->
        purge jobs                 -> confirm jobs@1; alice gets jobs@1 attempt 1
        publish jobs               -> counted 1
        flush                      -> confirm jobs@2; alice gets jobs@2 attempt 1
        ack alice jobs@1           ->
        ack alice jobs@2           -> settled 0; lease lost @1: settled
        flush                      -> settled 1
        ",
    );
}

#[test]
fn a_connection_that_closes_with_its_lease_in_the_same_group_lapses() {
    check(
        "
        queue jobs backoff=0s
        notes held
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        close alice                ->
        browse jobs                -> @0 ready, 1 attempts
        ",
    );
}

#[test]
fn an_ack_in_the_same_group_as_its_lease_settles() {
    check(
        "
        queue jobs
        notes held
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        ack alice jobs@0           -> settled 1; alice gets jobs@1 attempt 1
        ",
    );
}

#[test]
fn a_late_nack_takes_a_message_from_a_lease_that_is_not_logged_yet() {
    check(
        "
        queue jobs visibility=1s backoff=0s
        notes held
        publish jobs               -> confirm jobs@0
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        notes ride
        advance 1s                 ->
        pipeline on
        nack alice jobs@0 delay=5s ->
        receive bob jobs           -> bob receives jobs@0 attempt 2
        flush                      -> settled 1; late @0
        ack bob jobs@0             ->
        flush                      -> settled 0; lease lost @0: delayed
        advance 5s                 ->
        flush                      -> alice gets jobs@0 attempt 2
        ",
    );
}
