//! P9, P20: what was confirmed is there after a kill and after a stop.

use anyhow::Result;
use siding::wire::QueueSettings;
use siding_tests::accounting::check;
use siding_tests::broker::{Broker, within};
use siding_tests::load::{Bodies, Load, Records};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::limited;

#[test]
fn what_is_confirmed_is_there_after_a_kill() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        let client = broker.client("before").await?;
        client
            .create_queue("jobs", QueueSettings::default())
            .await?;
        let publisher = client.publisher("jobs").open().await?;
        for number in 0..1_000 {
            drop(publisher.publish(number.to_string()).await?);
        }
        publisher.flush().await?;
        broker.kill().await?;
        broker.restart().await?;
        // Each start says what it read.
        let said = [
            "recovered",
            "\"snapshot\"",
            "\"entries\"",
            "\"read_bytes\"",
            "\"cut_bytes\"",
            "\"ms\"",
        ];
        broker.log().until(2, &said).await;
        let mut consumer = broker
            .client("after")
            .await?
            .consumer("jobs")
            .open()
            .await?;
        for number in 0..1_000 {
            let delivery = within("a message", consumer.next()).await.expect("more")?;
            assert_eq!(delivery.body(), number.to_string().as_bytes());
            assert_eq!(delivery.attempt(), 1);
            delivery.ack_detached();
        }
        assert_eq!(consumer.flush_settles().await, 0);
        Ok(())
    })
}

#[test]
fn a_stop_exits_0_and_clients_go_on_after_it_as_if_nothing_had_been() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        let load = Load {
            queue: "jobs",
            visibility_ms: 30_000,
            bodies: Bodies {
                seed: fastrand::u64(..),
            },
            records: Records::default(),
        };
        broker
            .client("creator")
            .await?
            .create_queue("jobs", QueueSettings::default())
            .await?;
        let (stop, stopping) = watch::channel(false);
        let mut clients = JoinSet::new();
        for number in 0..2 {
            let client = broker.client(&format!("publisher-{number}")).await?;
            clients.spawn(load.clone().publish(client, number, stopping.clone()));
        }
        for stops in 1..=3 {
            let count = load.records.count() + 500;
            within("clients make progress", load.records.until(count)).await;
            let status = broker.terminate().await?;
            assert_eq!(status.code(), Some(0), "{}", broker.log().text());
            for words in [
                "asked to stop (SIGTERM)",
                "draining",
                "everything confirmed is on disk",
            ] {
                broker.log().until(stops, &[words]).await;
            }
            broker.restart().await?;
        }
        stop.send_replace(true);
        while let Some(ended) = within("clients end", clients.join_next()).await {
            ended??;
        }
        let client = broker.client("drain").await?;
        let books = within("the queue is drained", load.clone().drain(client, 9)).await?;
        let report = check(&load.records.take(), Some(books));
        assert!(report.violations.is_empty(), "{report}");
        assert_eq!(report.confirmed, report.sent, "{report}");
        assert_eq!(
            report.delivered, report.sent,
            "a stop repeats nothing: {report}"
        );
        let errors = broker.log().with(&["\"ERROR\""]);
        assert!(errors.is_empty(), "{errors:?}");
        Ok(())
    })
}

#[test]
fn a_stop_leaves_leases_with_their_holders() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        let client = broker.client("worker").await?;
        client
            .create_queue("jobs", QueueSettings::default())
            .await?;
        let publisher = client.publisher("jobs").open().await?;
        for number in 0..100 {
            drop(publisher.publish(number.to_string()).await?);
        }
        publisher.flush().await?;
        let mut consumer = client.consumer("jobs").open().await?;
        let mut held = Vec::new();
        while held.len() < 100 {
            held.push(within("a message", consumer.next()).await.expect("more")?);
        }
        assert_eq!(broker.terminate().await?.code(), Some(0));
        broker.restart().await?;
        for delivery in held {
            let outcome = within("an answer", delivery.ack()).await?;
            assert_eq!(outcome, siding::Outcome::Done);
        }
        Ok(())
    })
}

#[test]
fn health_is_answered_while_it_serves() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        for path in ["/livez", "/readyz"] {
            let mut stream = TcpStream::connect(broker.admin()).await?;
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            within("an answer", stream.read_to_string(&mut answer)).await?;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        Ok(())
    })
}

#[test]
fn a_stop_asked_for_as_soon_as_it_serves_is_heard() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        for _ in 0..10 {
            assert_eq!(broker.terminate().await?.code(), Some(0));
            broker.restart().await?;
        }
        Ok(())
    })
}
