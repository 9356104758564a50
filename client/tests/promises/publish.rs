//! Publishing: confirmed once, in order, within the window.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use siding::wire::frame::Kind;
use siding::{
    Error, Message, MessageId, OnBusy, Publisher, PublisherBuilder, Refusal, TryPublishError,
};

use crate::broker::{Broker, Link, batch, bodies};
use crate::consume::pong;
use crate::{limited, limited_paused};

async fn open(builder: PublisherBuilder, link: &mut Link) -> Publisher {
    let (publisher, ()) = tokio::join!(builder.open(), link.open_producer(7));
    publisher.expect("opened")
}

fn busy(retry_after_ms: u64) -> Refusal {
    Refusal::Busy {
        resource: "max_bytes".into(),
        limit: 10,
        current: 10,
        retry_after_ms,
    }
}

#[test]
fn what_is_published_in_one_go_travels_as_one_run_and_each_receipt_names_its_place() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let publisher = open(client.publisher("jobs"), &mut link).await;
        let first = publisher.publish_body(b"a").await.expect("room");
        let second = publisher.publish("b").await.expect("room");
        let (correlation, publish) = link.next_publish().await;
        assert_eq!(bodies(&publish.run), ["a", "b"]);
        assert_eq!((publish.name.as_str(), publish.producer), ("jobs", 7));
        assert_eq!(publish.sequence, 1);
        link.confirm(correlation, 40, 2).await;
        let id = |offset| MessageId { log_id: 9, offset };
        assert_eq!(second.await.expect("stored").id, id(41));
        assert_eq!(first.await.expect("stored").id, id(40));
        publisher.flush().await.expect("nothing failed");
    });
}

#[test]
fn many_tasks_that_share_a_publisher_share_its_batches() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let publisher = Arc::new(open(client.publisher("jobs"), &mut link).await);
        let tasks = (0..64).map(|_| {
            let publisher = Arc::clone(&publisher);
            tokio::spawn(async move { publisher.publish_body(b"x").await?.await })
        });
        let tasks: Vec<_> = tasks.collect();
        let (correlation, publish) = link.next_publish().await;
        assert_eq!(bodies(&publish.run).len(), 64, "one frame for all");
        link.confirm(correlation, 0, 64).await;
        for task in tasks {
            task.await.expect("no panic").expect("stored");
        }
    });
}

#[test]
fn a_run_is_closed_by_count_and_by_bytes() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let builder = client.publisher("jobs").batch(3).batch_bytes(1_000);
        let publisher = open(builder, &mut link).await;
        for body in [&[b'a'; 1][..], b"b", b"c", &[b'd'; 2_000], b"e"] {
            let _receipt = publisher.publish_body(body).await.expect("room");
        }
        for (sequence, messages) in [(1, 3), (2, 1), (3, 1)] {
            let (_, publish) = link.next_publish().await;
            assert_eq!(publish.sequence, sequence);
            assert_eq!(bodies(&publish.run).len(), messages);
        }
    });
}

#[test]
fn a_lost_connection_before_the_confirm_resends_the_same_sequences_in_order() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let publisher = open(client.publisher("jobs").batch(1), &mut link).await;
        let mut receipts = Vec::new();
        for body in ["a", "b", "c"] {
            receipts.push(publisher.publish(body).await.expect("room"));
        }
        let (first, publish) = link.next_publish().await;
        assert_eq!(bodies(&publish.run), ["a"]);
        link.confirm(first, 0, 1).await;
        assert_eq!(receipts.remove(0).await.expect("stored").id.offset, 0);
        for _ in 0..2 {
            link.next_publish().await;
        }
        drop(link);
        let (mut link, _) = broker.welcome().await;
        for (sequence, body) in [(2, "b"), (3, "c")] {
            let (correlation, publish) = link.next_publish().await;
            assert_eq!((publish.producer, publish.sequence), (7, sequence));
            assert_eq!(bodies(&publish.run), [body]);
            link.confirm(correlation, sequence - 1, 1).await;
        }
        for (receipt, offset) in receipts.into_iter().zip(1..) {
            assert_eq!(receipt.await.expect("stored").id.offset, offset);
        }
        let receipt = publisher.publish("d").await.expect("room");
        let (correlation, publish) = link.next_publish().await;
        assert_eq!(publish.sequence, 4, "the sequence goes on");
        link.confirm(correlation, 3, 1).await;
        assert_eq!(receipt.await.expect("stored").id.offset, 3);
    });
}

#[test]
fn a_busy_broker_is_asked_again_no_sooner_than_it_says() {
    limited_paused(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let publisher = open(client.publisher("jobs").batch(1), &mut link).await;
        let first = publisher.publish("a").await.expect("room");
        let second = publisher.publish("b").await.expect("room");
        let (one, _) = link.next_publish().await;
        let (two, _) = link.next_publish().await;
        let refused_at = tokio::time::Instant::now();
        let refusal = || Kind::Error(busy(5_000).to_wire());
        link.say_all(vec![(one, refusal()), (two, refusal())]).await;
        for (sequence, body) in [(1, "a"), (2, "b")] {
            let (correlation, publish) = link.next_publish().await;
            let waited = refused_at.elapsed().as_millis();
            assert!(
                (5_000..=5_100).contains(&waited),
                "{waited} ms at {sequence}"
            );
            assert_eq!((publish.producer, publish.sequence), (7, sequence));
            assert_eq!(bodies(&publish.run), [body]);
            link.confirm(correlation, sequence, 1).await;
        }
        first.await.expect("stored");
        second.await.expect("stored");
    });
}

#[test]
fn a_busy_broker_fails_the_receipt_where_that_was_asked() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let builder = client.publisher("jobs").on_busy(OnBusy::Fail);
        let publisher = open(builder, &mut link).await;
        let receipt = publisher.publish("a").await.expect("room");
        let (correlation, _) = link.next_publish().await;
        link.refuse(correlation, &busy(100)).await;
        let error = receipt.await.expect_err("refused");
        assert!(!error.maybe_applied());
        assert_eq!(error.refusal(), Some(&busy(100)));
        let flushed = publisher.flush().await.expect_err("says the first failure");
        assert_eq!(flushed.refusal(), Some(&busy(100)));
        publisher.flush().await.expect("says it once");
    });
}

#[test]
fn the_window_holds_so_many_messages() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let publisher = open(client.publisher("jobs").window(2), &mut link).await;
        window_of_two(&publisher, &mut link, b"x").await;
    });
}

#[test]
fn the_window_holds_so_many_bytes() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let builder = client.publisher("jobs").window_bytes(1_500);
        let publisher = open(builder, &mut link).await;
        window_of_two(&publisher, &mut link, &[b'x'; 1_000]).await;
    });
}

/// Two messages fit, the third waits for a confirm.
async fn window_of_two(publisher: &Publisher, link: &mut Link, body: &[u8]) {
    for _ in 0..2 {
        let _receipt = publisher.try_publish(body).expect("room");
    }
    let full = publisher.try_publish(body).expect_err("full");
    assert!(matches!(full, TryPublishError::Full));
    let mut waiting = Box::pin(publisher.publish_body(body));
    assert!(matches!(poll_once(waiting.as_mut()).await, Poll::Pending));
    let (correlation, publish) = link.next_publish().await;
    assert_eq!(bodies(&publish.run).len(), 2);
    link.confirm(correlation, 0, 2).await;
    let receipt = waiting.await.expect("room again");
    let (correlation, _) = link.next_publish().await;
    link.confirm(correlation, 2, 1).await;
    assert_eq!(receipt.await.expect("stored").id.offset, 2);
}

#[test]
fn no_more_than_1024_requests_are_unanswered() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let publisher = open(client.publisher("jobs").batch(1), &mut link).await;
        for _ in 0..1_030 {
            let _receipt = publisher.publish_body(b"x").await.expect("room");
        }
        let (first, publish) = link.next_publish().await;
        assert_eq!(publish.sequence, 1);
        let mut last = 0;
        for sequence in 2..=1_024 {
            let (correlation, publish) = link.next_publish().await;
            assert_eq!(publish.sequence, sequence);
            last = correlation;
        }
        // The ping is behind everything the client would have sent.
        let (pinged, ()) = tokio::join!(client.ping(), async {
            let (correlation, kind) = link.next().await;
            assert!(matches!(kind, Kind::Ping(_)), "{kind:?}");
            link.say(correlation, Kind::Pong(siding::wire::Pong {}))
                .await;
        });
        pinged.expect("answered");
        // An answer in the middle does not make the broker's window longer; the first does.
        link.confirm(last, 1_023, 1).await;
        link.confirm(first, 0, 1).await;
        let (_, publish) = link.next_publish().await;
        assert_eq!(publish.sequence, 1_025);
    });
}

#[test]
fn a_message_past_a_limit_is_not_sent() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let publisher = open(client.publisher("jobs"), &mut link).await;
        let long = vec![0; (1 << 20) + 1];
        let error = publisher.publish_body(&long).await.expect_err("too long");
        assert!(matches!(error, Error::InvalidMessage(_)));
        let receipt = publisher.publish_body(b"fits").await.expect("room");
        let (correlation, publish) = link.next_publish().await;
        assert_eq!(bodies(&publish.run), ["fits"]);
        link.confirm(correlation, 0, 1).await;
        receipt.await.expect("stored");
    });
}

#[test]
fn a_producer_the_broker_forgot_is_opened_anew_for_what_was_sent_once() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let publisher = open(client.publisher("jobs"), &mut link).await;
        let receipt = publisher.publish("a").await.expect("room");
        let (correlation, _) = link.next_publish().await;
        link.refuse(correlation, &Refusal::ProducerUnknown).await;
        link.open_producer(8).await;
        let (_, publish) = link.next_publish().await;
        assert_eq!((publish.producer, publish.sequence), (8, 1));
        drop(link);
        let (mut link, _) = broker.welcome().await;
        let (correlation, publish) = link.next_publish().await;
        assert_eq!((publish.producer, publish.sequence), (8, 1));
        link.refuse(correlation, &Refusal::ProducerUnknown).await;
        let error = receipt.await.expect_err("sent twice: it may be stored");
        assert!(error.maybe_applied());
    });
}

#[test]
fn a_transaction_is_resent_with_its_sequence_and_done_once() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let (consumer, _) = tokio::join!(client.consumer("jobs").open(), link.subscribe());
        let mut consumer = consumer.expect("subscribed");
        link.deliver(1, vec![batch(5, 3, &["work"])]).await;
        let delivery = consumer.next().await.expect("open").expect("delivered");
        let (transaction, ()) = tokio::join!(client.transaction(), link.open_producer(7));
        let transaction = transaction.expect("opened");
        let commit = transaction
            .publish("results", "done")
            .ack(delivery)
            .commit();
        let play = async {
            let (_, kind) = link.next().await;
            let Kind::Transaction(first) = kind else {
                panic!("a transaction: {kind:?}")
            };
            drop(link);
            let (mut link, _) = broker.welcome().await;
            let (correlation, kind) = link.next().await;
            assert_eq!(kind, Kind::Transaction(first.clone()), "the same again");
            assert_eq!((first.producer, first.sequence), (7, 1));
            let done = siding::wire::TransactionDone {
                operations: vec![
                    siding::wire::OperationDone {
                        kind: Some(siding::wire::operation_done::Kind::Confirm(
                            siding::wire::Confirm {
                                log_id: 2,
                                first_offset: 4,
                                count: 1,
                                level: 0,
                                duplicates: Vec::new(),
                            },
                        )),
                    },
                    siding::wire::OperationDone {
                        kind: Some(siding::wire::operation_done::Kind::Settled(
                            siding::wire::Settled {
                                settled: 1,
                                outcomes: vec![],
                            },
                        )),
                    },
                ],
            };
            link.say(correlation, Kind::TransactionDone(done)).await;
            link
        };
        let (done, mut link) = tokio::join!(commit, play);
        assert_eq!(done.expect("done").len(), 2);
        link.subscribe().await;
        let mut ping = Box::pin(client.ping());
        // Had the delivery been released, that would come before the ping.
        let (_, (_, kind)) = tokio::join!(poll_once(ping.as_mut()), link.next());
        assert!(matches!(kind, Kind::Ping(_)), "{kind:?}");
    });
}

async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

#[test]
fn a_lingering_run_behind_a_busy_broker_waits_without_spinning() {
    limited(async {
        let mut broker = Broker::start().await;
        broker.limits.heartbeat_ms = 0;
        let (client, mut link) = broker.client().await;
        let linger = Duration::from_mins(1);
        let publisher = client.publisher("jobs").batch(2).linger(linger);
        let publisher = open(publisher, &mut link).await;
        for body in ["a", "b", "c"] {
            drop(publisher.publish(body).await.expect("room"));
        }
        let (correlation, first) = link.next_publish().await;
        assert_eq!(bodies(&first.run), ["a", "b"]);
        // The answers show that the third was seen, and then the refusal.
        let (_, ()) = tokio::join!(client.ping(), pong(&mut link));
        link.refuse(correlation, &busy(600_000)).await;
        let (_, ()) = tokio::join!(client.ping(), pong(&mut link));
        // Time moves only while nobody runs: a client that spins would stay in the first minute.
        tokio::time::pause();
        let (correlation, again) = link.next_publish().await;
        assert_eq!((again.run, again.sequence), (first.run, 1));
        link.confirm(correlation, 0, 2).await;
        let (_, last) = link.next_publish().await;
        assert_eq!(bodies(&last.run), ["c"]);
    });
}

#[test]
fn the_receipt_of_a_duplicate_names_the_original_and_the_others_their_own_places() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let publisher = open(client.publisher("jobs"), &mut link).await;
        let mut receipts = Vec::new();
        for body in ["a", "b", "c"] {
            let message = Message::new(body).dedup_id(body);
            receipts.push(publisher.publish(message).await.expect("room"));
        }
        let (correlation, publish) = link.next_publish().await;
        assert_eq!(bodies(&publish.run), ["a", "b", "c"]);
        let confirm = siding::wire::Confirm {
            log_id: 9,
            first_offset: 40,
            count: 2,
            duplicates: vec![siding::wire::Duplicate {
                index: 1,
                offset: 7,
            }],
            ..Default::default()
        };
        link.say(correlation, Kind::Confirm(confirm)).await;
        for (receipt, expected) in receipts
            .into_iter()
            .zip([(40, false), (7, true), (41, false)])
        {
            let confirm = receipt.await.expect("stored");
            assert_eq!((confirm.id.offset, confirm.duplicate), expected);
        }
    });
}
