//! One client that publishes, takes and acks in phases, and writes everything down.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use siding::wire::{DeliverySettings, QueueSettings};
use siding::{
    Client, DeliveredBatch, OnBusy, Publisher, Receipt, ReceiveOptions, Refusal, SettleOutcomeKind,
};
use tokio::time::Instant;

use super::Waits;
use crate::accounting::{Delivered, Event, FinalBooks, Tag};
use crate::load::{Bodies, Records, final_books, now};

const QUEUE: &str = "disk";
const VISIBILITY_MS: u64 = 5_000;
/// Of one body, at least: a disk is full soon.
const BODY_BYTES: usize = 16 << 10;
const UNDER_WAY: usize = 32;
/// Messages of one receive.
const TAKEN_AT_ONCE: u32 = 32;
/// A lease that began so long before a kill is surely noted.
const NOTED_WITHIN_MS: u64 = 1_000;
/// Between two tries of what must come soon.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// A client with its books.
pub(super) struct Worker {
    client: Client,
    publisher: Publisher,
    bodies: Bodies,
    pub(super) records: Records,
    number: u64,
}

/// What a publish came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    Confirmed,
    /// `BUSY{disk}`.
    Full,
    /// Nobody knows.
    Unknown,
}

impl Worker {
    /// Makes the queue.
    pub(super) async fn new(client: Client, seed: u64) -> Result<Self> {
        let delivery = DeliverySettings {
            visibility_timeout_ms: Some(VISIBILITY_MS),
            max_attempts: Some(1_000),
            ..DeliverySettings::default()
        };
        let settings = QueueSettings {
            delivery: Some(delivery),
            ..QueueSettings::default()
        };
        client.create_queue(QUEUE, settings).await?;
        let publisher = client.publisher(QUEUE).batch(4).on_busy(OnBusy::Fail);
        Ok(Self {
            publisher: publisher.open().await?,
            client,
            bodies: Bodies { seed },
            records: Records::default(),
            number: 0,
        })
    }

    /// The broker is killed now, or its power is cut.
    pub(super) fn note_kill(&self, power: bool) {
        let at = now();
        let noted = at - NOTED_WITHIN_MS;
        self.records.note(Event::Killed { at, noted, power });
    }

    /// Publishes so many, a few at once, until something else than a confirm comes; then everything is
    /// answered.
    pub(super) async fn fill(&mut self, most: u64) -> Result<Published> {
        let (mut under_way, mut left) = (VecDeque::new(), most);
        loop {
            while left > 0 && under_way.len() < UNDER_WAY {
                let Some(sent) = self.send().await? else {
                    left = 0;
                    break;
                };
                under_way.push_back(sent);
                left -= 1;
            }
            let Some((tag, receipt)) = under_way.pop_front() else {
                return Ok(Published::Confirmed);
            };
            let published = self.answer(tag, receipt).await?;
            if published != Published::Confirmed {
                for (tag, receipt) in under_way {
                    self.answer(tag, receipt).await?;
                }
                return Ok(published);
            }
        }
    }

    /// Publishes one.
    pub(super) async fn publish(&mut self) -> Result<Published> {
        match self.send().await? {
            Some((tag, receipt)) => self.answer(tag, receipt).await,
            None => Ok(Published::Unknown),
        }
    }

    /// Publishes until one is confirmed; answers with how long that took.
    pub(super) async fn until_confirmed(&mut self) -> Result<Duration> {
        let since = Instant::now();
        let mut every = tokio::time::interval(TRY_EVERY);
        loop {
            every.tick().await;
            if self.publish().await? == Published::Confirmed {
                return Ok(since.elapsed());
            }
        }
    }

    /// `None`: the broker is gone.
    async fn send(&mut self) -> Result<Option<(Tag, Receipt)>> {
        let tag = Tag {
            publisher: 0,
            number: self.number,
        };
        self.number += 1;
        self.records.note(Event::Sent(tag));
        match self.publisher.publish(self.body(tag)).await {
            Ok(receipt) => Ok(Some((tag, receipt))),
            Err(error) => {
                self.records.note(if error.maybe_applied() {
                    Event::Unknown(tag)
                } else {
                    Event::Refused(tag)
                });
                Ok(None)
            }
        }
    }

    async fn answer(&self, tag: Tag, receipt: Receipt) -> Result<Published> {
        let (event, published) = match receipt.await {
            Ok(confirm) => (
                Event::Confirmed(tag, confirm.id.offset),
                Published::Confirmed,
            ),
            Err(error) if error.maybe_applied() => (Event::Unknown(tag), Published::Unknown),
            Err(error) => match error.refusal() {
                Some(Refusal::Busy { resource, .. }) if resource == "disk" => {
                    (Event::Refused(tag), Published::Full)
                }
                // The client did not send it.
                None => (Event::Refused(tag), Published::Unknown),
                Some(refusal) => bail!("a publish was refused otherwise: {refusal}"),
            },
        };
        self.records.note(event);
        Ok(published)
    }

    /// Takes and acks so many messages, or all there are; answers with how many, and how long the acks
    /// took.
    pub(super) async fn take(&self, count: usize, waits: &mut Waits) -> Result<usize> {
        let mut taken = 0;
        while taken < count {
            let options = ReceiveOptions {
                max_messages: TAKEN_AT_ONCE,
                wait: Duration::ZERO,
                ..ReceiveOptions::default()
            };
            let received = self.client.receive(QUEUE, options).await?;
            if received.batches.is_empty() {
                break;
            }
            for batch in received.batches {
                taken += batch.len();
                let since = Instant::now();
                self.ack(batch).await?;
                *waits += since.elapsed();
            }
        }
        Ok(taken)
    }

    /// Takes and acks until nothing is left; gives the books then.
    pub(super) async fn drain(&self, waits: &mut Waits) -> Result<FinalBooks> {
        let mut every = tokio::time::interval(TRY_EVERY);
        loop {
            self.take(usize::MAX, waits).await?;
            let books = final_books(&self.client.describe(QUEUE).await?);
            if books.left == 0 {
                return Ok(books);
            }
            every.tick().await;
        }
    }

    /// Messages that are not acked.
    pub(super) async fn left(&self) -> Result<u64> {
        Ok(final_books(&self.client.describe(QUEUE).await?).left)
    }

    async fn ack(&self, batch: DeliveredBatch) -> Result<()> {
        let (at, grant) = (now(), batch.grant());
        let offsets = batch.first_offset()..batch.first_offset() + batch.len() as u64;
        let messages = batch.messages().zip(offsets.clone());
        let events = messages.map(|(message, offset)| {
            Event::Delivered(Delivered {
                offset,
                tag: self.tag_of(message.body()),
                attempt: batch.attempt(),
                grant,
                consumer: 0,
                since: batch.deadline_ms().saturating_sub(VISIBILITY_MS),
                at,
                deadline: batch.deadline_ms(),
            })
        });
        self.records.note_all(events);
        let settled = batch.ack().await?;
        let lost = |outcome: &siding::SettleOutcome| {
            matches!(outcome.kind, SettleOutcomeKind::LeaseLost(_))
        };
        ensure!(
            !settled.outcomes.iter().any(lost),
            "an ack came too late: {settled:?}"
        );
        let at = now();
        let acked = offsets.map(|offset| Event::Acked { offset, grant, at });
        self.records.note_all(acked);
        Ok(())
    }

    fn body(&self, tag: Tag) -> Vec<u8> {
        let mut body = self.bodies.of(tag);
        body.resize(body.len().max(BODY_BYTES), 0xA5);
        body
    }

    fn tag_of(&self, body: &[u8]) -> Option<Tag> {
        let (publisher, rest) = body.split_first_chunk()?;
        let tag = Tag {
            publisher: u32::from_le_bytes(*publisher),
            number: u64::from_le_bytes(*rest.first_chunk()?),
        };
        (self.body(tag) == body).then_some(tag)
    }
}
