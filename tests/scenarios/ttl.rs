//! What is of no use any more when its time has passed.

use siding_tests::transcript::check;

#[test]
fn a_message_that_nobody_got_in_time_is_expired_and_counted() {
    check(
        "
        queue jobs
        publish jobs ttl=5s n=2      -> confirm jobs@0-1
        publish jobs                 -> confirm jobs@2
        advance 4999ms               ->
        describe jobs                -> jobs 0..3, 3 ready
        advance 1ms                  ->
        describe jobs                -> jobs 0..3, 1 ready, 2 expired
        consume alice jobs           -> alice gets jobs@2 attempt 1
        ",
    );
}

#[test]
fn a_leased_message_never_expires() {
    check(
        "
        queue jobs visibility=30s
        publish jobs ttl=5s          -> confirm jobs@0
        consume alice jobs           -> alice gets jobs@0 attempt 1
        advance 20s                  ->
        ack alice jobs@0             -> settled 1
        describe jobs                -> jobs 0..1, 1 settled, 1 consumers
        ",
    );
}

#[test]
fn a_message_that_comes_back_too_late_expires_at_once() {
    check(
        "
        queue jobs visibility=10s backoff=0s
        publish jobs ttl=5s n=3      -> confirm jobs@0-2
        consume alice jobs           -> alice gets jobs@0-2 attempt 1
        advance 6s                   ->
        nack alice jobs@0            -> settled 1
        release alice jobs@1         -> settled 1
        describe jobs                -> jobs 0..3, 1 leased, 2 expired, 1 consumers
        advance 4s                   ->
        describe jobs                -> jobs 0..3, 3 expired, 1 consumers
        ack alice jobs@2             -> settled 0; lease lost @2: settled
        ",
    );
}

#[test]
fn a_message_whose_attempts_are_used_up_is_dead_and_not_expired() {
    check(
        "
        queue jobs attempts=1
        publish jobs ttl=5s          -> confirm jobs@0
        consume alice jobs           -> alice gets jobs@0 attempt 1
        advance 6s                   ->
        nack alice jobs@0            -> settled 1
        advance 1h                   ->
        browse jobs state=dead       -> @0 dead, 1 attempts, max_attempts
        ",
    );
}

#[test]
fn a_message_that_waits_for_its_retry_expires_too() {
    check(
        "
        queue jobs
        publish jobs ttl=5s          -> confirm jobs@0
        consume alice jobs           -> alice gets jobs@0 attempt 1
        nack alice jobs@0 delay=1h   -> settled 1
        advance 5s                   ->
        describe jobs                -> jobs 0..1, 1 expired, 1 consumers
        ",
    );
}

#[test]
fn a_subscription_gives_its_ttl_to_messages_that_name_none() {
    check(
        "
        queue jobs lives=5s
        publish jobs                 -> confirm jobs@0
        publish jobs ttl=9s          -> confirm jobs@1
        advance 5s                   ->
        describe jobs                -> jobs 0..2, 1 ready, 1 expired
        advance 4s                   ->
        describe jobs                -> jobs 0..2, 2 expired
        ",
    );
}

#[test]
fn a_ttl_begins_when_the_message_can_be_delivered() {
    check(
        "
        queue jobs
        publish jobs delay=1h ttl=5s -> confirm jobs@0
        advance 1h                   ->
        describe jobs                -> jobs 0..1, 1 ready
        advance 5s                   ->
        describe jobs                -> jobs 0..1, 1 expired
        ",
    );
}

#[test]
fn expired_messages_become_dead_letters_where_asked_and_a_redriven_one_does_not_expire_again() {
    check(
        "
        queue jobs expired=dead
        publish jobs ttl=5s          -> confirm jobs@0
        advance 5s                   ->
        browse jobs state=dead       -> @0 dead, expired
        redrive jobs                 -> counted 1
        advance 1h                   ->
        consume alice jobs           -> alice gets jobs@0 attempt 1
        ",
    );
}

#[test]
fn what_has_expired_is_not_handed_over_even_before_the_log_says_so() {
    check(
        "
        queue jobs
        publish jobs ttl=5s          -> confirm jobs@0
        publish jobs                 -> confirm jobs@1
        pipeline on
        jump 6s                      ->
        receive alice jobs           -> alice receives jobs@1 attempt 1
        ",
    );
}

#[test]
fn a_restart_keeps_the_time_a_message_has_left() {
    check(
        "
        queue jobs
        publish jobs ttl=10s n=2     -> confirm jobs@0-1
        restart after=4s snapshot=99 ->
        advance 5999ms               ->
        receive alice jobs max=1     -> alice receives jobs@0 attempt 1
        advance 1ms                  ->
        describe jobs                -> jobs 0..2, 1 leased, 1 expired
        ",
    );
}
