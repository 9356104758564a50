//! Messages of one key go one after the other.

use siding_tests::transcript::check;

#[test]
fn of_a_key_one_message_is_leased_at_a_time_and_the_next_goes_when_it_is_settled() {
    check(
        "
        queue jobs order=key
        consume alice jobs credit=1  ->
        consume bob jobs credit=9    ->
        publish jobs n=4 key=a,b     -> confirm jobs@0-3; alice gets jobs@0 attempt 1; bob gets jobs@1 attempt 1
        ack bob jobs@1               -> settled 1; bob gets jobs@3 attempt 1
        ack alice jobs@0             -> settled 1; bob gets jobs@2 attempt 1
        flush                        ->
        describe jobs                -> jobs 0..4, 2 leased, 2 settled, 2 consumers
        ",
    );
}

#[test]
fn messages_without_a_key_wait_for_nobody() {
    check(
        "
        queue jobs order=key
        publish jobs n=2 key=a       -> confirm jobs@0-1
        publish jobs n=2             -> confirm jobs@2-3
        receive alice jobs           -> alice receives jobs@0 attempt 1; alice receives jobs@2-3 attempt 1
        flush                        ->
        describe jobs                -> jobs 0..4, 1 ready, 3 leased
        ",
    );
}

#[test]
fn without_order_keys_hold_nobody_back() {
    check(
        "
        queue jobs
        publish jobs n=3 key=a       -> confirm jobs@0-2
        receive alice jobs           -> alice receives jobs@0-2 attempt 1
        ",
    );
}

#[test]
fn a_retry_holds_its_key() {
    check(
        "
        queue jobs order=key backoff=0s visibility=5s
        publish jobs n=2 key=a       -> confirm jobs@0-1
        consume alice jobs           -> alice gets jobs@0 attempt 1
        nack alice jobs@0 delay=3s   -> settled 1
        describe jobs                -> jobs 0..2, 1 ready, 1 delayed, 1 consumers
        advance 3s                   -> alice gets jobs@0 attempt 2
        advance 5s                   -> alice gets jobs@0 attempt 3
        ack alice jobs@0             -> settled 1; alice gets jobs@1 attempt 1
        ",
    );
}

#[test]
fn a_message_delayed_by_its_publisher_holds_its_key_only_once_it_is_due() {
    check(
        "
        queue jobs order=key
        publish jobs key=a delay=5s  -> confirm jobs@0
        publish jobs n=2 key=a       -> confirm jobs@1-2
        consume alice jobs           -> alice gets jobs@1 attempt 1
        advance 5s                   ->
        ack alice jobs@1             -> settled 1; alice gets jobs@0 attempt 1
        ack alice jobs@0             -> settled 1; alice gets jobs@2 attempt 1
        ",
    );
}

#[test]
fn within_a_key_the_highest_priority_that_is_free_goes_first() {
    check(
        "
        queue jobs order=key
        publish jobs n=2 key=a       -> confirm jobs@0-1
        publish jobs key=a priority=9 -> confirm jobs@2
        consume alice jobs           -> alice gets jobs@2 attempt 1
        publish jobs key=a priority=9 -> confirm jobs@3
        ack alice jobs@2             -> settled 1; alice gets jobs@3 attempt 1
        ack alice jobs@3             -> settled 1; alice gets jobs@0 attempt 1
        ",
    );
}

#[test]
fn what_was_handed_over_keeps_its_key_although_a_higher_priority_came_before_its_lease() {
    check(
        "
        queue mail
        publish mail                 -> confirm mail@0
        queue jobs order=key
        pipeline on
        publish jobs key=a           ->
        receive alice jobs wait=10s  ->
        publish jobs key=a priority=9 -> confirm jobs@0; alice receives jobs@0 attempt 1
        receive bob jobs wait=10s    ->
        flush                        -> confirm jobs@1
        describe jobs                -> jobs 0..2, 1 ready, 1 leased
        ack alice jobs@0             ->
        flush                        -> settled 1; bob receives jobs@1 attempt 1
        ",
    );
}

#[test]
fn a_dead_letter_lets_the_next_of_its_key_go_on() {
    check(
        "
        queue jobs order=key
        publish jobs n=3 key=a       -> confirm jobs@0-2
        consume alice jobs           -> alice gets jobs@0 attempt 1
        reject alice jobs@0          -> settled 1; alice gets jobs@1 attempt 1
        redrive jobs                 -> counted 1
        ack alice jobs@1             -> settled 1; alice gets jobs@0 attempt 1
        ack alice jobs@0             -> settled 1; alice gets jobs@2 attempt 1
        ",
    );
}

#[test]
fn a_dead_letter_halts_its_key_where_asked_until_it_is_redriven() {
    check(
        "
        queue jobs order=key on_dead=halt_key
        publish jobs n=3 key=a,b     -> confirm jobs@0-2
        consume alice jobs           -> alice gets jobs@0-1 attempt 1
        reject alice jobs@0          -> settled 1
        ack alice jobs@1             -> settled 1
        describe jobs                -> jobs 0..3, 1 ready, 1 dead, 1 settled, 1 consumers
        redrive jobs                 -> counted 1; alice gets jobs@0 attempt 1
        ack alice jobs@0             -> settled 1; alice gets jobs@2 attempt 1
        ",
    );
}

#[test]
fn a_halted_key_goes_on_when_its_dead_letter_is_dropped() {
    check(
        "
        queue jobs order=key on_dead=halt_key max_dead=1
        publish jobs n=4 key=a,b     -> confirm jobs@0-3
        consume alice jobs           -> alice gets jobs@0-1 attempt 1
        reject alice jobs@0          -> settled 1
        reject alice jobs@1          -> settled 1; alice gets jobs@2 attempt 1
        ",
    );
}

#[test]
fn the_next_of_a_key_goes_when_the_one_before_it_expires_or_is_purged() {
    check(
        "
        queue jobs order=key
        publish jobs key=a ttl=5s    -> confirm jobs@0
        publish jobs n=2 key=a       -> confirm jobs@1-2
        advance 5s                   ->
        receive alice jobs           -> alice receives jobs@1 attempt 1
        purge jobs                   -> counted 1
        publish jobs key=a           -> confirm jobs@3
        ack alice jobs@1             -> settled 1
        receive alice jobs           -> alice receives jobs@3 attempt 1
        ",
    );
}

#[test]
fn a_restart_keeps_who_holds_a_key_and_who_waits() {
    check(
        "
        queue jobs order=key
        publish jobs n=4 key=a,b     -> confirm jobs@0-3
        receive alice jobs max=1     -> alice receives jobs@0 attempt 1
        flush                        ->
        restart snapshot=99          ->
        receive bob jobs             -> bob receives jobs@1 attempt 1
        receive bob jobs             -> bob receives nothing
        ack alice jobs@0             -> settled 1
        receive bob jobs             -> bob receives jobs@2 attempt 1
        ",
    );
}

#[test]
fn every_subscription_of_a_topic_keeps_the_order_of_keys_for_itself() {
    check(
        "
        topic news
        sub news/a order=key
        sub news/b
        publish news n=2 key=a       -> confirm news@0-1
        receive alice news/a         -> alice receives news/a@0 attempt 1
        receive bob news/b           -> bob receives news/b@0-1 attempt 1
        ",
    );
}

#[test]
fn what_is_ordered_by_key_begins_behind_what_its_topic_holds() {
    check(
        "
        topic news
        publish news key=a           -> confirm news@0
        sub news/a order=key start=earliest -> refuse: invalid start
        sub news/a order=key         ->
        publish news key=a           -> confirm news@1
        describe news/a              -> news/a 1..2, 1 ready
        seek news/a start=earliest   -> refuse: invalid start
        ",
    );
}

#[test]
fn a_dry_purge_counts_those_that_wait_behind_others_of_their_key() {
    check(
        "
        queue jobs order=key
        publish jobs n=3 key=k       -> confirm jobs@0-2
        purge jobs dry               -> counted 3
        purge jobs                   -> counted 3
        ",
    );
}
