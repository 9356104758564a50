//! From bodies to confirms: the publishing half of `siding publish`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use siding::protocol::run::MessageError;
use siding::wire::name_info::Settings;
use siding::{Client, Error, Level, OnBusy, Publisher, Receipt, Refusal};

use crate::attributes::MessageArgs;
use crate::clock;
use crate::commands::publish::{OnBusyArg, PublishArgs};
use crate::exit::{Exit, failure};
use crate::json_line;
use crate::output::Output;

/// What became of the messages so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Given to the publisher.
    pub(crate) sent: u64,
    /// `None`: not known one by one, and not all of them.
    pub(crate) confirmed: Option<u64>,
    /// Left out because the broker was busy.
    pub(crate) dropped: u64,
    /// Of those that are confirmed: stored before under their dedup id.
    pub(crate) duplicates: u64,
    /// Where the first of them lies.
    pub(crate) first_duplicate: Option<u64>,
    /// The lowest that a confirm named.
    pub(crate) level: Option<Level>,
    pub(crate) elapsed: Duration,
}

/// Whoever reads ids waits for them no longer than so, however long the input goes on.
const SHOWN_EVERY: Duration = Duration::from_millis(20);

/// An open publisher with what every message gets.
pub(crate) struct Feed {
    publisher: Publisher,
    name: String,
    shape: Shape,
    /// Receipts to look at one by one; empty where the publisher's own count is enough.
    receipts: VecDeque<Receipt>,
    receipts_max: usize,
    print_ids: bool,
    drop_busy: bool,
    rate: Option<f64>,
    started: Instant,
    /// When ids were printed last.
    shown: Instant,
    confirmed: u64,
    tally: Tally,
}

/// How a line becomes a message.
enum Shape {
    /// Its body, nothing else: the fast path.
    Plain,
    Json,
    /// A body with these attributes.
    Attributes(MessageArgs),
}

impl Feed {
    /// Opens a publisher to `name`.
    pub(crate) async fn open(client: &Client, name: &str, args: &PublishArgs) -> Result<Self> {
        let on_busy = match args.on_busy {
            OnBusyArg::Wait => OnBusy::Wait,
            OnBusyArg::Fail | OnBusyArg::Drop => OnBusy::Fail,
        };
        let mut publisher = client
            .publisher(name)
            .batch(args.batch.min(messages_max(client, name).await))
            .linger(args.linger)
            .window(args.window.into())
            .on_busy(on_busy);
        if let Some(level) = args.level {
            publisher = publisher.level(level.into());
        }
        let publisher = publisher.open().await?;
        let shape = if args.json {
            Shape::Json
        } else if args.message.is_plain() {
            Shape::Plain
        } else {
            Shape::Attributes(args.message.clone())
        };
        Ok(Self {
            publisher,
            name: name.to_owned(),
            shape,
            receipts: VecDeque::new(),
            receipts_max: usize::try_from(args.window)?,
            print_ids: args.print_ids,
            drop_busy: args.on_busy == OnBusyArg::Drop,
            rate: args.rate,
            started: clock::now(),
            shown: clock::now(),
            confirmed: 0,
            tally: Tally::default(),
        })
    }

    /// Hands one body on; waits for room in the window, and for the rate.
    pub(crate) async fn send(&mut self, body: &[u8], output: &mut Output) -> Result<()> {
        if let Some(rate) = self.rate {
            self.pace(rate).await;
        }
        let receipt = match &self.shape {
            Shape::Plain => self.publisher.publish_body(body).await,
            Shape::Json => {
                let message = json_line::parse(body).map_err(|why| self.bad_line(&why))?;
                self.publisher.publish(message).await
            }
            Shape::Attributes(attributes) => self.publisher.publish(attributes.message(body)).await,
        };
        let receipt = match receipt {
            Err(Error::InvalidMessage(why)) => return Err(self.bad_message(why)),
            other => other?,
        };
        self.tally.sent += 1;
        if self.print_ids || self.drop_busy {
            self.receipts.push_back(receipt);
            if self.receipts.len() >= self.receipts_max {
                self.settle_oldest(output).await?;
            }
            if self.print_ids && self.shown + SHOWN_EVERY <= clock::now() {
                self.show_confirmed(output).await?;
            }
        }
        Ok(())
    }

    /// The line's fault, or the flag's that all lines share.
    fn bad_message(&self, why: MessageError) -> anyhow::Error {
        match (why, &self.shape) {
            (MessageError::OutOfRange(range), Shape::Attributes(_)) if range.field != "body" => {
                Error::Refused(range.to_refusal()).into()
            }
            _ => self.bad_line(&why.to_string()),
        }
    }

    fn bad_line(&self, why: &str) -> anyhow::Error {
        failure(
            Exit::BadInput,
            format!("message {}: {why}", self.tally.sent + 1),
        )
    }

    async fn pace(&self, rate: f64) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a pace needs no more than 52 bits"
        )]
        let due = Duration::try_from_secs_f64(self.tally.sent as f64 / rate);
        let due = self.started + due.unwrap_or(Duration::MAX / 4);
        if due > clock::now() {
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// Waits until the oldest of the messages whose ids are to be printed is confirmed; for ever if there is
    /// none.
    ///
    /// # Cancel safety
    /// Nothing is lost if dropped.
    pub(crate) async fn confirmed(&mut self) {
        match self.receipts.front_mut().filter(|_| self.print_ids) {
            // What it says is asked again by whoever prints it.
            Some(receipt) => drop(receipt.await),
            None => std::future::pending().await,
        }
    }

    /// Prints the ids of what is confirmed by now.
    pub(crate) async fn show_confirmed(&mut self, output: &mut Output) -> Result<()> {
        self.shown = clock::now();
        loop {
            tokio::select! {
                biased;
                () = self.confirmed() => {}
                () = std::future::ready(()) => return output.flush().await,
            }
            self.settle_oldest(output).await?;
        }
    }

    async fn settle_oldest(&mut self, output: &mut Output) -> Result<()> {
        let Some(receipt) = self.receipts.pop_front() else {
            return Ok(());
        };
        match receipt.await {
            Ok(confirm) => {
                self.confirmed += 1;
                if self.print_ids {
                    let line = format!("{}@{}\n", self.name, confirm.id.offset);
                    output.raw().extend_from_slice(line.as_bytes());
                    // As many lines as fit a pipe at once; the rest at the end.
                    if output.raw().len() >= 64 << 10 {
                        output.flush().await?;
                    }
                }
                Ok(())
            }
            Err(Error::Refused(Refusal::Busy { .. })) if self.drop_busy => {
                self.tally.dropped += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for every confirm.
    pub(crate) async fn finish(&mut self, output: &mut Output) -> Result<()> {
        let tracked = self.print_ids || self.drop_busy;
        let mut flushed = self.publisher.flush().await.map_err(Into::into);
        if tracked {
            flushed = self.settle_all(output).await;
            self.tally.confirmed = Some(self.confirmed);
        } else if flushed.is_ok() {
            self.tally.confirmed = Some(self.tally.sent);
        }
        self.tally.level = self.publisher.lowest_level();
        let (duplicates, first) = self.publisher.duplicates();
        self.tally.duplicates = duplicates;
        self.tally.first_duplicate = first.map(|id| id.offset);
        self.tally.elapsed = clock::now().saturating_duration_since(self.started);
        flushed
    }

    async fn settle_all(&mut self, output: &mut Output) -> Result<()> {
        while !self.receipts.is_empty() {
            self.settle_oldest(output).await?;
        }
        Ok(())
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }
}

/// Messages that a queue can ever hold: a batch of more would be refused as busy for ever. What is
/// not there, or cannot be seen, is the first publish's to tell.
async fn messages_max(client: &Client, name: &str) -> u32 {
    let settings = client.describe(name).await.map(|info| info.settings);
    let most = match settings {
        Ok(Some(Settings::Queue(settings))) => settings.max_messages,
        _ => None,
    };
    most.and_then(|most| u32::try_from(most).ok())
        .unwrap_or(u32::MAX)
}
