//! A receive that names itself may be asked again: it gets what it was given.

use siding_tests::transcript::check;

#[test]
fn a_receive_repeated_within_a_minute_gets_the_same_leases_from_any_connection() {
    check(
        "
        queue jobs
        publish jobs n=5           -> confirm jobs@0-4
        receive alice jobs id=r1 max=2 -> alice receives jobs@0-1 attempt 1
        close alice                ->
        receive bob jobs id=r1 max=5 -> bob receives jobs@0-1 attempt 1
        receive bob jobs id=r2 max=2 -> bob receives jobs@2-3 attempt 1
        advance 29s                ->
        receive bob jobs id=r1     -> bob receives jobs@0-1 attempt 1
        ack alice jobs@0           -> settled 1
        ack bob jobs@1             -> settled 1
        ",
    );
}

#[test]
fn a_repeated_receive_gets_what_of_its_leases_is_still_held() {
    check(
        "
        queue jobs
        publish jobs n=4           -> confirm jobs@0-3
        receive alice jobs id=r1 max=3 -> alice receives jobs@0-2 attempt 1
        ack alice jobs@1           -> settled 1
        receive alice jobs id=r1   -> alice receives jobs@0 attempt 1; alice receives jobs@2 attempt 1
        ack alice jobs@0,2         -> settled 2
        receive alice jobs id=r1   -> alice receives jobs@3 attempt 1
        ",
    );
}

#[test]
fn after_a_minute_the_name_of_a_receive_is_free_again() {
    check(
        "
        queue jobs visibility=2m
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs id=r1 max=1 -> alice receives jobs@0 attempt 1
        advance 59999ms            ->
        receive alice jobs id=r1 max=1 -> alice receives jobs@0 attempt 1
        advance 1ms                ->
        receive alice jobs id=r1 max=1 -> alice receives jobs@1 attempt 1
        receive alice jobs id=r1 max=1 -> alice receives jobs@1 attempt 1
        ",
    );
}

#[test]
fn a_restart_keeps_the_name_of_a_receive_if_the_lease_was_noted() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs id=r1 max=1 -> alice receives jobs@0 attempt 1
        publish jobs               -> confirm jobs@2
        restart after=5s snapshot=3 ->
        receive bob jobs id=r1 max=1 -> bob receives jobs@0 attempt 1
        ack bob jobs@0             -> settled 1
        ",
    );
}

#[test]
fn a_receive_that_still_waits_is_answered_with_nothing_when_its_name_asks_anew() {
    check(
        "
        queue jobs
        receive alice jobs id=r1 wait=20s ->
        receive bob jobs id=r1 wait=20s -> alice receives nothing
        publish jobs               -> confirm jobs@0; bob receives jobs@0 attempt 1
        receive alice jobs id=r1   -> alice receives jobs@0 attempt 1
        ",
    );
}

#[test]
fn an_expired_lease_is_not_given_again() {
    check(
        "
        queue jobs visibility=5s backoff=0s
        publish jobs               -> confirm jobs@0
        receive alice jobs id=r1   -> alice receives jobs@0 attempt 1
        advance 5s                 ->
        receive alice jobs id=r1   -> alice receives jobs@0 attempt 2
        ",
    );
}

#[test]
fn the_name_of_a_receive_is_its_subscriptions_own() {
    check(
        "
        queue jobs
        queue mail
        publish jobs               -> confirm jobs@0
        publish mail               -> confirm mail@0
        receive alice jobs id=r1   -> alice receives jobs@0 attempt 1
        receive alice mail id=r1   -> alice receives mail@0 attempt 1
        ",
    );
}

#[test]
fn what_left_before_its_lease_was_logged_is_not_given_again() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        notes held
        pipeline on
        purge jobs                 ->
        receive alice jobs id=r1   -> alice receives jobs@0-1 attempt 1
        publish jobs               -> counted 2
        receive alice jobs id=r1 wait=5s ->
        flush                      -> confirm jobs@2; alice receives jobs@2 attempt 1
        ",
    );
}
