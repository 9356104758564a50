//! What a confirm means: written, or synced.

use siding_tests::transcript::check;

#[test]
fn a_written_publish_is_confirmed_as_written_and_handed_over_like_any_other() {
    check(
        "
        queue jobs
        consume alice jobs         ->
        publish jobs level=written -> confirm jobs@0 written; alice gets jobs@0 attempt 1
        publish jobs               -> confirm jobs@1; alice gets jobs@1 attempt 1
        ack alice jobs@0           -> settled 1
        ",
    );
}

#[test]
fn a_publish_that_names_no_level_gets_that_of_its_queue_or_topic() {
    check(
        "
        queue jobs level=written
        publish jobs               -> confirm jobs@0 written
        publish jobs level=synced  -> confirm jobs@1
        topic news level=written
        publish news               -> confirm news@0 written
        queue mail
        publish mail               -> confirm mail@0
        ",
    );
}

#[test]
fn a_power_cut_takes_the_newest_written_publishes_and_nothing_that_was_synced() {
    check(
        "
        queue jobs
        publish jobs level=written -> confirm jobs@0 written
        publish jobs               -> confirm jobs@1
        publish jobs level=written -> confirm jobs@2 written
        publish jobs level=written -> confirm jobs@3 written
        restart lost=1             ->
        receive bob jobs           -> bob receives jobs@0-2 attempt 1
        restart lost=99            ->
        describe jobs              -> jobs 0..3, 3 ready
        ",
    );
}

#[test]
fn a_written_publish_is_synced_within_50_ms() {
    check(
        "
        queue jobs
        publish jobs level=written -> confirm jobs@0 written
        advance 50ms               ->
        publish jobs level=written -> confirm jobs@1 written
        restart lost=99            ->
        describe jobs              -> jobs 0..1, 1 ready
        ",
    );
}

#[test]
fn the_retry_of_a_written_publish_that_a_power_cut_took_is_stored() {
    check(
        "
        queue jobs
        publish jobs sequence=1 level=written -> confirm jobs@0 written
        publish jobs sequence=1 level=written -> confirm jobs@0 written
        publish jobs sequence=1    -> confirm jobs@0
        publish jobs sequence=2 level=written -> confirm jobs@1 written
        restart lost=99            ->
        publish jobs sequence=2 level=written -> confirm jobs@1 written
        publish jobs sequence=1 level=written -> confirm jobs@0 written
        ",
    );
}
