//! Messages that go elsewhere on their own, exactly once.

use siding_tests::transcript::check;

#[test]
fn a_subscription_forwards_what_it_reads_into_a_queue() {
    check(
        "
        topic news
        queue jobs
        sub news/a to=jobs filter=routing_key_matches_a.*
        publish news n=4 keys=a.x,b.x -> confirm news@0-3
        describe news                -> news/a 0..4, 2 filtered, 2 forwarded
        receive alice jobs           -> alice receives jobs@0-1 attempt 1
        ",
    );
}

#[test]
fn several_topics_forward_into_one_and_what_is_delayed_goes_when_it_is_due() {
    check(
        "
        topic a
        topic b
        topic all
        sub all/reader
        sub a/on to=all
        sub b/on to=all
        publish a n=2                -> confirm a@0-1
        publish b delay=5s priority=9 -> confirm b@0
        consume alice all/reader     -> alice gets all/reader@0-1 attempt 1
        advance 5s                   -> alice gets all/reader@2 attempt 1
        describe b                   -> b/on 0..1, 1 forwarded
        ",
    );
}

#[test]
fn a_forward_waits_while_its_target_is_full_and_says_so() {
    check(
        "
        topic news
        queue jobs max_messages=3
        sub news/a to=jobs
        publish news n=5             -> confirm news@0-4
        describe news                -> news/a 0..5, 2 ready, 3 forwarded, blocked by jobs
        receive alice jobs max=2     -> alice receives jobs@0-1 attempt 1
        ack alice jobs@0-1           -> settled 2
        advance 1s                   ->
        describe news                -> news/a 0..5, 5 forwarded
        describe jobs                -> jobs 0..5, 3 ready, 2 settled
        ",
    );
}

#[test]
fn a_forward_waits_for_a_target_that_is_missing() {
    check(
        "
        topic news
        sub news/a to=jobs
        publish news                 -> confirm news@0
        describe news                -> news/a 0..1, 1 ready, blocked by jobs
        queue jobs
        advance 1s                   ->
        describe news                -> news/a 0..1, 1 forwarded
        describe jobs                -> jobs 0..1, 1 ready
        ",
    );
}

#[test]
fn a_forward_that_a_crash_interrupted_happens_once() {
    check(
        "
        topic news
        queue jobs
        sub news/a to=jobs
        disk slow                    ->
        publish news n=2             -> confirm news@0-1
        restart                      ->
        disk quick                   ->
        describe news                -> news/a 0..2, 2 forwarded
        describe jobs                -> jobs 0..2, 2 ready
        restart snapshot=3           ->
        describe jobs                -> jobs 0..2, 2 ready
        ",
    );
}

#[test]
fn what_would_come_back_is_refused() {
    check(
        "
        topic a
        topic b
        topic c
        sub a/on to=b
        sub b/on to=c
        sub c/on to=a                -> refuse: invalid forward_to
        sub a/self to=a              -> refuse: invalid forward_to
        sub a/dead dead_to=a         -> refuse: invalid dead_letter_to
        queue jobs dead_to=jobs      -> refuse: invalid dead_letter_to
        ",
    );
}

#[test]
fn only_the_broker_reads_what_is_forwarded() {
    check(
        "
        topic a
        sub a/on to=b
        consume alice a/on           -> refuse: invalid address
        receive alice a/on           -> refuse: invalid address
        ",
    );
}

#[test]
fn dead_letters_go_to_the_name_that_takes_them() {
    check(
        "
        queue jobs attempts=1 dead_to=graveyard
        queue graveyard
        publish jobs n=3             -> confirm jobs@0-2
        receive alice jobs           -> alice receives jobs@0-2 attempt 1
        nack alice jobs@0            -> settled 1
        reject alice jobs@2          -> settled 1
        describe jobs                -> jobs 0..3, 1 leased, 2 forwarded
        receive bob graveyard        -> bob receives graveyard@0-1 attempt 1
        ",
    );
}

#[test]
fn dead_letters_stay_while_the_name_that_takes_them_is_missing() {
    check(
        "
        queue jobs attempts=1 dead_to=graveyard
        publish jobs n=2             -> confirm jobs@0-1
        receive alice jobs           -> alice receives jobs@0-1 attempt 1
        nack alice jobs@0-1          -> settled 2
        describe jobs                -> jobs 0..2, 2 dead, blocked by graveyard
        redrive jobs limit=1         -> counted 1
        queue graveyard
        advance 1s                   ->
        describe jobs                -> jobs 0..2, 1 ready, 1 forwarded
        ",
    );
}

#[test]
fn what_is_larger_than_the_average_of_its_extent_waits_for_room() {
    check(
        "
        topic news
        queue jobs max_bytes=1000
        publish news size=10 n=2     -> confirm news@0-1
        publish news size=700 n=2    -> confirm news@2-3
        sub news/a to=jobs start=earliest
        describe jobs                -> jobs 0..3, 3 ready
        ",
    );
}

#[test]
fn a_forward_that_waits_for_its_target_and_for_a_read_comes_to_rest() {
    check(
        "
        topic news
        queue jobs max_messages=1
        sub news/a to=jobs filter=routing_key_matches_a.*
        publish news n=3 keys=a.x    -> confirm news@0-2
        describe news                -> news/a 0..3, 2 ready, 1 forwarded, blocked by jobs
        disk slow                    ->
        seek news/a start=1          -> counted 2
        advance 1s                   ->
        advance 1s                   ->
        describe news                -> news/a 1..3, 2 ready
        disk quick                   ->
        describe news                -> news/a 1..3, 2 ready, blocked by jobs
        receive bob jobs             -> bob receives jobs@0 attempt 1
        ack bob jobs@0               -> settled 1
        advance 1s                   ->
        describe news                -> news/a 1..3, 1 ready, 1 forwarded, blocked by jobs
        ",
    );
}

#[test]
fn a_filter_is_asked_at_once_although_the_forward_waits_for_its_target() {
    check(
        "
        topic news
        queue jobs max_messages=2
        sub news/a to=jobs filter=routing_key_matches_a.*
        disk slow                    ->
        publish news n=2 keys=a.x,b.x -> confirm news@0-1
        publish jobs n=2             -> confirm jobs@0-1
        seek news/a start=earliest   -> counted 2
        describe news                -> news/a 0..2, 2 ready
        disk quick                   ->
        describe news                -> news/a 0..2, 1 ready, 1 filtered, blocked by jobs
        ",
    );
}

#[test]
fn what_was_overtaken_in_the_line_of_its_key_while_it_was_read_is_forwarded_in_its_order() {
    check(
        "
        topic news
        queue jobs order=key
        sub news/a to=jobs order=key
        disk slow                    ->
        publish news key=k body=a    -> confirm news@0
        publish news key=k body=b priority=9 -> confirm news@1
        disk quick                   ->
        describe news                -> news/a 0..2, 2 forwarded
        receive bob jobs             -> bob receives jobs@1 attempt 1
        ack bob jobs@1               -> settled 1
        receive bob jobs             -> bob receives jobs@0 attempt 1
        ",
    );
}

#[test]
fn what_is_read_for_a_forward_fits_its_target_over_all_its_ranges() {
    // A message has 99 bytes: three of them fit.
    check(
        "
        topic news
        queue jobs max_bytes=395
        sub news/a to=jobs filter=routing_key_matches_a.*
        disk slow                    ->
        publish news n=9 size=90 keys=a.x,a.x,b.x -> confirm news@0-8
        reading                      -> news@0-1,3
        disk quick                   ->
        describe jobs                -> jobs 0..3, 3 ready
        ",
    );
}
