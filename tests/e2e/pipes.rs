//! `siding` in pipes, as in the README: counts are right whatever happens to the broker.

use std::collections::{BTreeSet, HashSet};

use anyhow::Result;
use siding::wire::{DeliverySettings, QueueSettings};
use siding_tests::binaries::{finish, siding, spawn_siding};
use siding_tests::broker::{Broker, within};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::limited;

/// As `seq 1 COUNT`.
fn seq(count: u32) -> String {
    let numbers = (1..=count).map(|number| number.to_string());
    numbers
        .flat_map(|number| [number, "\n".to_owned()])
        .collect()
}

/// As `sort -n | uniq`: each line of `seq`, however often it came.
fn assert_all(stdout: &str, count: u32) {
    let unique: BTreeSet<u32> = stdout
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert_eq!(unique, (1..=count).collect());
}

/// A queue whose leases end soon.
async fn create_jobs(broker: &Broker, visibility_ms: u64) -> Result<()> {
    let settings = QueueSettings {
        delivery: Some(DeliverySettings {
            visibility_timeout_ms: Some(visibility_ms),
            backoff_ms: vec![50],
            ..DeliverySettings::default()
        }),
        ..QueueSettings::default()
    };
    Ok(broker
        .client("creator")
        .await?
        .create_queue("jobs", settings)
        .await?)
}

#[test]
fn a_kill_between_publish_and_consume_changes_nothing() -> Result<()> {
    limited(async {
        const COUNT: u32 = 20_000;
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        let url = broker.url();
        let published = siding(&url, &["publish", "jobs", "--create"], &seq(COUNT)).await;
        assert_eq!(
            (published.code, published.stdout.as_str()),
            (0, ""),
            "{published:?}"
        );
        assert!(
            published.stderr.contains("confirmed 20000 messages"),
            "{}",
            published.stderr
        );
        broker.kill().await?;
        broker.restart().await?;
        let consumed = siding(&url, &["consume", "jobs", "--drain"], "").await;
        assert_eq!(consumed.code, 0, "{}", consumed.stderr);
        assert_eq!(consumed.stdout, seq(COUNT), "in order, each once");
        let again = siding(&url, &["consume", "jobs", "--drain"], "").await;
        assert_eq!((again.code, again.stdout.as_str()), (0, ""));
        Ok(())
    })
}

#[test]
fn an_id_is_printed_once_it_is_confirmed_although_the_input_goes_on() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let words = ["publish", "jobs", "--create", "--print-ids"];
        let mut child = spawn_siding(&broker.url(), &words)?;
        let mut stdin = child.stdin.take().expect("piped");
        let mut ids = BufReader::new(child.stdout.take().expect("piped")).lines();
        for number in 0..3 {
            stdin.write_all(b"one more\n").await?;
            let id = within("its id", ids.next_line()).await?;
            assert_eq!(id, Some(format!("jobs@{number}")));
        }
        drop(stdin);
        let output = within("it ends", child.wait_with_output()).await?;
        assert!(output.status.success(), "{output:?}");
        Ok(())
    })
}

#[test]
fn a_kill_while_publishing_stores_each_line_once() -> Result<()> {
    limited(async {
        const COUNT: u32 = 20_000;
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        let mut child = spawn_siding(
            &broker.url(),
            &["publish", "jobs", "--create", "--print-ids"],
        )?;
        let mut stdin = child.stdin.take().expect("piped");
        let mut ids = BufReader::new(child.stdout.take().expect("piped")).lines();
        let feeding = tokio::spawn(async move {
            stdin
                .write_all(seq(COUNT).as_bytes())
                .await
                .expect("it reads on");
        });
        let mut printed = Vec::new();
        for kill_at in [500, 5_000, 10_000] {
            while printed.len() < kill_at {
                printed.push(within("an id", ids.next_line()).await?.expect("more"));
            }
            broker.kill().await?;
            broker.restart().await?;
        }
        while let Some(id) = within("an id", ids.next_line()).await? {
            printed.push(id);
        }
        feeding.await?;
        let output = within("it ends", child.wait_with_output()).await?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let expected: Vec<_> = (0..COUNT).map(|offset| format!("jobs@{offset}")).collect();
        assert_eq!(printed, expected, "stored once, in order");
        let consumed = siding(&broker.url(), &["consume", "jobs", "--drain"], "").await;
        assert_eq!(consumed.stdout, seq(COUNT));
        Ok(())
    })
}

#[test]
fn a_kill_while_draining_loses_nothing_and_the_drain_waits_out_lost_leases() -> Result<()> {
    limited(async {
        const COUNT: u32 = 20_000;
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        create_jobs(&broker, 1_000).await?;
        let published = siding(&broker.url(), &["publish", "jobs"], &seq(COUNT)).await;
        assert_eq!(published.code, 0, "{}", published.stderr);
        let mut child = spawn_siding(&broker.url(), &["consume", "jobs", "--drain"])?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut printed = String::new();
        for kill_at in [1, 3_000, 12_000] {
            let mut seen = printed.lines().count();
            while seen < kill_at {
                printed += &within("a line", lines.next_line()).await?.expect("more");
                printed.push('\n');
                seen += 1;
            }
            broker.kill().await?;
            broker.restart().await?;
        }
        while let Some(line) = within("a line", lines.next_line()).await? {
            printed += &line;
            printed.push('\n');
        }
        let output = within("it ends", child.wait_with_output()).await?;
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_all(&printed, COUNT);
        Ok(())
    })
}

#[test]
fn a_reader_that_goes_away_ends_consume_quietly_and_the_rest_stays() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        create_jobs(&broker, 1_000).await?;
        siding(&broker.url(), &["publish", "jobs"], &seq(5_000)).await;
        let arguments = ["consume", "jobs", "--follow", "--window", "16"];
        let mut child = spawn_siding(&broker.url(), &arguments)?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = within("a line", lines.next_line()).await?;
        assert_eq!(first.as_deref(), Some("1"));
        drop(lines);
        let ended = within("it ends", finish(child, "")).await?;
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        // What a pipe had swallowed is gone; nothing else is.
        let rest = siding(&broker.url(), &["consume", "jobs", "--drain"], "").await;
        assert!(matches!(rest.code, 0 | 3), "{}", rest.stderr);
        let client = broker.client("look").await?;
        let books = client.describe("jobs").await?.subscriptions[0]
            .books
            .expect("books");
        assert_eq!(books.settled + books.delayed + books.leased, 5_000);
        assert!(rest.stdout.lines().any(|line| line == "5000"));
        Ok(())
    })
}

#[test]
fn work_settles_by_exit_code_and_dead_letters_come_back() -> Result<()> {
    limited(async {
        const COUNT: u32 = 60;
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let url = broker.url();
        siding(&url, &["publish", "jobs", "--create"], &seq(COUNT)).await;
        let script = "test $(( $(cat) % 10 )) -ne 7 || exit 65";
        let arguments = [
            "work", "jobs", "-j", "4", "--drain", "--", "sh", "-c", script,
        ];
        let worked = siding(&url, &arguments, "").await;
        assert_eq!(
            (worked.code, worked.stdout.as_str()),
            (0, ""),
            "{}",
            worked.stderr
        );
        let sevens = ["7", "17", "27", "37", "47", "57"];

        let dead = siding(&url, &["dead", "ls", "jobs"], "").await;
        let bodies = dead
            .stdout
            .lines()
            .map(|line| line.split('\t').nth(5).expect("six cells"));
        assert_eq!(bodies.collect::<Vec<_>>(), sevens);
        assert!(
            dead.stdout
                .lines()
                .all(|line| line.split('\t').nth(1) == Some("rejected"))
        );
        let json = siding(&url, &["dead", "ls", "jobs", "-o", "json"], "").await;
        let rows: Vec<serde_json::Value> = serde_json::from_str(&json.stdout)?;
        let bodies: Vec<_> = rows.iter().filter_map(|row| row["body"].as_str()).collect();
        assert_eq!(bodies, sevens);

        let unasked = siding(&url, &["dead", "redrive", "jobs"], "").await;
        assert_eq!(
            unasked.code, 2,
            "without --yes nothing happens: {}",
            unasked.stderr
        );
        let redriven = siding(&url, &["dead", "redrive", "jobs", "--yes"], "").await;
        assert_eq!(
            (redriven.code, redriven.stdout.as_str()),
            (0, "redriven\t6\n")
        );
        assert_eq!(
            siding(&url, &["dead", "ls", "jobs"], "").await.code,
            1,
            "nothing matched"
        );
        let back = siding(&url, &["consume", "jobs", "--drain"], "").await;
        assert_eq!(back.stdout.lines().collect::<Vec<_>>(), sevens);
        Ok(())
    })
}

#[test]
fn work_repeats_what_failed_and_publishes_what_it_made() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let url = broker.url();
        create_jobs(&broker, 5_000).await?;
        siding(&url, &["publish", "jobs"], &seq(20)).await;
        siding(&url, &["queue", "create", "made"], "").await;
        // The first attempt fails with 75, or by a signal; the second makes something.
        let script = r#"if [ "$SIDING_ATTEMPT" = 1 ]; then
            read n; [ $(( n % 2 )) = 0 ] && exit 75; kill -9 $$
        fi; echo "made $(cat)""#;
        let arguments = [
            "work", "jobs", "-j", "4", "--to", "made", "--", "sh", "-c", script,
        ];
        let mut child = spawn_siding(&url, &arguments)?;
        drop(child.stdin.take());
        let client = broker.client("look").await?;
        let mut consumer = client.consumer("made").open().await?;
        let mut made = HashSet::new();
        while made.len() < 20 {
            let delivery = within("a result", consumer.next()).await.expect("more")?;
            let text = String::from_utf8(delivery.body().to_vec())?;
            assert!(made.insert(text), "each made once");
            delivery.ack_detached();
        }
        assert!(
            made.contains("made 17\n") || made.contains("made 17"),
            "{made:?}"
        );
        siding_tests::broker::terminate(&child)?;
        let output = within("it ends", child.wait_with_output()).await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains("20 done · 20 failed · 0 rejected"),
            "{stderr}"
        );
        let books = client.describe("jobs").await?.subscriptions[0]
            .books
            .expect("books");
        assert_eq!((books.settled, books.dead), (20, 0));
        Ok(())
    })
}

#[test]
fn a_queue_that_holds_less_than_a_batch_still_takes_everything() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let url = broker.url();
        let create = ["queue", "create", "small", "--max-messages", "3"];
        assert_eq!(siding(&url, &create, "").await.code, 0);
        let child = spawn_siding(&url, &["publish", "small"])?;
        let publishing = tokio::spawn(async move { finish(child, &seq(10)).await });
        let consumed = siding(&url, &["consume", "small", "-n", "10"], "").await;
        assert_all(&consumed.stdout, 10);
        let published = within("everything is published", publishing).await??;
        assert_eq!(published.code, 0, "{}", published.stderr);
        Ok(())
    })
}

#[test]
fn what_peek_and_consume_print_as_json_can_be_published_again() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let url = broker.url();
        let lines = concat!(
            r#"{"body":"a\nb","key":"k","headers":{"n":-3}}"#,
            "\n",
            r#"{"body_hex":"00ff0a"}"#
        );
        let publish = ["publish", "jobs", "--create", "--json"];
        assert_eq!(siding(&url, &publish, lines).await.code, 0);
        let peeked = siding(&url, &["peek", "jobs", "-o", "ndjson"], "").await;
        let republish = ["publish", "again", "--create", "--json"];
        let published = siding(&url, &republish, &peeked.stdout).await;
        assert_eq!(published.code, 0, "{}", published.stderr);
        let parts = |text: &str| -> Result<Vec<[serde_json::Value; 4]>> {
            let objects = text.lines().map(serde_json::from_str::<serde_json::Value>);
            let part = |object: &serde_json::Value| {
                ["body", "body_hex", "key", "headers"].map(|field| object[field].clone())
            };
            objects.map(|object| Ok(part(&object?))).collect()
        };
        let again = siding(&url, &["consume", "again", "--drain", "-o", "ndjson"], "").await;
        assert_eq!(parts(&again.stdout)?, parts(lines)?);
        Ok(())
    })
}

#[test]
fn a_purge_drops_what_waits_in_a_queue_a_subscription_or_every_one_of_a_topic() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let url = broker.url();
        let run = async |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            siding(&url, &words, "").await
        };
        assert_eq!(run("topic create news").await.code, 0);
        for sub in ["a", "b", "c"] {
            assert_eq!(run(&format!("sub create news/{sub}")).await.code, 0);
        }
        assert_eq!(run("publish news hello").await.code, 0);
        assert_eq!(run("publish jobs work --create").await.code, 0);
        for (line, code, stdout) in [
            ("queue purge news --yes", 2, ""),
            ("queue purge jobs", 2, ""),
            ("queue purge jobs --yes", 0, "purged\t1\n"),
            ("sub purge news/a --yes", 0, "purged\t1\n"),
            ("topic purge news --yes", 0, "purged\t2\n"),
            ("topic purge news --yes", 1, "purged\t0\n"),
        ] {
            let ran = run(line).await;
            assert_eq!(
                (ran.code, ran.stdout.as_str()),
                (code, stdout),
                "{line}: {}",
                ran.stderr
            );
        }
        Ok(())
    })
}
