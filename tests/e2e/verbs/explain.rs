//! `siding explain` on every situation of its closed list.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use siding::Client;

use super::Desk;
use crate::limited;

impl Desk {
    /// The first cause: its name, its number, and whether there is a next change by time.
    async fn why(&self, line: &[&str]) -> Result<(String, u64, bool)> {
        let line = [&["explain"], line, &["-o", "json"]].concat();
        let record: Value = serde_json::from_str(&self.done(&line).await)?;
        let cause = record.pointer("/causes/0").context("a cause")?;
        let name = cause.get("cause").and_then(Value::as_str);
        let number = cause.get("number").and_then(Value::as_u64);
        let wakes = record.get("next_wake").is_some_and(Value::is_string);
        Ok((
            name.context("a name")?.to_owned(),
            number.context("a number")?,
            wakes,
        ))
    }

    /// The lease of what was just handed over is known with its deadline a few milliseconds later.
    async fn is_leased(&self, message: &str) -> Result<()> {
        for _ in 0..1_000 {
            let (cause, attempt, wakes) = self.why(&[message]).await?;
            assert_eq!((cause.as_str(), attempt), ("LEASED", 1));
            if wakes {
                return Ok(());
            }
        }
        anyhow::bail!("{message} has no deadline")
    }

    async fn is_held_by(&self, line: &[&str], cause: &str, number: u64, wakes: bool) -> Result<()> {
        let expected = (cause.to_owned(), number, wakes);
        assert_eq!(self.why(line).await?, expected, "{line:?}");
        Ok(())
    }
}

#[test]
fn explain_tells_of_messages_that_wait_for_time_or_a_key_or_a_reader() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        desk.done(&["publish", "jobs", "later", "--delay", "1h"])
            .await;
        desk.is_held_by(&["jobs@0"], "NOT_DUE", 0, true).await?;
        desk.done(&["publish", "jobs", "first"]).await;
        desk.done(&["publish", "jobs", "second"]).await;
        desk.is_held_by(&["jobs@1"], "NO_CONSUMER", 2, false)
            .await?;
        let first = desk.taken("jobs").await;
        desk.is_leased("jobs@1").await?;
        let grant = super::grant_of(&first)?;
        let nack = [
            "nack", "jobs@1", "--grant", &grant, "--delay", "1h", "--reason", "boom",
        ];
        desk.done(&nack).await;
        desk.is_held_by(&["jobs@1"], "NOT_DUE", 1, true).await?;
        let told = desk.done(&["explain", "jobs@1"]).await;
        assert!(told.contains("boom"), "{told}");
        desk.done(&["queue", "pause", "jobs"]).await;
        desk.is_held_by(&["jobs@2"], "PAUSED", 1, false).await?;
        desk.is_held_by(&["jobs"], "PAUSED", 1, true).await?;

        desk.done(&["queue", "create", "keyed", "--order", "key"])
            .await;
        desk.done(&["publish", "keyed", "one", "--key", "a"]).await;
        desk.done(&["publish", "keyed", "two", "--key", "a"]).await;
        desk.taken("keyed").await;
        desk.is_leased("keyed@0").await?;
        // Nobody reads it either, and says so first.
        let told = desk.done(&["explain", "keyed@1"]).await;
        assert!(
            told.contains("KEY_BLOCKED") && told.contains("@0 is leased"),
            "{told}"
        );
        Ok(())
    })
}

#[test]
fn explain_tells_of_full_windows_and_of_those_before() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        let client = Client::connect(&desk.url).await?;
        let mut consumer = client.consumer("jobs").window(1).open().await?;
        for body in ["one", "two", "three"] {
            desk.done(&["publish", "jobs", body]).await;
        }
        let held = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await?;
        let held = held.context("a message")??;
        desk.is_held_by(&["jobs@2"], "NO_CREDIT", 1, false).await?;
        let json = desk.done(&["explain", "jobs@2", "-o", "json"]).await;
        let json: Value = serde_json::from_str(&json)?;
        let behind = json.pointer("/causes/1").context("a second cause")?;
        assert_eq!(behind.get("cause"), Some(&"BEHIND".into()), "{behind}");
        assert_eq!(behind.get("number"), Some(&1.into()), "{behind}");
        desk.is_held_by(&["jobs"], "NO_CREDIT", 1, true).await?;
        drop(held);
        Ok(())
    })
}

#[test]
fn explain_tells_of_messages_that_have_left_or_never_came() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["topic", "create", "news"]).await;
        let filter = ["--filter", "routing_key matches eu.*"];
        desk.done(&[&["sub", "create", "news/eu"], &filter[..]].concat())
            .await;
        desk.done(&["publish", "news", "here", "--routing-key", "eu.a"])
            .await;
        desk.done(&["publish", "news", "there", "--routing-key", "us.a"])
            .await;
        desk.is_held_by(&["news/eu@1"], "FILTERED", 0, false)
            .await?;
        desk.done(&["consume", "news/eu", "--drain"]).await;
        desk.is_held_by(&["news/eu@0"], "SETTLED", 0, false).await?;
        desk.is_held_by(&["news/eu"], "FILTERED", 1, false).await?;

        desk.done(&["queue", "create", "jobs"]).await;
        desk.done(&["publish", "jobs", "bad", "--dedup", "i-7"])
            .await;
        let grant = super::grant_of(&desk.taken("jobs").await)?;
        desk.done(&["reject", "jobs@0", "--grant", &grant, "--reason", "no"])
            .await;
        desk.is_held_by(&["jobs@0"], "DEAD", 0, true).await?;
        desk.is_held_by(&["jobs", "--dedup", "i-7"], "DUPLICATE", 0, true)
            .await?;
        desk.fails(
            &["explain", "jobs", "--dedup", "i-8"],
            1,
            "nothing holds it back",
        )
        .await;
        desk.fails(
            &["explain", "jobs@0", "--dedup", "i-7"],
            2,
            "leave out @OFFSET",
        )
        .await;
        desk.fails(&["explain", "jobs@9"], 66, "jobs@9").await;
        desk.fails(
            &["explain", "news"],
            2,
            "a topic is read through a subscription",
        )
        .await;
        Ok(())
    })
}
