//! What scripts rely on: exit codes, words that mend, and outputs that parse.

use anyhow::Result;
use serde_json::Value;
use siding_tests::binaries::siding;
use siding_tests::broker::Broker;

use crate::limited;

#[test]
fn every_failure_has_its_exit_code_and_says_what_mends_it() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let url = broker.url();
        let full = ["queue", "create", "full", "--max-messages", "1"];
        assert_eq!(siding(&url, &full, "").await.code, 0);
        assert_eq!(
            siding(&url, &["queue", "create", "email"], "").await.code,
            0
        );
        assert_eq!(siding(&url, &["publish", "full", "one"], "").await.code, 0);
        let cases: [(&[&str], &str, i32, &str); 12] = [
            (
                &["consume", "emial", "--drain"],
                "",
                66,
                "did you mean \"email\"?",
            ),
            (
                &["publish", "emial", "x"],
                "",
                66,
                "did you mean \"email\"?",
            ),
            (&["queue", "show", "emial"], "", 66, "siding queue ls"),
            (
                &["work", "nobody/home", "--drain", "--", "true"],
                "",
                66,
                "\"nobody\" not found",
            ),
            (
                &["queue", "create", "email", "--max-messages", "7"],
                "",
                73,
                "other settings",
            ),
            (
                &["publish", "email", "--json"],
                "{\"body\":\"a\"}\n{\"bo",
                65,
                "message 2",
            ),
            (&["publish"], "", 2, "Usage"),
            (&["queue", "create", "bad name"], "", 2, "letters, digits"),
            (&["queue", "rm", "email"], "", 2, "--yes"),
            (
                &["publish", "full", "two", "--on-busy", "fail"],
                "",
                75,
                "max_messages holds 1 of 1",
            ),
            (
                &["publish", "full", "two", "--on-busy", "drop"],
                "",
                3,
                "dropped",
            ),
            (&["peek", "email", "--state", "dead"], "", 1, ""),
        ];
        for (arguments, stdin, code, words) in cases {
            let ran = siding(&url, arguments, stdin).await;
            assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
            assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
            assert_eq!(ran.stdout, "", "{arguments:?}: stdout carries data only");
        }
        Ok(())
    })
}

#[test]
fn a_broker_that_is_not_there_is_exit_69() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        broker.kill().await?;
        for arguments in [&["queue", "ls"] as &[&str], &["publish", "jobs", "x"]] {
            let ran = siding(&broker.url(), arguments, "").await;
            assert_eq!(ran.code, 69, "{}", ran.stderr);
            assert!(ran.stderr.contains("is sidingd running?"), "{}", ran.stderr);
        }
        Ok(())
    })
}

#[test]
fn a_pipe_gets_tabs_and_minus_o_json_gets_json() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let url = broker.url();
        let object = r#"{"body":"tab\there","key":"k","headers":{"n":-3,"t":true}}"#;
        assert_eq!(
            siding(&url, &["publish", "jobs", "--create", "--json"], object)
                .await
                .code,
            0
        );
        siding(&url, &["topic", "create", "news"], "").await;
        siding(
            &url,
            &["sub", "create", "news/all", "--start", "earliest"],
            "",
        )
        .await;
        let lists: [&[&str]; 5] = [
            &["queue", "ls"],
            &["topic", "ls"],
            &["sub", "ls"],
            &["queue", "show", "jobs"],
            &["peek", "jobs"],
        ];
        for list in lists {
            let tsv = siding(&url, list, "").await;
            assert_eq!(tsv.code, 0, "{list:?}: {}", tsv.stderr);
            let cells = |line: &str| line.split('\t').count();
            let mut widths = tsv.stdout.lines().map(cells);
            let first = widths.next().expect("a line");
            assert!(
                first > 1 && widths.all(|width| width == first),
                "{}",
                tsv.stdout
            );
            let json = siding(&url, &[list, &["-o", "json"]].concat(), "").await;
            let value: Value = serde_json::from_str(&json.stdout)?;
            assert!(value.is_array() || value.is_object(), "{value}");
            let lines = siding(&url, &[list, &["-o", "ndjson"]].concat(), "").await;
            for line in lines.stdout.lines() {
                assert!(serde_json::from_str::<Value>(line)?.is_object(), "{line}");
            }
        }
        let taken = siding(&url, &["consume", "jobs", "--json", "-n", "1"], "").await;
        let taken: Value = serde_json::from_str(&taken.stdout)?;
        assert_eq!(taken["id"], "jobs@0");
        assert_eq!(taken["body"], "tab\there");
        assert_eq!(taken["headers"], serde_json::json!({"n": -3, "t": true}));
        Ok(())
    })
}

#[test]
fn a_name_to_publish_to_that_is_not_there_is_told_with_its_mend() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let url = broker.url();
        siding(&url, &["publish", "email", "x", "--create"], "").await;
        let published = siding(&url, &["publish", "nowhere", "x"], "").await;
        assert_eq!(published.code, 66, "{}", published.stderr);
        assert!(
            published.stderr.contains("--create"),
            "{}",
            published.stderr
        );
        let work = [
            "work", "email", "--drain", "--to", "nowhere", "--", "echo", "ran",
        ];
        let worked = siding(&url, &work, "").await;
        assert_eq!(worked.code, 66, "{}", worked.stderr);
        assert!(worked.stderr.starts_with("error: \"nowhere\" not found"));
        Ok(())
    })
}
