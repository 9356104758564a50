//! What a restart keeps: everything but who was connected.

use siding_tests::transcript::check;

#[test]
fn leases_stand_after_a_restart_lengthened_by_the_downtime() {
    check(
        "
        queue jobs visibility=30s backoff=0s
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        advance 10s                ->
        restart after=5s           ->
        receive bob jobs wait=1m   ->
        advance 24999ms            ->
        advance 5001ms             -> bob receives jobs@0 attempt 2
        ",
    );
}

#[test]
fn a_long_downtime_lengthens_a_lease_by_at_most_its_visibility_timeout() {
    check(
        "
        queue jobs visibility=30s backoff=0s
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs max=1   -> alice receives jobs@0 attempt 1
        advance 29s                ->
        receive alice jobs max=1   -> alice receives jobs@1 attempt 1
        advance 1ms                ->
        restart after=1h           ->
        receive bob jobs           -> bob receives jobs@0-1 attempt 2
        ",
    );
}

#[test]
fn a_worker_acks_after_a_restart_what_it_was_handed_before() {
    check(
        "
        queue jobs visibility=30s
        publish jobs n=3           -> confirm jobs@0-2
        consume alice jobs         -> alice gets jobs@0-2 attempt 1
        advance 10ms               ->
        restart after=20s snapshot=3 ->
        consume bob jobs           ->
        ack alice jobs@0-2         -> settled 3
        describe jobs              -> jobs 0..3, 3 settled, 1 consumers
        ",
    );
}

#[test]
fn closing_a_connection_after_a_restart_ends_no_lease_it_had_before() {
    check(
        "
        queue jobs visibility=30s
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        advance 10ms               ->
        restart                    ->
        consume alice jobs         ->
        close alice                ->
        describe jobs as=alice     -> jobs 0..1, 1 leased, 1 held by you
        ",
    );
}

#[test]
fn attempts_survive_a_restart() {
    check(
        "
        queue jobs backoff=1h
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        nack alice jobs@0 delay=1s -> settled 1
        restart after=2s snapshot=3 ->
        receive alice jobs         -> alice receives jobs@0 attempt 2
        ",
    );
}

#[test]
fn a_lost_lease_note_means_another_delivery_under_a_new_grant_that_fences_the_old() {
    check(
        "
        queue jobs
        notes held
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        restart                    ->
        ack alice jobs@0           -> settled 0; lease lost @0: ready
        receive alice jobs         -> alice receives jobs@0 attempt 1
        ack alice jobs@0 older=1   -> settled 0; lease lost @0: leased
        ack alice jobs@0           -> settled 1
        ",
    );
}

#[test]
fn a_power_cut_loses_unsynced_notes_from_the_end_only() {
    check(
        "
        queue jobs
        notes at-once
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs max=1   -> alice receives jobs@0 attempt 1
        receive alice jobs max=1   -> alice receives jobs@1 attempt 1
        restart lost=1             ->
        describe jobs              -> jobs 0..3, 2 ready, 1 leased
        receive bob jobs max=1     -> bob receives jobs@1 attempt 1
        ack alice jobs@0           -> settled 1
        restart lost=99            ->
        describe jobs              -> jobs 0..3, 1 ready, 1 leased, 1 settled
        ",
    );
}

#[test]
fn a_clock_that_jumped_backwards_neither_ends_nor_lengthens_a_lease() {
    check(
        "
        queue jobs visibility=30s backoff=0s
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        advance 10s                ->
        restart back=1h            ->
        receive bob jobs wait=1m   ->
        advance 29999ms            ->
        advance 10001ms            -> bob receives jobs@0 attempt 2
        ",
    );
}

#[test]
fn nothing_is_handed_over_before_the_new_term_is_logged() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        advance 10ms               ->
        pipeline on
        restart                    ->
        consume bob jobs           ->
        flush                      -> bob gets jobs@1 attempt 1
        ",
    );
}

#[test]
fn an_early_end_of_a_connection_is_forgotten_by_a_crash_before_it_is_synced() {
    check(
        "
        queue jobs visibility=30s
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        advance 10ms               ->
        pipeline on
        close alice                ->
        restart
        pipeline off
        describe jobs              -> jobs 0..1, 1 leased
        ",
    );
}
