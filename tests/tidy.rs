//! The architecture as tests: who may know whom, what must not be said where.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use siding_protocol::error_code::ErrorCode;

const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file below a folder of the workspace, with its text; none if there is no such folder.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                // What is built there is not written here.
                folders.extend((!path.ends_with("target")).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a readable file");
                let name = path.strip_prefix(root()).expect("below the root");
                found.push((name.display().to_string(), text));
            }
        }
    }
    found.sort();
    found
}

/// Code only: without comments and what stands in string literals.
fn code(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let outside = line.split('"').step_by(2);
        code += &outside.collect::<Vec<_>>().join("\"\"");
        code.push('\n');
    }
    code
}

/// Whether the word stands there, not as a part of a longer one.
fn says(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let after = code
            .get(at + word.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

fn assert_never_said(folder: &str, words: &[&str]) {
    for (file, text) in sources(folder) {
        let code = code(&text);
        for word in words {
            assert!(!says(&code, word), "{file} says `{word}`");
        }
    }
}

#[test]
fn the_engine_is_pure() {
    assert!(!sources("broker/src/engine").is_empty());
    assert_never_said(
        "broker/src/engine",
        &[
            "async",
            "await",
            "tokio",
            "Instant",
            "SystemTime",
            "HashMap",
            "HashSet",
            "DashMap",
            "rand",
            "fastrand",
            "tracing",
            "println",
            "eprintln",
            "std::fs",
            "std::net",
            "std::io",
            "std::env",
            "std::process",
            "thread",
            "Mutex",
            "RwLock",
            "RefCell",
            "Atomic",
            "unsafe",
            "f32",
            "f64",
        ],
    );
}

#[test]
fn the_engine_and_the_storage_know_nobody() {
    let rooms = ["server", "admin", "shard", "config", "metrics", "cluster"];
    for (room, other) in [("engine", "storage"), ("storage", "engine")] {
        for (file, text) in sources(&format!("broker/src/{room}")) {
            for known in rooms.into_iter().chain([other]) {
                let code = code(&text);
                let path = format!("crate::{known}");
                assert!(!says(&code, &path), "{file} knows {known}");
                let climbs = format!("super::super::{known}");
                assert!(!says(&code, &climbs), "{file} knows {known}");
            }
        }
    }
}

#[test]
fn the_engine_depends_on_plain_crates_only() {
    let plain = [
        "std",
        "core",
        "crate",
        "super",
        "self",
        "bytes",
        "prost",
        "siding_protocol",
        "thiserror",
        "strsim",
        "crc_fast",
        "siphasher",
        "croner",
        "jiff",
    ];
    for (file, text) in sources("broker/src/engine") {
        for line in code(&text).lines() {
            let Some(path) = line.trim_start().strip_prefix("use ") else {
                continue;
            };
            let first = path.split([':', ';', ' ']).next().unwrap_or_default();
            // A module of its own, as mod.rs names them.
            let own = sources("broker/src/engine")
                .iter()
                .any(|(name, _)| name.ends_with(&format!("/{first}.rs")));
            assert!(plain.contains(&first) || own, "{file} uses {first}");
        }
    }
}

#[test]
fn arrows_between_the_rooms_of_the_broker_point_one_way() {
    for (room, forbidden) in [
        ("shard", &["server", "admin", "config"][..]),
        ("server", &["admin", "storage"]),
    ] {
        for (file, text) in sources(&format!("broker/src/{room}")) {
            for known in forbidden {
                let knows = says(&code(&text), &format!("crate::{known}"));
                assert!(!knows, "{file} knows {known}");
            }
        }
    }
}

#[test]
fn client_and_protocol_never_import_the_broker_and_the_cli_only_to_embed_or_salvage_it() {
    assert_never_said("client", &["siding_broker"]);
    assert_never_said("protocol", &["siding_broker", "siding", "tokio"]);
    for (file, text) in sources("cli") {
        let rooms = ["quickstart", "bench", "embed", "commands/salvage"];
        let embeds = rooms.iter().any(|room| file.contains(room));
        assert!(
            embeds || !says(&code(&text), "siding_broker"),
            "{file} knows the broker"
        );
    }
}

#[test]
fn no_file_is_longer_than_a_head_can_hold() {
    for folder in ["broker", "protocol", "client", "cli", "tests"] {
        for (file, text) in sources(folder) {
            let lines = text.lines().count();
            let generated = file.ends_with("generated.rs");
            assert!(
                generated || lines <= FILE_LINES_MAX,
                "{file} has {lines} lines: split it"
            );
        }
    }
}

#[test]
fn nothing_is_left_undone_and_no_test_is_switched_off_or_sleeps() {
    for folder in ["broker", "protocol", "client", "cli", "tests"] {
        for (file, text) in sources(folder) {
            let code = code(&text);
            for word in ["todo!", "unimplemented!", "#[ignore"] {
                assert!(!code.contains(word), "{file} has {word}");
            }
            if file.starts_with("tests") || code.contains("#[cfg(test)]") {
                let tests = if file.starts_with("tests") {
                    code.as_str()
                } else {
                    code.split_once("#[cfg(test)]")
                        .map_or("", |(_, tests)| tests)
                };
                for word in ["thread::sleep", "time::sleep"] {
                    assert!(!tests.contains(word), "{file} sleeps: wait for an event");
                }
            }
        }
    }
}

/// What cargo says of the dependencies between crates, with features.
fn tree(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline"]).args(arguments);
    let tree = cargo.current_dir(root()).output();
    let tree = tree.expect("cargo tells the features");
    assert!(tree.status.success(), "{tree:?}");
    String::from_utf8(tree.stdout).expect("text")
}

#[test]
fn bugs_are_planted_for_tests_only() {
    let twin = ["--workspace", "-i", "siding-subject", "-e"];
    let features = |edges| tree(&[&twin[..], &[edges]].concat());
    assert!(features("features").contains("planted-bugs"));
    assert!(!features("features,no-dev").contains("planted-bugs"));
    let shipped = [
        "-p",
        "siding-broker",
        "-p",
        "siding-cli",
        "--all-features",
        "-e",
        "features",
    ];
    let shipped = tree(&shipped);
    assert!(shipped.contains("jemalloc"), "{shipped}");
    for never in ["planted-bugs", "siding-subject"] {
        assert!(!shipped.contains(never), "{never} in {shipped}");
    }
}

#[test]
fn the_broker_that_tests_plant_bugs_in_has_the_dependencies_of_the_broker() {
    let dependencies = |package: &str| -> Vec<String> {
        let path = root().join(package).join("Cargo.toml");
        let text = fs::read_to_string(path).expect("a manifest");
        let lines = text.lines().skip_while(|line| *line != "[dependencies]");
        let lines = lines.skip(1).take_while(|line| !line.starts_with('['));
        lines.map(str::to_owned).collect()
    };
    let (broker, twin) = (dependencies("broker"), dependencies("tests/subject"));
    assert!(twin.len() > 10);
    for line in twin {
        assert!(broker.contains(&line), "the broker has no `{line}`");
    }
}

#[test]
fn every_error_code_stands_in_the_wire_text() {
    let text = fs::read_to_string(root().join("protocol/README.md")).expect("the wire text");
    let yes = |flag| if flag { "yes" } else { "no" };
    for code in ErrorCode::ALL {
        let row = format!(
            "| {} | `{}` | {} | {} | {} |",
            code.number(),
            code.name(),
            yes(code.is_retryable()),
            yes(code.is_fatal()),
            code.meaning()
        );
        assert!(text.contains(&row), "protocol/README.md lacks: {row}");
    }
}
