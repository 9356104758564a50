//! Clients that say what they begin: a lost connection charges only that.

use std::fmt::Write as _;

use siding_tests::transcript::check;

#[test]
fn what_was_not_begun_comes_back_uncharged_and_at_once_when_the_connection_is_lost() {
    check(
        "
        queue jobs backoff=10s
        publish jobs n=4           -> confirm jobs@0-3
        marking alice
        consume alice jobs         -> alice gets jobs@0-3 attempt 1
        started alice jobs@1       ->
        close alice                ->
        receive bob jobs           -> bob receives jobs@0 attempt 1; bob receives jobs@2-3 attempt 1
        advance 11s                ->
        receive bob jobs           -> bob receives jobs@1 attempt 2
        ",
    );
}

#[test]
fn a_client_that_marks_nothing_by_its_hello_is_charged_for_all() {
    check(
        "
        queue jobs backoff=0s
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs         -> alice gets jobs@0-1 attempt 1
        started alice jobs@1       ->
        close alice                ->
        receive bob jobs           -> bob receives jobs@0-1 attempt 2
        ",
    );
}

#[test]
fn an_expired_lease_is_charged_whether_it_was_begun_or_not() {
    check(
        "
        queue jobs visibility=5s backoff=0s
        publish jobs               -> confirm jobs@0
        marking alice
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        advance 4s                 ->
        receive bob jobs wait=9s   ->
        advance 1s                 -> bob receives jobs@0 attempt 2
        ",
    );
}

#[test]
fn a_lost_message_may_still_be_acked_late_until_somebody_else_gets_it() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        marking alice
        consume alice jobs         -> alice gets jobs@0-1 attempt 1
        close alice                ->
        ack alice jobs@0           -> settled 1; late @0
        receive bob jobs           -> bob receives jobs@1 attempt 1
        ack alice jobs@1           -> settled 0; lease lost @1: leased
        ",
    );
}

#[test]
fn a_message_lost_a_hundred_times_before_it_was_begun_is_dead() {
    let mut script = "
        queue jobs
        publish jobs               -> confirm jobs@0
        "
    .to_owned();
    for _ in 0..100 {
        script += "
        marking alice
        consume alice jobs         -> alice gets jobs@0 attempt 1
        close alice                ->
        ";
    }
    writeln!(
        script,
        "browse jobs state=dead -> @0 dead, too_many_acquires\n
        redrive jobs -> counted 1\n
        marking alice\n
        consume alice jobs -> alice gets jobs@0 attempt 1\n
        close alice ->\n
        describe jobs -> jobs 0..1, 1 ready"
    )
    .expect("a String takes all");
    check(&script);
}

#[test]
fn a_mark_survives_a_restart_once_it_was_written() {
    check(
        "
        queue jobs backoff=0s
        publish jobs n=2           -> confirm jobs@0-1
        marking alice
        consume alice jobs         -> alice gets jobs@0-1 attempt 1
        started alice jobs@0       ->
        publish jobs               -> confirm jobs@2; alice gets jobs@2 attempt 1
        restart after=1s snapshot=3 ->
        ack alice jobs@0-1         -> settled 2
        ",
    );
}

#[test]
fn who_stops_consuming_gives_back_uncharged_what_it_did_not_begin() {
    check(
        "
        queue jobs backoff=0s
        publish jobs n=2           -> confirm jobs@0-1
        marking alice
        consume alice jobs         -> alice gets jobs@0-1 attempt 1
        started alice jobs@0       ->
        stop alice                 ->
        receive bob jobs           -> bob receives jobs@0 attempt 2; bob receives jobs@1 attempt 1
        ",
    );
}
