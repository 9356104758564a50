//! A subscription is moved: to an offset, an instant, the earliest or the latest.

use siding_tests::transcript::check;

#[test]
fn a_seek_back_replays_and_forgets_what_happened() {
    check(
        "
        topic news
        sub news/a attempts=1 backoff=1h
        publish news n=6             -> confirm news@0-5
        receive alice news/a max=4   -> alice receives news/a@0-3 attempt 1
        ack alice news/a@0           -> settled 1
        reject alice news/a@1        -> settled 1
        release alice news/a@2 delay=1h -> settled 1
        describe news/a              -> news/a 0..6, 2 ready, 1 delayed, 1 leased, 1 dead, 1 settled
        seek news/a start=1          -> counted 5
        describe news/a              -> news/a 1..6, 5 ready
        receive alice news/a         -> alice receives news/a@1-5 attempt 1
        advance 2h                   ->
        describe news/a              -> news/a 1..6, 5 dead
        ",
    );
}

#[test]
fn a_seek_fences_live_leases() {
    check(
        "
        topic news
        sub news/a
        publish news n=2             -> confirm news@0-1
        receive alice news/a         -> alice receives news/a@0-1 attempt 1
        seek news/a start=earliest   -> counted 2
        ack alice news/a@0           -> settled 0; lease lost @0: ready
        receive bob news/a           -> bob receives news/a@0-1 attempt 1
        ack alice news/a@1           -> settled 0; lease lost @1: leased
        ack bob news/a@0-1           -> settled 2
        ",
    );
}

#[test]
fn a_seek_fences_a_lapsed_grant_and_a_repeat() {
    check(
        "
        topic news
        sub news/a visibility=1s backoff=0s
        publish news n=2             -> confirm news@0-1
        receive alice news/a         -> alice receives news/a@0-1 attempt 1
        ack alice news/a@0           -> settled 1
        advance 1s                   ->
        seek news/a start=earliest   -> counted 2
        ack alice news/a@0-1         -> settled 0; lease lost @0-1: ready
        ",
    );
}

#[test]
fn a_seek_to_the_latest_passes_over_everything_and_the_books_begin_there() {
    check(
        "
        topic news
        sub news/a
        publish news n=3             -> confirm news@0-2
        receive alice news/a max=1   -> alice receives news/a@0 attempt 1
        seek news/a start=latest     -> counted 0
        describe news/a              -> news/a 3..3
        publish news                 -> confirm news@3
        receive alice news/a         -> alice receives news/a@3 attempt 1
        ",
    );
}

#[test]
fn a_seek_to_an_instant_begins_with_the_first_extent_that_has_it() {
    check(
        "
        topic news
        sub news/a start=latest
        publish news size=60000      -> confirm news@0
        advance 10s                  ->
        publish news size=60000      -> confirm news@1
        advance 10s                  ->
        publish news size=60000      -> confirm news@2
        seek news/a since=10s        -> counted 2
        seek news/a since=11s        -> counted 1
        seek news/a since=0s         -> counted 3
        seek news/a since=1h         -> counted 0
        sub news/b since=10s
        describe news/b              -> news/b 1..3, 2 ready
        ",
    );
}

#[test]
fn a_seek_behind_the_end_or_before_what_is_kept_stops_there() {
    check(
        "
        topic news retention=100000
        sub news/a
        publish news n=3 size=60000  -> confirm news@0-2
        seek news/a start=0          -> counted 1
        seek news/a start=99         -> counted 0
        describe news/a              -> news/a 3..3
        ",
    );
}

#[test]
fn what_is_sought_back_is_filtered_again() {
    check(
        "
        topic news
        sub news/a filter=routing_key_matches_a.*
        publish news n=4 keys=a.x,b.x -> confirm news@0-3
        seek news/a start=1          -> counted 3
        describe news/a              -> news/a 1..4, 1 ready, 2 filtered
        ",
    );
}

#[test]
fn a_queue_that_keeps_nothing_settled_cannot_be_sought() {
    check(
        "
        queue jobs
        seek jobs start=earliest     -> refuse: invalid address
        ",
    );
}

#[test]
fn what_is_sought_back_keeps_its_priority_while_nobody_settled_it() {
    check(
        "
        topic news
        sub news/a
        publish news                 -> confirm news@0
        publish news priority=9      -> confirm news@1
        seek news/a start=earliest   -> counted 2
        receive alice news/a         -> alice receives news/a@1 attempt 1; alice receives news/a@0 attempt 1
        ",
    );
}
