//! A redrive that goes on: so many a second, in slices, across restarts, until it is stopped.

use siding_tests::transcript::check;

#[test]
fn a_redrive_with_a_rate_goes_on_in_slices_and_describe_tells_what_is_before_it() {
    check(
        "
        queue jobs
        publish jobs n=5           -> confirm jobs@0-4
        receive alice jobs         -> alice receives jobs@0-4 attempt 1
        reject alice jobs@0-4      -> settled 5
        redrive jobs rate=2        -> counted 5
        describe jobs              -> jobs 0..5, 1 ready, 4 dead, 4 redriving
        advance 499ms              ->
        describe jobs              -> jobs 0..5, 1 ready, 4 dead, 4 redriving
        advance 1ms                ->
        describe jobs              -> jobs 0..5, 2 ready, 3 dead, 3 redriving
        advance 1500ms             ->
        describe jobs              -> jobs 0..5, 5 ready
        receive bob jobs           -> bob receives jobs@0-4 attempt 1
        ",
    );
}

#[test]
fn a_restart_resumes_a_redrive_and_makes_up_for_nothing() {
    check(
        "
        queue jobs
        publish jobs n=6           -> confirm jobs@0-5
        receive alice jobs         -> alice receives jobs@0-5 attempt 1
        reject alice jobs@0-5      -> settled 6
        redrive jobs rate=1        -> counted 6
        restart after=1h snapshot=5
        describe jobs              -> jobs 0..6, 2 ready, 4 dead, 4 redriving
        advance 1s                 ->
        describe jobs              -> jobs 0..6, 3 ready, 3 dead, 3 redriving
        ",
    );
}

#[test]
fn a_stopped_redrive_leaves_the_rest_dead_and_says_how_many() {
    check(
        "
        queue jobs
        publish jobs n=4           -> confirm jobs@0-3
        receive alice jobs         -> alice receives jobs@0-3 attempt 1
        reject alice jobs@0-3      -> settled 4
        redrive jobs rate=1 limit=3 -> counted 3
        stop-redrive jobs          -> counted 2
        stop-redrive jobs          -> counted 0
        advance 1h                 ->
        describe jobs              -> jobs 0..4, 1 ready, 3 dead
        ",
    );
}

#[test]
fn one_redrive_goes_on_at_a_time() {
    check(
        "
        queue jobs
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs         -> alice receives jobs@0-2 attempt 1
        reject alice jobs@0-2      -> settled 3
        redrive jobs rate=1        -> counted 3
        redrive jobs rate=9        -> refuse: exists a redrive that goes on
        redrive jobs limit=1       -> counted 1
        describe jobs              -> jobs 0..3, 2 ready, 1 dead, 1 redriving
        redrive jobs               -> counted 1
        redrive jobs rate=9        -> counted 0
        redrive jobs rate=9 filter=reason_eq_rejected -> counted 0
        describe jobs              -> jobs 0..3, 3 ready
        ",
    );
}

#[test]
fn a_redrive_takes_only_what_was_dead_when_it_began() {
    check(
        "
        queue jobs attempts=1
        publish jobs n=4           -> confirm jobs@0-3
        receive alice jobs         -> alice receives jobs@0-3 attempt 1
        reject alice jobs@0-2      -> settled 3
        redrive jobs rate=1        -> counted 3
        receive bob jobs           -> bob receives jobs@0 attempt 1
        nack bob jobs@0            -> settled 1
        reject alice jobs@3        -> settled 1
        ack alice jobs@2           -> settled 0; lease lost @2: dead
        advance 10s                ->
        describe jobs              -> jobs 0..4, 2 ready, 2 dead
        browse jobs state=dead     -> @0 dead, 1 attempts, max_attempts; @3 dead, rejected
        ",
    );
}

#[test]
fn a_dead_letter_that_leaves_is_not_awaited_by_a_redrive() {
    check(
        "
        queue jobs attempts=1 visibility=1s dead_retention=3s
        publish jobs n=4           -> confirm jobs@0-3
        receive alice jobs         -> alice receives jobs@0-3 attempt 1
        advance 1s                 ->
        redrive jobs rate=1        -> counted 4
        ack alice jobs@2           -> settled 1; late @2
        describe jobs              -> jobs 0..4, 1 ready, 2 dead, 1 settled, 2 redriving
        advance 1s                 ->
        drop jobs                  -> counted 1
        describe jobs              -> jobs 0..4, 2 ready, 1 settled, 1 purged
        ",
    );
}

#[test]
fn a_redrive_with_a_filter_and_a_rate_takes_what_matches_in_slices() {
    check(
        "
        queue jobs
        publish jobs n=8 keys=a.x,b.x -> confirm jobs@0-7
        receive alice jobs           -> alice receives jobs@0-7 attempt 1
        reject alice jobs@0-7        -> settled 8
        redrive jobs rate=1 filter=routing_key_matches_b.* limit=3 dry -> counted 3
        redrive jobs rate=1 filter=routing_key_matches_b.* limit=3 -> counted 3
        describe jobs                -> jobs 0..8, 1 ready, 7 dead, 2 redriving
        redrive jobs rate=1 filter=routing_key_matches_a.* -> refuse: exists a redrive that goes on
        advance 1s                   ->
        describe jobs                -> jobs 0..8, 2 ready, 6 dead, 1 redriving
        restart after=1h snapshot=6
        describe jobs                -> jobs 0..8, 3 ready, 5 dead
        receive bob jobs             -> bob receives jobs@1 attempt 1; bob receives jobs@3 attempt 1; bob receives jobs@5 attempt 1
        ",
    );
}

#[test]
fn a_redrive_with_a_filter_and_a_rate_begins_while_it_still_reads_and_stops_when_asked() {
    check(
        "
        queue jobs max_dead=5000
        publish jobs n=2500 keys=a.x,b.x -> confirm jobs@0-2499
        receive alice jobs max=1000  -> alice receives jobs@0-999 attempt 1
        reject alice jobs@0-999      -> settled 1000
        receive alice jobs max=1000  -> alice receives jobs@1000-1999 attempt 1
        reject alice jobs@1000-1999  -> settled 1000
        redrive jobs rate=10 filter=routing_key_matches_b.* -> counted 1000
        describe jobs                -> jobs 0..2500, 501 ready, 1999 dead, 999 redriving
        stop-redrive jobs            -> counted 999
        pipeline on                  ->
        redrive jobs rate=10 filter=routing_key_matches_a.* ->
        stop-redrive jobs            -> counted 500
        flush                        -> counted 501
        pipeline off                 ->
        describe jobs                -> jobs 0..2500, 502 ready, 1998 dead
        ",
    );
}
