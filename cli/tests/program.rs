//! The command line as a program; since it has this test, `cargo test --workspace` builds it for all that run it.

use std::process::Command;

#[test]
fn the_command_line_says_which_release_it_is() {
    let ran = Command::new(env!("CARGO_BIN_EXE_siding"))
        .arg("--version")
        .output();
    let ran = ran.expect("cargo has built it");
    assert!(ran.status.success(), "{ran:?}");
    let said = String::from_utf8(ran.stdout).expect("text");
    let release = env!("CARGO_PKG_VERSION");
    assert_eq!(said.trim(), format!("siding {release}"));
}
