//! Schedules: each nominal time is judged once, whatever happens to the broker.

use siding_tests::transcript::check;

#[test]
fn a_schedule_publishes_once_for_each_nominal_time() {
    check(
        "
        queue jobs
        schedule tick jobs every=10s overlap=allow ->
        schedules                  -> tick next +10s
        advance 25s                ->
        describe jobs              -> jobs 0..2, 2 ready
        schedules                  -> tick next +30s, last +20s, fired 2
        restart snapshot=4
        advance 5s                 ->
        schedules                  -> tick next +40s, last +30s, fired 3
        ",
    );
}

#[test]
fn a_schedule_for_one_instant_fires_once() {
    check(
        "
        queue jobs
        schedule once jobs at=5s   ->
        advance 4999ms             ->
        describe jobs              -> jobs 0..0
        advance 1ms                ->
        describe jobs              -> jobs 0..1, 1 ready
        advance 1h                 ->
        schedules                  -> once, last +5s, fired 1
        schedule once jobs at=5s   ->
        schedules                  -> once, last +5s, fired 1
        ",
    );
}

#[test]
fn a_cron_schedule_fires_by_the_calendar() {
    // The clock begins at 00:16:40.
    check(
        "
        queue jobs
        schedule quarter jobs cron=*/15_*_*_*_* overlap=allow ->
        schedules                  -> quarter next +800s
        advance 800s               ->
        describe jobs              -> jobs 0..1, 1 ready
        schedules                  -> quarter next +1700s, last +800s, fired 1
        schedule bad jobs cron=every_day -> refuse: invalid expression
        schedule bad jobs cron=*_*_*_*_* zone=Mars/Olympus -> refuse: invalid zone
        schedule bad jobs cron=0_0_30_2_* -> refuse: invalid expression
        ",
    );
}

#[test]
fn overlap_skip_misses_what_comes_while_the_last_one_runs() {
    check(
        "
        queue jobs visibility=1m
        schedule tick jobs every=10s ->
        advance 20s                ->
        describe jobs              -> jobs 0..1, 1 ready
        receive alice jobs         -> alice receives jobs@0 attempt 1
        advance 10s                ->
        ack alice jobs@0           -> settled 1
        schedules                  -> tick next +40s, last +10s, fired 1, missed +20s +30s
        advance 10s                ->
        describe jobs              -> jobs 0..2, 1 ready, 1 settled
        ",
    );
}

#[test]
fn overlap_buffer_one_fires_once_when_the_last_one_has_ended() {
    check(
        "
        queue jobs visibility=1m
        schedule tick jobs every=10s overlap=buffer_one ->
        advance 10s                ->
        receive alice jobs         -> alice receives jobs@0 attempt 1
        advance 25s                ->
        describe jobs              -> jobs 0..1, 1 leased
        restart snapshot=3
        ack alice jobs@0           -> settled 1
        describe jobs              -> jobs 0..2, 1 ready, 1 settled
        schedules                  -> tick next +40s, last +20s, fired 2, missed +30s
        ",
    );
}

#[test]
fn a_firing_by_hand_leaves_the_one_that_is_kept_even_at_the_same_instant() {
    check(
        "
        queue jobs visibility=1m
        schedule tick jobs every=10s overlap=buffer_one ->
        advance 10s                ->
        receive alice jobs         -> alice receives jobs@0 attempt 1
        advance 10s                ->
        run tick
        describe jobs              -> jobs 0..2, 1 ready, 1 leased
        receive alice jobs         -> alice receives jobs@1 attempt 1
        ack alice jobs@1           -> settled 1
        describe jobs              -> jobs 0..3, 1 ready, 1 leased, 1 settled
        ",
    );
}

#[test]
fn a_dead_letter_has_ended_for_the_overlap() {
    check(
        "
        queue jobs
        schedule tick jobs every=10s ->
        advance 10s                ->
        receive alice jobs         -> alice receives jobs@0 attempt 1
        reject alice jobs@0        -> settled 1
        advance 10s                ->
        describe jobs              -> jobs 0..2, 1 ready, 1 dead
        ",
    );
}

#[test]
fn after_a_downtime_only_the_newest_within_catch_up_fires() {
    check(
        "
        queue jobs
        schedule tick jobs every=10s overlap=allow ->
        advance 10s                ->
        restart after=35s
        advance 1s                 ->
        describe jobs              -> jobs 0..2, 2 ready
        schedules                  -> tick next +50s, last +40s, fired 2, missed +20s +30s
        ",
    );
}

#[test]
fn what_is_missed_by_more_than_catch_up_is_listed_and_not_made_up_for() {
    check(
        "
        queue jobs
        schedule daily jobs at=10s catch_up=5s ->
        schedule late jobs at=10s catch_up=1h ->
        restart after=30s
        advance 1s                 ->
        describe jobs              -> jobs 0..1, 1 ready
        schedules                  -> daily, missed +10s; late, last +10s, fired 1
        ",
    );
}

#[test]
fn a_full_target_is_tried_again_until_catch_up_has_passed() {
    check(
        "
        queue jobs max_messages=1
        publish jobs               -> confirm jobs@0
        schedule early jobs at=5s catch_up=20s ->
        schedule never jobs at=1s catch_up=2s ->
        advance 10s                ->
        schedules                  -> early next +5s; never, missed +1s
        purge jobs                 -> counted 1
        advance 1s                 ->
        schedules                  -> early, last +5s, fired 1; never, missed +1s
        describe jobs              -> jobs 0..2, 1 ready, 1 purged
        ",
    );
}

#[test]
fn a_target_that_is_gone_makes_a_firing_missed() {
    check(
        "
        queue jobs
        schedule tick jobs every=10s ->
        delete jobs                ->
        advance 10s                ->
        schedules                  -> tick next +20s, missed +10s
        run tick                   -> refuse: not found jobs
        queue jobs
        advance 10s                ->
        describe jobs              -> jobs 0..1, 1 ready
        ",
    );
}

#[test]
fn a_schedule_runs_by_hand_besides_its_times() {
    check(
        "
        queue jobs
        schedule tick jobs every=10s ->
        run tick                   ->
        describe jobs              -> jobs 0..1, 1 ready
        receive alice jobs         -> alice receives jobs@0 attempt 1
        ack alice jobs@0           -> settled 1
        advance 10s                ->
        schedules                  -> tick next +20s, last +10s, fired 2
        run tock                   -> refuse: not found tock, nearest tick
        ",
    );
}

#[test]
fn a_schedule_is_one_by_its_name_and_a_deleted_one_fires_no_more() {
    check(
        "
        queue jobs
        schedule tick jobs every=10s ->
        schedule tick jobs every=10s ->
        schedule tick jobs every=20s -> refuse: exists tick
        schedule tock mail every=10s -> refuse: not found mail
        schedule tock jobs every=10s n=2 -> refuse: invalid run
        schedule tock jobs every=10s dedup=once -> refuse: invalid run
        unschedule tick            ->
        unschedule tick            -> refuse: not found tick
        advance 1h                 ->
        describe jobs              -> jobs 0..0
        ",
    );
}

#[test]
fn a_schedule_publishes_into_a_topic_and_runs_as_long_as_a_subscription_has_its_message() {
    check(
        "
        topic news
        sub news/a
        sub news/b
        schedule tick news every=10s ->
        advance 10s                ->
        receive alice news/a       -> alice receives news/a@0 attempt 1
        ack alice news/a@0         -> settled 1
        advance 10s                ->
        describe news              -> news/a 0..1, 1 settled; news/b 0..1, 1 ready
        receive bob news/b         -> bob receives news/b@0 attempt 1
        ack bob news/b@0           -> settled 1
        advance 10s                ->
        describe news              -> news/a 0..2, 1 ready, 1 settled; news/b 0..2, 1 ready, 1 settled
        ",
    );
}

#[test]
fn a_schedule_carries_the_largest_run_and_not_a_byte_more() {
    // A run of one message has 8 bytes besides a body of this size.
    check(
        "
        queue jobs
        schedule large jobs every=5s size=262137 -> refuse: run is larger than 262144
        schedule large jobs every=5s size=262136 ->
        advance 5s                 ->
        schedules                  -> large next +10s, last +5s, fired 1
        receive alice jobs         -> alice receives jobs@0 attempt 1
        ",
    );
}
