//! The client: one multiplexed connection, and the requests that need no more than an answer.

use std::sync::Arc;

use siding_protocol::limits::PAGE_MAX;
use siding_protocol::settings::StartAt;
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

use crate::consumer::ConsumerBuilder;
use crate::error::Error;
use crate::options::Options;
use crate::publisher::{OnBusy, PublisherBuilder};
use crate::receive::{ReceiveOptions, Received, receive};
use crate::shared::{Command, Handle, TRANSACTIONS, misfit};
use crate::transaction::Transaction;

/// A client of one broker. Clones share its one connection, and so do its publishers and consumers.
///
/// A lost connection is made again for ever (see [`Reconnect`](crate::Reconnect)). Publishes,
/// transactions and settles that were under way are sent again and done once; a receive is asked again
/// and gets what it was given; other requests fail as [`Error::Interrupted`]. Requests made meanwhile wait.
///
/// # Cancel safety
/// For all its requests: one whose future is dropped before it was sent is not sent; later, it may
/// be done. Only answers are lost.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    /// Connects to `[siding://][token@]host[:port]`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Not an address; no connection within 10 s; a refusal (say, of the token). The first connect is
    /// not tried again.
    ///
    /// # Cancel safety
    /// Safe: a dropped future leaves nothing behind.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::connect_with(url, Options::default()).await
    }

    /// As [`connect`](Self::connect), with options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    pub async fn connect_with(url: &str, options: Options) -> Result<Self, Error> {
        let shared = crate::connection::start(url, options).await?;
        Ok(Self {
            handle: Arc::new(Handle::new(shared)),
        })
    }

    /// The name under which this instance holds leases; kept across reconnects.
    pub fn holder(&self) -> &str {
        &self.handle.holder
    }

    /// What the broker enforces, as it said last.
    pub fn limits(&self) -> wire::Limits {
        self.handle.limits()
    }

    /// Creates a queue. One that exists with the same settings is success.
    ///
    /// # Errors
    /// `EXISTS` with other settings; `INVALID` names the setting and its range; `Interrupted`.
    pub async fn create_queue(
        &self,
        name: &str,
        settings: wire::QueueSettings,
    ) -> Result<(), Error> {
        let name = name.to_owned();
        self.done(Kind::CreateQueue(Box::new(wire::CreateQueue {
            name,
            settings: Some(settings),
        })))
        .await
    }

    /// Creates a topic. One that exists with the same settings is success.
    ///
    /// # Errors
    /// As [`create_queue`](Self::create_queue).
    pub async fn create_topic(
        &self,
        name: &str,
        settings: wire::TopicSettings,
    ) -> Result<(), Error> {
        let name = name.to_owned();
        self.done(Kind::CreateTopic(wire::CreateTopic {
            name,
            settings: Some(settings),
        }))
        .await
    }

    /// Creates a subscription `topic/name` that begins to read at `start`. One that exists with the
    /// same settings is success, wherever it reads now.
    ///
    /// # Errors
    /// As [`create_queue`](Self::create_queue); `NOT_FOUND` without the topic.
    pub async fn create_subscription(
        &self,
        address: &str,
        settings: wire::DeliverySettings,
        start: StartAt,
    ) -> Result<(), Error> {
        self.done(Kind::CreateSubscription(Box::new(
            wire::CreateSubscription {
                address: address.to_owned(),
                settings: Some(settings),
                start: Some(start.to_wire()),
            },
        )))
        .await
    }

    /// Deletes a queue, a topic with its subscriptions, or one subscription, with all messages.
    ///
    /// # Errors
    /// `NOT_FOUND`; `Interrupted`.
    pub async fn delete(&self, address: &str) -> Result<(), Error> {
        let address = address.to_owned();
        self.done(Kind::Delete(wire::Delete { address })).await
    }

    /// Settings and books of a queue, a topic or one subscription.
    ///
    /// # Errors
    /// `NOT_FOUND`; `Interrupted`.
    pub async fn describe(&self, address: &str) -> Result<wire::NameInfo, Error> {
        describe(&self.handle, address).await
    }

    /// All queues and topics whose names begin so, in byte order; asks page by page.
    ///
    /// # Errors
    /// `Interrupted`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<wire::NameInfo>, Error> {
        let mut names: Vec<wire::NameInfo> = Vec::new();
        loop {
            let after = names.last().map(|info| info.name.clone());
            let page = Kind::List(wire::List {
                prefix: prefix.to_owned(),
                after: after.unwrap_or_default(),
                limit: PAGE_MAX,
            });
            let Kind::Listing(listing) = self.look(page).await? else {
                return Err(misfit());
            };
            let more = listing.more && !listing.names.is_empty();
            names.extend(listing.names);
            if !more {
                return Ok(names);
            }
        }
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// `Interrupted`.
    pub async fn ping(&self) -> Result<(), Error> {
        match self.look(Kind::Ping(wire::Ping {})).await? {
            Kind::Pong(_) => Ok(()),
            _ => Err(misfit()),
        }
    }

    /// Prepares a publisher to a queue or topic.
    pub fn publisher(&self, name: &str) -> PublisherBuilder {
        PublisherBuilder::new(Arc::clone(&self.handle), name)
    }

    /// Prepares a consumer of a queue or subscription.
    pub fn consumer(&self, address: &str) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.handle), address)
    }

    /// Leases what is ready, or waits for it; empty if nothing was in time. A connection that is lost
    /// under it is waited out, and what had been leased meanwhile is given then: it lasts at most
    /// `wait`, and the time without a connection.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID`; a closed client, but never `Interrupted`.
    ///
    /// # Cancel safety
    /// Not safe once sent: what it leased comes back when the lease expires.
    pub async fn receive(&self, address: &str, options: ReceiveOptions) -> Result<Received, Error> {
        receive(&self.handle, address, options).await
    }

    /// Begins a transaction: publishes and acks, all or nothing.
    ///
    /// # Errors
    /// The first one opens a producer, which may be refused; a closed client.
    pub async fn transaction(&self) -> Result<Transaction, Error> {
        let opened = self.handle.call(|reply| Command::OpenProducer {
            key: TRANSACTIONS,
            on_busy: OnBusy::Wait,
            reply,
        });
        opened.await?;
        Ok(Transaction::new(Arc::clone(&self.handle)))
    }

    /// Finishes what is under way (publishes, settles, transactions, requests), then closes the
    /// connection for all clones. Waits for a reconnect if it must: put a timeout around it if the
    /// broker may stay away.
    ///
    /// # Cancel safety
    /// Dropped, the client closes all the same, unawaited.
    pub async fn close(self) {
        // An error is an answer too: the connection task has ended already.
        drop(self.handle.call(|reply| Command::Close { reply }).await);
    }

    /// A fault hook for tests: drops the TCP connection at once, as a broken network would. The client
    /// connects again.
    pub fn cut_connection(&self) {
        self.handle.command(Command::Cut);
    }

    pub(crate) const fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Asks for what changes nothing.
    pub(crate) async fn look(&self, kind: Kind) -> Result<Kind, Error> {
        self.handle.ask(kind, false).await
    }

    pub(crate) async fn done(&self, kind: Kind) -> Result<(), Error> {
        match self.handle.ask(kind, true).await? {
            Kind::Done(_) => Ok(()),
            _ => Err(misfit()),
        }
    }

    pub(crate) async fn count(&self, kind: Kind) -> Result<u64, Error> {
        match self.handle.ask(kind, true).await? {
            Kind::Counted(counted) => Ok(counted.count),
            _ => Err(misfit()),
        }
    }
}

pub(crate) async fn describe(handle: &Handle, address: &str) -> Result<wire::NameInfo, Error> {
    let address = address.to_owned();
    let describe = Kind::Describe(wire::Describe { address });
    match handle.ask(describe, false).await? {
        Kind::NameInfo(info) => Ok(info),
        _ => Err(misfit()),
    }
}
