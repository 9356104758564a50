//! Every verb as a user types it: what it does, and what it says when it cannot.

mod clock;
mod explain;
mod operate;
mod topics;

use anyhow::{Context, Result};
use serde_json::Value;
use siding_tests::binaries::{Ran, siding};
use siding_tests::broker::Broker;
use tempfile::TempDir;

use crate::limited;

/// A broker and somebody who types.
struct Desk {
    url: String,
    _broker: Broker,
    _dir: TempDir,
}

impl Desk {
    async fn open() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        Ok(Self {
            url: broker.url(),
            _broker: broker,
            _dir: dir,
        })
    }

    async fn typed(&self, line: &[&str]) -> Ran {
        siding(&self.url, line, "").await
    }

    /// Runs to exit code 0; gives stdout.
    async fn done(&self, line: &[&str]) -> String {
        let ran = self.typed(line).await;
        assert_eq!(ran.code, 0, "{line:?}: {}", ran.stderr);
        ran.stdout
    }

    /// Ends with this exit code and these words on stderr.
    async fn fails(&self, line: &[&str], code: i32, words: &str) {
        let ran = self.typed(line).await;
        assert_eq!(ran.code, code, "{line:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{line:?}: {}", ran.stderr);
    }

    /// What a record of one thing says under this name.
    async fn field(&self, line: &[&str], name: &str) -> Result<Value> {
        let json = self.done(&[line, &["-o", "json"]].concat()).await;
        let record: Value = serde_json::from_str(&json)?;
        Ok(record.get(name).cloned().unwrap_or_default())
    }

    /// Takes one message and leaves it leased: the line of JSON.
    async fn taken(&self, address: &str) -> String {
        let line = ["consume", address, "--ack", "manual", "--json", "-n", "1"];
        self.done(&line).await
    }
}

fn grant_of(line: &str) -> Result<String> {
    let line: Value = serde_json::from_str(line)?;
    let grant = line.get("grant").and_then(Value::as_str);
    Ok(grant.context("a grant")?.to_owned())
}

#[test]
fn a_publish_says_everything_a_message_can_say() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        desk.done(&["publish", "jobs", "low", "--priority", "1"])
            .await;
        let high = ["publish", "jobs", "high", "--priority", "9", "--ttl", "1h"];
        desk.done(&[&high[..], &["--routing-key", "a.b", "-H", "x=y"]].concat())
            .await;
        desk.done(&["publish", "jobs", "later", "--delay", "1h"])
            .await;
        let once = ["publish", "jobs", "once", "--dedup", "o-1", "--print-ids"];
        assert_eq!(desk.done(&once).await, "jobs@3\n");
        let again = siding(&desk.url, &once, "").await;
        assert_eq!((again.code, again.stdout.as_str()), (0, "jobs@3\n"), "once");
        let told = "1 duplicate, stored before as jobs@3";
        assert!(again.stderr.contains(told), "{}", again.stderr);
        let other = ["publish", "jobs", "other", "--dedup", "o-1"];
        desk.fails(&other, 2, "dedup id").await;
        desk.done(&["publish", "jobs", "quick", "--level", "written"])
            .await;
        let line = "{\"body\":\"json\",\"priority\":8,\"deliver_at\":\"2020-01-01T00:00:00Z\"}\n";
        let json = siding(&desk.url, &["publish", "jobs", "--json"], line).await;
        assert_eq!(json.code, 0, "{}", json.stderr);
        assert_eq!(desk.field(&["queue", "show", "jobs"], "delayed").await?, 1);
        let taken = desk.done(&["consume", "jobs", "-n", "5"]).await;
        assert_eq!(taken, "high\njson\nonce\nquick\nlow\n");
        Ok(())
    })
}

#[test]
fn what_a_publish_cannot_say_names_the_flag() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        let cases: [(&[&str], i32, &str); 6] = [
            (&["--priority", "10"], 2, "--priority"),
            (
                &["--delay", "9000d"],
                2,
                "--delay: out of range (allowed: 0s to 3660d)",
            ),
            (
                &["--delay", "1s", "--at", "09:00"],
                2,
                "cannot be used with",
            ),
            (&["--at", "soon"], 2, "a time is"),
            (
                &["--key", &"k".repeat(257)],
                2,
                "--key: more than 256 bytes",
            ),
            (
                &["--level", "quorum"],
                2,
                "possible values: written, synced",
            ),
        ];
        for (flags, code, words) in cases {
            let line = [&["publish", "jobs", "x"], flags].concat();
            desk.fails(&line, code, words).await;
        }
        let many = ["publish", "jobs", "--dedup", "o-1"];
        desk.fails(&many, 2, "--json with a dedup_id").await;
        let line = ["publish", "jobs", "--json"];
        let bad = siding(&desk.url, &line, "{\"body\":\"x\",\"delay\":60}").await;
        assert_eq!(bad.code, 65, "{}", bad.stderr);
        assert!(
            bad.stderr.contains("message 1: delay is text"),
            "{}",
            bad.stderr
        );
        assert_eq!(desk.field(&["queue", "show", "jobs"], "end").await?, 0);
        Ok(())
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "what is typed, and what is told")]
fn show_tells_what_differs_from_the_default_as_it_is_typed() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        let settings = [
            "--visibility",
            "1m30s",
            "--max-attempts",
            "3",
            "--backoff",
            "1s,500ms",
            "--ttl",
            "1h",
            "--on-expired",
            "dead",
            "--dedup-window",
            "1d",
            "--max-bytes",
            "64MiB",
            "--track",
        ];
        desk.done(&[&["queue", "create", "jobs"][..], &settings].concat())
            .await;
        // The same again is fine, and what is told is what was typed.
        desk.done(&[&["queue", "create", "jobs"][..], &settings].concat())
            .await;
        let told = desk.done(&["queue", "show", "jobs"]).await;
        for line in [
            "visibility\t1m30s",
            "max_attempts\t3",
            "backoff\t1s,500ms",
            "ttl\t1h",
            "on_expired\tdead",
            "dedup_window\t1d",
            "max_bytes\t64MiB",
            "track\ttrue",
        ] {
            assert!(told.lines().any(|told| told == line), "{line} in {told}");
        }
        assert!(!told.contains("max_dead\t"), "as by default: {told}");
        for exit in [
            "settled",
            "expired",
            "cancelled",
            "purged",
            "filtered",
            "evicted",
            "forwarded",
        ] {
            assert!(told.contains(&format!("{exit}\t0\n")), "{exit} in {told}");
        }
        for (flag, value, words) in [
            (
                "--visibility",
                "5ms",
                "--visibility: out of range (allowed: 1s to 12h)",
            ),
            (
                "--max-attempts",
                "0",
                "--max-attempts: out of range (allowed: 1 to 1000)",
            ),
            (
                "--dedup-window",
                "8d",
                "--dedup-window: out of range (allowed: 0s to 7d)",
            ),
            (
                "--done-retention",
                "31d",
                "--done-retention: out of range (allowed: 0s to 30d)",
            ),
            ("--max-dead", "0", "--max-dead: out of range"),
            (
                "--age-step",
                "10ms",
                "--age-step: out of range (allowed: 1s to 3660d)",
            ),
            ("--backoff", "soon", "for example 30s or 10m"),
        ] {
            desk.fails(&["queue", "create", "other", flag, value], 2, words)
                .await;
        }
        desk.done(&["topic", "create", "news", "--retention", "1d"])
            .await;
        let topic = desk.done(&["topic", "show", "news"]).await;
        assert!(topic.contains("retention\t1d\n"), "{topic}");
        let long = ["topic", "create", "old", "--retention", "10ms"];
        desk.fails(&long, 2, "--retention: out of range (allowed: 1s to 3660d)")
            .await;
        Ok(())
    })
}

#[test]
fn what_is_held_by_hand_is_settled_by_hand() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs", "--backoff", "0s", "--track"])
            .await;
        for body in ["a", "b", "c", "d"] {
            desk.done(&["publish", "jobs", body]).await;
        }
        let first = desk.taken("jobs").await;
        let acked = siding(&desk.url, &["ack", "-"], &first).await;
        assert_eq!((acked.code, acked.stdout.as_str()), (0, "jobs@0\tdone\n"));
        let grant = grant_of(&desk.taken("jobs").await)?;
        let extend = ["extend", "jobs@1", "--grant", &grant, "--for", "2m"];
        let progress = ["--progress", "40", "--note", "half", "--checkpoint", "p7"];
        desk.done(&[&extend[..], &progress].concat()).await;
        assert_eq!(desk.field(&["get", "jobs@1"], "progress").await?, 40);
        desk.done(&["release", "jobs@1", "--grant", &grant]).await;
        desk.fails(&["ack", "jobs@1", "--grant", &grant], 3, "")
            .await;
        let again = desk.taken("jobs").await;
        let reject = ["reject", "jobs@1", "--reason", "not JSON", "--grant"];
        desk.done(&[&reject[..], &[&grant_of(&again)?]].concat())
            .await;
        let dead = desk.done(&["dead", "show", "jobs@1"]).await;
        assert!(dead.contains("reason\trejected\n"), "{dead}");
        assert!(dead.contains("detail\tnot JSON\n"), "{dead}");
        let grant = grant_of(&desk.taken("jobs").await)?;
        let nack = ["nack", "jobs@2", "--reason", "no answer", "--delay", "1h"];
        desk.done(&[&nack[..], &["--grant", &grant]].concat()).await;
        let peeked = desk.field(&["peek", "jobs@2"], "state").await?;
        assert_eq!(peeked, "delayed");
        desk.fails(&["ack", "jobs@3"], 2, "under which grant?")
            .await;
        desk.fails(&["ack", "jobs", "--grant", "1.1"], 2, "ADDRESS@OFFSET")
            .await;
        desk.fails(&["ack", "jobs@3", "--grant", "7"], 2, "TERM.COUNTER")
            .await;
        let grant = grant_of(&desk.taken("jobs").await)?;
        let long = ["extend", "jobs@3", "--for", "13h", "--grant", &grant];
        desk.fails(&long, 2, "--for: out of range (allowed: 1s to 12h)")
            .await;
        Ok(())
    })
}

#[test]
fn a_job_can_be_looked_at_awaited_and_cancelled() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs", "--track", "--max-attempts", "1"])
            .await;
        let id = desk.done(&["publish", "jobs", "21", "--print-ids"]).await;
        let id = id.trim();
        desk.fails(
            &["await", id, "--wait", "10ms"],
            1,
            "has not ended: it is ready",
        )
        .await;
        let double = ["work", "jobs", "--drain", "--result", "--", "sh", "-c"];
        desk.done(&[&double[..], &["echo $(( $(cat) * 2 ))"]].concat())
            .await;
        assert_eq!(desk.done(&["await", id, "--result"]).await, "42\n");
        assert_eq!(desk.field(&["get", id], "state").await?, "settled");
        desk.done(&["publish", "jobs", "sad"]).await;
        let fail = [
            "work",
            "jobs",
            "--drain",
            "--",
            "sh",
            "-c",
            "echo no luck >&2; exit 1",
        ];
        desk.done(&fail).await;
        desk.fails(&["await", "jobs@1"], 3, "no luck").await;
        desk.done(&["publish", "jobs", "unwanted", "--delay", "1h"])
            .await;
        desk.done(&["cancel", "jobs@2"]).await;
        assert_eq!(desk.field(&["get", "jobs@2"], "state").await?, "cancelled");
        desk.fails(&["await", "jobs@2"], 3, "jobs@2 is cancelled")
            .await;
        desk.fails(&["cancel", id], 3, "has ended: it is settled")
            .await;
        desk.fails(&["get", "jobs@99"], 66, "no message of that offset")
            .await;
        desk.fails(&["get", "jobs"], 2, "ADDRESS@OFFSET").await;
        desk.fails(&["cancel", "jbos@0"], 66, "did you mean \"jobs\"?")
            .await;
        Ok(())
    })
}

#[test]
fn dead_letters_are_counted_dropped_and_brought_back_only_when_it_is_meant() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        for body in ["a", "b", "c"] {
            desk.done(&["publish", "jobs", body]).await;
        }
        desk.done(&["work", "jobs", "--drain", "--", "sh", "-c", "exit 65"])
            .await;
        desk.fails(
            &["dead", "drop", "jobs"],
            2,
            "to drop 3 dead letters of jobs, say --yes",
        )
        .await;
        let dry = desk
            .done(&["dead", "drop", "jobs", "--limit", "2", "--dry-run"])
            .await;
        assert_eq!(dry, "matching\t2\n");
        let dropped = desk
            .done(&["dead", "drop", "jobs", "--limit", "1", "--yes"])
            .await;
        assert_eq!(dropped, "dropped\t1\n");
        let redriven = desk.done(&["dead", "redrive", "jobs", "--yes"]).await;
        assert_eq!(redriven, "redriven\t2\n");
        desk.fails(&["dead", "redrive", "jobs", "--yes"], 1, "")
            .await;
        desk.fails(&["dead", "show", "jobs@1"], 1, "siding dead ls jobs")
            .await;
        assert_eq!(
            desk.done(&["queue", "purge", "jobs", "--dry-run"]).await,
            "matching\t2\n"
        );
        assert_eq!(
            desk.done(&["queue", "purge", "jobs", "--yes"]).await,
            "purged\t2\n"
        );
        assert_eq!(desk.field(&["queue", "show", "jobs"], "purged").await?, 3);
        Ok(())
    })
}

#[test]
fn a_topic_is_read_from_anywhere_and_only_what_matches() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["topic", "create", "orders"]).await;
        for key in ["eu.new", "us.new", "eu.paid"] {
            desk.done(&["publish", "orders", key, "--routing-key", key])
                .await;
        }
        let eu = ["consume", "orders", "--from", "earliest", "--drain"];
        let eu = [&eu[..], &["--filter", "routing_key matches eu.>"]].concat();
        assert_eq!(desk.done(&eu).await, "eu.new\neu.paid\n");
        assert_eq!(
            desk.field(&["topic", "show", "orders"], "subscriptions")
                .await?,
            serde_json::json!([])
        );
        desk.done(&["sub", "create", "orders/all", "--from", "1"])
            .await;
        let drain = ["consume", "orders/all", "--drain"];
        assert_eq!(desk.done(&drain).await, "us.new\neu.paid\n");
        desk.fails(&["sub", "seek", "orders/all", "--to", "2"], 2, "say --yes")
            .await;
        desk.done(&["sub", "seek", "orders/all", "--to", "2", "--yes"])
            .await;
        assert_eq!(desk.done(&drain).await, "eu.paid\n");
        desk.done(&["sub", "seek", "orders/all", "--to", "1h", "--yes"])
            .await;
        assert_eq!(desk.done(&drain).await, "eu.new\nus.new\neu.paid\n");
        let bad = ["sub", "create", "orders/bad", "--filter", "key is x"];
        desk.fails(&bad, 2, "--filter: ").await;
        let mends = ["consume", "orders/all", "--from", "earliest"];
        desk.fails(&mends, 2, "siding consume orders --from").await;
        desk.done(&["queue", "create", "jobs"]).await;
        desk.fails(
            &["consume", "jobs", "--from", "earliest"],
            2,
            "jobs is a queue",
        )
        .await;
        desk.fails(
            &["sub", "seek", "orders/all", "--to", "soon"],
            2,
            "a start is",
        )
        .await;
        Ok(())
    })
}

#[test]
fn a_queue_that_keeps_what_it_settled_is_sought_back() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        let create = ["queue", "create", "mails", "--retain-settled", "1h"];
        desk.done(&create).await;
        desk.done(&["publish", "mails", "one"]).await;
        desk.done(&["publish", "mails", "two"]).await;
        let job = desk.done(&["get", "mails@0"]).await;
        assert!(job.contains("published_at\t20"), "{job}");
        let drain = ["consume", "mails", "--drain"];
        assert_eq!(desk.done(&drain).await, "one\ntwo\n");
        let told = desk.done(&["queue", "show", "mails"]).await;
        assert!(
            told.contains("kept_bytes") && told.contains("retain_settled"),
            "{told}"
        );
        let back = ["queue", "seek", "mails", "--to", "earliest", "--yes"];
        desk.done(&back).await;
        assert_eq!(desk.done(&drain).await, "one\ntwo\n");
        desk.done(&["queue", "create", "jobs"]).await;
        let seek = ["queue", "seek", "jobs", "--to", "earliest", "--yes"];
        desk.fails(&seek, 2, "--retain-settled").await;
        let by_key = [
            "queue",
            "create",
            "by-key",
            "--order",
            "key",
            "--retain-settled",
            "1h",
        ];
        desk.fails(&by_key, 2, "--retain-settled").await;
        Ok(())
    })
}

#[test]
fn every_verb_helps_with_an_example() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        let verbs = "publish|consume|work|peek|ack|nack|release|reject|extend|get|await|cancel|explain|\
            queue create|queue ls|queue show|queue rm|queue purge|queue pause|queue resume|queue seek|\
            topic create|topic ls|topic show|topic rm|topic purge|sub create|sub ls|sub show|sub rm|\
            sub purge|sub pause|sub resume|sub seek|dead ls|dead show|dead redrive|dead drop|cron add|\
            cron ls|cron rm|cron run|cron next";
        for verb in verbs.split('|') {
            let mut line: Vec<_> = verb.split_whitespace().collect();
            line.push("--help");
            let help = desk.done(&line).await;
            let example = format!("siding {}", line[..line.len() - 1].join(" "));
            let (_, examples) = help.split_once("Example").context(verb)?;
            assert!(examples.contains(&example), "{verb}: {examples}");
        }
        Ok(())
    })
}
