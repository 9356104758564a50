//! P14: damage is refused and named, and a salvage makes the loss explicit.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use siding_tests::binaries::siding;
use siding_tests::broker::Broker;

use crate::limited;

/// Flips a bit of the body that is made of this byte, in the one file of the journal that has it.
fn damage(data: &Path, byte: u8) -> Result<PathBuf> {
    for entry in fs::read_dir(data.join("journal"))? {
        let path = entry?.path();
        let mut bytes = fs::read(&path)?;
        let found = bytes.windows(500).position(|part| part == [byte; 500]);
        if let Some(hit) = found.and_then(|at| bytes.get_mut(at + 100)) {
            *hit ^= 1;
            fs::write(&path, bytes)?;
            return Ok(path);
        }
    }
    anyhow::bail!("the body does not lie in the journal")
}

fn says(text: &str, words: &[&str]) {
    for said in words {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }
}

/// One of three messages of `jobs` is lost, and counted; that of `others` is there.
async fn expect_the_rest(url: &str) -> Result<()> {
    let shown = siding(url, &["queue", "show", "jobs", "-o", "json"], "").await;
    let shown: Value = serde_json::from_str(&shown.stdout)?;
    assert_eq!(shown.get("salvage_lost"), Some(&1.into()), "{shown}");
    assert_eq!(shown.get("ready"), Some(&2.into()), "{shown}");
    for (queue, bodies) in [("jobs", &["a", "c"][..]), ("others", &["d"])] {
        let drained = siding(url, &["consume", queue, "--drain"], "").await;
        let expected: String = bodies.iter().map(|it| it.repeat(1_000) + "\n").collect();
        assert_eq!(drained.stdout, expected, "{}", drained.stderr);
    }
    Ok(())
}

#[test]
fn what_a_damage_costs_is_said_before_it_is_accepted_and_the_rest_is_delivered() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let data = dir.path().to_str().context("text")?;
        let mut broker = Broker::start(dir.path()).await?;
        let url = broker.url();
        let typed = async |line: &[&str]| siding(&url, line, "").await;
        for line in [
            &["queue", "create", "jobs"][..],
            &["queue", "create", "others"],
        ] {
            assert_eq!(typed(line).await.code, 0);
        }
        for (queue, byte) in [("jobs", "a"), ("jobs", "b"), ("jobs", "c"), ("others", "d")] {
            let ran = typed(&["publish", queue, &byte.repeat(1_000)]).await;
            assert_eq!(ran.code, 0, "{}", ran.stderr);
        }
        let running = typed(&["salvage", data]).await;
        assert_eq!(running.code, 75, "a broker runs on it: {}", running.stderr);
        assert!(broker.terminate().await?.success());
        let path = damage(dir.path(), b'b')?;

        let refused = broker.restart().await.expect_err("refused").to_string();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("a name")?;
        says(
            &refused,
            &[
                name,
                "is damaged at bytes",
                "jobs",
                "1 messages",
                "siding salvage",
            ],
        );
        assert!(!refused.contains("others"), "{refused}");

        let dry = typed(&["salvage", data]).await;
        assert_eq!(dry.code, 3, "{}", dry.stderr);
        for said in [
            "kept jobs: 2 messages",
            "lost jobs: 1 messages, offsets 1 to 1",
            "kept others: 1",
        ] {
            assert!(
                dry.stdout.contains(said),
                "{said:?} is not in: {}",
                dry.stdout
            );
        }
        assert!(broker.restart().await.is_err(), "nothing was changed");
        let done = typed(&["salvage", data, "--accept-data-loss"]).await;
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(done.stderr.contains("salvaged-1"), "{}", done.stderr);
        assert!(
            dir.path().join("salvaged-1").join(name).exists(),
            "kept aside"
        );
        assert_eq!(
            typed(&["salvage", data]).await.code,
            0,
            "nothing is damaged any more"
        );

        broker.restart().await?;
        expect_the_rest(&broker.url()).await
    })
}

#[test]
fn a_salvage_of_what_is_no_data_directory_makes_none() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("none");
        let ran = siding("", &["salvage", data.to_str().context("text")?], "").await;
        assert_eq!(ran.code, 66, "{}", ran.stderr);
        assert!(!data.exists());
        Ok(())
    })
}
