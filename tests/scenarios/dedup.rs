//! A dedup id is stored once within its window.

use siding_tests::transcript::check;

#[test]
fn a_duplicate_takes_no_offset_and_is_confirmed_with_the_originals() {
    check(
        "
        queue jobs
        publish jobs dedup=a       -> confirm jobs@0
        publish jobs               -> confirm jobs@1
        publish jobs dedup=a       -> confirm nothing, 0 is @0
        publish jobs dedup=b,a,-,c,a -> confirm jobs@2-4, 1 is @0, 4 is @0
        describe jobs              -> jobs 0..5, 5 ready
        consume alice jobs         -> alice gets jobs@0-4 attempt 1
        ",
    );
}

#[test]
fn an_id_is_remembered_until_just_before_its_window_ends() {
    check(
        "
        queue jobs window=10s
        publish jobs dedup=a       -> confirm jobs@0
        advance 9999ms             ->
        publish jobs dedup=a       -> confirm nothing, 0 is @0
        advance 1ms                ->
        publish jobs dedup=a       -> confirm jobs@1
        publish jobs dedup=a       -> confirm nothing, 0 is @1
        advance 9999ms             ->
        publish jobs dedup=a       -> confirm nothing, 0 is @1
        advance 1ms                ->
        publish jobs dedup=a       -> confirm jobs@2
        ",
    );
}

#[test]
fn a_duplicate_does_not_renew_the_window() {
    check(
        "
        queue jobs window=10s
        publish jobs dedup=a       -> confirm jobs@0
        advance 9s                 ->
        publish jobs dedup=a       -> confirm nothing, 0 is @0
        advance 1s                 ->
        publish jobs dedup=a       -> confirm jobs@1
        ",
    );
}

#[test]
fn without_a_window_nothing_is_remembered() {
    check(
        "
        queue jobs window=0s
        publish jobs dedup=a,a     -> confirm jobs@0-1
        publish jobs dedup=a       -> confirm jobs@2
        ",
    );
}

#[test]
fn the_same_id_with_another_body_refuses_the_whole_request() {
    check(
        "
        queue jobs
        publish jobs n=3           -> confirm jobs@0-2
        publish jobs dedup=a       -> confirm jobs@3
        publish jobs dedup=b,-,a body=y sequence=3 -> refuse: dedup conflict: 2 is @3
        publish jobs dedup=b,-,c body=y sequence=3 -> confirm jobs@4-6
        describe jobs              -> jobs 0..7, 7 ready
        ",
    );
}

#[test]
fn an_id_may_come_twice_in_one_run_and_in_one_transaction() {
    check(
        "
        queue jobs
        topic news
        publish jobs dedup=a,a,b,a -> confirm jobs@0-1, 1 is @0, 3 is @0
        transaction publish jobs dedup=c,a + publish jobs dedup=d,c + publish news dedup=c -> confirm jobs@2, 1 is @0; confirm jobs@3, 1 is @2; confirm news@0
        transaction publish jobs dedup=e + publish jobs dedup=e body=y -> refuse: operation 1: dedup conflict: 0 is @4
        publish jobs dedup=e body=y -> confirm jobs@4
        ",
    );
}

#[test]
fn an_id_outlives_settle_purge_and_restart() {
    check(
        "
        queue jobs
        publish jobs dedup=a,b     -> confirm jobs@0-1
        receive alice jobs max=1   -> alice receives jobs@0 attempt 1
        ack alice jobs@0           -> settled 1
        purge jobs                 -> counted 1
        restart after=1m           ->
        publish jobs dedup=b,a     -> confirm nothing, 0 is @1, 1 is @0
        restart snapshot=5         ->
        publish jobs dedup=b,a     -> confirm nothing, 0 is @1, 1 is @0
        advance 4m                 ->
        publish jobs dedup=b       -> confirm jobs@2
        ",
    );
}

#[test]
fn a_name_made_anew_remembers_nothing_and_names_do_not_share_ids() {
    check(
        "
        queue jobs
        queue mail
        publish jobs dedup=a       -> confirm jobs@0
        publish mail dedup=a       -> confirm mail@0
        delete jobs
        queue jobs
        publish jobs dedup=a       -> confirm jobs@0
        ",
    );
}

#[test]
fn a_topic_remembers_what_retention_took() {
    check(
        "
        topic news retention=1000
        publish news dedup=a size=900 -> confirm news@0
        publish news size=60000    -> confirm news@1
        publish news size=60000    -> confirm news@2
        publish news dedup=a size=900 -> confirm nothing, 0 is @0
        ",
    );
}

#[test]
fn a_retry_gets_the_duplicates_of_its_first_attempt() {
    check(
        "
        queue jobs window=1s
        publish jobs dedup=a       -> confirm jobs@0
        publish jobs dedup=a,b sequence=2 -> confirm jobs@1, 0 is @0
        advance 1s                 ->
        publish jobs dedup=a,b sequence=2 -> confirm jobs@1, 0 is @0
        restart snapshot=4         ->
        publish jobs dedup=a,b sequence=2 -> confirm jobs@1, 0 is @0
        transaction publish jobs dedup=b + publish jobs dedup=b sequence=3 -> confirm jobs@2; confirm nothing, 0 is @2
        restart snapshot=9         ->
        transaction publish jobs dedup=b + publish jobs dedup=b sequence=3 -> confirm jobs@2; confirm nothing, 0 is @2
        ",
    );
}

#[test]
fn limits_count_only_what_is_stored() {
    check(
        "
        queue jobs max_messages=2
        publish jobs dedup=a       -> confirm jobs@0
        publish jobs dedup=a,b,a,b -> confirm jobs@1, 0 is @0, 2 is @0, 3 is @1
        publish jobs dedup=a,b     -> confirm nothing, 0 is @0, 1 is @1
        publish jobs dedup=c       -> refuse: busy max_messages 2 of 2, retry after 1000 ms
        ",
    );
}

#[test]
fn too_many_ids_are_busy_until_enough_of_the_oldest_have_left_their_window() {
    check(
        "
        queue jobs window=10s max_ids=3
        publish jobs dedup=a       -> confirm jobs@0
        advance 4s                 ->
        publish jobs dedup=b,c     -> confirm jobs@1-2
        publish jobs dedup=c       -> confirm nothing, 0 is @2
        publish jobs dedup=d       -> refuse: busy dedup 3 of 3, retry after 6000 ms
        publish jobs dedup=d,e     -> refuse: busy dedup 3 of 3, retry after 10000 ms
        publish jobs dedup=d,e,f,g -> refuse: max_dedup_ids is larger than 3
        publish jobs               -> confirm jobs@3
        transaction publish jobs dedup=a + publish jobs dedup=d -> refuse: operation 1: busy dedup 3 of 3, retry after 6000 ms
        advance 6s                 ->
        publish jobs dedup=d       -> confirm jobs@4
        publish jobs dedup=a       -> refuse: busy dedup 3 of 3, retry after 4000 ms
        ",
    );
}

#[test]
fn what_is_special_moves_with_its_message_when_duplicates_are_left_out() {
    check(
        "
        queue jobs
        publish jobs dedup=a       -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        publish jobs dedup=a,b,-,c,b,d delay=5s -> confirm jobs@1-4, 0 is @0, 4 is @1
        describe jobs              -> jobs 0..5, 4 delayed, 1 leased
        advance 5s                 ->
        receive alice jobs         -> alice receives jobs@1-4 attempt 1
        ",
    );
}

#[test]
fn ids_are_forgotten_although_nobody_publishes() {
    check(
        "
        queue jobs window=1s
        publish jobs dedup=a,b,c   -> confirm jobs@0-2
        advance 2m                 ->
        restart                    ->
        publish jobs dedup=a       -> confirm jobs@3
        ",
    );
}

#[test]
fn a_duplicate_of_a_publish_under_way_is_found_when_both_are_committed() {
    check(
        "
        queue jobs max_messages=1
        publish jobs               -> confirm jobs@0
        purge jobs                 -> counted 1
        pipeline on
        publish jobs dedup=a       ->
        publish jobs dedup=a       -> confirm jobs@1
        flush                      -> confirm nothing, 0 is @1
        ",
    );
}

#[test]
fn what_filters_say_moves_with_its_message_when_duplicates_are_left_out() {
    check(
        "
        topic news
        sub news/a filter=routing_key_matches_a.*
        publish news dedup=x,y keys=a.1,b.1 -> confirm news@0-1
        publish news dedup=x,z,y,w keys=a.1,b.1,b.1,a.2 -> confirm news@2-3, 0 is @0, 2 is @1
        describe news/a            -> news/a 0..4, 2 ready, 2 filtered
        receive alice news/a       -> alice receives news/a@0 attempt 1; alice receives news/a@3 attempt 1
        ",
    );
}

#[test]
fn a_duplicate_takes_no_room_and_is_told_so_even_where_there_is_none() {
    check(
        "
        queue jobs max_messages=1
        publish jobs dedup=a       -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        reject alice jobs@0        -> settled 1
        publish jobs dedup=b       -> confirm jobs@1
        redrive jobs               -> counted 1
        describe jobs              -> jobs 0..2, 2 ready
        publish jobs dedup=a       -> confirm nothing, 0 is @0
        publish jobs dedup=c       -> refuse: busy max_messages 2 of 1, retry after 1000 ms
        ",
    );
}
