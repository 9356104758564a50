//! P3, P4: leases live through a restart of the broker.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use siding::Client;
use siding::wire::{Books, DeliverySettings, QueueSettings};
use siding_tests::broker::{Broker, within};
use siding_tests::load::now;

use crate::limited;

const MESSAGES: u64 = 1_000;
const VISIBILITY_MS: u64 = 6_000;

async fn books(client: &Client) -> Result<Books> {
    let info = client.describe("jobs").await?;
    let subscription = info.subscriptions.first().context("a queue has one")?;
    subscription.books.context("with books")
}

/// Waits until the broker's books say so: it is asked again and again.
async fn until(client: &Client, what: &str, say: impl Fn(&Books) -> bool) -> Result<Books> {
    let asking = async {
        loop {
            match books(client).await {
                Ok(books) if say(&books) => return Ok(books),
                Ok(_) => tokio::task::yield_now().await,
                Err(error) if is_interrupted(&error) => {}
                Err(error) => return Err(error),
            }
        }
    };
    within(what, asking).await
}

/// The connection was lost under the question: ask again.
fn is_interrupted(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<siding::Error>();
    matches!(error, Some(siding::Error::Interrupted { .. }))
}

async fn a_queue_of_a_thousand(client: &Client) -> Result<()> {
    let settings = QueueSettings {
        delivery: Some(DeliverySettings {
            visibility_timeout_ms: Some(VISIBILITY_MS),
            ..DeliverySettings::default()
        }),
        ..QueueSettings::default()
    };
    client.create_queue("jobs", settings).await?;
    let publisher = client.publisher("jobs").open().await?;
    for number in 0..MESSAGES {
        drop(publisher.publish(number.to_string()).await?);
    }
    Ok(publisher.flush().await?)
}

#[test]
fn a_restart_leaves_leases_with_their_holder_and_its_acks_succeed() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        let worker = broker.client("worker").await?;
        a_queue_of_a_thousand(&worker).await?;
        let mut consumer = worker.consumer("jobs").open().await?;
        let mut held = Vec::new();
        while held.len() < 1_000 {
            let delivery = within("a message", consumer.next()).await.expect("more")?;
            assert_eq!(delivery.attempt(), 1);
            held.push(delivery);
        }
        until(&worker, "1,000 leases", |books| books.leased == MESSAGES).await?;
        let term = held[0].grant().term;

        // More than 5 ms after the last hand-over: their notes are written.
        let mut other = broker
            .client("other")
            .await?
            .consumer("jobs")
            .open()
            .await?;
        worker.ping().await?;
        tokio::time::timeout(Duration::from_millis(200), other.next())
            .await
            .expect_err("all leased");
        broker.kill().await?;
        broker.restart().await?;

        let after = until(&worker, "the books again", |_| true).await?;
        assert_eq!((after.leased, after.ready), (MESSAGES, 0));
        for (acked, delivery) in held.drain(..900).enumerate() {
            let outcome = within("an answer", delivery.ack()).await?;
            assert_eq!(outcome, siding::Outcome::Done, "{acked} acked before");
        }
        // The rest nobody acks: both share them, after their deadline and not before.
        let deadline = held[0].deadline_ms();
        for delivery in held {
            std::mem::forget(delivery);
        }
        let mut again = BTreeSet::new();
        while again.len() < 100 {
            let delivery = within("an expired one", async {
                tokio::select! {
                    delivery = consumer.next() => delivery,
                    delivery = other.next() => delivery,
                }
            });
            let delivery = delivery.await.expect("more")?;
            assert!(now() >= deadline, "{} ms early", deadline - now());
            assert_eq!(delivery.attempt(), 2, "attempts stay as they were");
            assert!(delivery.grant().term > term);
            assert!(again.insert(String::from_utf8(delivery.body().to_vec())?));
            let outcome = within("an answer", delivery.ack()).await?;
            assert_eq!(outcome, siding::Outcome::Done);
        }
        let expected = (900..MESSAGES).map(|number| number.to_string());
        assert_eq!(again, expected.collect());
        let end = until(&worker, "all settled", |books| books.settled == MESSAGES).await?;
        assert_eq!((end.leased, end.ready, end.dead), (0, 0, 0));
        Ok(())
    })
}

#[test]
fn an_ack_sent_while_the_broker_is_away_is_answered_when_it_is_back() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        let worker = broker.client("worker").await?;
        a_queue_of_a_thousand(&worker).await?;
        let mut consumer = worker.consumer("jobs").open().await?;
        let mut held = Vec::new();
        while held.len() < 1_000 {
            held.push(within("a message", consumer.next()).await.expect("more")?);
        }
        worker.ping().await?;
        until(&worker, "1,000 leases", |books| books.leased == MESSAGES).await?;
        let mut other = broker
            .client("other")
            .await?
            .consumer("jobs")
            .open()
            .await?;
        tokio::time::timeout(Duration::from_millis(200), other.next())
            .await
            .expect_err("all leased");
        broker.kill().await?;
        let mut acks = tokio::task::JoinSet::new();
        for delivery in held {
            acks.spawn(delivery.ack());
        }
        tokio::task::yield_now().await;
        broker.restart().await?;
        let all = async {
            while let Some(ack) = acks.join_next().await {
                assert_eq!(
                    ack.expect("no panic").expect("answered"),
                    siding::Outcome::Done
                );
            }
        };
        within("acks are answered", all).await;
        until(&worker, "all settled", |books| books.settled == MESSAGES).await?;
        Ok(())
    })
}
