//! The daemon is built without the bugs that tests plant.

use siding_tests::binaries::binary;

/// What a daemon that has them says when it refuses to start.
const CONFESSION: &[u8] = b"this build has planted bugs";

#[test]
fn no_bug_is_planted_in_the_daemon() {
    let daemon = std::fs::read(binary("sidingd")).expect("cargo has built it");
    let confesses = daemon.windows(CONFESSION.len()).any(|at| at == CONFESSION);
    assert!(!confesses, "sidingd is built with planted bugs");
}
