//! Push under credit: the window, who frees it, and how consumers share.

use siding_tests::transcript::check;

#[test]
fn a_consumer_never_holds_more_messages_than_its_credit() {
    check(
        "
        queue jobs
        publish jobs n=10          -> confirm jobs@0-9
        consume alice jobs credit=3 -> alice gets jobs@0-2 attempt 1
        ack alice jobs@1           -> settled 1; alice gets jobs@3 attempt 1
        ack alice jobs@0,2-3       -> settled 2; lease lost @3: leased; alice gets jobs@4-5 attempt 1
        ",
    );
}

#[test]
fn credit_counts_bytes_too_and_one_message_is_always_sent() {
    check(
        "
        queue jobs
        publish jobs n=5 size=1000 -> confirm jobs@0-4
        consume alice jobs bytes=2013 -> alice gets jobs@0-1 attempt 1; alice gets jobs@2 attempt 1
        ack alice jobs@0           -> settled 1; alice gets jobs@3 attempt 1
        consume bob jobs bytes=10  -> bob gets jobs@4 attempt 1
        ",
    );
}

#[test]
fn the_windows_of_one_connection_are_bounded_together() {
    check(
        "
        queue jobs
        consume alice jobs number=1 bytes=67108000 ->
        consume alice jobs number=2 bytes=865 -> refuse: busy credit_bytes 67108000 of 67108864, retry after 1000 ms
        consume alice jobs number=2 bytes=864 ->
        ",
    );
}

#[test]
fn an_expiry_frees_no_credit_but_the_settle_of_a_lost_lease_does() {
    check(
        "
        queue jobs visibility=1s backoff=0s
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        advance 5s                 ->
        receive bob jobs max=1     -> bob receives jobs@0 attempt 2
        ack alice jobs@0           -> settled 0; lease lost @0: leased; alice gets jobs@1 attempt 1
        ",
    );
}

#[test]
fn a_late_ack_frees_credit() {
    check(
        "
        queue jobs visibility=1s backoff=1h
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        advance 5s                 ->
        ack alice jobs@0           -> settled 1; late @0; alice gets jobs@1 attempt 1
        ",
    );
}

#[test]
fn an_extend_frees_no_credit() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        extend alice jobs@0 by=1m  -> settled 1
        ",
    );
}

#[test]
fn consumers_share_a_batch_fairly_in_chunks() {
    check(
        "
        queue jobs
        consume alice jobs         ->
        consume bob jobs           ->
        consume carol jobs         ->
        publish jobs n=7           -> confirm jobs@0-6; alice gets jobs@0-2 attempt 1; bob gets jobs@3-5 attempt 1; carol gets jobs@6 attempt 1
        publish jobs n=3           -> confirm jobs@7-9; alice gets jobs@7 attempt 1; bob gets jobs@8 attempt 1; carol gets jobs@9 attempt 1
        ",
    );
}

#[test]
fn consumers_take_turns_when_messages_come_one_by_one() {
    check(
        "
        queue jobs
        consume alice jobs         ->
        consume bob jobs           ->
        publish jobs               -> confirm jobs@0; alice gets jobs@0 attempt 1
        publish jobs               -> confirm jobs@1; bob gets jobs@1 attempt 1
        ack alice jobs@0           -> settled 1
        publish jobs               -> confirm jobs@2; alice gets jobs@2 attempt 1
        publish jobs               -> confirm jobs@3; bob gets jobs@3 attempt 1
        ",
    );
}

#[test]
fn a_consumer_without_credit_takes_no_turn() {
    check(
        "
        queue jobs
        consume alice jobs credit=1 ->
        consume bob jobs           ->
        publish jobs n=4           -> confirm jobs@0-3; alice gets jobs@0 attempt 1; bob gets jobs@1-2 attempt 1; bob gets jobs@3 attempt 1
        publish jobs n=2           -> confirm jobs@4-5; bob gets jobs@4-5 attempt 1
        ",
    );
}

#[test]
fn a_paused_session_is_handed_nothing_until_it_has_room() {
    check(
        "
        queue jobs
        consume alice jobs         ->
        stall alice                ->
        publish jobs               -> confirm jobs@0
        receive alice jobs wait=5s ->
        receive bob jobs           -> bob receives jobs@0 attempt 1
        publish jobs n=2           -> confirm jobs@1-2
        unstall alice               -> alice receives jobs@1-2 attempt 1
        publish jobs               -> confirm jobs@3; alice gets jobs@3 attempt 1
        ",
    );
}

#[test]
fn a_consumers_number_is_taken_until_it_stops() {
    check(
        "
        queue jobs
        consume alice jobs         ->
        consume alice jobs         -> refuse: exists consumer 1
        stop alice                 ->
        consume alice jobs         ->
        ",
    );
}

#[test]
fn consuming_an_unknown_name_is_refused_with_the_nearest() {
    check(
        "
        queue email
        consume alice emial        -> refuse: not found emial, nearest email
        topic news
        consume alice news         -> refuse: invalid address
        consume alice news/me      -> refuse: not found news/me
        ",
    );
}

#[test]
fn several_consumers_share_a_batch_in_equal_chunks_and_round_robin() {
    check(
        "
        queue jobs
        publish jobs n=10            -> confirm jobs@0-9
        pause jobs
        consume alice jobs           ->
        consume bob jobs             ->
        consume carol jobs credit=2  ->
        resume jobs                  -> alice gets jobs@0-3 attempt 1; bob gets jobs@4-7 attempt 1; carol gets jobs@8-9 attempt 1
        publish jobs n=5             -> confirm jobs@10-14; alice gets jobs@10-12 attempt 1; bob gets jobs@13-14 attempt 1
        ",
    );
}

#[test]
fn who_has_little_credit_leaves_its_share_to_the_others() {
    check(
        "
        queue jobs
        consume alice jobs credit=1  ->
        consume bob jobs             ->
        consume carol jobs           ->
        publish jobs n=12            -> confirm jobs@0-11; alice gets jobs@0 attempt 1; bob gets jobs@1-4 attempt 1; carol gets jobs@5-8 attempt 1; bob gets jobs@9-11 attempt 1
        ",
    );
}
