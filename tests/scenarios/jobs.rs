//! Jobs: what rides on settles, looking at one, waiting for its end, cancelling, records.

use siding_protocol::limits::AWAITS_PER_CONNECTION_MAX;
use siding_tests::transcript::check;

#[test]
fn the_next_attempt_receives_the_last_checkpoint_also_after_a_restart() {
    check(
        "
        queue jobs backoff=0s
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs         -> alice receives jobs@0-2 attempt 1
        extend alice jobs@1 by=30s checkpoint=page-1 -> settled 1
        nack alice jobs@1 checkpoint=page-2 -> settled 1
        nack alice jobs@0,2        -> settled 2
        restart snapshot=4
        receive bob jobs           -> bob receives jobs@0 attempt 2; bob receives jobs@1 attempt 2 checkpoint page-2; bob receives jobs@2 attempt 2
        release bob jobs@1         -> settled 1
        receive bob jobs           -> bob receives jobs@1 attempt 2 checkpoint page-2
        ack bob jobs@1             -> settled 1
        get jobs@1                 -> jobs@1 settled
        ",
    );
}

#[test]
fn a_checkpoint_survives_the_death_of_its_worker_and_of_its_message() {
    check(
        "
        queue jobs backoff=0s attempts=2 visibility=1s
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        extend alice jobs@0 by=1s checkpoint=half progress=50 note=copying -> settled 1
        advance 1s                 ->
        receive bob jobs           -> bob receives jobs@0 attempt 2 checkpoint half
        nack bob jobs@0 reason=disk -> settled 1
        get jobs@0                 -> jobs@0 dead, attempts 2, max_attempts, last error disk, 50 %, note copying, checkpoint half
        redrive jobs               -> counted 1
        get jobs@0                 -> jobs@0 ready, 50 %, note copying, checkpoint half, generation 1
        receive bob jobs           -> bob receives jobs@0 attempt 1 checkpoint half
        ",
    );
}

#[test]
fn a_job_shows_its_holder_progress_and_last_error() {
    check(
        "
        queue jobs backoff=5s
        publish jobs               -> confirm jobs@0
        get jobs@0                 -> jobs@0 ready
        receive alice jobs         -> alice receives jobs@0 attempt 1
        extend alice jobs@0 by=30s progress=10 -> settled 1
        get jobs@0                 -> jobs@0 leased, by alice, 10 %
        nack alice jobs@0 reason=busy progress=20 note=later -> settled 1
        get jobs@0                 -> jobs@0 delayed, attempts 1, last error busy, 20 %, note later
        ",
    );
}

#[test]
fn an_offset_that_was_never_published_is_not_found() {
    check(
        "
        queue jobs
        topic news
        publish news               -> confirm news@0
        sub news/late
        get jobs@0                 -> refuse: not found jobs@0
        wait jobs@0                -> refuse: not found jobs@0
        cancel jobs@0              -> refuse: not found jobs@0
        get news/late@0            -> refuse: not found news/late@0
        transaction cancel jobs@0  -> refuse: operation 0: not found jobs@0
        ",
    );
}

#[test]
fn a_tracked_job_keeps_its_record_for_as_long_as_its_queue_says() {
    check(
        "
        queue jobs track=10s backoff=0s attempts=2 max_dead=1
        publish jobs n=4           -> confirm jobs@0-3
        receive alice jobs         -> alice receives jobs@0-3 attempt 1
        nack alice jobs@0 reason=flaky delay=0s -> settled 1
        receive alice jobs         -> alice receives jobs@0 attempt 2
        ack alice jobs@0 result=42 -> settled 1
        get jobs@0                 -> jobs@0 settled, attempts 1, last error flaky, result 42
        reject alice jobs@2 reason=bad -> settled 1
        reject alice jobs@3        -> settled 1
        get jobs@2                 -> jobs@2 dead, rejected, last error bad
        describe jobs              -> jobs 0..4, 1 leased, 1 dead, 1 settled, 1 evicted
        restart snapshot=5
        get jobs@0                 -> jobs@0 settled, attempts 1, last error flaky, result 42
        advance 10s                ->
        get jobs@0                 -> jobs@0 settled
        get jobs@2                 -> jobs@2 settled
        ",
    );
}

#[test]
fn an_untracked_job_that_ended_is_settled_and_nothing_more_is_known() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        receive alice jobs max=1   -> alice receives jobs@0 attempt 1
        ack alice jobs@0 result=42 -> settled 1
        cancel jobs@1              ->
        get jobs@0                 -> jobs@0 settled
        get jobs@1                 -> jobs@1 settled
        ",
    );
}

#[test]
fn whoever_waits_for_a_job_is_told_when_it_ends() {
    check(
        "
        queue jobs track=1h visibility=5s backoff=0s attempts=1
        publish jobs n=4           -> confirm jobs@0-3
        receive alice jobs         -> alice receives jobs@0-3 attempt 1
        wait jobs@0                ->
        wait jobs@1                ->
        wait jobs@2                ->
        wait jobs@3                ->
        extend alice jobs@0 by=30s progress=50 -> settled 1
        ack alice jobs@0 result=42 -> jobs@0 settled, 50 %, result 42; settled 1
        reject alice jobs@1 reason=bad -> jobs@1 dead, rejected, last error bad; settled 1
        cancel jobs@2              ->
        nack alice jobs@2          -> jobs@2 cancelled; settled 1
        advance 5s                 -> jobs@3 dead, attempts 1, max_attempts
        wait jobs@0                -> jobs@0 settled, 50 %, result 42
        ",
    );
}

#[test]
fn whoever_waits_for_an_untracked_job_is_told_how_it_ends_when_it_does() {
    check(
        "
        queue jobs attempts=3 backoff=0s
        publish jobs n=3           -> confirm jobs@0-2
        publish jobs ttl=1s        -> confirm jobs@3
        receive alice jobs max=3   -> alice receives jobs@0-2 attempt 1
        wait jobs@0                ->
        wait jobs@1                ->
        wait jobs@2                ->
        wait jobs@3                ->
        extend alice jobs@0 by=30s progress=50 -> settled 1
        ack alice jobs@0 result=42 -> jobs@0 settled, 50 %, result 42; settled 1
        ack alice jobs@1           -> jobs@1 settled; settled 1
        cancel jobs@2              ->
        nack alice jobs@2 reason=no -> jobs@2 cancelled, last error no; settled 1
        advance 1s                 -> jobs@3 expired
        wait jobs@0                -> jobs@0 settled
        ",
    );
}

#[test]
fn a_wait_that_is_over_is_answered_with_what_there_is() {
    check(
        "
        queue jobs
        publish jobs               -> confirm jobs@0
        wait jobs@0 for=2s         ->
        wait jobs@0 for=0s         -> jobs@0 ready
        advance 1s                 ->
        advance 1s                 -> jobs@0 ready
        wait jobs@0                ->
        delete jobs                -> refuse: not found (deleted)
        ",
    );
}

#[test]
fn a_message_that_nobody_holds_is_cancelled_at_once() {
    check(
        "
        queue jobs track=1h backoff=1h
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs max=1   -> alice receives jobs@0 attempt 1
        nack alice jobs@0          -> settled 1
        cancel jobs@0              ->
        cancel jobs@1              ->
        cancel jobs@1              ->
        get jobs@0                 -> jobs@0 cancelled, attempts 1
        describe jobs              -> jobs 0..3, 1 ready, 2 cancelled
        receive alice jobs         -> alice receives jobs@2 attempt 1
        ",
    );
}

#[test]
fn the_holder_is_told_of_a_cancel_and_the_end_is_the_holders() {
    check(
        "
        queue jobs track=1h backoff=0s
        publish jobs n=3           -> confirm jobs@0-2
        consume alice jobs         -> alice gets jobs@0-2 attempt 1
        cancel jobs@0              -> alice is asked to cancel @0
        cancel jobs@1              -> alice is asked to cancel @1
        get jobs@0                 -> jobs@0 leased, by alice, asked to cancel
        extend alice jobs@0-2 by=30s -> settled 3; asked to cancel @0-1
        ack alice jobs@0           -> settled 1
        release alice jobs@1       -> settled 1
        get jobs@0                 -> jobs@0 settled
        get jobs@1                 -> jobs@1 cancelled
        cancel jobs@0              -> refuse: lease lost: settled
        describe jobs              -> jobs 0..3, 1 leased, 1 settled, 1 cancelled, 1 consumers
        ",
    );
}

#[test]
fn what_expires_or_fails_after_a_cancel_is_cancelled_and_a_restart_forgets_no_cancel() {
    check(
        "
        queue jobs visibility=5s backoff=0s
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs         -> alice receives jobs@0-2 attempt 1
        cancel jobs@0              ->
        cancel jobs@1              ->
        reject alice jobs@0        -> settled 1
        restart snapshot=5
        extend alice jobs@1 by=1s  -> settled 1; asked to cancel @1
        advance 1s                 ->
        get jobs@0                 -> jobs@0 dead, rejected
        describe jobs              -> jobs 0..3, 1 leased, 1 dead, 1 cancelled
        ack alice jobs@1           -> settled 0; lease lost @1: settled
        cancel jobs@0              -> refuse: lease lost: dead
        ",
    );
}

#[test]
fn a_cancel_in_a_transaction_is_judged_with_the_others() {
    check(
        "
        queue jobs
        queue out
        publish jobs n=3           -> confirm jobs@0-2
        receive alice jobs max=2   -> alice receives jobs@0-1 attempt 1
        transaction ack alice jobs@0 result=42 + cancel jobs@2 + publish out -> settled 1; cancelled; confirm out@0
        transaction ack alice jobs@1 + cancel jobs@2 -> refuse: operation 1: lease lost: settled
        transaction cancel jobs@1 + ack alice jobs@1 -> refuse: invalid ranges
        transaction cancel jobs@1 + cancel jobs@1 -> refuse: invalid offset
        describe jobs              -> jobs 0..3, 1 leased, 1 settled, 1 cancelled
        ",
    );
}

#[test]
fn a_settle_whose_lease_is_lost_leaves_no_checkpoint() {
    check(
        "
        queue jobs visibility=1s backoff=0s
        publish jobs               -> confirm jobs@0
        receive alice jobs         -> alice receives jobs@0 attempt 1
        advance 1s                 ->
        nack alice jobs@0 checkpoint=late -> settled 1; late @0
        receive bob jobs           -> bob receives jobs@0 attempt 2 checkpoint late
        nack alice jobs@0 checkpoint=lost -> settled 1
        nack alice jobs@0 checkpoint=lost older=1 -> settled 0; lease lost @0: leased
        get jobs@0                 -> jobs@0 leased, attempts 1, by bob, checkpoint late
        ",
    );
}

#[test]
fn a_connection_waits_for_as_many_ends_as_it_may_and_not_for_one_more() {
    let waits = "wait jobs@0 as=alice ->\n".repeat(AWAITS_PER_CONNECTION_MAX);
    check(&format!(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        {waits}
        wait jobs@1 as=alice       -> refuse: busy awaits 1024 of 1024, retry after 1000 ms
        wait jobs@1 as=bob         ->
        receive carol jobs max=1   -> carol receives jobs@0 attempt 1
        ack carol jobs@0
        wait jobs@1 as=alice       ->
        "
    ));
}
