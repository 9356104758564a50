//! Subscriptions that read only what their filter says.

use siding_tests::transcript::check;

#[test]
fn a_subscription_gets_only_what_its_filter_says_and_the_rest_is_counted() {
    check(
        "
        topic news
        sub news/eu filter=routing_key_matches_orders.eu.>
        sub news/all
        consume alice news/eu        ->
        publish news n=4 keys=orders.eu.a,orders.us.a -> confirm news@0-3; alice gets news/eu@0 attempt 1; alice gets news/eu@2 attempt 1
        flush                        ->
        describe news                -> news/eu 0..4, 2 leased, 2 filtered, 1 consumers; news/all 0..4, 4 ready
        ack alice news/eu@0,2        -> settled 2
        describe news/eu             -> news/eu 0..4, 2 settled, 2 filtered, 1 consumers
        ",
    );
}

#[test]
fn what_was_stored_before_a_subscription_is_read_and_judged() {
    check(
        "
        topic news
        publish news n=6 keys=a.x,b.x -> confirm news@0-5
        sub news/a start=2 filter=routing_key_matches_a.*
        describe news/a              -> news/a 2..6, 2 ready, 2 filtered
        receive alice news/a         -> alice receives news/a@2 attempt 1; alice receives news/a@4 attempt 1
        ",
    );
}

#[test]
fn what_is_not_judged_yet_counts_as_ready_and_goes_to_nobody() {
    check(
        "
        topic news
        publish news n=4 keys=a.x,b.x -> confirm news@0-3
        disk slow                    ->
        sub news/a start=earliest filter=routing_key_matches_a.*
        consume alice news/a         ->
        describe news/a              -> news/a 0..4, 4 ready, 1 consumers
        publish news n=2 keys=a.x,b.x -> confirm news@4-5; alice gets news/a@4 attempt 1
        flush                        ->
        describe news/a              -> news/a 0..6, 4 ready, 1 leased, 1 filtered, 1 consumers
        disk quick                   -> alice gets news/a@0 attempt 1; alice gets news/a@2 attempt 1
        flush                        ->
        describe news/a              -> news/a 0..6, 3 leased, 3 filtered, 1 consumers
        ",
    );
}

#[test]
fn a_read_that_a_restart_lost_is_asked_for_again() {
    check(
        "
        topic news
        publish news n=4 keys=a.x,b.x -> confirm news@0-3
        disk slow                    ->
        sub news/a start=earliest filter=routing_key_matches_a.*
        restart snapshot=99          ->
        describe news/a              -> news/a 0..4, 4 ready
        disk quick                   ->
        describe news/a              -> news/a 0..4, 2 ready, 2 filtered
        ",
    );
}

#[test]
fn a_long_past_is_judged_a_step_at_a_time() {
    check(
        "
        topic news
        publish news n=2500 keys=a.x,b.x -> confirm news@0-2499
        sub news/a start=earliest filter=routing_key_matches_a.*
        describe news/a              -> news/a 0..2500, 1250 ready, 1250 filtered
        ",
    );
}

#[test]
fn a_delayed_message_waits_for_its_time_and_for_its_verdict() {
    check(
        "
        topic news
        sub news/a filter=routing_key_matches_a.*
        publish news n=2 delay=5s keys=a.x,b.x -> confirm news@0-1
        describe news/a              -> news/a 0..2, 1 delayed, 1 filtered
        advance 5s                   ->
        describe news/a              -> news/a 0..2, 1 ready, 1 filtered
        ",
    );
}

#[test]
fn a_purge_takes_what_is_not_judged_yet() {
    check(
        "
        topic news
        publish news n=4 keys=a.x,b.x -> confirm news@0-3
        disk slow                    ->
        sub news/a start=earliest filter=routing_key_matches_a.*
        purge news/a                 -> counted 4
        disk quick                   ->
        describe news/a              -> news/a 0..4, 4 purged
        ",
    );
}

#[test]
fn a_subscription_with_another_filter_is_another_subscription() {
    check(
        "
        topic news
        sub news/a filter=key_exists
        sub news/a filter=key_exists
        sub news/a filter=not_key_exists -> refuse: exists news/a
        sub news/a                   -> refuse: exists news/a
        ",
    );
}
