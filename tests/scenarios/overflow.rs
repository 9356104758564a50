//! A full queue refuses, or the oldest that nobody holds make room.

use siding_tests::transcript::check;

#[test]
fn drop_oldest_evicts_the_lowest_offsets_that_wait() {
    check(
        "
        queue jobs max_messages=3 overflow=drop_oldest
        publish jobs n=3           -> confirm jobs@0-2
        publish jobs n=2           -> confirm jobs@3-4
        describe jobs              -> jobs 0..5, 3 ready, 2 evicted
        receive alice jobs         -> alice receives jobs@2-4 attempt 1
        ",
    );
}

#[test]
fn drop_oldest_takes_what_is_delayed_and_skips_what_is_leased() {
    check(
        "
        queue jobs max_messages=4 overflow=drop_oldest
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs max=1   -> alice receives jobs@0 attempt 1
        publish jobs delay=1h      -> confirm jobs@2
        publish jobs               -> confirm jobs@3
        publish jobs n=2           -> confirm jobs@4-5
        describe jobs              -> jobs 0..6, 3 ready, 1 leased, 2 evicted
        advance 1h                 ->
        receive bob jobs           -> bob receives jobs@0 attempt 2; bob receives jobs@3-5 attempt 1
        ",
    );
}

#[test]
fn drop_oldest_is_busy_where_what_is_leased_alone_fills_the_queue() {
    check(
        "
        queue jobs max_messages=3 overflow=drop_oldest
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs max=2   -> alice receives jobs@0-1 attempt 1
        publish jobs n=2           -> refuse: busy max_messages 3 of 3, retry after 1000 ms
        publish jobs n=4           -> refuse: max_messages is larger than 3
        describe jobs              -> jobs 0..3, 1 ready, 2 leased
        publish jobs               -> confirm jobs@3
        describe jobs              -> jobs 0..4, 1 ready, 2 leased, 1 evicted
        ",
    );
}

#[test]
fn drop_oldest_keeps_the_limit_of_bytes_with_as_few_as_that_takes() {
    check(
        "
        queue jobs max_bytes=500 overflow=drop_oldest
        publish jobs n=4 size=90   -> confirm jobs@0-3
        publish jobs size=90       -> confirm jobs@4
        describe jobs              -> jobs 0..5, 5 ready
        publish jobs size=100      -> confirm jobs@5
        describe jobs              -> jobs 0..6, 5 ready, 1 evicted
        publish jobs size=480      -> confirm jobs@6
        describe jobs              -> jobs 0..7, 1 ready, 6 evicted
        publish jobs size=500      -> refuse: max_bytes is larger than 500
        ",
    );
}

#[test]
fn dead_oldest_makes_dead_letters_that_can_be_redriven() {
    check(
        "
        queue jobs max_messages=2 overflow=dead_oldest
        publish jobs n=2           -> confirm jobs@0-1
        publish jobs               -> confirm jobs@2
        browse jobs state=dead     -> @0 dead, overflow
        describe jobs              -> jobs 0..3, 2 ready, 1 dead
        purge jobs                 -> counted 2
        redrive jobs               -> counted 1
        receive alice jobs         -> alice receives jobs@0 attempt 1
        ",
    );
}

#[test]
fn dead_letters_of_overflow_are_kept_up_to_max_dead() {
    check(
        "
        queue jobs max_messages=2 max_dead=1 overflow=dead_oldest
        publish jobs n=2           -> confirm jobs@0-1
        publish jobs n=2           -> confirm jobs@2-3
        browse jobs state=dead     -> @1 dead, overflow
        describe jobs              -> jobs 0..4, 2 ready, 1 dead, 1 evicted
        ",
    );
}

#[test]
fn a_lapsed_grant_still_settles_what_overflow_killed_and_not_what_it_dropped() {
    check(
        "
        queue jobs max_messages=1 visibility=1s backoff=0s overflow=dead_oldest
        queue mail max_messages=1 visibility=1s backoff=0s overflow=drop_oldest
        publish jobs               -> confirm jobs@0
        publish mail               -> confirm mail@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        receive alice mail         -> alice receives mail@0 attempt 1
        advance 1s                 ->
        publish jobs               -> confirm jobs@1
        publish mail               -> confirm mail@1
        ack alice jobs@0           -> settled 1; late @0
        ack alice mail@0           -> settled 0; lease lost @0: settled
        ",
    );
}

#[test]
fn a_transaction_makes_room_for_all_its_publishes_after_its_settles() {
    check(
        "
        queue jobs max_messages=3 overflow=drop_oldest visibility=1s backoff=0s
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs max=1   -> alice receives jobs@0 attempt 1
        advance 1s                 ->
        transaction publish jobs + ack alice jobs@0 + publish jobs n=2 -> confirm jobs@3; settled 1; late @0; confirm jobs@4-5
        describe jobs              -> jobs 0..6, 3 ready, 1 settled, 2 evicted
        transaction publish jobs n=2 + publish jobs n=2 -> refuse: operation 1: max_messages is larger than 3
        describe jobs              -> jobs 0..6, 3 ready, 1 settled, 2 evicted
        ",
    );
}

#[test]
fn a_duplicate_evicts_nobody() {
    check(
        "
        queue jobs max_messages=2 overflow=drop_oldest
        publish jobs dedup=a,b     -> confirm jobs@0-1
        publish jobs dedup=b,c     -> confirm jobs@2, 0 is @1
        describe jobs              -> jobs 0..3, 2 ready, 1 evicted
        publish jobs dedup=a,b,c   -> confirm nothing, 0 is @0, 1 is @1, 2 is @2
        describe jobs              -> jobs 0..3, 2 ready, 1 evicted
        ",
    );
}

#[test]
fn evictions_survive_a_restart() {
    check(
        "
        queue jobs max_messages=2 overflow=drop_oldest
        publish jobs n=2           -> confirm jobs@0-1
        publish jobs               -> confirm jobs@2
        restart snapshot=2         ->
        describe jobs              -> jobs 0..3, 2 ready, 1 evicted
        publish jobs n=2           -> confirm jobs@3-4
        describe jobs              -> jobs 0..5, 2 ready, 3 evicted
        ",
    );
}

#[test]
fn the_hint_of_a_refused_transaction_is_of_the_queue_that_refused() {
    check(
        "
        queue slow max_messages=100
        queue fast max_messages=100
        publish slow n=90          -> confirm slow@0-89
        publish fast n=100         -> confirm fast@0-99
        receive alice fast max=20  -> alice receives fast@0-19 attempt 1
        advance 1s                 ->
        ack alice fast@0-19        -> settled 20
        publish fast n=20          -> confirm fast@100-119
        transaction publish slow + publish fast -> refuse: operation 1: busy max_messages 100 of 100, retry after 500 ms
        transaction publish fast dedup=a + publish slow -> refuse: operation 0: busy max_messages 100 of 100, retry after 500 ms
        ",
    );
}
