//! Publishers and consumers that write down everything they do and see, for the accounting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use crc_fast::{CrcAlgorithm, checksum};
use fastrand::Rng;
use siding::wire::NameInfo;
use siding::{Client, DeliveredBatch, Delivery, Outcome, Receipt, SettleOutcomeKind, Settled};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::accounting::{Delivered, Event, FinalBooks, Ms, Tag};

/// Messages that publishers are ahead of consumers, at most.
const AHEAD_MAX: u64 = 100_000;
/// Unsettled messages of one consumer at most.
const WINDOW: u32 = 128;
/// Settles of one consumer that are under way at most.
const SETTLES_MAX: usize = 16;
/// One in so many times a hundred batches a consumer cuts its connection.
const CUT_RARELY: u32 = 50;
/// Messages a consumer sits on until their lease is gone, of one batch and in all: they take credit.
const HELD_OF_BATCH: usize = 4;
const HELD_MAX: usize = 32;
/// So long after the deadline they are acked all the same: somebody else has got them meanwhile.
const OVERDUE_MS: Ms = 200;
/// While a drain gets nothing it looks at the books so often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The tests' clock: Unix ms.
pub fn now() -> Ms {
    #[expect(
        clippy::disallowed_methods,
        reason = "deadlines on the wire are wall-clock times"
    )]
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the year 500 million")
}

/// The events of a run, in one order.
#[derive(Clone, Debug, Default)]
pub struct Records(Arc<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    events: Mutex<Vec<Event>>,
    count: AtomicU64,
    /// Messages given to publishers, and acks asked for.
    sent: AtomicU64,
    acked: AtomicU64,
    grown: Notify,
}

impl Records {
    /// Adds one.
    pub fn note(&self, event: Event) {
        self.note_all([event]);
    }

    /// Adds some.
    pub fn note_all(&self, events: impl IntoIterator<Item = Event>) {
        let mut all = self.0.events.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(events.into_iter().inspect(|event| match event {
            Event::Sent(_) => drop(self.0.sent.fetch_add(1, Ordering::Relaxed)),
            Event::AckAsked { .. } => drop(self.0.acked.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }));
        self.0.count.store(all.len() as u64, Ordering::Release);
        drop(all);
        self.0.grown.notify_waiters();
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }

    /// Waits until there are so many.
    pub async fn until(&self, count: u64) {
        self.until_true(|| self.count() >= count).await;
    }

    /// Waits until publishers are no further ahead of consumers than so many messages, about.
    async fn until_close(&self, most: u64) {
        let (sent, acked) = (&self.0.sent, &self.0.acked);
        let ahead = || {
            sent.load(Ordering::Relaxed)
                .saturating_sub(acked.load(Ordering::Relaxed))
        };
        self.until_true(|| ahead() < most).await;
    }

    async fn until_true(&self, is_true: impl Fn() -> bool) {
        loop {
            let grown = self.0.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            if is_true() {
                return;
            }
            grown.await;
        }
    }

    /// All of them, taken out.
    pub fn take(&self) -> Vec<Event> {
        let mut all = self.0.events.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut all)
    }
}

/// Bodies that say whose they are, and whether a byte of them changed.
#[derive(Clone, Copy, Debug)]
pub struct Bodies {
    /// Of the run: bodies of another run are nobody's.
    pub seed: u64,
}

impl Bodies {
    /// `publisher, number, random bytes, CRC-32C`.
    pub fn of(self, tag: Tag) -> Vec<u8> {
        let mut rng = Rng::with_seed(self.seed ^ (u64::from(tag.publisher) << 40) ^ tag.number);
        let mut body = tag.publisher.to_le_bytes().to_vec();
        body.extend_from_slice(&tag.number.to_le_bytes());
        // Now and then one that is not copied but referenced, and read back in pieces.
        let bytes = if rng.u32(0..100) == 0 {
            rng.usize(0..20_000)
        } else {
            rng.usize(0..200)
        };
        body.extend(std::iter::repeat_with(|| rng.u8(..)).take(bytes));
        let sum = checksum(CrcAlgorithm::Crc32Iscsi, &body);
        body.extend_from_slice(&sum.to_le_bytes());
        body
    }

    /// Whose body it is; `None`: nobody's.
    pub fn tag_of(self, body: &[u8]) -> Option<Tag> {
        let (publisher, rest) = body.split_first_chunk()?;
        let number = rest.first_chunk()?;
        let tag = Tag {
            publisher: u32::from_le_bytes(*publisher),
            number: u64::from_le_bytes(*number),
        };
        (self.of(tag) == body).then_some(tag)
    }
}

/// What publishers and consumers of a run share.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where.
    pub queue: &'static str,
    /// Its visibility timeout.
    pub visibility_ms: Ms,
    /// With these bodies.
    pub bodies: Bodies,
    /// Written down here.
    pub records: Records,
}

impl Load {
    /// Publishes as fast as a small window allows, and no further ahead of the consumers than a queue holds
    /// that is empty again soon, until it is told to stop; then waits until everything is answered.
    ///
    /// # Errors
    /// The publisher cannot be opened.
    pub async fn publish(
        self,
        client: Client,
        publisher: u32,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let batch = fastrand::u32(1..128);
        let opened = client
            .publisher(self.queue)
            .window(512)
            .batch(batch)
            .open()
            .await?;
        let (sender, receipts) = mpsc::channel(1_024);
        let answers = tokio::spawn(await_receipts(self.records.clone(), receipts));
        for number in 0.. {
            if *stop.borrow() {
                break;
            }
            tokio::select! {
                () = self.records.until_close(AHEAD_MAX) => {}
                _ = stop.changed() => break,
            }
            let tag = Tag { publisher, number };
            self.records.note(Event::Sent(tag));
            let receipt = opened.publish(self.bodies.of(tag)).await?;
            sender
                .send((tag, receipt))
                .await
                .context("answers are awaited")?;
        }
        drop(sender);
        answers.await?;
        client.close().await;
        Ok(())
    }

    /// Consumes until it is told to stop, mostly acking; now and then it nacks, sits on a batch, or
    /// loses its connection.
    ///
    /// # Errors
    /// The consumer, or a settle, fails other than by a lost lease.
    pub async fn consume(
        self,
        client: Client,
        number: u32,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let mut consumer = client.consumer(self.queue).window(WINDOW).open().await?;
        let mut hands = Hands {
            load: self,
            number,
            held: Vec::new(),
            settles: JoinSet::new(),
        };
        loop {
            tokio::select! {
                _ = stop.changed() => break,
                batch = consumer.next_batch() => {
                    let batch = batch.context("a consumer never ends")??;
                    hands.take(batch, &client).await?;
                }
            }
        }
        let records = hands.load.records.clone();
        hands.finish().await?;
        records.note(Event::Closing);
        consumer.close().await?;
        client.close().await;
        Ok(())
    }

    /// Consumes and acks until the queue holds nothing any more; gives its books then.
    ///
    /// # Errors
    /// As [`consume`](Self::consume).
    pub async fn drain(self, client: Client, number: u32) -> Result<FinalBooks> {
        let mut consumer = client.consumer(self.queue).open().await?;
        let queue = self.queue;
        let mut hands = Hands {
            load: self,
            number,
            held: Vec::new(),
            settles: JoinSet::new(),
        };
        loop {
            if let Ok(batch) = tokio::time::timeout(LOOK_EVERY, consumer.next_batch()).await {
                let batch = batch.context("a consumer never ends")??;
                hands.note_delivered(&batch);
                hands.ack(batch);
                hands.make_room().await?;
                continue;
            }
            let books = final_books(&client.describe(queue).await?);
            if books.left == 0 {
                hands.finish().await?;
                client.close().await;
                return Ok(books);
            }
        }
    }
}

async fn await_receipts(records: Records, mut receipts: mpsc::Receiver<(Tag, Receipt)>) {
    while let Some((tag, receipt)) = receipts.recv().await {
        records.note(match receipt.await {
            Ok(confirm) => Event::Confirmed(tag, confirm.id.offset),
            Err(error) if error.maybe_applied() => Event::Unknown(tag),
            Err(_) => Event::Refused(tag),
        });
    }
}

/// The books of a queue as the accounting wants them.
pub fn final_books(info: &NameInfo) -> FinalBooks {
    let books = info
        .subscriptions
        .first()
        .and_then(|subscription| subscription.books);
    let books = books.unwrap_or_default();
    FinalBooks {
        end: info.end,
        settled: books.settled,
        dead: books.dead,
        left: books.ready + books.delayed + books.leased,
    }
}

/// What one consumer holds.
struct Hands {
    load: Load,
    number: u32,
    held: Vec<Delivery>,
    settles: JoinSet<Result<()>>,
}

impl Hands {
    async fn take(&mut self, batch: DeliveredBatch, client: &Client) -> Result<()> {
        self.note_delivered(&batch);
        let overdue = |held: &mut Delivery| held.deadline_ms() + OVERDUE_MS < now();
        for held in self.held.extract_if(.., overdue).collect::<Vec<_>>() {
            self.ack_one(held);
        }
        match fastrand::u32(0..100) {
            0..3 => self.give_back(batch),
            3..13 if self.held.len() < HELD_MAX => self.hold_some(batch),
            // Whoever loses connections that were hardly up waits longer each time, and the queue grows.
            13 if fastrand::u32(0..CUT_RARELY) == 0 => {
                let cut = Event::Cut {
                    consumer: self.number,
                    at: now(),
                };
                self.load.records.note(cut);
                client.cut_connection();
                self.ack(batch);
            }
            _ => self.ack(batch),
        }
        self.make_room().await
    }

    fn note_delivered(&self, batch: &DeliveredBatch) {
        let at = now();
        let messages = batch.messages().zip(batch.first_offset()..);
        let events = messages.map(|(message, offset)| {
            Event::Delivered(Delivered {
                offset,
                tag: self.load.bodies.tag_of(message.body()),
                attempt: batch.attempt(),
                grant: batch.grant(),
                consumer: self.number,
                since: batch.deadline_ms().saturating_sub(self.load.visibility_ms),
                at,
                deadline: batch.deadline_ms(),
            })
        });
        self.load.records.note_all(events);
    }

    fn give_back(&mut self, batch: DeliveredBatch) {
        let grant = batch.grant();
        let offsets = batch.first_offset()..batch.first_offset() + batch.len() as u64;
        let events = offsets.map(|offset| Event::GivenBack { offset, grant });
        self.load.records.note_all(events);
        self.settles.spawn(async move {
            // What was lost meanwhile needs no giving back.
            drop(batch.nack(Some(Duration::ZERO)).await?);
            Ok(())
        });
    }

    fn ack(&mut self, batch: DeliveredBatch) {
        let grant = batch.grant();
        let offsets = batch.first_offset()..batch.first_offset() + batch.len() as u64;
        let records = self.load.records.clone();
        let at = now();
        let asked = offsets
            .clone()
            .map(|offset| Event::AckAsked { offset, grant, at });
        records.note_all(asked);
        self.settles.spawn(async move {
            let settled = batch.ack().await?;
            let at = now();
            let events = offsets.map(|offset| {
                if is_lost(&settled, offset) {
                    Event::LeaseLost { offset, grant }
                } else {
                    Event::Acked { offset, grant, at }
                }
            });
            records.note_all(events);
            Ok(())
        });
    }

    fn hold_some(&mut self, batch: DeliveredBatch) {
        let mut deliveries = batch.into_deliveries();
        self.held.extend(deliveries.by_ref().take(HELD_OF_BATCH));
        if let Some(rest) = deliveries.into_batch() {
            self.ack(rest);
        }
    }

    fn ack_one(&mut self, delivery: Delivery) {
        let (offset, grant) = (delivery.id().offset, delivery.grant());
        let records = self.load.records.clone();
        let at = now();
        records.note(Event::AckAsked { offset, grant, at });
        self.settles.spawn(async move {
            let outcome = delivery.ack().await?;
            let at = now();
            records.note(match outcome {
                Outcome::Done | Outcome::Late => Event::Acked { offset, grant, at },
                Outcome::LeaseLost(_) => Event::LeaseLost { offset, grant },
            });
            Ok(())
        });
    }

    async fn make_room(&mut self) -> Result<()> {
        while self.settles.len() >= SETTLES_MAX {
            self.settles.join_next().await.context("at least one")???;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        for delivery in std::mem::take(&mut self.held) {
            self.ack_one(delivery);
        }
        while let Some(settled) = self.settles.join_next().await {
            settled??;
        }
        Ok(())
    }
}

fn is_lost(settled: &Settled, offset: u64) -> bool {
    let mut outcomes = settled.outcomes.iter();
    outcomes.any(|outcome| {
        matches!(outcome.kind, SettleOutcomeKind::LeaseLost(_)) && outcome.range.contains(&offset)
    })
}
