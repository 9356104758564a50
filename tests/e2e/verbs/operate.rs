//! What an operator types: pause, look, purge and redrive by filter, and what a full queue says.

use anyhow::Result;
use siding_tests::binaries::{finish, siding, spawn_siding};
use siding_tests::broker::within;

use super::Desk;
use crate::limited;

impl Desk {
    /// Publishes these, each with a header `lang`.
    async fn publish_in(&self, name: &str, bodies: &[(&str, &str)]) {
        for (body, lang) in bodies {
            let header = format!("lang={lang}");
            self.done(&["publish", name, body, "-H", &header]).await;
        }
    }

    /// Makes dead letters of everything in a queue; the detail says the body.
    async fn reject_all(&self, name: &str) {
        let line = [
            "work",
            name,
            "--drain",
            "--",
            "sh",
            "-c",
            "echo no $(cat) >&2; exit 65",
        ];
        self.done(&line).await;
    }
}

#[test]
fn a_paused_queue_hands_nothing_over_until_it_is_resumed() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        desk.done(&["publish", "jobs", "held"]).await;
        let held = desk.taken("jobs").await;
        desk.done(&["publish", "jobs", "waits"]).await;
        desk.done(&["queue", "pause", "jobs"]).await;
        desk.done(&["queue", "pause", "jobs"]).await;
        assert_eq!(
            desk.field(&["queue", "show", "jobs"], "paused").await?,
            true
        );
        let idle = ["consume", "jobs", "--wait", "50ms", "-n", "1"];
        desk.fails(&idle, 1, "").await;
        // What is leased can be settled.
        let acked = siding(&desk.url, &["ack", "-"], &held).await;
        assert_eq!(acked.code, 0, "{}", acked.stderr);
        let polling = spawn_siding(&desk.url, &["consume", "jobs", "-n", "1"])?;
        desk.done(&["queue", "resume", "jobs"]).await;
        let polled = within("the poll ends", finish(polling, "")).await?;
        assert_eq!((polled.code, &*polled.stdout), (0, "waits\n"));
        desk.fails(
            &["queue", "pause", "jbos"],
            66,
            "did you mean \"jobs\"? · siding queue ls",
        )
        .await;
        Ok(())
    })
}

#[test]
fn what_matches_is_looked_at_purged_and_brought_back_and_nothing_else() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        let bodies = [("a", "en"), ("b", "de"), ("c", "en"), ("d", "fr")];
        desk.publish_in("jobs", &bodies).await;
        let english = ["--filter", "header lang eq en"];
        let peek = ["peek", "jobs", "--format", "%b "];
        assert_eq!(desk.done(&[&peek[..], &english].concat()).await, "a c ");
        let purge = ["queue", "purge", "jobs"];
        let purge = [&purge[..], &english].concat();
        let dry = [&purge[..], &["--dry-run"]].concat();
        assert_eq!(desk.done(&dry).await, "matching\t2\n");
        let meant = [&purge[..], &["--yes"]].concat();
        assert_eq!(desk.done(&meant).await, "purged\t2\n");
        desk.fails(&meant, 1, "").await;
        desk.publish_in("jobs", &[("e", "en")]).await;
        desk.reject_all("jobs").await;
        let ls = ["dead", "ls", "jobs", "--format", "%b "];
        assert_eq!(desk.done(&[&ls[..], &english].concat()).await, "e ");
        let detail = ["--filter", "detail eq \"no d\" or reason eq expired"];
        assert_eq!(desk.done(&[&ls[..], &detail].concat()).await, "d ");
        let redrive = ["dead", "redrive", "jobs", "--yes"];
        let redriven = desk.done(&[&redrive[..], &english].concat()).await;
        assert_eq!(redriven, "redriven\t1\n");
        let drop = ["dead", "drop", "jobs", "--yes"];
        let dropped = desk.done(&[&drop[..], &detail].concat()).await;
        assert_eq!(dropped, "dropped\t1\n");
        assert_eq!(desk.done(&ls).await, "b ");
        assert_eq!(desk.done(&["consume", "jobs", "--drain"]).await, "e\n");
        let bad = ["peek", "jobs", "--filter", "header lang is en"];
        desk.fails(&bad, 2, "--filter: expected `eq`, `in`").await;
        Ok(())
    })
}

#[test]
fn a_redrive_at_a_rate_goes_on_in_the_background_until_it_is_stopped() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        let lines: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let published = siding(&desk.url, &["publish", "jobs"], &lines.join("\n")).await;
        assert_eq!(published.code, 0, "{}", published.stderr);
        let held = [
            "consume", "jobs", "--ack", "manual", "--json", "--wait", "10ms",
        ];
        let held = desk.done(&held).await;
        let rejected = siding(&desk.url, &["reject", "-"], &held).await;
        assert_eq!(rejected.code, 0, "{}", rejected.stderr);
        let slowly = ["dead", "redrive", "jobs", "--rate", "1", "--yes"];
        let began = desk.typed(&slowly).await;
        assert_eq!((began.code, &*began.stdout), (0, "redriving\t100\n"));
        let words = "goes on in the background · siding dead redrive jobs --stop\n";
        assert_eq!(began.stderr, words);
        desk.fails(
            &slowly,
            73,
            "a redrive of jobs goes on already · siding dead redrive jobs --stop",
        )
        .await;
        assert_eq!(desk.done(&["consume", "jobs", "-n", "1"]).await, "0\n");
        let before = desk.field(&["queue", "show", "jobs"], "redriving").await?;
        let left = desk.field(&["dead", "redrive", "jobs", "--stop"], "left_dead");
        let left = left.await?;
        assert!(left.as_u64() <= before.as_u64(), "{left} of {before}");
        assert_eq!(desk.field(&["queue", "show", "jobs"], "dead").await?, left);
        desk.fails(&["dead", "redrive", "jobs", "--stop"], 1, "")
            .await;
        let none = desk.field(&["queue", "show", "jobs"], "redriving").await?;
        assert!(none.is_null(), "{none}");
        let most = ["dead", "redrive", "jobs", "--rate", "1000001", "--yes"];
        desk.fails(&most, 2, "--rate: out of range (allowed: 0 to 1000000)")
            .await;
        desk.fails(&["dead", "redrive", "jbos", "--stop"], 66, "did you mean")
            .await;
        Ok(())
    })
}

#[test]
fn a_full_queue_refuses_with_a_time_to_try_again_or_makes_room_as_it_was_told() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        for (name, overflow) in [
            ("strict", "reject"),
            ("ring", "drop-oldest"),
            ("grave", "dead-oldest"),
        ] {
            let create = ["queue", "create", name, "--max-messages", "2"];
            desk.done(&[&create[..], &["--overflow", overflow]].concat())
                .await;
            for body in ["a", "b"] {
                desk.done(&["publish", name, body]).await;
            }
        }
        let fail = ["publish", "strict", "c", "--on-busy", "fail"];
        desk.fails(
            &fail,
            75,
            "busy: max_messages holds 2 of 2; try again in 1000 ms",
        )
        .await;
        let drop = ["publish", "strict", "c", "--on-busy", "drop"];
        desk.fails(&drop, 3, "1 dropped: busy").await;
        // Whoever waits gets in as soon as there is room.
        let waiting = spawn_siding(&desk.url, &["publish", "strict", "c"])?;
        assert_eq!(desk.done(&["consume", "strict", "-n", "1"]).await, "a\n");
        let waited = within("the publish ends", finish(waiting, "")).await?;
        assert_eq!(waited.code, 0, "{}", waited.stderr);
        let drain = |name| ["consume", name, "--drain"];
        assert_eq!(desk.done(&drain("strict")).await, "b\nc\n");
        // One that is held makes no room.
        let held = desk.taken("ring").await;
        desk.done(&["publish", "ring", "c"]).await;
        assert_eq!(desk.field(&["queue", "show", "ring"], "evicted").await?, 1);
        assert_eq!(desk.done(&["consume", "ring", "-n", "1"]).await, "c\n");
        let acked = siding(&desk.url, &["ack", "-"], &held).await;
        assert_eq!(acked.stdout, "ring@0\tdone\n");
        desk.done(&["publish", "grave", "c"]).await;
        assert_eq!(desk.done(&drain("grave")).await, "b\nc\n");
        let dead = desk.done(&["dead", "show", "grave@0"]).await;
        assert!(dead.contains("reason\toverflow\n"), "{dead}");
        let none = ["queue", "create", "x", "--overflow", "wait"];
        desk.fails(&none, 2, "[possible values: reject, drop-oldest")
            .await;
        Ok(())
    })
}
