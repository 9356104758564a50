//! Pause and resume: nothing is handed over meanwhile, and everything else goes on.

use siding_tests::transcript::check;

#[test]
fn a_paused_queue_hands_nothing_over_until_it_is_resumed() {
    check(
        "
        queue jobs
        consume alice jobs         ->
        receive bob jobs wait=10s  ->
        pause jobs                 ->
        publish jobs n=2           -> confirm jobs@0-1
        describe jobs              -> jobs 0..2, 2 ready, 1 consumers, paused
        advance 10s                -> bob receives nothing
        resume jobs                -> alice gets jobs@0-1 attempt 1
        resume jobs                ->
        describe jobs              -> jobs 0..2, 2 leased, 1 consumers
        ",
    );
}

#[test]
fn leases_and_delays_of_a_paused_queue_go_on() {
    check(
        "
        queue jobs visibility=2s backoff=0s
        publish jobs n=3           -> confirm jobs@0-2
        consume alice jobs         -> alice gets jobs@0-2 attempt 1
        nack alice jobs@0 delay=1s -> settled 1
        pause jobs                 ->
        ack alice jobs@1           -> settled 1
        advance 2s                 ->
        describe jobs              -> jobs 0..3, 2 ready, 1 settled, 1 consumers, paused
        resume jobs                -> alice gets jobs@0 attempt 2; alice gets jobs@2 attempt 2
        ",
    );
}

#[test]
fn a_pause_survives_a_restart_and_is_of_one_subscription_only() {
    check(
        "
        topic news
        sub news/a
        sub news/b
        pause news/a               ->
        publish news               -> confirm news@0
        restart snapshot=5
        receive alice news/a       -> alice receives nothing
        receive bob news/b         -> bob receives news/b@0 attempt 1
        describe news/a            -> news/a 0..1, 1 ready, paused
        pause news/c               -> refuse: not found news/c, nearest news/a, news/b
        ",
    );
}

#[test]
fn a_seek_leaves_a_pause_as_it_is() {
    check(
        "
        topic news
        sub news/a
        publish news               -> confirm news@0
        pause news/a               ->
        seek news/a start=earliest -> counted 1
        receive alice news/a       -> alice receives nothing
        describe news/a            -> news/a 0..1, 1 ready, paused
        ",
    );
}

#[test]
fn a_paused_subscription_forwards_nothing() {
    check(
        "
        topic news
        queue jobs
        sub news/a to=jobs
        pause news/a               ->
        publish news n=2           -> confirm news@0-1
        describe news/a            -> news/a 0..2, 2 ready, paused
        resume news/a              ->
        describe news/a            -> news/a 0..2, 2 forwarded
        ",
    );
}
