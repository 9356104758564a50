//! A publish request is stored once, however often it is sent.

use siding_tests::transcript::check;

#[test]
fn a_retry_is_stored_once_and_gets_the_original_position() {
    check(
        "
        queue jobs
        publish jobs n=2 sequence=1 -> confirm jobs@0-1
        publish jobs sequence=2    -> confirm jobs@2
        publish jobs n=2 sequence=1 -> confirm jobs@0-1
        describe jobs              -> jobs 0..3, 3 ready
        ",
    );
}

#[test]
fn a_retry_is_answered_although_the_queue_is_full_or_the_message_settled() {
    check(
        "
        queue jobs max_messages=1
        publish jobs sequence=1    -> confirm jobs@0
        publish jobs sequence=1    -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        ack alice jobs@0           -> settled 1
        publish jobs sequence=1    -> confirm jobs@0
        describe jobs              -> jobs 0..1, 1 settled
        ",
    );
}

#[test]
fn a_retry_that_races_its_first_attempt_is_stored_once() {
    check(
        "
        queue jobs
        publish jobs sequence=1    -> confirm jobs@0
        pipeline on
        publish jobs sequence=2    ->
        publish jobs sequence=2    -> confirm jobs@1
        flush                      -> confirm jobs@1
        ",
    );
}

#[test]
fn producers_do_not_share_their_sequences() {
    check(
        "
        queue jobs
        publish jobs producer=1 sequence=1 -> confirm jobs@0
        publish jobs producer=2 sequence=1 -> confirm jobs@1
        ",
    );
}

#[test]
fn below_the_window_of_1024_requests_a_retry_is_unknown_and_stores_nothing() {
    check(
        "
        queue jobs
        publish jobs sequence=1    -> confirm jobs@0
        publish jobs sequence=2    -> confirm jobs@1
        publish jobs sequence=1025 -> confirm jobs@2
        publish jobs sequence=1    -> refuse: producer unknown
        publish jobs sequence=2    -> confirm jobs@1
        describe jobs              -> jobs 0..3, 3 ready
        ",
    );
}

#[test]
fn an_unknown_producer_stores_nothing() {
    check(
        "
        queue jobs
        forget
        publish jobs producer=1    -> refuse: producer unknown
        describe jobs              -> jobs 0..0
        ",
    );
}

#[test]
fn a_producer_survives_a_restart() {
    check(
        "
        queue jobs
        publish jobs sequence=1    -> confirm jobs@0
        restart after=1h snapshot=2
        publish jobs sequence=1    -> confirm jobs@0
        publish jobs sequence=2    -> confirm jobs@1
        ",
    );
}

#[test]
fn an_unanswered_publish_that_reached_the_disk_is_answered_on_retry() {
    check(
        "
        queue jobs
        publish jobs sequence=1    -> confirm jobs@0
        pipeline on
        publish jobs sequence=2    ->
        restart kept=1
        pipeline off
        flush
        publish jobs sequence=2    -> confirm jobs@1
        describe jobs              -> jobs 0..2, 2 ready
        ",
    );
}

#[test]
fn what_was_confirmed_is_never_told_of_a_publish_to_another_name() {
    check(
        "
        queue jobs
        queue mails
        publish jobs n=2 sequence=1 -> confirm jobs@0-1
        publish mails n=2 sequence=1 -> refuse: producer unknown
        publish jobs n=3 sequence=1 -> refuse: producer unknown
        publish jobs n=2 sequence=1 -> confirm jobs@0-1
        delete jobs                ->
        queue jobs
        publish jobs n=2 sequence=1 -> refuse: producer unknown
        describe jobs              -> jobs 0..0
        describe mails             -> mails 0..0
        ",
    );
}

#[test]
fn what_a_transaction_did_is_never_told_of_another_one() {
    check(
        "
        queue jobs
        queue mails
        transaction publish jobs + publish mails sequence=1 -> confirm jobs@0; confirm mails@0
        transaction publish mails + publish jobs sequence=1 -> refuse: producer unknown
        transaction publish jobs sequence=1 -> refuse: producer unknown
        transaction publish jobs + publish mails n=2 sequence=1 -> refuse: producer unknown
        transaction publish jobs + cancel mails@0 sequence=1 -> refuse: producer unknown
        transaction publish jobs + publish mails sequence=1 -> confirm jobs@0; confirm mails@0
        delete mails               ->
        transaction publish jobs + publish mails sequence=1 -> confirm jobs@0; confirm mails@0
        ",
    );
}
