//! Looks without side effects.

use siding_tests::transcript::check;

#[test]
fn a_browse_shows_messages_by_state_and_changes_nothing() {
    check(
        "
        queue jobs attempts=3
        publish jobs n=5           -> confirm jobs@0-4
        receive alice jobs max=4   -> alice receives jobs@0-3 attempt 1
        nack alice jobs@0          -> settled 1
        reject alice jobs@1 reason=no -> settled 1
        ack alice jobs@2           -> settled 1
        browse jobs                -> @0 delayed, 1 attempts; @3 leased, alice; @4 ready
        browse jobs from=1 limit=1 -> @3 leased, alice
        browse jobs state=ready    -> @4 ready
        browse jobs state=leased   -> @3 leased, alice
        browse jobs state=delayed  -> @0 delayed, 1 attempts
        browse jobs state=dead     -> @1 dead, rejected, no
        browse jobs state=settled  ->
        receive bob jobs           -> bob receives jobs@4 attempt 1
        ",
    );
}

#[test]
fn a_describe_tells_a_holder_what_it_holds() {
    check(
        "
        queue jobs
        publish jobs n=3           -> confirm jobs@0-2
        consume alice jobs credit=2 -> alice gets jobs@0-1 attempt 1
        receive bob jobs           -> bob receives jobs@2 attempt 1
        advance 10ms
        describe jobs as=alice     -> jobs 0..3, 3 leased, 2 held by you, 1 consumers
        describe jobs as=bob       -> jobs 0..3, 3 leased, 1 held by you, 1 consumers
        describe jobs              -> jobs 0..3, 3 leased, 1 consumers
        ",
    );
}

#[test]
fn a_list_goes_by_name_and_by_page() {
    check(
        "
        queue b.two
        queue a
        topic b.one
        queue b.three
        list                       -> a; b.one; b.three; b.two
        list prefix=b. limit=2     -> b.one; b.three; more
        list prefix=b. after=b.three -> b.two
        list prefix=c              ->
        ",
    );
}
