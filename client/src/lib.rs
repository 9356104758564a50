//! The Siding client: publish with confirms, consume under leases.
//!
//! ```no_run
//! # async fn run() -> Result<(), siding::Error> {
//! let client = siding::Client::connect("siding://127.0.0.1:7433").await?;
//! client.create_queue("emails", Default::default()).await?;
//!
//! let publisher = client.publisher("emails").open().await?;
//! let receipt = publisher.publish("hello").await?; // waits for room only
//! println!("stored at {}", receipt.await?.id);     // true after a power cut
//!
//! let mut consumer = client.consumer("emails").open().await?;
//! while let Some(delivery) = consumer.next().await {
//!     let delivery = delivery?;
//!     println!("{}", String::from_utf8_lossy(delivery.body()));
//!     let _outcome = delivery.ack().await?; // dropped instead, it would be given back
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | To | Use |
//! |---|---|
//! | connect, create, look | [`Client`], [`Options`] |
//! | publish | [`Publisher`], [`Message`], [`Receipt`] |
//! | consume | [`Consumer`], [`DeliveredBatch`], [`Delivery`], [`Outcome`], [`KeepAlive`] |
//! | long-poll | [`Client::receive`], [`ReceiveOptions`] |
//! | publish and ack as one | [`Transaction`] |
//! | follow one message | [`Client::get`], [`Client::await_end`], [`Client::cancel`], [`Client::explain`] |
//! | publish by the clock | [`Client::create_schedule`] |
//! | operate | [`Client::pause`], [`Client::seek`], [`Client::purge`], [`Client::redrive`] |
//! | know what went wrong | [`Error`], [`Refusal`], [`ErrorCode`] |
//!
//! Inside: callers write into shared buffers under short locks and wake one task, which owns the
//! socket and a pure session: frames in, events out.

mod backoff;
mod browse;
mod chunks;
mod client;
mod connection;
mod consumer;
mod delivery;
mod dial;
mod error;
mod heartbeat;
mod jobs;
mod keep_alive;
mod lease;
mod message;
mod notice;
mod operate;
mod options;
mod progress;
mod publisher;
mod receive;
mod schedules;
mod session;
mod settle;
mod shared;
mod started;
mod transaction;

pub use siding_protocol as protocol;
pub use siding_protocol::error_code::ErrorCode;
pub use siding_protocol::event::{OperationDone, SettleOutcome, SettleOutcomeKind, Settled};
pub use siding_protocol::refusal::{Refusal, State};
pub use siding_protocol::request::{Action, Rider, Settle};
pub use siding_protocol::run::{HeaderValue, MessageView};
pub use siding_protocol::settings::StartAt as Start;
pub use siding_protocol::types::{Address, Grant, Level, Name, NameError};
pub use siding_protocol::wire;
pub use siding_protocol::wire::Limits;

pub use crate::browse::Browsed;
pub use crate::client::Client;
pub use crate::consumer::{Consumer, ConsumerBuilder, Notices};
pub use crate::delivery::{DeliveredBatch, Deliveries, Delivery, Extended, Outcome};
pub use crate::error::{Error, ProtocolError, TryPublishError, UrlError};
pub use crate::jobs::has_ended;
pub use crate::keep_alive::KeepAlive;
pub use crate::message::{Confirm, Message, MessageId, Value};
pub use crate::notice::Notice;
pub use crate::operate::{BrowseOptions, DropDeadOptions, PurgeOptions, RedriveOptions};
pub use crate::options::{Options, PORT_DEFAULT, Reconnect};
pub use crate::publisher::{OnBusy, Publisher, PublisherBuilder, Receipt};
pub use crate::receive::{ReceiveOptions, Received};
pub use crate::transaction::Transaction;

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
