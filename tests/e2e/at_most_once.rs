//! Acked on delivery: once or never, through kills of the broker, and as typed.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use siding::wire::{Books, QueueSettings};
use siding::{Client, Consumer, Delivery, Error};
use siding_tests::binaries::siding;
use siding_tests::broker::{Broker, within};

use crate::limited;

const MESSAGES: u64 = 3_000;
const WINDOW: u32 = 50;

async fn a_full_queue(broker: &Broker) -> Result<Client> {
    let client = broker.client("publisher").await?;
    client
        .create_queue("jobs", QueueSettings::default())
        .await?;
    let publisher = client.publisher("jobs").open().await?;
    for number in 0..MESSAGES {
        drop(publisher.publish(number.to_string()).await?);
    }
    publisher.flush().await?;
    Ok(client)
}

/// The broker's books, as soon as it answers.
async fn books(client: &Client) -> Result<Books> {
    loop {
        match client.describe("jobs").await {
            Ok(info) => {
                let first = info.subscriptions.first().context("a queue has one")?;
                return first.books.context("with books");
            }
            Err(Error::Interrupted { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What has come by now.
async fn waiting(consumer: &mut Consumer) -> Result<Option<Delivery>> {
    let next = tokio::select! {
        biased;
        next = consumer.next() => next,
        () = std::future::ready(()) => None,
    };
    Ok(next.transpose()?)
}

#[test]
fn what_is_acked_on_delivery_comes_at_most_once_whatever_kills_the_broker() -> Result<()> {
    limited(async {
        const KILLS: usize = 3;
        let dir = tempfile::tempdir()?;
        let mut broker = Broker::start(dir.path()).await?;
        let client = a_full_queue(&broker).await?;
        let builder = client.consumer("jobs").window(WINDOW).ack_on_delivery();
        let mut consumer = builder.open().await?;
        let mut seen = BTreeSet::new();
        let mut note = |delivery: &Delivery| {
            assert_eq!((delivery.attempt(), delivery.deadline_ms()), (1, 0));
            let body = String::from_utf8_lossy(delivery.body()).into_owned();
            assert!(seen.insert(body.clone()), "{body} came twice");
            seen.len()
        };
        for kill in 1..=KILLS {
            loop {
                let delivery = within("a message", consumer.next()).await.expect("more")?;
                if note(&delivery) >= kill * 500 {
                    break;
                }
            }
            broker.kill().await?;
            broker.restart().await?;
        }
        loop {
            let is_over = within("the books", books(&client)).await?.settled == MESSAGES;
            let mut came = false;
            while let Some(delivery) = waiting(&mut consumer).await? {
                note(&delivery);
                came = true;
            }
            // What was settled had left when the books were told.
            if is_over && !came {
                break;
            }
        }
        let lost = MESSAGES - seen.len() as u64;
        assert!(lost <= KILLS as u64 * u64::from(WINDOW), "{lost} lost");
        let end = books(&client).await?;
        assert_eq!((end.ready, end.leased, end.delayed, end.dead), (0, 0, 0, 0));
        Ok(())
    })
}

#[test]
fn consume_acks_on_delivery_as_typed_and_takes_no_more_than_it_prints() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let broker = Broker::start(dir.path()).await?;
        let client = a_full_queue(&broker).await?;
        let url = broker.url();
        let typed = |more: &[&'static str]| {
            let mut words = vec!["consume", "jobs", "--ack", "on-delivery"];
            words.extend(more);
            words
        };
        let five = siding(&url, &typed(&["-n", "5", "--window", "2"]), "").await;
        assert_eq!((five.code, five.stdout.as_str()), (0, "0\n1\n2\n3\n4\n"));
        let after = books(&client).await?;
        assert_eq!((after.settled, after.ready), (5, MESSAGES - 5));
        let many = siding(&url, &typed(&["-n", "1000", "--json"]), "").await;
        assert_eq!((many.code, many.stdout.lines().count()), (0, 1_000));
        assert_eq!(books(&client).await?.settled, 1_005);
        let rest = siding(&url, &typed(&["--drain"]), "").await;
        let expected: Vec<_> = (1_005..MESSAGES).map(|number| number.to_string()).collect();
        assert_eq!(rest.code, 0, "{rest:?}");
        assert_eq!(rest.stdout.lines().collect::<Vec<_>>(), expected);
        assert_eq!(books(&client).await?.settled, MESSAGES);
        let nothing = siding(&url, &typed(&["--wait", "200ms"]), "").await;
        assert_eq!(nothing.code, 1, "{nothing:?}");
        Ok(())
    })
}
