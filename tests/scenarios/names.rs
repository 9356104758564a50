//! Queues, topics and subscriptions come and go.

use siding_tests::transcript::check;

#[test]
fn creating_twice_with_the_same_settings_is_done_and_with_others_refused() {
    check(
        "
        queue jobs max_messages=5  ->
        queue jobs max_messages=5  ->
        queue jobs max_messages=6  -> refuse: exists jobs
        topic jobs                 -> refuse: exists jobs
        topic news retention=5     ->
        topic news retention=5     ->
        sub news/a attempts=3      ->
        sub news/a attempts=3      ->
        sub news/a attempts=4      -> refuse: exists news/a
        sub jobs/a                 -> refuse: invalid address
        ",
    );
}

#[test]
fn a_deleted_and_recreated_name_is_another_log() {
    check(
        "
        queue jobs
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs max=2   -> alice receives jobs@0-1 attempt 1
        delete jobs                ->
        queue jobs
        ack alice jobs@0           -> settled 0; lease lost @0: settled
        publish jobs sequence=9    -> confirm jobs@0
        ack alice jobs@0           -> settled 0; lease lost @0: ready
        describe jobs              -> jobs 0..1, 1 ready
        ",
    );
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    check(
        "
        queue orders.in
        queue orders.out
        queue email
        publish emial              -> refuse: not found emial, nearest email
        publish orders.on          -> refuse: not found orders.on, nearest orders.in, orders.out
        purge zzzzzz               -> refuse: not found zzzzzz
        delete nothing             -> refuse: not found nothing
        ",
    );
}

#[test]
fn a_publish_that_a_delete_overtakes_is_not_found() {
    check(
        "
        queue jobs
        queue other
        publish other              -> confirm other@0
        pipeline on
        delete jobs                ->
        publish jobs               ->
        flush                      -> refuse: not found (deleted)
        publish jobs               -> refuse: not found jobs
        ",
    );
}

#[test]
fn a_queue_deleted_under_its_consumers_hands_over_nothing_more_and_tells_them() {
    check(
        "
        queue jobs
        publish jobs n=3           -> confirm jobs@0-2
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        receive bob jobs wait=9s max=1 -> bob receives jobs@1 attempt 1
        delete jobs                -> alice ended: not found (deleted)
        queue jobs
        publish jobs               -> confirm jobs@0
        ack alice jobs@0           -> settled 0; lease lost @0: ready
        consume alice jobs         -> alice gets jobs@0 attempt 1
        close alice                ->
        describe jobs              -> jobs 0..1, 1 delayed
        ",
    );
}

#[test]
fn a_deleted_subscription_ends_its_consumers_and_no_others() {
    check(
        "
        topic news
        sub news/a
        sub news/b
        consume alice news/a       ->
        consume bob news/b         ->
        receive carol news/a wait=9s ->
        pipeline on
        delete news/a              ->
        consume dave news/a        ->
        flush                      -> alice ended: not found (deleted); dave ended: not found (deleted); refuse: not found (deleted)
        pipeline off
        stop alice                 -> refuse: not found consumer 1
        publish news               -> confirm news@0; bob gets news/b@0 attempt 1
        delete news                -> bob ended: not found (deleted)
        ",
    );
}

#[test]
fn a_long_poll_on_a_deleted_queue_is_told_so() {
    check(
        "
        queue jobs
        receive bob jobs wait=9s   ->
        delete jobs                -> refuse: not found (deleted)
        advance 9s                 ->
        ",
    );
}
