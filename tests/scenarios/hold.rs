//! How long a lease may be held in all, however often it is extended.

use siding_tests::transcript::check;

#[test]
fn an_extend_past_max_hold_is_refused_with_what_is_left_and_changes_nothing() {
    check(
        "
        queue jobs visibility=30s hold=60s backoff=0s
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=2 -> alice gets jobs@0-1 attempt 1
        extend alice jobs@0-1 by=61s -> refuse: invalid remaining_ms, 1000 to 60000
        extend alice jobs@0 by=60s -> settled 1
        advance 20s                ->
        extend alice jobs@0-1 by=41s -> refuse: invalid remaining_ms, 1000 to 40000
        consume bob jobs           ->
        advance 10s                -> bob gets jobs@1 attempt 2
        advance 29s                ->
        extend alice jobs@0 by=1s  -> settled 1
        extend bob jobs@1 by=31s   -> settled 1
        advance 1s                 -> bob gets jobs@0 attempt 2
        ",
    );
}

#[test]
fn with_nothing_left_no_extend_is_possible() {
    check(
        "
        queue jobs visibility=1s hold=1s backoff=0s
        publish jobs               -> confirm jobs@0
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        extend alice jobs@0 by=1s  -> settled 1
        advance 1ms                ->
        extend alice jobs@0 by=1s  -> refuse: invalid remaining_ms
        nack alice jobs@0 delay=0s -> settled 1; alice gets jobs@0 attempt 2
        extend alice jobs@0 by=1s  -> settled 1
        ",
    );
}

#[test]
fn what_is_not_held_any_more_is_lost_not_out_of_range() {
    check(
        "
        queue jobs visibility=1s hold=2s backoff=0s
        publish jobs               -> confirm jobs@0
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        advance 1s                 ->
        extend alice jobs@0 by=1h  -> settled 0; lease lost @0: ready
        ",
    );
}

#[test]
fn a_transaction_extends_no_further_either() {
    check(
        "
        queue jobs visibility=30s hold=60s
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs         -> alice gets jobs@0-1 attempt 1
        advance 10s                ->
        transaction ack alice jobs@0 + extend alice jobs@1 by=51s -> refuse: operation 1: invalid remaining_ms, 1000 to 50000
        browse jobs                -> @0 leased, alice; @1 leased, alice
        transaction ack alice jobs@0 + extend alice jobs@1 by=50s -> settled 1; settled 1
        ",
    );
}

#[test]
fn a_longer_visibility_timeout_than_max_hold_is_refused_when_asked() {
    check(
        "
        queue jobs visibility=5s hold=10s
        publish jobs               -> confirm jobs@0
        consume alice jobs visibility=11s -> refuse: invalid visibility_timeout_ms, 1000 to 10000
        receive bob jobs visibility=11s -> refuse: invalid visibility_timeout_ms, 1000 to 10000
        receive bob jobs visibility=10s -> bob receives jobs@0 attempt 1
        ",
    );
}

#[test]
fn time_that_the_broker_was_down_counts_for_no_lease() {
    check(
        "
        queue jobs visibility=30s hold=60s backoff=0s
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        advance 10s                ->
        extend alice jobs@0 by=20s -> settled 1
        restart after=15s          ->
        extend alice jobs@0 by=51s -> refuse: invalid remaining_ms, 1000 to 50000
        extend alice jobs@0 by=50s -> settled 1
        restart after=25s snapshot=4 ->
        extend alice jobs@0 by=50s -> settled 1
        advance 49s                ->
        receive bob jobs           -> bob receives nothing
        advance 1s                 ->
        receive bob jobs           -> bob receives jobs@0 attempt 2
        ",
    );
}
