//! A consumer that is acked on delivery gets each message once, or never.

use siding_tests::transcript::check;

#[test]
fn what_is_handed_over_is_settled_before_and_needs_no_ack() {
    check(
        "
        queue jobs visibility=1s
        publish jobs n=3           -> confirm jobs@0-2
        consume alice jobs at-most-once -> alice gets jobs@0-2 attempt 1
        describe jobs              -> jobs 0..3, 3 settled, 1 consumers
        advance 1h                 ->
        close alice                ->
        receive bob jobs           -> bob receives nothing
        ",
    );
}

#[test]
fn nothing_leaves_before_its_settle_is_committed() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        pipeline on                ->
        consume alice jobs at-most-once ->
        describe jobs              -> jobs 0..2, 2 ready, 1 consumers
        flush                      -> alice gets jobs@0-1 attempt 1
        describe jobs              -> jobs 0..2, 2 settled, 1 consumers
        ",
    );
}

#[test]
fn a_crash_between_commit_and_delivery_loses_messages_and_never_repeats_them() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        pipeline on                ->
        consume alice jobs at-most-once ->
        restart kept=1             ->
        describe jobs              -> jobs 0..2, 2 settled
        receive bob jobs           -> bob receives nothing
        ",
    );
}

#[test]
fn a_crash_before_the_commit_leaves_them_to_the_next() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        pipeline on                ->
        consume alice jobs at-most-once ->
        restart                    ->
        pipeline off               ->
        consume bob jobs at-most-once -> bob gets jobs@0-1 attempt 1
        restart                    ->
        receive carol jobs         -> carol receives nothing
        describe jobs              -> jobs 0..2, 2 settled
        ",
    );
}

#[test]
fn a_connection_that_closes_before_the_commit_loses_them() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        pipeline on                ->
        consume alice jobs at-most-once ->
        close alice                ->
        consume bob jobs           ->
        flush                      ->
        describe jobs              -> jobs 0..2, 2 settled, 1 consumers
        ",
    );
}

#[test]
fn what_is_still_being_read_for_a_connection_that_closes_goes_to_others() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        disk slow                  ->
        consume alice jobs at-most-once ->
        consume bob jobs           ->
        close alice                ->
        disk quick                 -> bob gets jobs@0-1 attempt 1
        ",
    );
}

#[test]
fn a_stopped_consumer_gets_nothing_more_even_if_its_number_is_used_again() {
    check(
        "
        queue jobs
        queue mail
        publish jobs n=2           -> confirm jobs@0-1
        pipeline on                ->
        consume alice jobs at-most-once ->
        stop alice                 ->
        consume alice mail at-most-once ->
        flush                      ->
        describe jobs              -> jobs 0..2, 2 settled
        ",
    );
}

#[test]
fn an_ack_gives_the_room_back_and_is_success_each_time() {
    check(
        "
        queue jobs
        publish jobs n=4           -> confirm jobs@0-3
        consume alice jobs credit=2 at-most-once -> alice gets jobs@0-1 attempt 1
        ack alice jobs@0           -> settled 1; alice gets jobs@2 attempt 1
        ack alice jobs@0           -> settled 1
        ack alice jobs@2           -> settled 1; alice gets jobs@3 attempt 1
        describe jobs              -> jobs 0..4, 4 settled, 1 consumers
        ",
    );
}

#[test]
fn there_is_no_lease_to_give_back_or_extend() {
    check(
        "
        queue jobs
        publish jobs n=6           -> confirm jobs@0-5
        consume alice jobs credit=4 at-most-once -> alice gets jobs@0-3 attempt 1
        extend alice jobs@0 by=1h  -> settled 0; lease lost @0: settled
        nack alice jobs@0          -> settled 0; lease lost @0: settled; alice gets jobs@4 attempt 1
        reject alice jobs@1        -> settled 0; lease lost @1: settled; alice gets jobs@5 attempt 1
        release alice jobs@2       -> settled 0; lease lost @2: settled
        transaction ack alice jobs@3 + publish jobs -> settled 1; confirm jobs@6; alice gets jobs@6 attempt 1
        describe jobs              -> jobs 0..7, 7 settled, 1 consumers
        ",
    );
}

#[test]
fn it_shares_with_consumers_that_hold_leases() {
    check(
        "
        queue jobs
        consume alice jobs at-most-once ->
        consume bob jobs           ->
        publish jobs n=4           -> confirm jobs@0-3; bob gets jobs@2-3 attempt 1; alice gets jobs@0-1 attempt 1
        close bob                  ->
        describe jobs              -> jobs 0..4, 2 delayed, 2 settled, 1 consumers
        advance 2s                 -> alice gets jobs@2-3 attempt 2
        ",
    );
}

#[test]
fn a_key_is_free_for_the_next_as_soon_as_one_is_settled() {
    check(
        "
        queue jobs order=key
        publish jobs n=4 key=a,b   -> confirm jobs@0-3
        consume alice jobs at-most-once -> alice gets jobs@0-1 attempt 1; alice gets jobs@2-3 attempt 1
        ",
    );
}

#[test]
fn what_a_purge_or_a_pause_overtakes_is_not_handed_over() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        disk slow                  ->
        consume alice jobs credit=5 at-most-once ->
        purge jobs                 -> counted 2
        disk quick                 ->
        describe jobs              -> jobs 0..2, 2 purged, 1 consumers
        disk slow                  ->
        publish jobs n=3           -> confirm jobs@2-4
        pause jobs                 ->
        disk quick                 ->
        describe jobs              -> jobs 0..5, 3 ready, 2 purged, 1 consumers, paused
        resume jobs                -> alice gets jobs@2-4 attempt 1
        ",
    );
}

#[test]
fn a_pause_that_is_logged_first_leaves_the_messages_where_they_are() {
    check(
        "
        queue jobs
        publish jobs n=3           -> confirm jobs@0-2
        disk slow                  ->
        consume alice jobs credit=3 at-most-once ->
        pipeline on                ->
        pause jobs                 ->
        disk quick                 ->
        flush                      ->
        describe jobs              -> jobs 0..3, 3 ready, 1 consumers, paused
        pipeline off               ->
        resume jobs                -> alice gets jobs@0-2 attempt 1
        ",
    );
}

#[test]
fn whoever_waits_for_the_end_of_a_message_is_told() {
    check(
        "
        queue jobs track=1h
        publish jobs               -> confirm jobs@0
        wait jobs@0                ->
        consume alice jobs at-most-once -> alice gets jobs@0 attempt 1; jobs@0 settled
        ",
    );
}

#[test]
fn a_gap_is_told_with_what_is_handed_over() {
    check(
        "
        topic news retention=100000
        sub news/a
        publish news n=3 size=60000  -> confirm news@0-2
        pipeline on                  ->
        consume alice news/a credit=1 at-most-once ->
        flush                        -> alice is told of the gap news/a@0-1; alice gets news/a@2 attempt 1
        pipeline off                 ->
        publish news size=60000      -> confirm news@3
        ack alice news/a@2           -> settled 1; alice gets news/a@3 attempt 1
        ",
    );
}

#[test]
fn what_is_sought_back_on_its_way_goes_once_its_filter_is_asked() {
    check(
        "
        topic news
        sub news/b filter=routing_key_matches_a.*
        publish news n=2 keys=b,a.x  -> confirm news@0-1
        disk slow                    ->
        consume alice news/b at-most-once ->
        seek news/b start=earliest   -> counted 2
        disk quick                   -> alice gets news/b@1 attempt 1
        describe news/b              -> news/b 0..2, 1 settled, 1 filtered, 1 consumers
        ",
    );
}
