//! The programs are built without the bugs that tests plant.

use siding_tests::binaries::binary;

/// Whether the program's symbols name this crate.
fn names(program: &[u8], wanted: &str) -> bool {
    program
        .windows(wanted.len())
        .any(|at| at == wanted.as_bytes())
}

#[test]
fn no_bug_is_planted_in_what_is_shipped() {
    // Put together here, so that this very test does not say it.
    let twin = ["siding", "subject"].join("_");
    for name in ["sidingd", "siding"] {
        let program = std::fs::read(binary(name)).expect("cargo has built it");
        assert!(names(&program, "siding_broker"), "{name} has the broker");
        assert!(!names(&program, &twin), "{name} has its planted twin");
    }
    let this = std::env::current_exe().expect("it runs");
    let this = std::fs::read(this).expect("it can be read");
    assert!(names(&this, &twin), "tests have the planted one");
}
