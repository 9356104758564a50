//! Topics: one log, any number of subscriptions, retention.

use siding_tests::transcript::check;

#[test]
fn every_subscription_gets_every_message_with_its_own_attempts() {
    check(
        "
        topic news
        sub news/a backoff=0s
        sub news/b
        consume alice news/a credit=1 ->
        consume bob news/b         ->
        publish news n=2           -> confirm news@0-1; alice gets news/a@0 attempt 1; bob gets news/b@0-1 attempt 1
        nack alice news/a@0        -> settled 1; alice gets news/a@0 attempt 2
        ack bob news/b@0-1         -> settled 2
        describe news              -> news/a 0..2, 1 ready, 1 leased, 1 consumers; news/b 0..2, 2 settled, 1 consumers
        ",
    );
}

#[test]
fn a_subscription_starts_at_the_earliest_the_latest_or_an_offset() {
    check(
        "
        topic news
        publish news n=5           -> confirm news@0-4
        sub news/all start=earliest
        sub news/new
        sub news/some start=3
        sub news/far start=99
        publish news               -> confirm news@5
        receive alice news/all     -> alice receives news/all@0-5 attempt 1
        receive alice news/new     -> alice receives news/new@5 attempt 1
        receive alice news/some    -> alice receives news/some@3-5 attempt 1
        receive alice news/far     -> alice receives news/far@5 attempt 1
        ",
    );
}

#[test]
fn retention_takes_the_oldest_ready_messages_and_counts_them() {
    check(
        "
        topic news retention=100000
        sub news/a
        publish news size=60000    -> confirm news@0
        publish news size=60000    -> confirm news@1
        describe news              -> news/a 0..2, 1 ready, 1 evicted
        receive alice news/a       -> alice is told of the gap news/a@0; alice receives news/a@1 attempt 1
        ",
    );
}

#[test]
fn retention_never_takes_what_is_leased_delayed_or_dead() {
    check(
        "
        topic news retention=100000
        sub news/a visibility=1m
        publish news size=60000    -> confirm news@0
        receive alice news/a       -> alice receives news/a@0 attempt 1
        publish news size=60000    -> confirm news@1
        receive bob news/a         -> bob receives news/a@1 attempt 1
        reject bob news/a@1        -> settled 1
        publish news size=60000    -> confirm news@2
        receive carol news/a       -> carol receives news/a@2 attempt 1
        nack carol news/a@2 delay=1h -> settled 1
        publish news n=2 size=60000 -> confirm news@3-4
        describe news              -> news/a 0..5, 1 ready, 1 delayed, 1 leased, 1 dead, 1 evicted
        ack alice news/a@0         -> settled 1
        redrive news/a             -> counted 1
        receive bob news/a         -> bob is told of the gap news/a@3; bob receives news/a@1 attempt 1; bob receives news/a@4 attempt 1
        ack bob news/a@1,4         -> settled 2
        advance 1h                 ->
        receive carol news/a       -> carol receives news/a@2 attempt 2
        ",
    );
}

#[test]
fn the_newest_messages_stay_however_small_retention_is() {
    check(
        "
        topic news retention=1
        publish news n=3 size=10   -> confirm news@0-2
        sub news/a start=earliest
        receive alice news/a       -> alice receives news/a@0-2 attempt 1
        ",
    );
}

#[test]
fn a_subscription_started_below_what_is_kept_starts_at_the_oldest_kept() {
    check(
        "
        topic news retention=100000
        publish news n=3 size=60000 -> confirm news@0-2
        sub news/a start=0
        describe news              -> news/a 2..3, 1 ready
        ",
    );
}

#[test]
fn a_deleted_subscription_lets_go_of_what_it_held() {
    check(
        "
        topic news retention=100000
        sub news/a
        sub news/b
        publish news size=60000    -> confirm news@0
        receive alice news/a       -> alice receives news/a@0 attempt 1
        publish news size=60000    -> confirm news@1
        delete news/a              ->
        ack alice news/a@0         -> refuse: not found news/a, nearest news/b
        describe news              -> news/b 0..2, 1 ready, 1 evicted
        delete news                ->
        ",
    );
}
