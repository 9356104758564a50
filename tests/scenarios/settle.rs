//! ack, nack, release, reject: who may still say what about a message.

use siding_tests::transcript::check;

#[test]
fn a_repeated_settle_is_told_that_it_is_done() {
    check(
        "
        queue jobs
        publish jobs n=3           -> confirm jobs@0-2
        consume alice jobs         -> alice gets jobs@0-2 attempt 1
        ack alice jobs@0-1         -> settled 2
        ack alice jobs@0-1         -> settled 2
        ack alice jobs@1-2         -> settled 2
        describe jobs              -> jobs 0..3, 3 settled, 1 consumers
        ",
    );
}

#[test]
fn a_repeated_nack_charges_once() {
    check(
        "
        queue jobs backoff=1h
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        nack alice jobs@0          -> settled 1
        nack alice jobs@0          -> settled 1
        browse jobs                -> @0 delayed, 1 attempts
        ",
    );
}

#[test]
fn a_late_ack_is_accepted_as_long_as_nobody_else_got_the_message() {
    check(
        "
        queue jobs visibility=1s backoff=1h
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        advance 2s                 ->
        ack alice jobs@0           -> settled 1; late @0
        ack alice jobs@0           -> settled 1
        describe jobs              -> jobs 0..1, 1 settled, 1 consumers
        ",
    );
}

#[test]
fn a_late_ack_is_accepted_of_a_ready_message_and_after_the_connection_closed() {
    check(
        "
        queue jobs backoff=0s
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs         -> alice gets jobs@0-1 attempt 1
        close alice                ->
        describe jobs              -> jobs 0..2, 2 ready
        ack alice jobs@1           -> settled 1; late @1
        describe jobs              -> jobs 0..2, 1 ready, 1 settled
        ",
    );
}

#[test]
fn a_late_ack_is_accepted_of_a_dead_letter() {
    check(
        "
        queue jobs visibility=1s attempts=1
        publish jobs n=3           -> confirm jobs@0-2
        consume alice jobs         -> alice gets jobs@0-2 attempt 1
        advance 1s                 ->
        describe jobs              -> jobs 0..3, 3 dead, 1 consumers
        ack alice jobs@1           -> settled 1; late @1
        describe jobs              -> jobs 0..3, 2 dead, 1 settled, 1 consumers
        ",
    );
}

#[test]
fn a_late_nack_or_release_leaves_a_dead_letter_dead() {
    check(
        "
        queue jobs visibility=1s attempts=1
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs         -> alice gets jobs@0-1 attempt 1
        advance 1s                 ->
        nack alice jobs@0          -> settled 1; late @0
        release alice jobs@1       -> settled 1; late @1
        browse jobs state=dead     -> @0 dead, 1 attempts, max_attempts; @1 dead, 1 attempts, max_attempts
        ack alice jobs@0           -> settled 0; lease lost @0: dead
        ",
    );
}

#[test]
fn a_late_nack_is_not_charged_again() {
    check(
        "
        queue jobs visibility=1s backoff=1h
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        advance 1s                 ->
        nack alice jobs@0 delay=5s -> settled 1; late @0
        browse jobs                -> @0 delayed, 1 attempts
        ack alice jobs@0           -> settled 0; lease lost @0: delayed
        advance 5s                 -> alice gets jobs@0 attempt 2
        ",
    );
}

#[test]
fn an_older_grant_is_fenced_and_told_where_the_message_is() {
    check(
        "
        queue jobs visibility=1s backoff=0s attempts=3
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        advance 1s                 -> alice gets jobs@0 attempt 2
        ack alice jobs@0 older=1   -> settled 0; lease lost @0: leased
        release alice jobs@0 delay=5s -> settled 1
        ack alice jobs@0 older=1   -> settled 0; lease lost @0: delayed
        ack alice jobs@0           -> settled 0; lease lost @0: delayed
        advance 5s                 -> alice gets jobs@0 attempt 2
        reject alice jobs@0        -> settled 1
        ack alice jobs@0 older=1   -> settled 0; lease lost @0: dead
        ",
    );
}

#[test]
fn a_release_is_not_charged() {
    check(
        "
        queue jobs
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        release alice jobs@0       -> settled 1; alice gets jobs@0 attempt 1
        release alice jobs@0 delay=3s -> settled 1
        advance 3s                 -> alice gets jobs@0 attempt 1
        ",
    );
}

#[test]
fn a_rejected_message_is_a_dead_letter_with_the_words_of_the_reject() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs         -> alice gets jobs@0-1 attempt 1
        reject alice jobs@0 reason=unreadable -> settled 1
        browse jobs state=dead     -> @0 dead, rejected, unreadable
        nack alice jobs@0          -> settled 0; lease lost @0: dead
        ",
    );
}

#[test]
fn a_settle_says_what_it_did_part_by_part() {
    check(
        "
        queue jobs visibility=1s backoff=1h
        publish jobs n=6           -> confirm jobs@0-5
        consume alice jobs         -> alice gets jobs@0-5 attempt 1
        extend alice jobs@2-3 by=1h -> settled 2
        ack alice jobs@5           -> settled 1
        advance 1s                 ->
        ack alice jobs@0-9         -> settled 6; late @0-1; late @4; lease lost @6-9: settled
        ",
    );
}

#[test]
fn an_extend_does_not_lease_again() {
    check(
        "
        queue jobs visibility=1s backoff=1h
        publish jobs               -> confirm jobs@0
        consume alice jobs         -> alice gets jobs@0 attempt 1
        advance 1s                 ->
        extend alice jobs@0 by=30s -> settled 0; lease lost @0: delayed
        ",
    );
}

#[test]
fn a_settle_of_somebody_elses_message_changes_nothing() {
    check(
        "
        queue jobs
        publish jobs n=2           -> confirm jobs@0-1
        consume alice jobs credit=1 -> alice gets jobs@0 attempt 1
        consume bob jobs credit=1  -> bob gets jobs@1 attempt 1
        ack alice jobs@0-1         -> settled 1; lease lost @1: leased
        ack bob jobs@1             -> settled 1
        ",
    );
}

#[test]
fn a_reject_pushes_out_letters_only_when_all_of_its_settle_is_done() {
    check(
        "
        queue jobs visibility=1s attempts=1 max_dead=1
        publish jobs n=2           -> confirm jobs@0-1
        receive bob jobs           -> bob receives jobs@0-1 attempt 1
        extend bob jobs@0 by=2s    -> settled 1
        advance 1s                 ->
        browse jobs                -> @0 leased, bob
        advance 500ms              ->
        browse jobs state=dead     -> @1 dead, 1 attempts, max_attempts
        reject bob jobs@0-1        -> settled 2; late @1
        describe jobs              -> jobs 0..2, 1 dead, 1 evicted
        ",
    );
}
