//! Who goes first.

use siding_tests::transcript::check;

#[test]
fn the_highest_priority_goes_first_and_within_it_the_oldest() {
    check(
        "
        queue jobs
        publish jobs                 -> confirm jobs@0
        publish jobs priority=9      -> confirm jobs@1
        publish jobs priority=0      -> confirm jobs@2
        publish jobs priority=9      -> confirm jobs@3
        publish jobs priority=5      -> confirm jobs@4
        receive alice jobs max=4     -> alice receives jobs@1 attempt 1; alice receives jobs@3-4 attempt 1; alice receives jobs@0 attempt 1
        receive alice jobs           -> alice receives jobs@2 attempt 1
        ",
    );
}

#[test]
fn a_message_that_names_no_priority_has_four() {
    check(
        "
        queue jobs
        publish jobs priority=3      -> confirm jobs@0
        publish jobs                 -> confirm jobs@1
        publish jobs priority=4      -> confirm jobs@2
        receive alice jobs           -> alice receives jobs@1-2 attempt 1; alice receives jobs@0 attempt 1
        ",
    );
}

#[test]
fn a_retry_keeps_its_priority() {
    check(
        "
        queue jobs backoff=1s
        publish jobs priority=9      -> confirm jobs@0
        consume alice jobs credit=1  -> alice gets jobs@0 attempt 1
        publish jobs n=2             -> confirm jobs@1-2
        nack alice jobs@0            -> settled 1; alice gets jobs@1 attempt 1
        advance 2s                   ->
        ack alice jobs@1             -> settled 1; alice gets jobs@0 attempt 2
        ",
    );
}

#[test]
fn a_redriven_message_keeps_its_priority() {
    check(
        "
        queue jobs
        publish jobs n=2             -> confirm jobs@0-1
        publish jobs priority=9      -> confirm jobs@2
        receive alice jobs max=1     -> alice receives jobs@2 attempt 1
        reject alice jobs@2          -> settled 1
        redrive jobs                 -> counted 1
        receive alice jobs max=2     -> alice receives jobs@2 attempt 1; alice receives jobs@0 attempt 1
        ",
    );
}

#[test]
fn a_restart_keeps_every_priority() {
    check(
        "
        queue jobs
        publish jobs                 -> confirm jobs@0
        publish jobs priority=7      -> confirm jobs@1
        restart snapshot=99          ->
        receive alice jobs           -> alice receives jobs@1 attempt 1; alice receives jobs@0 attempt 1
        ",
    );
}

#[test]
fn a_delayed_message_that_is_due_goes_by_its_priority() {
    check(
        "
        queue jobs
        publish jobs n=2             -> confirm jobs@0-1
        publish jobs priority=9 delay=1s -> confirm jobs@2
        receive alice jobs max=1     -> alice receives jobs@0 attempt 1
        advance 1s                   ->
        receive alice jobs           -> alice receives jobs@2 attempt 1; alice receives jobs@1 attempt 1
        ",
    );
}
