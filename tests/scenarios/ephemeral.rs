//! Subscriptions that end with the connection that made them.

use siding_tests::transcript::check;

#[test]
fn an_ephemeral_subscription_ends_with_the_connection_that_made_it() {
    check(
        "
        topic news
        sub news/a ephemeral as=alice ->
        sub news/b                    ->
        publish news                  -> confirm news@0
        receive bob news/a            -> bob receives news/a@0 attempt 1
        close alice                   ->
        describe news                 -> news/b 0..1, 1 ready
        ack bob news/a@0              -> refuse: not found news/a, nearest news/b
        ",
    );
}

#[test]
fn an_ephemeral_subscription_ends_with_the_broker() {
    check(
        "
        topic news
        sub news/a ephemeral as=alice ->
        sub news/b                    ->
        restart snapshot=99           ->
        describe news                 -> news/b 0..0
        ",
    );
}

#[test]
fn an_ephemeral_subscription_stays_when_others_leave_who_asked_for_it_too() {
    check(
        "
        topic news
        sub news/a ephemeral as=alice ->
        sub news/a ephemeral as=bob   ->
        close bob                     ->
        describe news                 -> news/a 0..0
        close alice                   ->
        describe news                 ->
        ",
    );
}

#[test]
fn an_ephemeral_subscription_ends_even_if_its_connection_closed_before_it_was_made() {
    check(
        "
        topic news
        pipeline on                   ->
        sub news/a ephemeral as=alice ->
        close alice                   ->
        flush                         ->
        pipeline off                  ->
        describe news                 ->
        ",
    );
}

#[test]
fn an_ephemeral_subscription_that_two_ask_for_at_once_ends_with_the_first() {
    check(
        "
        topic news
        pipeline on                   ->
        sub news/a ephemeral as=alice ->
        sub news/a ephemeral as=bob   ->
        flush                         ->
        pipeline off                  ->
        close bob                     ->
        describe news                 -> news/a 0..0
        close alice                   ->
        describe news                 ->
        ",
    );
}
