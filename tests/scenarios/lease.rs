//! A lease is the exclusive right to delivered messages until its deadline.

use siding_tests::transcript::check;

#[test]
fn an_expired_lease_passes_the_message_to_the_next_consumer() {
    check(
        "
        queue jobs visibility=30s backoff=0s
        publish jobs               -> confirm jobs@0
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        consume bob jobs credit=1  ->
        advance 29s                ->
        advance 1s                 -> bob gets jobs@0 attempt 2
        ack alice jobs@0           -> settled 0; lease lost @0: leased
        ack bob jobs@0             -> settled 1
        describe jobs              -> jobs 0..1, 1 settled, 2 consumers
        ",
    );
}

#[test]
fn while_a_lease_is_live_nobody_else_gets_the_message() {
    check(
        "
        queue jobs visibility=30s
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        consume bob jobs           ->
        receive carol jobs         -> carol receives nothing
        advance 29s                ->
        browse jobs                -> @0 leased, alice
        ",
    );
}

#[test]
fn an_extend_sets_the_remaining_time() {
    check(
        "
        queue jobs visibility=30s backoff=0s
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=2 -> alice gets jobs@0-1 attempt 1
        consume bob jobs           ->
        advance 20s                ->
        extend alice jobs@0 by=60s -> settled 1
        extend alice jobs@1 by=1s  -> settled 1
        advance 1s                 -> bob gets jobs@1 attempt 2
        advance 58s                -> bob gets jobs@1 attempt 3
        advance 1s                 -> bob gets jobs@0 attempt 2
        ",
    );
}

#[test]
fn a_consumer_may_ask_for_its_own_visibility_timeout() {
    check(
        "
        queue jobs visibility=30s backoff=0s
        publish jobs               -> confirm jobs@0
        consume alice jobs credit=1 visibility=2s -> alice gets jobs@0 attempt 1
        consume bob jobs           ->
        advance 2s                 -> bob gets jobs@0 attempt 2
        ",
    );
}

#[test]
fn a_closed_connection_lets_its_leases_lapse_charged() {
    check(
        "
        queue jobs visibility=30s backoff=0s
        publish jobs n=3           -> confirm jobs@0-2
        consume alice jobs credit=2 -> alice gets jobs@0-1 attempt 1
        consume bob jobs           -> bob gets jobs@2 attempt 1
        close alice                -> bob gets jobs@0-1 attempt 2
        ",
    );
}

#[test]
fn a_stopped_consumer_lets_its_leases_lapse() {
    check(
        "
        queue jobs backoff=0s
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        stop alice                 ->
        browse jobs                -> @0 ready, 1 attempts
        stop alice                 -> refuse: not found consumer 1
        ",
    );
}
