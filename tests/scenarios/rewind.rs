//! A queue that keeps what has left can be sought back: how long, how much, and what is replayed.

use siding_tests::transcript::check;

#[test]
fn a_queue_that_keeps_what_it_settled_is_sought_back_and_replays_it() {
    check(
        "
        queue jobs keep=1h
        publish jobs n=4             -> confirm jobs@0-3
        receive alice jobs           -> alice receives jobs@0-3 attempt 1
        ack alice jobs@0-2           -> settled 3
        seek jobs start=1            -> counted 3
        describe jobs                -> jobs 1..4, 3 ready
        ack alice jobs@3             -> settled 0; lease lost @3: ready
        receive bob jobs             -> bob receives jobs@1-3 attempt 1
        ack bob jobs@1-3             -> settled 3
        seek jobs start=earliest     -> counted 4
        seek jobs start=latest       -> counted 0
        describe jobs                -> jobs 4..4
        seek jobs since=0s           -> counted 4
        ",
    );
}

#[test]
fn what_has_left_is_kept_as_long_as_its_queue_says_after_the_last_of_its_extent_left() {
    check(
        "
        queue jobs keep=1m
        publish jobs n=2 size=40000  -> confirm jobs@0-1
        advance 1h                   ->
        receive alice jobs max=1     -> alice receives jobs@0 attempt 1
        ack alice jobs@0             -> settled 1
        advance 59s                  ->
        receive alice jobs           -> alice receives jobs@1 attempt 1
        ack alice jobs@1             -> settled 1
        advance 1s                   ->
        seek jobs start=earliest     -> counted 1
        describe jobs                -> jobs 1..2, 1 ready
        ",
    );
}

#[test]
fn what_waits_is_kept_however_old_and_sought_with_the_rest() {
    check(
        "
        queue jobs keep=1m attempts=1
        publish jobs n=4 size=40000  -> confirm jobs@0-3
        receive alice jobs           -> alice receives jobs@0-3 attempt 1
        reject alice jobs@0          -> settled 1
        ack alice jobs@1             -> settled 1
        release alice jobs@2 delay=5h -> settled 1
        ack alice jobs@3             -> settled 1
        advance 1h                   ->
        describe jobs                -> jobs 0..4, 1 delayed, 1 dead, 2 settled
        seek jobs start=earliest     -> counted 2
        describe jobs                -> jobs 0..4, 2 ready, 2 evicted
        receive bob jobs             -> bob is told of the gap jobs@1; bob receives jobs@0 attempt 1; bob receives jobs@2 attempt 1
        receive bob jobs             -> bob receives nothing
        publish jobs                 -> confirm jobs@4
        receive bob jobs             -> bob is told of the gap jobs@3; bob receives jobs@4 attempt 1
        ",
    );
}

#[test]
fn what_left_by_any_way_is_sought_back() {
    check(
        "
        queue jobs keep=1h attempts=1
        publish jobs n=6             -> confirm jobs@0-5
        receive alice jobs max=3     -> alice receives jobs@0-2 attempt 1
        ack alice jobs@0             -> settled 1
        reject alice jobs@1-2        -> settled 2
        drop jobs limit=1            -> counted 1
        cancel jobs@3                ->
        purge jobs                   -> counted 2
        describe jobs                -> jobs 0..6, 1 dead, 1 settled, 1 cancelled, 3 purged
        seek jobs start=earliest     -> counted 6
        describe jobs                -> jobs 0..6, 6 ready
        ",
    );
}

#[test]
fn a_queue_keeps_at_most_its_bytes_and_what_was_done_first_goes_first() {
    check(
        "
        queue jobs keep=1h max_bytes=100000
        publish jobs size=40000      -> confirm jobs@0
        publish jobs size=40000      -> confirm jobs@1
        receive alice jobs           -> alice receives jobs@0-1 attempt 1
        ack alice jobs@1             -> settled 1
        advance 1s                   ->
        ack alice jobs@0             -> settled 1
        publish jobs size=40000      -> confirm jobs@2
        receive alice jobs           -> alice receives jobs@2 attempt 1
        ack alice jobs@2             -> settled 1
        seek jobs start=earliest     -> counted 2
        receive bob jobs             -> bob is told of the gap jobs@1; bob receives jobs@0 attempt 1; bob receives jobs@2 attempt 1
        ",
    );
}

#[test]
fn what_is_sought_back_counts_and_publishes_wait_until_it_is_drained() {
    check(
        "
        queue jobs keep=1h max_messages=2
        publish jobs n=2             -> confirm jobs@0-1
        receive alice jobs           -> alice receives jobs@0-1 attempt 1
        ack alice jobs@0-1           -> settled 2
        publish jobs n=2             -> confirm jobs@2-3
        seek jobs start=earliest     -> counted 4
        publish jobs                 -> refuse: busy max_messages 4 of 2, retry after 1000 ms
        receive alice jobs max=3     -> alice receives jobs@0-2 attempt 1
        ack alice jobs@0-2           -> settled 3
        publish jobs                 -> confirm jobs@4
        ",
    );
}

#[test]
fn a_queue_drained_message_by_message_keeps_few_extents() {
    check(
        "
        queue jobs keep=1h
        publish jobs                 -> confirm jobs@0
        receive alice jobs           -> alice receives jobs@0 attempt 1
        ack alice jobs@0             -> settled 1
        publish jobs                 -> confirm jobs@1
        receive alice jobs           -> alice receives jobs@1 attempt 1
        advance 1s                   ->
        ack alice jobs@1             -> settled 1
        advance 59m                  ->
        advance 59s                  ->
        describe jobs                -> jobs 0..2, 2 settled
        seek jobs start=earliest     -> counted 2
        ",
    );
}

#[test]
fn what_a_queue_keeps_outlives_a_restart() {
    check(
        "
        queue jobs keep=1h
        publish jobs n=3             -> confirm jobs@0-2
        receive alice jobs           -> alice receives jobs@0-2 attempt 1
        ack alice jobs@0-2           -> settled 3
        restart after=10m snapshot=5
        seek jobs start=2            -> counted 1
        seek jobs start=latest       -> counted 0
        advance 1h                   ->
        seek jobs start=earliest     -> counted 0
        delete jobs
        ",
    );
}

#[test]
fn whoever_waits_for_the_end_of_what_a_seek_passes_over_is_told() {
    check(
        "
        topic news
        sub news/a
        publish news n=2             -> confirm news@0-1
        wait news/a@0                ->
        seek news/a start=1          -> refuse: not found news/a@0; counted 1
        ",
    );
}
