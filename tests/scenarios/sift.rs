//! Looks and repairs of only what a filter says.

use siding_tests::transcript::check;

#[test]
fn a_purge_with_a_filter_drops_only_what_matches() {
    check(
        "
        queue jobs
        publish jobs n=4 keys=a.x,b.x -> confirm jobs@0-3
        publish jobs n=2 keys=a.x,b.x delay=1h -> confirm jobs@4-5
        receive alice jobs max=1     -> alice receives jobs@0 attempt 1
        flush                        ->
        purge jobs dry filter=routing_key_matches_a.* -> counted 2
        purge jobs filter=routing_key_matches_a.* -> counted 2
        describe jobs                -> jobs 0..6, 2 ready, 1 delayed, 1 leased, 2 purged
        ",
    );
}

#[test]
fn a_redrive_with_a_filter_asks_for_the_reason_and_keeps_to_its_limit() {
    check(
        "
        queue jobs attempts=1
        publish jobs n=6 keys=a.x,b.x -> confirm jobs@0-5
        receive alice jobs           -> alice receives jobs@0-5 attempt 1
        reject alice jobs@0-3 reason=broken -> settled 4
        nack alice jobs@4-5          -> settled 2
        redrive jobs filter=reason_eq_rejected_and_detail_contains_rok limit=3 -> counted 3
        redrive jobs dry filter=routing_key_matches_b.* -> counted 2
        redrive jobs filter=routing_key_matches_b.* -> counted 2
        describe jobs                -> jobs 0..6, 5 ready, 1 dead
        ",
    );
}

#[test]
fn a_drop_with_a_filter_removes_only_the_dead_letters_that_match() {
    check(
        "
        queue jobs
        publish jobs n=4 keys=a.x,b.x -> confirm jobs@0-3
        receive alice jobs max=3     -> alice receives jobs@0-2 attempt 1
        reject alice jobs@0-2        -> settled 3
        drop jobs filter=not_routing_key_prefix_a -> counted 1
        describe jobs                -> jobs 0..4, 1 ready, 2 dead, 1 purged
        drop jobs filter=key_exists  -> counted 0
        ",
    );
}

#[test]
fn a_browse_with_a_filter_shows_only_what_matches() {
    check(
        "
        queue jobs
        publish jobs n=2500 keys=a.x,b.x -> confirm jobs@0-2499
        publish jobs keys=c.x        -> confirm jobs@2500
        browse jobs filter=routing_key_eq_c.x -> @2500 ready
        browse jobs filter=routing_key_eq_b.x limit=2 from=7 -> @7 ready; @9 ready
        browse jobs filter=body_contains_y ->
        ",
    );
}

#[test]
fn a_purge_goes_on_from_slice_to_slice() {
    check(
        "
        queue jobs
        publish jobs n=5000 keys=a.x,b.x -> confirm jobs@0-4999
        purge jobs filter=routing_key_eq_b.x -> counted 2500
        describe jobs                -> jobs 0..5000, 2500 ready, 2500 purged
        ",
    );
}

#[test]
fn a_purge_under_way_of_a_name_that_is_deleted_says_so() {
    check(
        "
        queue jobs
        publish jobs n=4 keys=a.x,b.x -> confirm jobs@0-3
        disk slow                    ->
        purge jobs filter=routing_key_eq_b.x ->
        delete jobs                  ->
        disk quick                   -> refuse: not found (deleted)
        ",
    );
}

#[test]
fn a_connection_has_sixteen_filters_at_work_at_once_and_none_once_it_is_closed() {
    let dry = "purge jobs filter=routing_key_matches_a.* dry as=alice ->\n".repeat(16);
    check(&format!(
        "
        queue jobs
        publish jobs keys=a.x n=2  -> confirm jobs@0-1
        disk slow                  ->
        {dry}
        purge jobs filter=routing_key_matches_a.* dry as=alice -> refuse: busy looks 16 of 16, retry after 1000 ms
        purge jobs filter=routing_key_matches_a.* as=bob -> 
        close bob                  ->
        close alice                ->
        disk quick                 ->
        describe jobs              -> jobs 0..2, 2 ready
        purge jobs filter=routing_key_matches_a.* as=carol -> counted 2
        "
    ));
}
