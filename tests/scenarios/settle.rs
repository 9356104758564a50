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
