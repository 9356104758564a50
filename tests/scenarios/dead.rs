//! Dead letters: a state, kept, bounded, and the way back.

use siding_tests::transcript::check;

#[test]
fn a_redrive_brings_dead_letters_back_to_their_old_place_with_no_attempts() {
    check(
        "
        queue jobs attempts=1 backoff=0s
        publish jobs n=4           -> confirm jobs@0-3
        receive alice jobs max=3   -> alice receives jobs@0-2 attempt 1
        nack alice jobs@0-2        -> settled 3
        redrive jobs limit=2       -> counted 2
        describe jobs              -> jobs 0..4, 3 ready, 1 dead
        receive alice jobs         -> alice receives jobs@0-1 attempt 1; alice receives jobs@3 attempt 1
        redrive jobs               -> counted 1
        redrive jobs               -> counted 0
        ",
    );
}

#[test]
fn past_max_dead_the_oldest_leave_and_are_counted() {
    check(
        "
        queue jobs max_dead=2
        publish jobs n=4           -> confirm jobs@0-3
        receive alice jobs         -> alice receives jobs@0-3 attempt 1
        reject alice jobs@3        -> settled 1
        advance 1s                 ->
        reject alice jobs@0-2      -> settled 3
        browse jobs state=dead     -> @1 dead, rejected; @2 dead, rejected
        describe jobs              -> jobs 0..4, 2 dead, 2 evicted
        ",
    );
}

#[test]
fn a_late_reject_rejects_all_it_names_before_the_oldest_makes_room() {
    check(
        "
        queue jobs max_dead=1 attempts=2 visibility=5s backoff=0s
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs max=2   -> alice receives jobs@0-1 attempt 1
        nack alice jobs@1          -> settled 1
        release alice jobs@0       -> settled 1
        receive alice jobs max=2   -> alice receives jobs@0 attempt 1; alice receives jobs@1 attempt 2
        advance 5s                 ->
        browse jobs state=dead     -> @1 dead, 2 attempts, max_attempts
        advance 1s                 ->
        reject alice jobs@0-1      -> settled 2; late @0-1
        describe jobs              -> jobs 0..2, 1 dead, 1 evicted
        ",
    );
}

#[test]
fn dead_letters_are_not_charged_against_the_limits() {
    check(
        "
        queue jobs max_messages=2
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs         -> alice receives jobs@0-1 attempt 1
        reject alice jobs@0-1      -> settled 2
        publish jobs n=2           -> confirm jobs@2-3
        redrive jobs               -> counted 2
        publish jobs               -> refuse: busy max_messages 4 of 2, retry after 1000 ms
        ",
    );
}

#[test]
fn dead_letters_of_one_subscription_harm_no_other() {
    check(
        "
        topic news
        sub news/a attempts=1
        sub news/b attempts=1
        publish news               -> confirm news@0
        receive alice news/a       -> alice receives news/a@0 attempt 1
        nack alice news/a@0        -> settled 1
        receive bob news/b         -> bob receives news/b@0 attempt 1
        redrive news/b             -> counted 0
        describe news/a            -> news/a 0..1, 1 dead
        ",
    );
}

#[test]
fn a_grant_is_honoured_after_a_redrive_until_the_message_is_delivered_again() {
    check(
        "
        queue jobs attempts=1 visibility=1s
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs         -> alice receives jobs@0-1 attempt 1
        advance 1s                 ->
        redrive jobs               -> counted 2
        ack alice jobs@0           -> settled 1; late @0
        receive bob jobs           -> bob receives jobs@1 attempt 1
        ack alice jobs@1           -> settled 0; lease lost @1: leased
        ",
    );
}

#[test]
fn a_purge_drops_what_is_ready_or_delayed_and_nothing_else() {
    check(
        "
        queue jobs
        publish jobs n=6           -> confirm jobs@0-5
        receive alice jobs max=4   -> alice receives jobs@0-3 attempt 1
        reject alice jobs@0        -> settled 1
        nack alice jobs@1          -> settled 1
        ack alice jobs@2           -> settled 1
        purge jobs                 -> counted 3
        describe jobs              -> jobs 0..6, 1 leased, 1 dead, 1 settled, 3 purged
        ack alice jobs@3           -> settled 1
        ",
    );
}

#[test]
fn a_purge_of_so_many_drops_the_lowest_offsets_and_no_more() {
    check(
        "
        queue jobs
        publish jobs n=6           -> confirm jobs@0-5
        receive alice jobs max=1   -> alice receives jobs@0 attempt 1
        publish jobs n=2 priority=9 -> confirm jobs@6-7
        purge jobs limit=3 dry     -> counted 3
        purge jobs limit=9 dry     -> counted 7
        purge jobs limit=3         -> counted 3
        describe jobs              -> jobs 0..8, 4 ready, 1 leased, 3 purged
        receive bob jobs max=9     -> bob receives jobs@6-7 attempt 1; bob receives jobs@4-5 attempt 1
        ",
    );
}

#[test]
fn a_dead_letter_of_used_up_attempts_tells_the_words_of_the_last_nack() {
    check(
        "
        queue jobs attempts=2 backoff=0s visibility=1s
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs         -> alice receives jobs@0-1 attempt 1
        nack alice jobs@0 reason=boom -> settled 1
        receive alice jobs         -> alice receives jobs@0 attempt 2
        advance 1s                 ->
        browse jobs state=dead     -> @0 dead, 2 attempts, max_attempts, boom
        redrive jobs               -> counted 1
        receive alice jobs max=1   -> alice receives jobs@0 attempt 1
        advance 1s                 ->
        receive alice jobs max=1   -> alice receives jobs@0 attempt 2
        nack alice jobs@0          -> settled 1
        browse jobs state=dead     -> @0 dead, 2 attempts, max_attempts
        ",
    );
}

#[test]
fn a_dead_letter_leaves_when_it_was_kept_long_enough_from_its_death() {
    check(
        "
        queue jobs dead_retention=10s
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs         -> alice receives jobs@0-2 attempt 1
        reject alice jobs@2        -> settled 1
        advance 4s                 ->
        reject alice jobs@0-1      -> settled 2
        advance 5999ms             ->
        describe jobs              -> jobs 0..3, 3 dead
        advance 1ms                ->
        browse jobs state=dead     -> @0 dead, rejected; @1 dead, rejected
        advance 4s                 ->
        describe jobs              -> jobs 0..3, 3 evicted
        ",
    );
}

#[test]
fn dead_letters_are_kept_for_fourteen_days_by_default() {
    check(
        "
        queue jobs
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        reject alice jobs@0        -> settled 1
        advance 335h               ->
        describe jobs              -> jobs 0..1, 1 dead
        restart snapshot=0
        advance 1h                 ->
        describe jobs              -> jobs 0..1, 1 evicted
        ",
    );
}

#[test]
fn past_max_dead_bytes_the_oldest_leave_and_are_counted() {
    check(
        "
        queue jobs max_dead_bytes=300
        publish jobs n=4 size=100  -> confirm jobs@0-3
        receive alice jobs         -> alice receives jobs@0-3 attempt 1
        reject alice jobs@1        -> settled 1
        reject alice jobs@0        -> settled 1
        describe jobs              -> jobs 0..4, 2 leased, 2 dead
        advance 1s                 ->
        reject alice jobs@2-3      -> settled 2
        browse jobs state=dead     -> @2 dead, rejected; @3 dead, rejected
        describe jobs              -> jobs 0..4, 2 dead, 2 evicted
        ",
    );
}

#[test]
fn dropped_dead_letters_are_counted_as_purged_and_a_dry_run_only_counts() {
    check(
        "
        queue jobs
        publish jobs n=4           -> confirm jobs@0-3
        receive alice jobs         -> alice receives jobs@0-3 attempt 1
        reject alice jobs@0-2      -> settled 3
        drop jobs limit=2 dry      -> counted 2
        redrive jobs limit=1 dry   -> counted 1
        describe jobs              -> jobs 0..4, 1 leased, 3 dead
        drop jobs limit=2          -> counted 2
        browse jobs state=dead     -> @2 dead, rejected
        drop jobs                  -> counted 1
        drop jobs                  -> counted 0
        describe jobs              -> jobs 0..4, 1 leased, 3 purged
        ",
    );
}

#[test]
fn a_dry_purge_only_counts() {
    check(
        "
        queue jobs backoff=1h
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs max=2   -> alice receives jobs@0-1 attempt 1
        nack alice jobs@0          -> settled 1
        purge jobs dry             -> counted 2
        describe jobs              -> jobs 0..3, 1 ready, 1 delayed, 1 leased
        ",
    );
}

#[test]
fn a_redrive_of_nothing_counts_nothing_and_one_of_an_unknown_name_is_refused() {
    check(
        "
        queue jobs
        redrive jobs               -> counted 0
        redrive jobs dry           -> counted 0
        drop jobs                  -> counted 0
        redrive job                -> refuse: not found job, nearest jobs
        drop job                   -> refuse: not found job, nearest jobs
        topic news
        redrive news/a             -> refuse: not found news/a
        ",
    );
}
