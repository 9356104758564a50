//! Waiting raises a message, so that the lowest priority is served in the end.

use siding_tests::transcript::check;

#[test]
fn a_waiting_message_rises_one_priority_a_step() {
    check(
        "
        queue jobs age=10s
        publish jobs priority=3      -> confirm jobs@0
        advance 10s                  ->
        publish jobs n=2             -> confirm jobs@1-2
        publish jobs priority=5      -> confirm jobs@3
        receive alice jobs max=1     -> alice receives jobs@3 attempt 1
        receive alice jobs max=2     -> alice receives jobs@0-1 attempt 1
        ",
    );
}

#[test]
fn without_a_step_a_lower_priority_waits_for_ever() {
    check(
        "
        queue jobs
        publish jobs priority=0      -> confirm jobs@0
        advance 24h                  ->
        publish jobs                 -> confirm jobs@1
        receive alice jobs max=1     -> alice receives jobs@1 attempt 1
        ",
    );
}

#[test]
fn the_lowest_priority_passes_the_highest_that_came_long_after_it() {
    check(
        "
        queue jobs age=1s
        publish jobs priority=0      -> confirm jobs@0
        advance 8999ms               ->
        publish jobs priority=9      -> confirm jobs@1
        receive alice jobs max=1     -> alice receives jobs@1 attempt 1
        publish jobs priority=9      -> confirm jobs@2
        advance 1ms                  ->
        receive alice jobs max=1     -> alice receives jobs@0 attempt 1
        ",
    );
}

#[test]
fn what_comes_back_begins_to_wait_anew() {
    check(
        "
        queue jobs age=1s
        publish jobs priority=3      -> confirm jobs@0
        advance 1s                   ->
        receive alice jobs           -> alice receives jobs@0 attempt 1
        publish jobs                 -> confirm jobs@1
        release alice jobs@0         -> settled 1
        restart snapshot=99          ->
        receive bob jobs max=1       -> bob receives jobs@1 attempt 1
        ",
    );
}
