//! What is published for later waits in the broker.

use siding_tests::transcript::check;

#[test]
fn a_delayed_message_is_delivered_when_it_is_due_and_not_before() {
    check(
        "
        queue jobs
        consume alice jobs           ->
        publish jobs delay=7s        -> confirm jobs@0
        describe jobs                -> jobs 0..1, 1 delayed, 1 consumers
        advance 6999ms               ->
        advance 1ms                  -> alice gets jobs@0 attempt 1
        ",
    );
}

#[test]
fn a_message_for_an_instant_is_delivered_at_it_and_for_a_past_one_at_once() {
    check(
        "
        queue jobs
        consume alice jobs           ->
        advance 5s                   ->
        publish jobs at=8s           -> confirm jobs@0
        publish jobs at=5s           -> confirm jobs@1; alice gets jobs@1 attempt 1
        advance 2999ms               ->
        advance 1ms                  -> alice gets jobs@0 attempt 1
        ",
    );
}

#[test]
fn a_message_that_is_due_takes_its_publish_place_ahead_of_newer_ones() {
    check(
        "
        queue jobs
        publish jobs delay=2s n=2    -> confirm jobs@0-1
        publish jobs n=2             -> confirm jobs@2-3
        receive alice jobs max=1     -> alice receives jobs@2 attempt 1
        advance 2s                   ->
        receive alice jobs max=3     -> alice receives jobs@0-1 attempt 1; alice receives jobs@3 attempt 1
        ",
    );
}

#[test]
fn a_delayed_message_holds_no_credit_and_no_lease() {
    check(
        "
        queue jobs
        consume alice jobs credit=1  ->
        publish jobs delay=1h n=5    -> confirm jobs@0-4
        publish jobs                 -> confirm jobs@5; alice gets jobs@5 attempt 1
        flush                        ->
        describe jobs                -> jobs 0..6, 5 delayed, 1 leased, 1 consumers
        ",
    );
}

#[test]
fn a_delayed_message_waits_through_a_restart() {
    check(
        "
        queue jobs
        publish jobs delay=10s       -> confirm jobs@0
        restart after=4s             ->
        consume alice jobs           ->
        advance 5999ms               ->
        advance 1ms                  -> alice gets jobs@0 attempt 1
        ",
    );
}

#[test]
fn what_fell_due_while_the_broker_was_down_is_ready_at_the_start() {
    check(
        "
        queue jobs
        publish jobs delay=10s       -> confirm jobs@0
        restart after=11s            ->
        consume alice jobs           -> alice gets jobs@0 attempt 1
        ",
    );
}

#[test]
fn an_instant_more_than_ten_years_ahead_is_refused() {
    check(
        "
        queue jobs
        publish jobs at=87840h       -> confirm jobs@0
        publish jobs at=87841h       -> refuse: invalid deliver_at_ms, 0 to 316225000000
        ",
    );
}

#[test]
fn a_purge_takes_what_is_delayed_too() {
    check(
        "
        queue jobs
        publish jobs delay=1h n=3    -> confirm jobs@0-2
        purge jobs                   -> counted 3
        describe jobs                -> jobs 0..3, 3 purged
        advance 1h                   ->
        describe jobs                -> jobs 0..3, 3 purged
        ",
    );
}

#[test]
fn every_subscription_of_a_topic_waits_until_the_message_is_due() {
    check(
        "
        topic news
        sub news/a
        sub news/b
        consume alice news/a         ->
        consume bob news/b           ->
        publish news delay=1s        -> confirm news@0
        advance 1s                   -> alice gets news/a@0 attempt 1; bob gets news/b@0 attempt 1
        ",
    );
}
