//! What a reader of a topic is told of what it missed, and what goes on from one name to another.

use anyhow::Result;
use siding_tests::binaries::siding;

use super::Desk;
use crate::limited;

#[test]
fn a_reader_that_retention_passed_is_told_on_stderr_and_goes_on() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        let small = ["topic", "create", "news", "--retention-bytes", "100KB"];
        desk.done(&small).await;
        for sub in ["polled", "pushed", "worked"] {
            let address = format!("news/{sub}");
            desk.done(&["sub", "create", &address, "--from", "earliest"])
                .await;
        }
        let body = "x".repeat(60_000);
        for _ in 0..3 {
            desk.done(&["publish", "news", &body]).await;
        }
        let ways: [(&str, &[&str]); 3] = [
            ("polled", &["consume", "news/polled", "-n", "1"]),
            ("pushed", &["consume", "news/pushed", "--drain"]),
            ("worked", &["work", "news/worked", "--drain", "--", "cat"]),
        ];
        for (sub, line) in ways {
            let ran = desk.typed(line).await;
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            let words = format!(
                "gap in news/{sub}: offsets 0 to 1, 2 messages, were gone before they were read\n"
            );
            assert!(ran.stderr.contains(&words), "{}", ran.stderr);
        }
        Ok(())
    })
}

#[test]
fn messages_go_on_to_where_a_subscription_and_dead_letters_send_them() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["topic", "create", "orders"]).await;
        desk.done(&["queue", "create", "graves"]).await;
        let jobs = ["queue", "create", "jobs", "--dead-letter-to", "graves"];
        desk.done(&jobs).await;
        let on = ["sub", "create", "orders/on", "--forward-to", "jobs"];
        desk.done(&[&on[..], &["--filter", "routing_key matches eu.>"]].concat())
            .await;
        for key in ["eu.new", "us.new"] {
            desk.done(&["publish", "orders", key, "--routing-key", key])
                .await;
        }
        let bury = ["consume", "jobs", "--ack", "manual", "--json", "-n", "1"];
        let held = desk.done(&bury).await;
        let rejected = siding(&desk.url, &["reject", "-", "--reason", "no"], &held).await;
        assert_eq!(rejected.code, 0, "{}", rejected.stderr);
        assert_eq!(
            desk.done(&["consume", "graves", "-n", "1"]).await,
            "eu.new\n"
        );
        // What it names may come later; until then `show` tells what waits for it.
        let nowhere = ["queue", "create", "other", "--dead-letter-to", "grvaes"];
        let told = desk.typed(&nowhere).await;
        assert_eq!(told.code, 0, "{}", told.stderr);
        let words = "did you mean \"graves\"?: what goes there waits until it is created\n";
        assert!(told.stderr.contains(words), "{}", told.stderr);
        desk.done(&["publish", "other", "bad"]).await;
        let held = desk.taken("other").await;
        let rejected = siding(&desk.url, &["reject", "-"], &held).await;
        assert_eq!(rejected.code, 0, "{}", rejected.stderr);
        let blocked = desk
            .field(&["queue", "show", "other"], "blocked_by")
            .await?;
        assert_eq!(blocked, "grvaes");
        Ok(())
    })
}

#[test]
fn a_new_subscription_judges_what_was_stored_before_it_also_from_disk() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["topic", "create", "orders"]).await;
        // Three times what the broker keeps in memory.
        let body = "x".repeat(30_000);
        let line = |number: usize| {
            let land = ["eu", "us"][number % 2];
            let key = format!("{land}.{number}");
            format!(
                "{{\"body\":\"{key} {body}\",\"routing_key\":\"{key}\",\"headers\":{{\"land\":\"{land}\"}}}}\n"
            )
        };
        let lines: String = (0..100).map(line).collect();
        let published = siding(&desk.url, &["publish", "orders", "--json"], &lines).await;
        assert_eq!(published.code, 0, "{}", published.stderr);
        for (sub, filter, count) in [
            ("eu", "routing_key matches eu.>", 50),
            ("few", "header land eq us and routing_key prefix us.9", 6),
            ("none", "header land eq fr", 0),
        ] {
            let address = format!("orders/{sub}");
            let create = ["sub", "create", &address, "--from", "earliest"];
            desk.done(&[&create[..], &["--filter", filter]].concat())
                .await;
            let drain = ["consume", &address, "--drain"];
            let got = desk.done(&drain).await;
            assert_eq!(got.lines().count(), count, "{filter}");
            let show = ["sub", "show", &address];
            let filtered = desk.field(&show, "filtered").await?;
            assert_eq!(filtered, 100 - count, "{filter}");
        }
        Ok(())
    })
}
