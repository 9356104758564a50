//! The connection: hello, heartbeats, loss, draining, the end.

use siding::wire::frame::Kind;
use siding::{Client, Error, Refusal, wire};

use crate::broker::Broker;
use crate::consume::pong;
use crate::{limited, limited_paused};

#[test]
fn hello_names_the_holder_and_the_token_and_keeps_the_holder_over_reconnects() {
    limited(async {
        let broker = Broker::start().await;
        let url = broker.url();
        let (client, (link, hello)) = tokio::join!(Client::connect(&url), broker.welcome());
        let client = client.expect("welcomed");
        assert_eq!((hello.version, hello.token.as_str()), (1, "s3cret"));
        assert_eq!(hello.holder.len(), 16);
        assert_eq!(client.holder(), hello.holder);
        assert_eq!(client.limits(), broker.limits);
        drop(link);
        let (_link, again) = broker.welcome().await;
        assert_eq!(again.holder, hello.holder);
    });
}

#[test]
fn a_first_connect_fails_at_once() {
    limited(async {
        let broker = Broker::start().await;
        let url = broker.url();
        let (refused, ()) = tokio::join!(Client::connect(&url), async {
            let mut link = broker.accept().await;
            let (correlation, _) = link.next().await;
            link.refuse(correlation, &Refusal::Unauthenticated).await;
        });
        let refused = refused.expect_err("refused");
        assert_eq!(refused.refusal(), Some(&Refusal::Unauthenticated));
        drop(broker);
        let nobody = Client::connect(&url).await.expect_err("nobody listens");
        assert!(matches!(nobody, Error::Connect { .. }), "{nobody}");
    });
}

#[test]
fn a_lost_connection_interrupts_requests_and_says_whether_they_may_be_applied() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let play = async {
            link.next().await;
            link.next().await;
            drop(link);
            broker.welcome().await
        };
        let (created, described, (mut link, _)) = tokio::join!(
            client.create_queue("jobs", wire::QueueSettings::default()),
            client.describe("jobs"),
            play
        );
        assert!(created.expect_err("lost").maybe_applied());
        assert!(!described.expect_err("lost").maybe_applied());
        let (again, ()) = tokio::join!(client.ping(), pong(&mut link));
        again.expect("the client goes on");
    });
}

#[test]
fn a_cut_connection_is_made_again() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        client.cut_connection();
        assert!(link.try_next().await.is_none());
        let (mut link, _) = broker.welcome().await;
        let (pinged, ()) = tokio::join!(client.ping(), pong(&mut link));
        pinged.expect("answered");
    });
}

#[test]
fn a_silent_connection_is_pinged_and_then_made_anew() {
    limited_paused(async {
        let mut broker = Broker::start().await;
        broker.limits.heartbeat_ms = 10_000;
        let (client, mut link) = broker.client().await;
        let since = tokio::time::Instant::now();
        let (_, kind) = link.next().await;
        assert!(matches!(kind, Kind::Ping(_)), "{kind:?}");
        assert_eq!(since.elapsed().as_secs(), 10);
        while link.try_next().await.is_some() {}
        assert_eq!(since.elapsed().as_secs(), 25);
        let (_link, hello) = broker.welcome().await;
        assert_eq!(hello.holder, client.holder());
    });
}

#[test]
fn after_a_draining_notice_new_requests_wait_for_the_next_connection() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let opened = tokio::join!(client.publisher("jobs").open(), link.open_producer(7)).0;
        let publisher = opened.expect("opened");
        let draining = wire::Draining { grace_ms: 60_000 };
        let first = publisher.publish("a").await.expect("room");
        let (correlation, _) = link.next_publish().await;
        link.say(0, Kind::Draining(draining)).await;
        link.confirm(correlation, 0, 1).await;
        first.await.expect("what was sent is still answered");
        let second = publisher.publish("b").await.expect("room");
        drop(link);
        let (mut link, _) = broker.welcome().await;
        let (correlation, publish) = link.next_publish().await;
        assert_eq!(publish.sequence, 2, "never sent before");
        link.refuse(correlation, &Refusal::Draining).await;
        drop(link);
        let (mut link, _) = broker.welcome().await;
        let (correlation, publish) = link.next_publish().await;
        assert_eq!(publish.sequence, 2);
        link.confirm(correlation, 1, 1).await;
        assert_eq!(second.await.expect("stored").id.offset, 1);
    });
}

#[test]
fn close_waits_for_everything_published() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let opened = tokio::join!(client.publisher("jobs").open(), link.open_producer(7)).0;
        let publisher = opened.expect("opened");
        let receipt = publisher.publish("a").await.expect("room");
        let other = client.clone();
        let ((), ()) = tokio::join!(client.close(), async {
            let (correlation, _) = link.next_publish().await;
            link.confirm(correlation, 0, 1).await;
            assert!(link.try_next().await.is_none(), "then the connection ends");
        });
        assert_eq!(receipt.await.expect("stored").id.offset, 0);
        let closed = other.ping().await.expect_err("closed for all clones");
        assert!(matches!(
            closed,
            Error::Closed {
                maybe_applied: false
            }
        ));
        let receipt = publisher.publish("b").await;
        let closed = match receipt {
            Ok(receipt) => receipt.await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(matches!(
            closed,
            Err(Error::Closed {
                maybe_applied: false
            })
        ));
    });
}

#[test]
fn a_client_that_must_not_reconnect_fails_what_is_under_way() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client_once().await;
        let opened = tokio::join!(client.publisher("jobs").open(), link.open_producer(7)).0;
        let publisher = opened.expect("opened");
        let receipt = publisher.publish("a").await.expect("room");
        link.next_publish().await;
        drop(link);
        let error = receipt.await.expect_err("lost");
        assert!(
            matches!(
                error,
                Error::Closed {
                    maybe_applied: true
                }
            ),
            "{error}"
        );
    });
}

#[test]
fn dropping_everything_ends_the_connection() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let opened = tokio::join!(client.publisher("jobs").open(), link.open_producer(7)).0;
        let publisher = opened.expect("opened");
        drop(publisher.publish("a").await.expect("room"));
        drop((client, publisher));
        let (correlation, _) = link.next_publish().await;
        link.confirm(correlation, 0, 1).await;
        assert!(link.try_next().await.is_none());
    });
}
