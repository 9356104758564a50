//! What comes back waits, is counted, and in the end is a dead letter.

use siding_tests::transcript::check;

#[test]
fn a_nacked_message_comes_back_after_the_backoff_of_its_attempts() {
    check(
        "
        queue jobs backoff=1s,5s
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        nack alice jobs@0          -> settled 1
        describe jobs              -> jobs 0..1, 1 delayed, 1 consumers
        advance 899ms              ->
        advance 201ms              -> alice gets jobs@0 attempt 2
        nack alice jobs@0          -> settled 1
        advance 4499ms             ->
        advance 1001ms             -> alice gets jobs@0 attempt 3
        nack alice jobs@0          -> settled 1
        advance 4499ms             ->
        advance 1001ms             -> alice gets jobs@0 attempt 4
        ",
    );
}

#[test]
fn a_nack_may_name_its_own_delay() {
    check(
        "
        queue jobs backoff=1h
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        nack alice jobs@0 delay=7s -> settled 1
        advance 6999ms             ->
        advance 1ms                -> alice gets jobs@0 attempt 2
        nack alice jobs@0 delay=0s -> settled 1; alice gets jobs@0 attempt 3
        ",
    );
}

#[test]
fn a_message_whose_attempts_are_used_up_is_a_dead_letter() {
    check(
        "
        queue jobs attempts=2 backoff=0s visibility=1s
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs         -> alice gets jobs@0-1 attempt 1
        nack alice jobs@0          -> settled 1; alice gets jobs@0 attempt 2
        nack alice jobs@0          -> settled 1
        browse jobs state=dead     -> @0 dead, 2 attempts, max_attempts
        advance 1s                 -> alice gets jobs@1 attempt 2
        advance 1s                 ->
        describe jobs              -> jobs 0..2, 2 dead, 1 consumers
        ",
    );
}

#[test]
fn an_expired_lease_waits_for_its_backoff() {
    check(
        "
        queue jobs visibility=1s backoff=10s
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        advance 1s                 ->
        describe jobs              -> jobs 0..1, 1 delayed, 1 consumers
        advance 8999ms             ->
        advance 2001ms             -> alice gets jobs@0 attempt 2
        ",
    );
}

#[test]
fn a_returned_message_goes_back_to_its_old_place() {
    check(
        "
        queue jobs backoff=0s
        publish jobs n=5           -> confirm jobs@0-4
        consume alice jobs credit=2 -> alice gets jobs@0-1 attempt 1
        release alice jobs@1       -> settled 1; alice gets jobs@1 attempt 1
        nack alice jobs@0          -> settled 1; alice gets jobs@0 attempt 2
        ack alice jobs@0-1         -> settled 1; lease lost @1: leased; alice gets jobs@2 attempt 1
        ",
    );
}

#[test]
fn more_than_ten_thousand_delays_that_end_at_once_all_end() {
    let even: Vec<_> = (0..10_001).map(|at| (2 * at).to_string()).collect();
    let (even, all) = (even.join(","), "jobs@0-20001");
    check(&format!(
        "
        queue jobs
        publish jobs n=20002         -> confirm {all}
        consume alice jobs credit=20002 -> alice gets {all} attempt 1
        nack alice jobs@{even} delay=5s -> settled 10001
        stall alice                  ->
        jump 5s                      ->
        describe jobs                -> jobs 0..20002, 10001 ready, 10001 leased, 1 consumers
        "
    ));
}
