//! Consuming: leases settled, released and kept over lost connections.

use std::time::Duration;

use siding::wire::frame::Kind;
use siding::{Client, Consumer, Outcome, ReceiveOptions, Refusal, State, wire};

use crate::broker::{Broker, Link, batch, ranges};
use crate::{limited, limited_paused};

async fn consumer(client: &Client, link: &mut Link) -> Consumer {
    let (consumer, _) = tokio::join!(client.consumer("jobs").open(), link.subscribe());
    consumer.expect("subscribed")
}

#[test]
fn a_batch_shows_what_was_delivered_and_is_acked_as_one_range() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let mut consumer = consumer(&client, &mut link).await;
        link.deliver(1, vec![batch(5, 10, &["a", "b", "c"])]).await;
        let batch = consumer.next_batch().await.expect("open").expect("a batch");
        let bodies: Vec<_> = batch.messages().map(|message| message.body()).collect();
        assert_eq!(bodies, [b"a", b"b", b"c"]);
        assert_eq!((batch.first_offset(), batch.len()), (10, 3));
        assert_eq!((batch.attempt(), batch.deadline_ms()), (1, 31_000));
        let (settled, ()) = tokio::join!(batch.ack(), async {
            let (correlation, settle) = link.next_settle().await;
            assert_eq!(settle.action(), wire::Action::Ack);
            assert_eq!(
                (settle.address.as_str(), ranges(&settle)),
                ("jobs", vec![(10, 3)])
            );
            link.settled(correlation, 3).await;
        });
        assert_eq!(settled.expect("settled").settled, 3);
    });
}

#[test]
fn acks_of_one_grant_share_a_frame() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let mut consumer = consumer(&client, &mut link).await;
        link.deliver(1, vec![batch(5, 10, &["a", "b", "c", "d"])])
            .await;
        for _ in 0..4 {
            let delivery = consumer.next().await.expect("open").expect("delivered");
            if delivery.body() == b"b" {
                tokio::spawn(delivery.reject("bad"));
            } else {
                delivery.ack_detached();
            }
        }
        let (acks, settle) = link.next_settle().await;
        assert_eq!(ranges(&settle), [(10, 1), (12, 2)]);
        let (_, settle) = link.next_settle().await;
        assert_eq!(
            (settle.action(), settle.reason.as_str()),
            (wire::Action::Reject, "bad")
        );
        link.refuse(
            acks,
            &Refusal::LeaseLost {
                state: State::Ready,
            },
        )
        .await;
        assert_eq!(consumer.flush_settles().await, 3, "all three were lost");
    });
}

#[test]
fn a_detached_settle_of_a_closed_client_counts_as_failed() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client_once().await;
        let mut consumer = consumer(&client, &mut link).await;
        link.deliver(1, vec![batch(5, 10, &["a", "b"])]).await;
        let batch = consumer.next_batch().await.expect("open").expect("a batch");
        drop(link);
        consumer.next().await.expect("why").expect_err("closed");
        batch.ack_detached();
        assert_eq!(consumer.flush_settles().await, 2);
    });
}

#[test]
fn a_lost_lease_is_an_outcome() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let mut consumer = consumer(&client, &mut link).await;
        link.deliver(1, vec![batch(5, 10, &["a"])]).await;
        let delivery = consumer.next().await.expect("open").expect("delivered");
        let (outcome, ()) = tokio::join!(delivery.ack(), async {
            let (correlation, _) = link.next_settle().await;
            let mut outcome = wire::SettleOutcome {
                range: Some(wire::OffsetRange {
                    first: 10,
                    count: 1,
                }),
                lost: true,
                ..wire::SettleOutcome::default()
            };
            outcome.set_state(wire::State::Leased);
            let outcomes = vec![outcome];
            let settled = wire::Settled {
                settled: 0,
                outcomes,
            };
            link.say(correlation, Kind::Settled(settled)).await;
        });
        assert_eq!(
            outcome.expect("answered"),
            Outcome::LeaseLost(State::Leased)
        );
    });
}

#[test]
fn a_dropped_delivery_is_released() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let mut consumer = consumer(&client, &mut link).await;
        link.deliver(1, vec![batch(5, 10, &["a", "b"])]).await;
        drop(consumer.next().await.expect("open").expect("delivered"));
        let (_, settle) = link.next_settle().await;
        assert_eq!(settle.action(), wire::Action::Release);
        assert_eq!((ranges(&settle), settle.delay_ms), (vec![(10, 1)], Some(0)));
        drop(consumer);
        let (_, settle) = link.next_settle().await;
        assert_eq!(settle.action(), wire::Action::Release);
        assert_eq!(
            ranges(&settle),
            [(11, 1)],
            "what was not handed out goes back too"
        );
        let (_, kind) = link.next().await;
        assert!(matches!(kind, Kind::StopConsume(_)), "{kind:?}");
    });
}

#[test]
fn a_settle_is_retried_over_a_reconnect_and_the_consumer_subscribes_again() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let mut consumer = consumer(&client, &mut link).await;
        link.deliver(1, vec![batch(5, 10, &["a"]), batch(6, 11, &["b"])])
            .await;
        let delivery = consumer.next().await.expect("open").expect("delivered");
        let acked = tokio::spawn(delivery.ack());
        link.next_settle().await;
        drop(link);
        let (mut link, _) = broker.welcome().await;
        let (correlation, settle) = link.next_settle().await;
        assert_eq!(
            (settle.action(), ranges(&settle)),
            (wire::Action::Ack, vec![(10, 1)])
        );
        link.settled(correlation, 1).await;
        let (correlation, settle) = link.next_settle().await;
        assert_eq!(
            settle.action(),
            wire::Action::Release,
            "pushed, never handed out"
        );
        assert_eq!(ranges(&settle), [(11, 1)]);
        link.settled(correlation, 1).await;
        let consume = link.subscribe().await;
        assert_eq!((consume.address.as_str(), consume.consumer), ("jobs", 1));
        assert_eq!(
            acked.await.expect("no panic").expect("acked"),
            Outcome::Done
        );
        link.deliver(1, vec![batch(7, 11, &["b"])]).await;
        let delivery = consumer.next().await.expect("open").expect("delivered");
        assert_eq!((delivery.body(), delivery.grant().counter), (&b"b"[..], 7));
    });
}

#[test]
fn a_consumer_whose_queue_is_gone_says_so_and_ends() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let mut consumer = consumer(&client, &mut link).await;
        drop(link);
        let (mut link, _) = broker.welcome().await;
        let (correlation, _) = link.next().await;
        let gone = Refusal::NotFound {
            name: "jobs".into(),
            nearest: Vec::new(),
        };
        link.refuse(correlation, &gone).await;
        let error = consumer.next().await.expect("why").expect_err("refused");
        assert_eq!(error.refusal(), Some(&gone));
        assert!(consumer.next().await.is_none());
    });
}

#[test]
fn a_consumer_whose_queue_is_deleted_under_it_says_so_and_ends() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let mut consumer = consumer(&client, &mut link).await;
        link.deliver(1, vec![batch(5, 10, &["a"])]).await;
        let gone = Refusal::NotFound {
            name: "(deleted)".into(),
            nearest: Vec::new(),
        };
        let ended = wire::ConsumerEnded {
            consumer: 1,
            error: Some(gone.to_wire()),
        };
        link.say(0, Kind::ConsumerEnded(ended)).await;
        let delivery = consumer.next().await.expect("open").expect("delivered");
        assert_eq!(delivery.body(), b"a");
        let error = consumer.next().await.expect("why").expect_err("refused");
        assert_eq!(error.refusal(), Some(&gone));
        assert!(consumer.next().await.is_none());
        drop(delivery);
        let (_, settle) = link.next_settle().await;
        assert_eq!(ranges(&settle), [(10, 1)]);
        drop(consumer);
        let (_, ()) = tokio::join!(client.ping(), pong(&mut link));
    });
}

#[test]
fn closing_a_consumer_releases_what_it_did_not_hand_out() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let consumer = consumer(&client, &mut link).await;
        link.deliver(1, vec![batch(5, 10, &["a"])]).await;
        // The answer shows that the delivery was read.
        let (_, ()) = tokio::join!(client.ping(), pong(&mut link));
        let (closed, ()) = tokio::join!(consumer.close(), async {
            let (_, settle) = link.next_settle().await;
            assert_eq!(settle.action(), wire::Action::Release);
            let (correlation, kind) = link.next().await;
            assert!(matches!(kind, Kind::StopConsume(_)), "{kind:?}");
            link.say(correlation, Kind::Done(wire::Done {})).await;
        });
        closed.expect("closed");
    });
}

#[test]
fn a_lease_kept_alive_is_extended_at_every_half_of_its_timeout() {
    limited_paused(async {
        let mut broker = Broker::start().await;
        broker.limits.heartbeat_ms = 0;
        let (client, mut link) = broker.client().await;
        let builder = client.consumer("jobs").visibility(Duration::from_secs(30));
        let (consumer, _) = tokio::join!(builder.open(), link.subscribe());
        let mut consumer = consumer.expect("subscribed");
        link.deliver(1, vec![batch(5, 10, &["a"])]).await;
        let delivery = consumer.next().await.expect("open").expect("delivered");
        let since = tokio::time::Instant::now();
        let keep_alive = delivery.keep_alive();
        for beat in 1..=3 {
            let (correlation, settle) = link.next_settle().await;
            assert_eq!(
                (settle.action(), settle.delay_ms),
                (wire::Action::Extend, Some(30_000))
            );
            assert_eq!(since.elapsed().as_secs(), 15 * beat);
            link.settled(correlation, 1).await;
        }
        drop(keep_alive);
        let acked = tokio::spawn(delivery.ack());
        let (correlation, settle) = link.next_settle().await;
        assert_eq!(settle.action(), wire::Action::Ack);
        link.settled(correlation, 1).await;
        assert_eq!(
            acked.await.expect("no panic").expect("acked"),
            Outcome::Done
        );
    });
}

#[test]
fn a_lease_is_kept_alive_until_it_may_be_held_no_longer() {
    limited_paused(async {
        let mut broker = Broker::start().await;
        broker.limits.heartbeat_ms = 0;
        let (client, mut link) = broker.client().await;
        let builder = client.consumer("jobs").visibility(Duration::from_secs(30));
        let (consumer, _) = tokio::join!(builder.open(), link.subscribe());
        let mut consumer = consumer.expect("subscribed");
        link.deliver(1, vec![batch(5, 10, &["a"])]).await;
        let delivery = consumer.next().await.expect("open").expect("delivered");
        let _keep_alive = delivery.keep_alive();
        let past = |left_ms| {
            let refusal = Refusal::out_of_range("remaining_ms", 1_000, left_ms);
            Kind::Error(refusal.to_wire())
        };
        let (correlation, settle) = link.next_settle().await;
        assert_eq!(settle.delay_ms, Some(30_000));
        link.say(correlation, past(25_000)).await;
        let (correlation, settle) = link.next_settle().await;
        assert_eq!(settle.delay_ms, Some(24_000), "what is left, but a second");
        link.settled(correlation, 1).await;
        let (correlation, settle) = link.next_settle().await;
        assert_eq!(settle.delay_ms, Some(30_000));
        link.say(correlation, past(10_000)).await;
        let (correlation, settle) = link.next_settle().await;
        assert_eq!(settle.delay_ms, Some(9_000));
        link.settled(correlation, 1).await;
        let (correlation, settle) = link.next_settle().await;
        assert_eq!(settle.delay_ms, Some(30_000));
        link.say(correlation, past(1_500)).await;
        let since = tokio::time::Instant::now();
        tokio::time::advance(Duration::from_mins(1)).await;
        drop(delivery);
        let (_, settle) = link.next_settle().await;
        assert_eq!(
            settle.action(),
            wire::Action::Release,
            "{:?}",
            since.elapsed()
        );
    });
}

#[test]
fn a_lease_is_kept_alive_although_the_connection_breaks_before_its_timeout_is_known() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let mut consumer = consumer(&client, &mut link).await;
        link.deliver(1, vec![batch(5, 10, &["a"])]).await;
        let delivery = consumer.next().await.expect("open").expect("delivered");
        let _keep_alive = delivery.keep_alive();
        let (_, kind) = link.next().await;
        assert!(matches!(kind, Kind::Describe(_)), "{kind:?}");
        drop(link);
        let (mut link, _) = broker.welcome().await;
        link.subscribe().await;
        let (correlation, kind) = link.next().await;
        assert!(matches!(kind, Kind::Describe(_)), "{kind:?}");
        let settings = wire::DeliverySettings {
            visibility_timeout_ms: Some(1_000),
            ..wire::DeliverySettings::default()
        };
        let info = wire::NameInfo {
            subscriptions: vec![wire::SubscriptionInfo {
                address: "jobs".into(),
                settings: Some(settings),
                ..wire::SubscriptionInfo::default()
            }],
            ..wire::NameInfo::default()
        };
        link.say(correlation, Kind::NameInfo(info)).await;
        let (_, settle) = link.next_settle().await;
        assert_eq!(
            (settle.action(), settle.delay_ms),
            (wire::Action::Extend, Some(1_000))
        );
    });
}

#[test]
fn a_receive_gives_batches_that_are_settled_like_any_other() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let (received, ()) =
            tokio::join!(client.receive("jobs", ReceiveOptions::default()), async {
                let (correlation, kind) = link.next().await;
                let Kind::Receive(receive) = kind else {
                    panic!("a receive: {kind:?}")
                };
                assert_eq!((receive.max_messages, receive.wait_ms), (1, 20_000));
                let batches = vec![batch(5, 10, &["a"])];
                let gap = Some(wire::OffsetRange { first: 7, count: 3 });
                link.say(correlation, Kind::Received(wire::Received { batches, gap }))
                    .await;
            });
        let received = received.expect("received");
        assert_eq!(received.gap, Some(7..10));
        let batch = received.batches.into_iter().next().expect("one");
        let delivery = batch.into_deliveries().next().expect("one");
        assert_eq!(delivery.body_bytes(), "a");
        delivery.ack_detached();
        let (_, settle) = link.next_settle().await;
        assert_eq!(ranges(&settle), [(10, 1)]);
    });
}

async fn next_receive(link: &mut Link) -> (u64, wire::Receive) {
    match link.next().await {
        (correlation, Kind::Receive(receive)) => (correlation, receive),
        (_, kind) => panic!("a receive: {kind:?}"),
    }
}

#[test]
fn a_receive_asks_again_by_its_name_when_the_connection_is_lost() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let nothing = || wire::Received::default();
        let ask = async {
            for _ in 0..2 {
                let received = client.receive("jobs", ReceiveOptions::default()).await;
                assert!(received.expect("not interrupted").batches.is_empty());
            }
        };
        let ((), ()) = tokio::join!(ask, async {
            let (_, first) = next_receive(&mut link).await;
            assert_eq!(first.request_id.len(), 16);
            drop(link);
            let (mut link, _) = broker.welcome().await;
            let (correlation, again) = next_receive(&mut link).await;
            assert_eq!(again.request_id, first.request_id);
            assert!(again.wait_ms <= first.wait_ms, "what is left of its wait");
            link.say(correlation, Kind::Received(nothing())).await;
            let (correlation, next) = next_receive(&mut link).await;
            assert_ne!(next.request_id, first.request_id, "a name of its own");
            link.say(correlation, Kind::Received(nothing())).await;
        });
    });
}

pub(crate) async fn pong(link: &mut Link) {
    let (correlation, kind) = link.next().await;
    assert!(matches!(kind, Kind::Ping(_)), "{kind:?}");
    link.say(correlation, Kind::Pong(wire::Pong {})).await;
}

async fn once(client: &Client, link: &mut Link) -> Consumer {
    let builder = client.consumer("jobs").window(2).ack_on_delivery();
    let (consumer, consume) = tokio::join!(builder.open(), link.subscribe());
    assert!(consume.ack_on_delivery);
    consumer.expect("subscribed")
}

#[test]
fn what_is_acked_on_delivery_gives_its_room_back_and_waits_for_no_answer() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let mut consumer = once(&client, &mut link).await;
        link.deliver(1, vec![batch(5, 10, &["a", "b"])]).await;
        let first = consumer.next().await.expect("open").expect("delivered");
        assert_eq!(first.ack().await.expect("acked"), Outcome::Done);
        let (_, settle) = link.next_settle().await;
        assert_eq!(
            (settle.action(), ranges(&settle)),
            (wire::Action::Ack, vec![(10, 1)])
        );
        drop(consumer.next().await.expect("open").expect("delivered"));
        let (_, settle) = link.next_settle().await;
        assert_eq!(
            (settle.action(), ranges(&settle)),
            (wire::Action::Ack, vec![(11, 1)])
        );
        assert_eq!(consumer.flush_settles().await, 0);
    });
}

#[test]
fn what_is_acked_on_delivery_is_handed_out_although_the_connection_broke() {
    limited(async {
        let broker = Broker::start().await;
        let (client, mut link) = broker.client().await;
        let mut consumer = once(&client, &mut link).await;
        let batches = vec![batch(5, 10, &["a"]), batch(6, 11, &["b"])];
        link.deliver(1, batches).await;
        let first = consumer.next().await.expect("open").expect("delivered");
        drop(link);
        let (mut link, _) = broker.welcome().await;
        assert!(link.subscribe().await.ack_on_delivery);
        let batches = vec![batch(7, 12, &["c"]), batch(8, 13, &["d"])];
        link.deliver(1, batches).await;
        let mut bodies = vec![first.body_bytes()];
        while bodies.len() < 4 {
            let next = consumer.next().await.expect("open").expect("delivered");
            bodies.push(next.body_bytes());
        }
        assert_eq!(bodies, ["a", "b", "c", "d"]);
    });
}
