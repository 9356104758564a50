//! Long poll: leases without an attached consumer.

use std::fmt::Write as _;

use siding_tests::transcript::check;

#[test]
fn a_connection_has_at_most_1024_long_polls_that_wait() {
    let mut script = "queue jobs\n".to_owned();
    for _ in 0..1_024 {
        writeln!(script, "receive bob jobs wait=9s max=1 ->").expect("a String takes all");
    }
    script += "
        receive bob jobs wait=9s   -> refuse: busy receives 1024 of 1024, retry after 1000 ms
        receive eve jobs wait=9s   ->
        publish jobs n=2           -> confirm jobs@0-1; bob receives jobs@0 attempt 1; bob receives jobs@1 attempt 1
        receive bob jobs wait=9s   ->
        receive bob jobs wait=9s   ->
        receive bob jobs wait=9s   -> refuse: busy receives 1024 of 1024, retry after 1000 ms
        close bob                  ->
        publish jobs               -> confirm jobs@2; eve receives jobs@2 attempt 1
        ";
    check(&script);
}

#[test]
fn a_long_poll_is_answered_as_soon_as_something_is_ready() {
    check(
        "
        queue jobs
        receive alice jobs wait=20s ->
        advance 5s                 ->
        publish jobs n=2           -> confirm jobs@0-1; alice receives jobs@0-1 attempt 1
        ",
    );
}

#[test]
fn a_long_poll_that_finds_nothing_is_answered_with_nothing_at_its_end() {
    check(
        "
        queue jobs
        receive alice jobs wait=20s ->
        advance 19999ms            ->
        advance 1ms                -> alice receives nothing
        publish jobs               -> confirm jobs@0
        receive bob jobs           -> bob receives jobs@0 attempt 1
        receive bob jobs           -> bob receives nothing
        ",
    );
}

#[test]
fn leases_of_a_receive_are_not_bound_to_the_connection() {
    check(
        "
        queue jobs visibility=30s backoff=0s
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        close alice                ->
        receive bob jobs wait=40s  ->
        advance 29s                ->
        advance 1s                 -> bob receives jobs@0 attempt 2
        ",
    );
}

#[test]
fn what_was_received_may_be_acked_from_another_connection() {
    check(
        "
        queue jobs
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        close alice                ->
        ack alice jobs@0 as=bob    -> settled 1
        ",
    );
}

#[test]
fn a_long_poll_of_a_closed_session_takes_nothing_and_is_not_answered() {
    check(
        "
        queue jobs
        receive alice jobs wait=20s ->
        close alice                ->
        publish jobs               -> confirm jobs@0
        describe jobs              -> jobs 0..1, 1 ready
        advance 20s                ->
        ",
    );
}

#[test]
fn a_receive_takes_at_most_what_it_asks_for() {
    check(
        "
        queue jobs
        publish jobs n=5 size=100  -> confirm jobs@0-4
        receive alice jobs max=2   -> alice receives jobs@0-1 attempt 1
        receive alice jobs bytes=150 -> alice receives jobs@2 attempt 1
        receive alice jobs bytes=1 -> alice receives jobs@3 attempt 1
        ",
    );
}

#[test]
fn long_polls_are_served_in_the_order_they_came() {
    check(
        "
        queue jobs
        receive alice jobs wait=20s ->
        receive bob jobs wait=10s  ->
        publish jobs               -> confirm jobs@0; alice receives jobs@0 attempt 1
        publish jobs               -> confirm jobs@1; bob receives jobs@1 attempt 1
        ",
    );
}
