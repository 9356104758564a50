//! What a topic keeps by age, and how a reader learns what is gone.

use siding_tests::transcript::check;

#[test]
fn what_is_older_than_a_topic_keeps_is_gone_and_counted() {
    check(
        "
        topic news keep=1m
        sub news/a
        publish news size=60000      -> confirm news@0
        advance 30s                  ->
        publish news size=60000      -> confirm news@1
        advance 29s                  ->
        describe news                -> news/a 0..2, 2 ready
        advance 1s                   ->
        describe news                -> news/a 0..2, 1 ready, 1 evicted
        advance 30s                  ->
        describe news                -> news/a 0..2, 2 evicted
        publish news                 -> confirm news@2
        describe news                -> news/a 0..3, 1 ready, 2 evicted
        ",
    );
}

#[test]
fn age_takes_nothing_that_is_leased_delayed_or_dead() {
    check(
        "
        topic news keep=1m
        sub news/a visibility=2m
        publish news n=4             -> confirm news@0-3
        receive alice news/a max=3   -> alice receives news/a@0-2 attempt 1
        reject alice news/a@1        -> settled 1
        nack alice news/a@2 delay=1h -> settled 1
        advance 1m                   ->
        describe news                -> news/a 0..4, 1 delayed, 1 leased, 1 dead, 1 evicted
        redrive news/a               -> counted 1
        receive bob news/a           -> bob is told of the gap news/a@3; bob receives news/a@1 attempt 1
        ",
    );
}

#[test]
fn a_reader_that_retention_passed_is_told_the_gap_once() {
    check(
        "
        topic news retention=100000
        sub news/a
        publish news n=3 size=60000  -> confirm news@0-2
        consume alice news/a credit=1 -> alice is told of the gap news/a@0-1; alice gets news/a@2 attempt 1
        publish news size=60000      -> confirm news@3
        ack alice news/a@2           -> settled 1; alice gets news/a@3 attempt 1
        ",
    );
}

#[test]
fn a_gap_is_told_again_if_the_lease_after_it_was_lost() {
    check(
        "
        topic news retention=100000
        sub news/a
        notes held                   ->
        publish news n=3 size=60000  -> confirm news@0-2
        receive alice news/a         -> alice is told of the gap news/a@0-1; alice receives news/a@2 attempt 1
        restart                      ->
        receive alice news/a         -> alice is told of the gap news/a@0-1; alice receives news/a@2 attempt 1
        ",
    );
}

#[test]
fn a_receive_that_is_asked_again_is_told_its_gap_again_and_nobody_else() {
    check(
        "
        topic news retention=100000
        sub news/a
        publish news n=3 size=60000  -> confirm news@0-2
        receive alice news/a id=r1   -> alice is told of the gap news/a@0-1; alice receives news/a@2 attempt 1
        publish news size=60000      -> confirm news@3
        restart after=5s snapshot=4  ->
        receive bob news/a id=r1     -> bob is told of the gap news/a@0-1; bob receives news/a@2 attempt 1
        receive bob news/a id=r2     -> bob receives news/a@3 attempt 1
        ",
    );
}

#[test]
fn gaps_that_are_apart_are_told_one_by_one() {
    check(
        "
        topic news retention=200000
        sub news/a
        publish news n=3 size=60000  -> confirm news@0-2
        receive alice news/a max=2   -> alice receives news/a@0-1 attempt 1
        release alice news/a@0       -> settled 1
        publish news n=4 size=60000  -> confirm news@3-6
        describe news                -> news/a 0..7, 3 ready, 1 leased, 3 evicted
        receive bob news/a max=1     -> bob is told of the gap news/a@0; bob receives news/a@4 attempt 1
        receive bob news/a max=1     -> bob is told of the gap news/a@2-3; bob receives news/a@5 attempt 1
        ",
    );
}

#[test]
fn what_age_takes_lets_the_next_of_its_key_go() {
    check(
        "
        topic news keep=1m
        sub news/a order=key
        publish news size=60000 key=k -> confirm news@0
        advance 30s                  ->
        publish news size=60000 key=k -> confirm news@1
        advance 29s                  ->
        notes held
        pipeline on
        advance 1s                   ->
        consume alice news/a         -> alice gets news/a@0 attempt 1
        queue other                  -> alice is told of the gap news/a@0; alice gets news/a@1 attempt 1
        ",
    );
}

#[test]
fn what_retention_took_before_its_ttl_takes_no_record_with_it() {
    check(
        "
        topic news retention=100000
        sub news/a track=1h
        publish news                 -> confirm news@0
        receive alice news/a         -> alice receives news/a@0 attempt 1
        ack alice news/a@0           -> settled 1
        publish news ttl=5s          -> confirm news@1
        publish news n=3 size=60000  -> confirm news@2-4
        describe news                -> news/a 0..5, 1 ready, 1 settled, 3 evicted
        get news/a@0                 -> news/a@0 settled
        advance 5s                   ->
        get news/a@0                 -> news/a@0 settled
        ",
    );
}
