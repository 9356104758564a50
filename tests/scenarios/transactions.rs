//! Publish and settle: all or nothing.

use siding_tests::transcript::check;

#[test]
fn a_transaction_acks_and_publishes_at_once() {
    check(
        "
        queue jobs
        topic results
        sub results/all
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        consume bob results/all    ->
        transaction ack alice jobs@0 + publish results n=2 -> settled 1; confirm results@0-1; bob gets results/all@0-1 attempt 1
        describe jobs              -> jobs 0..1, 1 settled, 1 consumers
        ",
    );
}

#[test]
fn a_refused_transaction_does_nothing_and_names_the_first_operation_that_failed() {
    check(
        "
        queue jobs visibility=1s backoff=0s
        queue out max_messages=1
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=2 -> alice gets jobs@0-1 attempt 1
        transaction ack alice jobs@0 + publish out n=2 -> refuse: operation 1: max_messages is larger than 1
        transaction ack alice jobs@0 + publish nowhere -> refuse: operation 1: not found nowhere
        stall alice                ->
        advance 1s                 ->
        receive bob jobs max=1     -> bob receives jobs@0 attempt 2
        transaction publish out + ack alice jobs@1 + ack alice jobs@0 -> refuse: operation 2: lease lost: leased
        describe out               -> out 0..0
        describe jobs              -> jobs 0..2, 1 ready, 1 leased, 1 consumers
        ",
    );
}

#[test]
fn a_refused_transaction_frees_no_credit_and_its_leases_still_end_with_the_connection() {
    check(
        "
        queue jobs backoff=0s
        queue out max_messages=1
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        transaction ack alice jobs@0 + publish out n=2 -> refuse: operation 1: max_messages is larger than 1
        describe jobs              -> jobs 0..2, 1 ready, 1 leased, 1 consumers
        close alice                ->
        describe jobs              -> jobs 0..2, 2 ready
        ",
    );
}

#[test]
fn a_transaction_refused_for_a_lost_lease_frees_the_credit_of_what_is_lost() {
    check(
        "
        queue jobs visibility=1s backoff=0s
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        advance 1s                 ->
        receive bob jobs max=1     -> bob receives jobs@0 attempt 2
        transaction ack alice jobs@0 -> refuse: operation 0: lease lost: leased; alice gets jobs@1 attempt 1
        ",
    );
}

#[test]
fn operations_are_judged_together_against_the_state_before() {
    check(
        "
        queue jobs max_messages=3
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs         -> alice receives jobs@0-1 attempt 1
        transaction ack alice jobs@0 + publish jobs + publish jobs -> refuse: operation 2: busy max_messages 2 of 3, retry after 1000 ms
        transaction publish jobs + ack alice jobs@0 -> confirm jobs@2; settled 1
        ",
    );
}

#[test]
fn naming_a_message_twice_is_invalid_whatever_the_grant() {
    check(
        "
        queue jobs backoff=0s
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        transaction ack alice jobs@0 + nack alice jobs@0 -> refuse: invalid ranges
        nack alice jobs@0          -> settled 1; alice gets jobs@0 attempt 2
        transaction nack alice jobs@0 older=1 + ack alice jobs@0 -> refuse: invalid ranges
        ",
    );
}

#[test]
fn a_late_settle_is_accepted_in_a_transaction() {
    check(
        "
        queue jobs visibility=1s backoff=1h
        queue out
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        advance 1s                 ->
        transaction ack alice jobs@0 + publish out -> settled 1; late @0; confirm out@0
        ",
    );
}

#[test]
fn a_retried_transaction_is_answered_as_the_first_time() {
    check(
        "
        queue jobs
        queue out
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        transaction ack alice jobs@0 + publish out sequence=2 -> settled 1; confirm out@0
        transaction ack alice jobs@0 + publish out sequence=2 -> settled 1; confirm out@0
        publish out sequence=2     -> refuse: producer unknown
        describe out               -> out 0..1, 1 ready
        ",
    );
}

#[test]
fn every_settle_may_ride_in_a_transaction() {
    check(
        "
        queue jobs visibility=10s
        publish jobs n=5           -> confirm jobs@0-4
        receive alice jobs         -> alice receives jobs@0-4 attempt 1
        transaction ack alice jobs@0 + nack alice jobs@1 + release alice jobs@2 + reject alice jobs@3 + extend alice jobs@4 by=1h -> settled 1; settled 1; settled 1; settled 1; settled 1
        describe jobs              -> jobs 0..5, 1 ready, 1 delayed, 1 leased, 1 dead, 1 settled
        ",
    );
}

#[test]
fn no_operation_of_a_transaction_pushes_out_the_dead_letter_that_another_settles() {
    check(
        "
        queue jobs visibility=1s attempts=1 max_dead=1
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs max=1   -> alice receives jobs@0 attempt 1
        advance 1s                 ->
        receive bob jobs           -> bob receives jobs@1 attempt 1
        transaction reject bob jobs@1 + ack alice jobs@0 -> settled 1; settled 1; late @0
        describe jobs              -> jobs 0..2, 1 dead, 1 settled
        ",
    );
}

#[test]
fn a_retried_transaction_is_answered_as_the_first_time_even_if_its_names_are_gone() {
    check(
        "
        queue jobs
        queue out
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        transaction ack alice jobs@0 + publish out sequence=2 -> settled 1; confirm out@0
        delete jobs                ->
        transaction ack alice jobs@0 + publish out sequence=2 -> settled 1; confirm out@0
        describe out               -> out 0..1, 1 ready
        ",
    );
}
